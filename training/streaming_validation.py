"""Listening validation: held-out dialogues are streamed, scored by events, and drawn."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback
from tqdm import tqdm

from microturn.evaluation.agents.streaming import StreamedAgent
from microturn.evaluation.agents.validation_scores import listen
from microturn.evaluation.report.figures import new_figure, save_figure
from microturn.evaluation.scoring.dialogue_set import DialogueSet, HeldOutDialogue
from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.rows import RowBatch
from microturn.model.checkpoint import LoadedCheckpoint
from microturn.model.model import InteractionModel
from microturn.model.streams import LaneSpec, StreamLayout, Tokenizer, pack_user_audio
from microturn.model.streams.mel import fine_mel, quantise_fine
from microturn.training.config import StreamingValidationConfig
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


class RecordingRows:
    """Rows that keep the inputs and outputs of the first dialogue."""

    def __init__(self, batch: RowBatch) -> None:
        self.batch, self.layout, self.tokenizer = batch, batch.layout, batch.tokenizer
        self.inputs: list[MicroTurnIn] = []
        self.outputs: list[MicroTurnOut] = []

    @property
    def n_rows(self) -> int:
        return self.batch.n_rows

    def reset(self, row: int) -> None:
        self.batch.reset(row)

    def step_rows(self, inputs: Mapping[int, MicroTurnIn]) -> dict[int, MicroTurnOut]:
        outputs = self.batch.step_rows(inputs)
        if 0 in inputs:
            self.inputs.append(inputs[0])
            self.outputs.append(outputs[0])
        return outputs

    def ids(self, spec: LaneSpec) -> list[Sequence[int]]:
        """Token ids of a lane, by micro-turn."""
        if not spec.given:
            return [output.tokens[spec.name] for output in self.outputs]
        if spec.name == "text_in":
            return [micro_turn.text_in for micro_turn in self.inputs]
        return [micro_turn.given.get(spec.name, np.empty(0)).tolist() for micro_turn in self.inputs]


def draw_lanes(
    path: Path,
    sample: HeldOutDialogue,
    record: RecordingRows,
) -> None:
    """The lanes of one dialogue, position by position: what was read, what was written beside it.

    dMel of the microphone as the model reads it, text that arrived, micro-turns that were late;
    then the words of `heard` and `say`, and the fine mel of the voice that was made.
    """
    layout, tokenizer = record.layout, record.tokenizer
    n = len(record.outputs)
    spoken = np.concatenate([output.audio for output in record.outputs])
    figure = new_figure(width=max(layout.duration_s(n) / 0.9, 8.0), height=7.5)
    heights = {"height_ratios": [2, 1.6, 2]}
    above, middle, below = figure.subplots(3, 1, sharex=True, gridspec_kw=heights)
    for axis, lane, levels in (
        (above, "audio_in (dMel)", pack_user_audio(sample.load_user(), layout)[:n]),
        (below, "audio_out (fine mel)", quantise_fine(fine_mel(spoken, layout))),
    ):
        image = levels.reshape(-1, levels.shape[-1]).T
        axis.imshow(image, origin="lower", aspect="auto", extent=(0, n, 0, len(image)))
        axis.set_ylabel(lane)
    rows = {"missing input": ["missing" if i.missing_input else "" for i in record.inputs]}
    for spec in (spec for spec in layout.lane_specs if spec.kind == "tokens"):
        rows[spec.name] = [_words(tokenizer, ids) for ids in record.ids(spec)]
    for y, (_, texts) in enumerate(reversed(rows.items())):
        for k, text in enumerate(texts):
            middle.text(k + 0.5, y, text, ha="center", va="center", fontsize=6, rotation=45)
    middle.set_yticks(range(len(rows)), list(reversed(rows)))
    middle.set_ylim(-0.6, len(rows) - 0.4)
    below.set_xlabel(f"micro-turns of {layout.micro_turn_ms} ms; what is written plays one later")
    save_figure(figure, path)


class Listen(Callback):
    """Every few minutes and at the end: `listening/scores.jsonl`, pictures, a mix to hear.

    `stepN.png` shows what was expected and said over both spectrograms, `stepN-lanes.png` the
    lanes as the model read and wrote them, `stepN.wav` is the microphone left and the agent right.
    """

    def __init__(
        self, cfg: StreamingValidationConfig, out: Path, layout: StreamLayout, tokenizer: Tokenizer
    ) -> None:
        self.cfg, self.folder, self.tokenizer = cfg, out / "listening", tokenizer
        held_out = DialogueSet.open(cfg.data)
        layout.check_same(held_out.layout, "data", f"listen.data={cfg.data}")
        self.samples = list(held_out.read(cfg.n_dialogues))
        self._due, self._heard_at = 0.0, -1

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
        self._run(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        if pl_module.progress >= 1 and self._heard_at != pl_module.steps:
            self._run(trainer, pl_module)

    def _run(self, trainer: L.Trainer, module: TrainingModule) -> None:
        began = time.monotonic()
        model = module.plain_model()
        if trainer.is_global_zero:
            self._listen(model, module.steps, module.cfg.seed)
        module.skip_time(time.monotonic() - began)
        self._due = module.trained_seconds + 60 * self.cfg.every_minutes
        self._heard_at = module.steps

    def _listen(self, model: InteractionModel, step: int, seed: int) -> None:
        model.eval()
        checkpoint = LoadedCheckpoint(model, model.layout, self.tokenizer)
        record = RecordingRows(RowBatch(checkpoint, len(self.samples), seed=seed))
        agent = StreamedAgent(record)
        name = f"step{step:06d}"
        metrics = listen(agent, self.samples, self.folder, name)
        path, first = self.folder / f"{name}-lanes.png", self.samples[0]
        draw_lanes(path, first, record)
        model.train()
        with (self.folder / "scores.jsonl").open("a") as file:
            row = {"step": step, "suites": metrics}
            file.write(json.dumps(row, sort_keys=True) + "\n")
        values = [f"{name} {_show(metrics, suite, key)}" for suite, key, name in _SHOWN]
        tqdm.write(f"listening at step {step}: {', '.join(values)}", file=sys.stderr)


def _words(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    return " ".join(word for word, _ in tokenizer.words(ids))


def _show(metrics: dict[str, Any], suite: str, key: str) -> str:
    value = metrics[suite]["metrics"].get(key)
    return "-" if value is None else f"{value:.2f}"
