"""A picture of one dialogue: both voices, words, events with expectations, and lanes."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from microturn.datagen.dialogue.timeline import Event, Timeline
from microturn.datagen.labels.dialogue import DialogueLabels
from microturn.datagen.labels.event_types import event_type
from microturn.datagen.labels.time_classes import KNOWN, UNKNOWN
from microturn.datagen.sets.shards import StoredDialogue
from microturn.model.streams import StreamLayout, Tokenizer, fine_mel

INCHES_PER_SECOND = 1.3
ROWS = (1.2, 1.2, 0.9, 2.6, 2.4)
FRAMES_ROW = 1.1
LABEL = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8}


def draw_dialogue(
    sample: StoredDialogue,
    timeline: Timeline,
    *,
    layout: StreamLayout,
    tokenizer: Tokenizer,
    path: Path,
) -> None:
    """Write the picture of one dialogue as PNG."""
    seconds = timeline.n_samples / layout.sample_rate
    with mpl.rc_context({"font.size": 9, "hatch.linewidth": 0.4}):
        frames = sample.frames()
        rows = (*ROWS, *[FRAMES_ROW] * len(frames))
        size = (2 + INCHES_PER_SECOND * seconds, 10 * sum(rows) / sum(ROWS))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(len(rows), 1, sharex=True, height_ratios=rows)
        _spectrogram(axes[0], sample.user(), layout, "microphone")
        _spectrogram(axes[1], sample.agent(), layout, "agent")
        _words(axes[2], timeline, layout.sample_rate)
        _events(axes[3], timeline.events, layout.sample_rate)
        _lanes(axes[4], sample.tokens(), layout, tokenizer)
        for axis, (lane, film) in zip(axes[len(ROWS) :], frames.items(), strict=True):
            _thumbnails(axis, lane, film, layout)
        for axis in axes:
            _grid(axis, seconds, layout)
        axes[-1].set_xlabel("seconds; each column is a micro-turn")
        axes[0].set_title(_title(sample.labels), loc="left")
        figure.savefig(path, dpi=90)


def _title(labels: DialogueLabels) -> str:
    channel, room = labels.channel, labels.room
    noise = f"{channel.noise} at {channel.snr_db:.0f} dB" if channel.noise else "no noise"
    return (
        f"dialogue {labels.index} ({labels.split}, seed {labels.seed}): "
        f"{', '.join(labels.families)}; user {labels.voice}, room of {room.measured_rt60_s:.2f} s, "
        f"{noise}, band to {channel.low_pass_hz:g} Hz"
    )


def _spectrogram(axis: Axes, audio: np.ndarray, layout: StreamLayout, name: str) -> None:
    mel = fine_mel(audio, layout).reshape(-1, layout.n_mels)
    extent = (0.0, len(audio) / layout.sample_rate, 0.0, float(layout.n_mels))
    axis.imshow(
        mel.T, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=-4.0, vmax=1.0
    )
    axis.set_ylabel(name)
    axis.set_yticks([])


def _words(axis: Axes, timeline: Timeline, rate: int) -> None:
    rows = {"background": 0, "user": 1, "agent": 2}
    for lane, row in rows.items():
        for word in timeline.words(lane):
            start, end = word.start_sample / rate, word.end_sample / rate
            colour = {"background": "#ddd", "user": "#cfe0f7", "agent": "#d6f0d3"}[lane]
            edge = "#d65f5f" if word.cut else "#666"
            axis.barh(
                row,
                end - start,
                left=start,
                height=0.8,
                color=colour,
                edgecolor=edge,
                linestyle="-" if word.times in KNOWN else "--",
                hatch="..." if word.times == UNKNOWN else None,
            )
            axis.text(
                (start + end) / 2,
                row,
                word.text,
                ha="center",
                va="center",
                fontsize=8,
                clip_on=True,
            )
    axis.set_yticks(list(rows.values()), list(rows))
    axis.set_ylim(-0.6, 2.6)


def _events(axis: Axes, events: list[Event], rate: int) -> None:
    """Draw every event as a bar, with the window of its expectation above it."""
    row_ends: list[float] = []
    for event in events:
        start, end = (
            event.start_sample / rate,
            max(event.end_sample / rate, event.start_sample / rate + 0.02),
        )
        last = max(end, event.expect.window_samples[1] / rate) if event.expect else end
        row = next((r for r, used in enumerate(row_ends) if used <= start), len(row_ends))
        row_ends[row : row + 1] = [last + 0.05]
        colour = event_type(event.type).colour
        axis.barh(row, end - start, left=start, height=0.4, color=colour)
        _label(axis, start, row, f"{event.type.replace('_', ' ')}: {event.text}".rstrip(": "))
        if event.expect:
            _expectation(axis, event, row + 0.4, colour, rate)
    axis.set_ylim(-0.4, max(len(row_ends), 1) - 0.2)
    axis.set_yticks([])
    axis.set_ylabel("events and\nexpectations")


def _expectation(axis: Axes, event: Event, height: float, colour: str, rate: int) -> None:
    assert event.expect is not None
    first, last = (edge / rate for edge in event.expect.window_samples)
    axis.barh(
        height,
        last - first,
        left=first,
        height=0.32,
        color="white",
        edgecolor=colour,
        hatch="///",
        linewidth=1.2,
    )
    _label(axis, first, height, f"{event.expect.act} {event.expect.text}".replace("_", " "))


def _label(axis: Axes, x: float, y: float, text: str) -> None:
    axis.text(x + 0.03, y, text, va="center", fontsize=7.5, clip_on=True, bbox=LABEL)


def _lanes(
    axis: Axes, tokens: dict[str, np.ndarray], layout: StreamLayout, tokenizer: Tokenizer
) -> None:
    """Draw tokens at the micro-turn that holds them; `say` sounds one micro-turn later."""
    step = layout.micro_turn_s
    lanes = [spec.name for spec in layout.lane_specs if spec.kind == "tokens"]
    for row, lane in enumerate(reversed(lanes)):
        for k, ids in enumerate(tokens[lane]):
            words = [word for word, _ in tokenizer.words([int(i) for i in ids])]
            if words:
                axis.text(
                    (k + 0.5) * step,
                    row,
                    "\n".join(words),
                    ha="center",
                    va="center",
                    rotation=90,
                    fontsize=6.5,
                    linespacing=0.9,
                    clip_on=True,
                )
        axis.axhline(row + 0.5, color="#bbbbbb", linewidth=0.5)
    axis.set_yticks(range(len(lanes)), list(reversed(lanes)))
    axis.set_ylim(-0.5, len(lanes) - 0.5)


def _thumbnails(axis: Axes, lane: str, frames: np.ndarray, layout: StreamLayout) -> None:
    """Draw as many frames as fit side by side, each at its time."""
    step = layout.micro_turn_s
    n, height, width = frames.shape[:3]
    seconds = FRAMES_ROW * width / height / INCHES_PER_SECOND
    every = max(1, math.ceil(seconds / step))
    for k in range(0, n, every):
        left = k * step
        axis.imshow(frames[k], extent=(left, left + 0.96 * every * step, 0.0, 1.0), aspect="auto")
    axis.set_ylim(0.0, 1.0)
    axis.set_yticks([])
    axis.set_ylabel(lane)


def _grid(axis: Axes, seconds: float, layout: StreamLayout) -> None:
    step = layout.micro_turn_s
    for k in range(round(seconds / step) + 1):
        axis.axvline(k * step, color="#888", linewidth=0.6 if k % 5 == 0 else 0.25, alpha=0.6)
    axis.set_xlim(0.0, seconds)
