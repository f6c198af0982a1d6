"""Listening validation: held-out dialogues are streamed, scored by events, and drawn."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from tqdm import tqdm

from microturn.evaluation.listening import listen
from microturn.evaluation.samples import SampleSet
from microturn.evaluation.streaming import StreamedAgent
from microturn.inference.session import SessionBatch
from microturn.model.checkpoint import LoadedCheckpoint
from microturn.model.model import InteractionModel
from microturn.model.streams import Tokenizer
from microturn.training.config import ListenConfig
from microturn.training.module import TrainingModule

# what the line on the screen shows of all that is logged: suite, metric, name
_SHOWN = (
    ("turn", "onset_recall", "onset"),
    ("turn", "right_word", "right word"),
    ("timed_cue", "in_window", "timed cue"),
    ("interruption", "stopped_in_time", "stops"),
    ("user_backchannel", "went_on", "goes on"),
    ("overall", "spurious_share", "spurious"),
)


class Listen(Callback):
    """Every few minutes and at the end: `listening/scores.jsonl`, a picture, a mix to hear."""

    def __init__(self, cfg: ListenConfig, out: Path, tokenizer: Tokenizer) -> None:
        self.cfg, self.folder, self.tokenizer = cfg, out / "listening", tokenizer
        self.samples = list(SampleSet.open(cfg.data).read(cfg.n_dialogues))
        self._due = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        module = pl_module
        self._due = module.trained_seconds + 60 * self.cfg.every_minutes
        module.wishes["listen"] = lambda: module.trained_seconds >= self._due

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        assert isinstance(pl_module, TrainingModule)
        if not (pl_module.stepped and pl_module.granted.get("listen")):
            return
        began = time.monotonic()
        model = pl_module.plain_model()
        if trainer.is_global_zero:
            self._listen(model, pl_module.steps, pl_module.cfg.seed)
        pl_module.skip_time(time.monotonic() - began)
        self._due = pl_module.trained_seconds + 60 * self.cfg.every_minutes

    def _listen(self, model: InteractionModel, step: int, seed: int) -> None:
        model.eval()
        checkpoint = LoadedCheckpoint(model, model.layout, self.tokenizer)
        sessions = SessionBatch(checkpoint, len(self.samples), seed=seed)
        agent = StreamedAgent(sessions, checkpoint.layout, self.tokenizer)
        metrics = listen(agent, self.samples, self.folder, f"step{step:06d}")
        model.train()
        with (self.folder / "scores.jsonl").open("a") as file:
            row = {"step": step, "suites": metrics}
            file.write(json.dumps(row, sort_keys=True) + "\n")
        values = [f"{name} {_show(metrics, suite, key)}" for suite, key, name in _SHOWN]
        tqdm.write(f"listening at step {step}: {', '.join(values)}", file=sys.stderr)


def _show(metrics: dict[str, Any], suite: str, key: str) -> str:
    value = metrics[suite]["metrics"].get(key)
    return "-" if value is None else f"{value:.2f}"
