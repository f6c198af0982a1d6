"""Streaming validation: test dialogues are streamed, scored by events, and drawn."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback
from tqdm import tqdm

from microturn.evaluation.agents.streaming import StreamedAgent
from microturn.evaluation.report.figures import new_figure, save_figure
from microturn.evaluation.scoring.dialogue_set import DialogueSet, HeldOutDialogue
from microturn.evaluation.suites.score_suite import SuiteScore
from microturn.evaluation.validation import stream_and_score
from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.rows import RowBatch
from microturn.model.checkpoint import LoadedCheckpoint
from microturn.model.model import InteractionModel
from microturn.model.streams import LaneSpec, StreamLayout, Tokenizer, pack_user_audio
from microturn.model.streams.mel import fine_mel, quantise_fine
from microturn.training.config import StreamingValidationConfig
from microturn.training.module import Request, TrainingModule

FOLDER = "streaming_validation"  # of a run

# Scores of the line on stderr, out of all that are logged: suite, metric, name.
_PRINTED = (
    ("turn", "onset_recall", "onset"),
    ("turn", "right_word", "right word"),
    ("timed_cue", "in_window", "timed cue"),
    ("interruption", "stopped_in_time", "stops"),
    ("user_backchannel", "went_on", "goes on"),
    ("overall", "spurious_share", "spurious"),
)


class ValidationDropped(Exception):
    """The run is to stop, which cannot wait for a validation."""


class RecordingRows:
    """Rows that keep the inputs and outputs of the first dialogue."""

    def __init__(self, batch: RowBatch, is_stopping: Callable[[], bool]) -> None:
        self.batch, self.layout, self.tokenizer = batch, batch.layout, batch.tokenizer
        self.is_stopping = is_stopping
        self.inputs: list[MicroTurnIn] = []
        self.outputs: list[MicroTurnOut] = []

    @property
    def n_rows(self) -> int:
        return self.batch.n_rows

    def reset(self, row: int) -> None:
        self.batch.reset(row)

    def step_rows(self, inputs: Mapping[int, MicroTurnIn]) -> dict[int, MicroTurnOut]:
        if self.is_stopping():
            raise ValidationDropped
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


def draw_lanes(path: Path, sample: HeldOutDialogue, *, record: RecordingRows) -> None:
    """Draw the lanes of one dialogue, position by position: input, tokens, output.

    Input: dMel of the microphone, text, missing micro-turns. Tokens: words of `heard` and `say`.
    Output: fine mel of the agent's voice.
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


class StreamingValidation(Callback):
    """Writes `streaming_validation/` every few minutes and at the end: scores, pictures, sound.

    `scores.jsonl` has a line each time. `stepN.png` shows expected and spoken words over both
    spectrograms, `stepN-lanes.png` the lanes as the model read and wrote them, `stepN.wav` is the
    microphone left and the agent right.
    """

    def __init__(
        self, cfg: StreamingValidationConfig, out: Path, layout: StreamLayout, tokenizer: Tokenizer
    ) -> None:
        self.cfg, self.folder, self.tokenizer = cfg, out / FOLDER, tokenizer
        held_out = DialogueSet.open(cfg.data)
        layout.check_same(held_out.layout, "data", f"streaming_validation.data={cfg.data}")
        self.samples = list(held_out.read(cfg.n_dialogues))
        self.is_stopping: Callable[[], bool] = lambda: False
        self._due_s, self._last_step = 0.0, -1
        self._request: Request | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        module = pl_module
        self._due_s = module.trained_seconds + 60 * self.cfg.every_minutes
        self._request = module.request(lambda: module.trained_seconds >= self._due_s)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        assert isinstance(pl_module, TrainingModule)
        assert self._request is not None
        if pl_module.stepped and self._request.agreed:
            self._validate(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        if pl_module.progress >= 1 and self._last_step != pl_module.steps:
            self._validate(trainer, pl_module)

    def _validate(self, trainer: L.Trainer, module: TrainingModule) -> None:
        start_s = time.monotonic()
        model = module.unsharded_model()
        if model is not None:
            try:
                self._stream(model, step=module.steps, seed=module.cfg.seed)
            except ValidationDropped:
                _say(f"streaming validation at step {module.steps} is left out: the run stops")
            finally:
                model.train()
        module.exclude_time(time.monotonic() - start_s)
        self._due_s = module.trained_seconds + 60 * self.cfg.every_minutes
        self._last_step = module.steps

    def _stream(self, model: InteractionModel, *, step: int, seed: int) -> None:
        model.eval()
        checkpoint = LoadedCheckpoint(model, model.layout, self.tokenizer)
        record = RecordingRows(RowBatch(checkpoint, len(self.samples), seed=seed), self.is_stopping)
        stem = self.folder / f"step{step:06d}"
        suites = stream_and_score(StreamedAgent(record), self.samples, stem=stem)
        draw_lanes(stem.with_name(f"{stem.name}-lanes.png"), self.samples[0], record=record)
        with (self.folder / "scores.jsonl").open("a", encoding="utf-8") as file:
            row = {"step": step, "suites": {suite: s.to_json() for suite, s in suites.items()}}
            file.write(json.dumps(row, sort_keys=True) + "\n")
        values = [f"{name} {_format(suites, suite, key)}" for suite, key, name in _PRINTED]
        _say(f"streaming validation at step {step}: {', '.join(values)}")


def _say(text: str) -> None:
    tqdm.write(text, file=sys.stderr)


def _words(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    return " ".join(word for word, _ in tokenizer.words(ids))


def _format(suites: dict[str, SuiteScore], suite: str, metric: str) -> str:
    value = suites[suite].metrics[metric].value
    return "-" if value is None else f"{value:.2f}"
