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
        self._due = pl_module.trained_seconds + 60 * self.cfg.every_minutes

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        assert isinstance(pl_module, TrainingModule)
        if pl_module.trained_seconds < self._due:
            return
        began = time.monotonic()
        self._listen(pl_module)
        pl_module.skip_time(time.monotonic() - began)
        self._due = pl_module.trained_seconds + 60 * self.cfg.every_minutes

    def _listen(self, module: TrainingModule) -> None:
        module.model.eval()
        checkpoint = LoadedCheckpoint(module.model, module.model.layout, self.tokenizer)
        sessions = SessionBatch(checkpoint, len(self.samples), seed=module.cfg.seed)
        agent = StreamedAgent(sessions, checkpoint.layout, self.tokenizer)
        metrics = listen(agent, self.samples, self.folder, f"step{module.global_step:06d}")
        module.model.train()
        with (self.folder / "scores.jsonl").open("a") as file:
            row = {"step": module.global_step, "suites": metrics}
            file.write(json.dumps(row, sort_keys=True) + "\n")
        values = [f"{name} {_show(metrics, suite, key)}" for suite, key, name in _SHOWN]
        tqdm.write(f"listening at step {module.global_step}: {', '.join(values)}", file=sys.stderr)


def _show(metrics: dict[str, Any], suite: str, key: str) -> str:
    value = metrics[suite]["metrics"].get(key)
    return "-" if value is None else f"{value:.2f}"
