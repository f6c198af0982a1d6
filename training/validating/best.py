"""The best checkpoint of a run by a validation loss, and the end of one that gets no better.

Our own in place of Lightning's ModelCheckpoint and EarlyStopping: the folder is a checkpoint that
`serve` reads, and what was best is read from a file that a resumed run cuts where it goes on.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import lightning as L
from lightning.pytorch.callbacks import Callback
from tqdm import tqdm

from microturn.configs.files import write_atomically
from microturn.configs.reading import lines_of, naming_damage
from microturn.model.checkpoint import save_checkpoint
from microturn.model.losses import lane_terms
from microturn.model.streams import Tokenizer
from microturn.training.config import ValidateConfig
from microturn.training.module import TrainingModule
from microturn.training.validating.losses import OWN, PREFIX, ValidationLosses

NAME: Final = "validation.jsonl"  # of a run: one line each time
FOLDER: Final = "best"


class KeepBest(Callback):
    """Writes `validation.jsonl` and `best/`; ends a run after `patience` worse validations."""

    def __init__(
        self, cfg: ValidateConfig, out: Path, tokenizer: Tokenizer, notes: Mapping[str, str]
    ) -> None:
        self.cfg, self.out, self.tokenizer, self.notes = cfg, out, tokenizer, notes
        self.rows: list[dict[str, Any]] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        known = [*ValidationLosses(lane_terms(pl_module.model.layout)).names]
        if self.cfg.monitor not in known:
            raise ValueError(
                f"validate.monitor={self.cfg.monitor} is no validation loss of this model; they "
                f"are {', '.join(known)}"
            )
        path = self.out / NAME
        if path.is_file():
            with naming_damage(path, "delete it, or its wrong lines"):
                rows = map(json.loads, lines_of(path.read_text(encoding="utf-8")))
                self.rows = [row for row in rows if row["step"] <= pl_module.steps]
        if trainer.is_global_zero:
            self._write()
        self._stop_where_no_better(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        if trainer.sanity_checking:
            return
        values = {
            name: value if math.isfinite(value := float(each)) else None
            for name, each in sorted(trainer.callback_metrics.items())
            if name.startswith((PREFIX, OWN))
        }
        self.rows.append({"step": pl_module.steps, **values})
        if trainer.is_global_zero:
            self._write()
        if self._best() is self.rows[-1]:
            save_checkpoint(
                self.out / FOLDER,
                pl_module.model,
                self.tokenizer,
                notes=self.notes,
                saved=f"step {pl_module.steps}",
                peers=pl_module.processes,
            )
        shown = ", ".join(
            f"{name} {value:.4f}" for name, value in values.items() if value is not None
        )
        if trainer.is_global_zero:
            tqdm.write(f"validation at step {pl_module.steps}: {shown}", file=sys.stderr)
        self._stop_where_no_better(trainer)

    def _best(self) -> dict[str, Any] | None:
        """Return the row with the smallest loss, the first of equal ones."""
        rows = [row for row in self.rows if row[self.cfg.monitor] is not None]
        return min(rows, key=lambda row: row[self.cfg.monitor], default=None)

    def _stop_where_no_better(self, trainer: L.Trainer) -> None:
        best = self._best()
        if not self.cfg.patience or best is None:
            return
        since = len(self.rows) - 1 - self.rows.index(best)
        if since >= self.cfg.patience:
            trainer.should_stop = True
            if trainer.is_global_zero:
                tqdm.write(
                    f"training: {self.cfg.monitor} was best at step {best['step']} and no better "
                    f"in {since} validations since; the run ends, its best checkpoint is in "
                    f"{self.out / FOLDER}",
                    file=sys.stderr,
                )

    def _write(self) -> None:
        lines = [json.dumps(row, sort_keys=True) + "\n" for row in self.rows]
        write_atomically(self.out / NAME, "".join(lines))
