"""One dialogue as a picture and as sound: input, events, expected and spoken words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from microturn.datagen.labels.dialogue import EventLabel
from microturn.datagen.labels.event_types import TURN, event_type
from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.evaluation.scoring.dialogue import joined_words
from microturn.evaluation.scoring.scene import ScoredDialogue

_ROWS: Final = (
    "user",
    "background",
    "events",
    "expected",
    "recorded",
    "said",
    "floor",
    "text_in",
)
_SECONDS_PER_INCH: Final = 0.9


def draw_dialogue(
    path: Path,
    scored: ScoredDialogue,
    *,
    user: NDArray[np.float32],
    agent: NDArray[np.float32],
    rate: int,
) -> None:
    """Draw spectrograms of both channels over a timeline of words, events and windows."""
    from microturn.evaluation.report.figures import new_figure, save_figure

    dialogue = scored.dialogue
    figure = new_figure(width=max(dialogue.duration_s / _SECONDS_PER_INCH, 8.0), height=7.5)
    rows = figure.subplots(3, 1, sharex=True, gridspec_kw={"height_ratios": [1, 1, 1.6]})
    _spectrogram(rows[0], user, rate, "microphone")
    _spectrogram(rows[1], agent, rate, "agent")
    for start, end in scored.runs:
        rows[1].axvspan(start, end, ymax=0.04, color="tab:red")
    _timeline(rows[2], scored)
    n_micro_turns = round(dialogue.duration_s / dialogue.micro_turn_s)
    for axis in rows:
        for k in range(n_micro_turns + 1):
            axis.axvline(k * dialogue.micro_turn_s, color="0.5", linewidth=0.3, alpha=0.5)
        axis.set_xlim(0, dialogue.duration_s)
    rows[2].set_xlabel(f"seconds; thin lines: micro-turns of {dialogue.micro_turn_s:g} s")
    figure.suptitle(f"dialogue {dialogue.key}: {', '.join(dialogue.families)}", fontsize=10)
    save_figure(figure, path)


def write_mix(
    path: Path, *, user: NDArray[np.float32], agent: NDArray[np.float32], rate: int
) -> None:
    """Write both channels as one stereo file: the microphone left, the agent right."""
    import soundfile

    n = max(len(user), len(agent))
    mix = np.zeros((n, 2), np.float32)
    mix[: len(user), 0] = user
    mix[: len(agent), 1] = agent
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.clip(mix, -1.0, 1.0), rate, subtype="PCM_16", format="WAV")


def _spectrogram(axis: Any, audio: NDArray[np.float32], rate: int, name: str) -> None:
    # Noise far below hearing keeps the logarithm of digital silence finite.
    floor = np.random.default_rng(0).standard_normal(len(audio)) * 1e-6
    axis.specgram(audio + floor, NFFT=512, Fs=rate, noverlap=352, cmap="magma", vmin=-120, vmax=-30)
    axis.set_ylim(0, min(rate / 2, 6000))
    axis.set_ylabel(f"{name}\nHz")


def _timeline(axis: Any, scored: ScoredDialogue) -> None:
    dialogue = scored.dialogue
    level = {name: -i for i, name in enumerate(_ROWS)}
    _words(axis, dialogue.user_words, level["user"], "tab:blue")
    _words(axis, dialogue.background_words, level["background"], "tab:gray")
    for event in dialogue.events:
        _event(axis, event, level["events"], level["expected"])
    _words(axis, dialogue.agent_words, level["recorded"], "0.4")
    _words(axis, scored.trace.words, level["said"], "tab:red")
    for start, end in scored.floors:
        axis.barh(level["floor"], end - start, left=start, height=0.5, color="0.85")
    _marks(axis, ((d.time_s, d.text) for d in scored.trace.deliveries), level["text_in"])
    delegates = ((time_s, "<delegate>") for time_s in scored.trace.delegates_s)
    _marks(axis, delegates, level["text_in"] + 0.35)
    axis.set_yticks(list(level.values()), list(level))
    axis.set_ylim(-len(_ROWS) + 0.4, 0.6)


def _words(axis: Any, words: Sequence[SpokenWord], y: float, colour: str) -> None:
    for word in joined_words(words):
        length = max(word.end_s - word.start_s, 0.02)
        axis.barh(y, length, left=word.start_s, height=0.6, color=colour, alpha=0.35)
        axis.text(word.start_s, y, word.text, fontsize=6, va="center", clip_on=True)


def _event(axis: Any, event: EventLabel, y: float, window_y: float) -> None:
    colour = event_type(event.type).colour
    length = max(event.end_s - event.start_s, 0.03)
    y += 0.3 if event.type == TURN else 0.0  # an interruption may be a turn, too
    axis.barh(y, length, left=event.start_s, height=0.25, color=colour, alpha=0.5)
    axis.text(event.start_s, y, event.type, fontsize=6, va="center", clip_on=True)
    if event.window_s:
        start, end = event.window_s
        y = window_y + (0.3 if event.type == TURN else 0.0)
        axis.barh(y, end - start, left=start, height=0.25, facecolor="none", edgecolor=colour)
        label = " ".join((event.act, *event.expected))
        axis.text(start, y, label, fontsize=6, va="center", clip_on=True)


def _marks(axis: Any, marks: Iterable[tuple[float, str]], y: float) -> None:
    for time_s, text in marks:
        axis.plot([time_s], [y], marker="v", markersize=4, color="tab:orange")
        axis.text(time_s, y, f" {text}", fontsize=6, va="center", clip_on=True)
