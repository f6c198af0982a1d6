"""Users who react, by number, and the dialogues that are planned for them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

from microturn.configs.load import load_config
from microturn.datagen.closed_loop.environment import Environment
from microturn.datagen.config import DatagenConfig
from microturn.datagen.live import PREFIX, LiveSource
from microturn.evaluation.agents.closed_loop import play
from microturn.evaluation.agents.talking import dialogue_of, microphone_of
from microturn.evaluation.config import EvaluateConfig
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.evaluation.suites.held_out import config_digest
from microturn.model.checkpoint_files import LAYOUT, TOKENIZER, check_complete
from microturn.model.streams import StreamLayout

WHAT_USERS_DID: Final = {
    "never": "planned events without an occasion, such as an interruption of a silent agent",
    "asked_again": "requests that the user repeated",
    "gave_up": "requests that the user no longer waits for",
    "yielded": "times that the user left the floor to an agent that spoke into a pause or a word",
}


@dataclass(frozen=True, kw_only=True)
class ReactingUsers:
    """The users of a run: users by number, and the planned dialogues of each. Picklable."""

    source: LiveSource
    n: int

    def begin(self, first: int = 0, n: int | None = None) -> list[Environment]:
        """Return the environments of `n` users, of all that follow if None.

        They are the same objects each time, since what is planned is not rendered twice; who plays
        begins them anew.
        """
        last = self.n if n is None else first + n
        return [environment for environment, _ in self._with_plans[first:last]]

    @cached_property
    def planned(self) -> tuple[HeldOutDialogue, ...]:
        """What happens if the agent does what is planned; the oracle does."""
        return tuple(dialogue for _, dialogue in self._with_plans)

    @cached_property
    def _with_plans(self) -> tuple[tuple[Environment, HeldOutDialogue], ...]:
        """Both at once: an environment that plays its plan is not what it was for anybody else."""
        environments = [Environment(self.source, index) for index in range(self.n)]
        return tuple((environment, _planned(environment)) for environment in environments)

    @property
    def digest(self) -> str:
        """Of all that decides what is planned for them: the configuration, and the recordings."""
        return config_digest(self.source.config)

    def __getstate__(self) -> dict[str, object]:
        return {"source": self.source, "n": self.n}


def open_source(config: EvaluateConfig) -> LiveSource:
    """The planned dialogues, on the layout and with the tokens of a checkpoint if there is one."""
    words = config.data.removeprefix(PREFIX).split()
    files, keys = [w for w in words if "=" not in w], [w for w in words if "=" in w]
    plan = load_config(DatagenConfig, files, ["out=live", *keys, f"cache={config.cache}"])
    if not config.checkpoint:
        return LiveSource.of(plan)
    check_complete(config.checkpoint)
    folder = Path(config.checkpoint)
    source = LiveSource.of(replace(plan, layout=StreamLayout.load(folder / LAYOUT)))
    return replace(source, tokenizer_json=(folder / TOKENIZER).read_text(encoding="utf-8"))


def did_of(environment: Environment) -> Counter[str]:
    """Count what a user has done because of the agent."""
    return Counter(one.kind for one in environment.occurrences if one.kind in WHAT_USERS_DID)


def _planned(environment: Environment) -> HeldOutDialogue:
    turns = iter(environment.recorded())
    play(environment, lambda _: next(turns))
    agent, dialogue = environment.agent_audio(), dialogue_of(environment)
    user = microphone_of(environment)
    return HeldOutDialogue(
        dialogue=dialogue,
        sample_rate=environment.layout.sample_rate,
        load_user=lambda: user,
        load_agent=lambda: agent,
    )
