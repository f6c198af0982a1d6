"""Conversations that nothing is learned from, held without chance: before, meanwhile, after."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import lightning as L
from lightning.pytorch.callbacks import Callback
from tqdm import tqdm

from microturn.configs.files import write_atomically
from microturn.configs.reading import lines_of, naming_damage
from microturn.evaluation.report.pictures import draw_dialogue, write_mix
from microturn.evaluation.scoring.events import score
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites import tau_voice
from microturn.evaluation.suites.event_suites import score_events
from microturn.training.module import seed_of
from microturn.training.reinforce.config import HeldOutConfig, RewardConfig
from microturn.training.reinforce.environment import Users
from microturn.training.reinforce.module import ReinforceModule, reward_metrics
from microturn.training.reinforce.rewards import rewards_of
from microturn.training.reinforce.rollout import roll_out

FOLDER: Final = "held_out"
_CHANCE: Final = 5  # in the seeds of the voice


class HeldOut(Callback):
    """Writes `held_out/`: a line of `scores.jsonl` each time, and the first conversation.

    `stepN.png` shows it, `stepN.wav` has the microphone left and the agent right: the same user
    before and after.
    """

    def __init__(
        self, cfg: HeldOutConfig, reward: RewardConfig, out: Path, users: Users, *, longest: int
    ) -> None:
        self.cfg, self.reward, self.folder, self.users = cfg, reward, out / FOLDER, users
        self.longest = longest  # micro-turns of a conversation
        self._last_step = -1

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, ReinforceModule)
        path = self.folder / "scores.jsonl"
        if path.is_file():
            with naming_damage(path, "delete it, or its wrong lines"):
                lines = lines_of(path.read_text(encoding="utf-8"))
                kept = [line for line in lines if json.loads(line)["step"] <= pl_module.steps]
            write_atomically(path, "".join(f"{line}\n" for line in kept))
            self._last_step = json.loads(kept[-1])["step"] if kept else -1
        if self._last_step < 0:
            self._hold(pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        assert isinstance(pl_module, ReinforceModule)
        due = pl_module.steps - self._last_step >= self.cfg.every_steps
        if pl_module.stepped and (due or pl_module.progress >= 1):
            self._hold(pl_module)

    def _hold(self, module: ReinforceModule) -> None:
        start_s = time.monotonic()
        users = [self.users.begin(number) for number in range(self.cfg.n_dialogues)]
        rollout = roll_out(
            module.model,
            users,
            seeds=[seed_of(module.cfg.seed, number, _CHANCE) for number in range(len(users))],
            temperature=None,
            max_micro_turns=self.longest,
        )
        scored = [self.users.scored(user) for user in users]
        rewards = reward_metrics([rewards_of(one, self.reward) for one in scored])
        suites = score_events([score(one) for one in scored], seed=0)
        self.folder.mkdir(parents=True, exist_ok=True)
        stem = self.folder / f"step{module.steps:06d}"
        rate = module.model.layout.sample_rate
        user, agent = rollout.microphone, rollout.voice
        draw_dialogue(stem.with_suffix(".png"), scored[0], user=user, agent=agent, rate=rate)
        write_mix(stem.with_suffix(".wav"), user=user, agent=agent, rate=rate)
        row = {
            "step": module.steps,
            **rewards,
            **_interaction(scored),
            "suites": {suite: one.to_json() for suite, one in suites.items()},
        }
        with (self.folder / "scores.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, sort_keys=True) + "\n")
        named = ", ".join(f"{name} {value:.2f}" for name, value in rewards.items())
        tqdm.write(f"held out at step {module.steps}: {named}", file=sys.stderr)
        self._last_step = module.steps
        module.exclude_time(time.monotonic() - start_s)


def _interaction(scored: Sequence[ScoredDialogue]) -> dict[str, float | None]:
    """The measures of tau-voice; None where nothing asked for one."""
    measured = tau_voice.measure([tau_voice.observe(one) for one in scored])
    return {
        f"tau_voice/{name}": None if one is None else float(one) for name, one in measured.items()
    }
