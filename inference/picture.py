"""A picture of one conversation: both voices, their words, and the background work."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from microturn.inference.answered_recording import AnsweredRecording
from microturn.model.streams.pcm import Audio

_INK: Final = "#1d2433"
_USER: Final = "#2f6fb3"
_AGENT: Final = "#c2542d"
_WORK: Final = "#6b8f3a"
_N_COLUMNS: Final = 1_500  # of a wave, each with its minimum and maximum
_MIN_PEAK: Final = 0.05  # quieter waves are scaled as if they had this peak
_MAX_S: Final = 60.0  # of a conversation, from its beginning


def draw(path: Path, talk: AnsweredRecording) -> None:
    """Draw the picture; a grid line marks every second, a faint one every micro-turn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    layout = talk.conversation.layout
    rate = layout.sample_rate
    duration_s = min(len(talk.input) / rate, _MAX_S)
    figure = Figure(figsize=(min(24.0, max(10.0, duration_s * 0.8)), 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    user, work, agent = figure.subplots(3, 1, sharex=True, height_ratios=[3, 1, 3])
    _wave(user, talk.input[: int(duration_s * rate)], rate=rate, colour=_USER)
    _wave(agent, talk.output[: int(duration_s * rate)], rate=rate, colour=_AGENT)
    user.set_ylabel("user")
    agent.set_ylabel("agent")
    micro_turn_s = layout.micro_turn_s
    for axes, side, colour in ((user, "user", _USER), (agent, "agent", _AGENT)):
        words = [
            (word.micro_turn * micro_turn_s, word.text)
            for word in talk.conversation.transcript.words
            if word.side == side
        ]
        _words(axes, words, colour=colour, duration_s=duration_s, rightwards=side == "agent")
    _delegations(work, talk, micro_turn_s=micro_turn_s, duration_s=duration_s)
    for axes in (user, work, agent):
        axes.set_xlim(0, duration_s)
        axes.set_yticks([])
        axes.set_xticks(np.arange(0, duration_s + 1e-9, 1.0))
        axes.set_xticks(np.arange(0, duration_s + 1e-9, micro_turn_s), minor=True)
        axes.grid(which="major", axis="x", color=_INK, alpha=0.25, linewidth=0.6)
        axes.grid(which="minor", axis="x", color=_INK, alpha=0.08, linewidth=0.5)
        axes.spines[:].set_visible(False)
        axes.tick_params(which="both", length=0, colors=_INK)
    agent.set_xlabel("seconds")
    figure.savefig(path, dpi=110)


def _wave(axes: Any, samples: Audio, *, rate: int, colour: str) -> None:
    width = max(1, len(samples) // _N_COLUMNS)
    n = len(samples) // width
    columns = samples[: n * width].reshape(n, width)
    times = np.arange(n) * width / rate
    columns = columns / max(float(np.abs(samples).max(initial=0.0)), _MIN_PEAK)
    axes.fill_between(times, columns.min(axis=1), columns.max(axis=1), color=colour, linewidth=0.4)
    axes.set_ylim(-1.0, 1.6)


def _words(
    axes: Any,
    words: list[tuple[float, str]],
    *,
    colour: str,
    duration_s: float,
    rightwards: bool,
) -> None:
    """Write words above the wave: left of their end for the user, right of their start else."""
    for index, (time, text) in enumerate(word for word in words if word[0] <= duration_s):
        height = (1.05, 1.25, 1.45)[index % 3]
        axes.plot([time, time], [0, height], color=colour, alpha=0.5, linewidth=0.7)
        axes.text(
            time,
            height,
            f" {text}" if rightwards else f"{text} ",
            color=_INK,
            fontsize=8,
            ha="left" if rightwards else "right",
            va="center",
            clip_on=True,
        )


def _delegations(
    axes: Any, talk: AnsweredRecording, *, micro_turn_s: float, duration_s: float
) -> None:
    axes.set_ylabel("background")
    axes.set_ylim(-0.6, 0.6)
    for delegation in talk.conversation.delegations:
        start_s = (delegation.micro_turn + 1) * micro_turn_s
        ends = [step.micro_turn for step in delegation.events]
        ends += [result.micro_turn for result in delegation.results]
        last = max(ends, default=delegation.micro_turn)
        end_s = max(last * micro_turn_s, start_s + micro_turn_s / 4)
        if start_s > duration_s:
            continue
        axes.barh(0, end_s - start_s, left=start_s, height=0.5, color=_WORK, alpha=0.8)
        said = " ".join(result.text for result in delegation.results)
        label = said or delegation.status or ""
        axes.text(end_s, 0, f" {label}", color=_INK, fontsize=8, va="center", clip_on=True)
