"""Plots of the histograms of the data card."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from microturn.datagen.report.card import OFFSET_BIN_MS, PLOT_CHANNEL, PLOT_TIMING
from microturn.datagen.report.set_statistics import RT60_BIN_S, SNR_BIN_DB

COLOURS = {"sound": "#4878d0", "words": "#ee854a"}
SHOWN_MS = (-1000, 2000)
_LOCK = threading.Lock()  # matplotlib's settings are global to the process


def card_plots(card: Mapping[str, Any]) -> dict[str, bytes]:
    """Draw the plots; returns PNG files by name."""
    with (
        _LOCK,
        mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}),
    ):
        return {PLOT_TIMING: _timing(card), PLOT_CHANNEL: _channel(card)}


def _timing(card: Mapping[str, Any]) -> bytes:
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.3, 1.0, 1.2))
    for way, measured in card["turn_taking"].items():
        _steps(left, measured["offsets_ms"], way)
        _steps(middle, measured["pauses_ms"], way)
    left.axvline(0, color="#888", linewidth=0.8)
    left.set_xlim(*SHOWN_MS)
    left.set_xlabel("offset at a change of speaker (ms); below 0 both speak")
    left.set_ylabel("share")
    if left.get_legend_handles_labels()[0]:
        left.legend(loc="upper right", frameon=False)
    middle.set_xlim(0, SHOWN_MS[1])
    middle.set_xlabel("pause inside a turn (ms)")
    _targets(right, card["human"])
    return _png(figure)


def _steps(axis: Axes, histogram: Mapping[str, int], way: str) -> None:
    total = sum(histogram.values())
    if not total:
        return
    first, last = (edge(map(int, histogram)) for edge in (min, max))
    edges = list(range(first, last + 2 * OFFSET_BIN_MS, OFFSET_BIN_MS))
    heights = [histogram.get(str(edge), 0) / total for edge in edges[:-1]]
    axis.stairs(heights, edges, color=COLOURS[way], label=way, linewidth=1.3)


def _share_of_target(value: float | None, target: float) -> float:
    """Return 1 on target, of a target of zero 1 plus what was measured."""
    if value is None:
        return math.nan
    return value / target if target else 1.0 + value


def _targets(axis: Axes, human: Mapping[str, Any]) -> None:
    """Plot the measures as multiples of their targets."""
    rows = list(reversed(human["targets"]))
    for way, colour in COLOURS.items():
        values = [_share_of_target(row[way], row["target"]) for row in rows]
        axis.plot(values, range(len(rows)), "o", color=colour, markersize=5, alpha=0.8)
    width = human["tolerance"]
    axis.axvspan(1 - width, 1 + width, color="#cdebc8", zorder=0)
    axis.axvline(1, color="#5a5", linewidth=0.8)
    axis.set_yticks(range(len(rows)), [row["description"] for row in rows], fontsize=7.5)
    axis.set_xlabel("measured / target" if human["asked_for"] else "measured / people's")
    if human["asked_for"]:
        axis.set_xlim(1 - 3 * width, 1 + 3 * width)


def _channel(card: Mapping[str, Any]) -> bytes:
    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    _bars(left, card["counts"].get("snr_db", {}), SNR_BIN_DB, "signal to noise (dB)")
    _bars(right, card["counts"].get("rt60_s", {}), RT60_BIN_S, "reverberation time (s)")
    left.set_ylabel("dialogues")
    return _png(figure)


def _bars(axis: Axes, counts: Mapping[str, int], width: float, label: str) -> None:
    edges = [float(edge) for edge in counts]
    axis.bar(edges, list(counts.values()), width=0.92 * width, align="edge", color="#4878d0")
    axis.set_xlabel(label)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
