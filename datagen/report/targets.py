"""Targets of human timing for a set; docs/simulation.md lists the sources."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from microturn.datagen.config import HumanTimingConfig

NORMAL = NormalDist()
LATE_S = 0.2
WAYS = ("sound", "words")  # every measure is taken from rendered audio and from word times


@dataclass(frozen=True, kw_only=True)
class Target:
    """A measure, its target value, and the values published for people."""

    name: str
    value: float
    description: str
    people: str


def targets_of(human: HumanTimingConfig) -> tuple[Target, ...]:
    """Return the measures that a set with this timing should have."""
    h = human
    late = (1 - h.overlapped_changes) * (
        1 - NORMAL.cdf(math.log(LATE_S / h.gap_median_s) / h.gap_sigma)
    )
    return (
        Target(
            name="offset_median_s",
            value=round(_offset_median(h), 4),
            description="floor-transfer offset, median (s)",
            people="0.08 in CANDOR (Reece et al. 2023), 0.2 over ten languages (Stivers et al. "
            "2009); this value follows from the next three",
        ),
        Target(
            name="overlapped_changes",
            value=h.overlapped_changes,
            description="changes of speaker that overlap",
            people="about 40 % (Heldner & Edlund 2010)",
        ),
        Target(
            name="late_changes",
            value=round(late, 4),
            description="changes later than 0.2 s",
            people="41 to 45 % (Heldner & Edlund 2010)",
        ),
        Target(
            name="gap_median_s",
            value=h.gap_median_s,
            description="gap, median (s)",
            people="mean 0.40 s in CALLHOME (arXiv 2204.11232) with the share of late changes",
        ),
        Target(
            name="overlap_median_s",
            value=h.overlap_median_s,
            description="overlap at a change, median (s)",
            people="0.205 s in Switchboard (Levinson & Torreira 2015)",
        ),
        Target(
            name="pause_median_s",
            value=h.pause_median_s,
            description="pause inside a turn, median (s)",
            people="0.25 to 0.5 s (Lundholm Fors 2015); mean 0.57 s in CALLHOME",
        ),
        Target(
            name="overlap_ratio",
            value=h.overlap_ratio,
            description="share of overlapping speech",
            people="below 5 % in Switchboard (Levinson & Torreira 2015), 13.5 % in CALLHOME",
        ),
        Target(
            name="silence_ratio",
            value=h.silence_ratio,
            description="share of silence",
            people="10 % in CALLHOME",
        ),
        Target(
            name="backchannel_share",
            value=h.backchannel_share,
            description="backchannels among contributions",
            people="19 % in Dutch, 16 % in German (Knudsen et al. 2020), 19 % in Switchboard",
        ),
    )


def judged(
    human: HumanTimingConfig, measures: Mapping[str, Mapping[str, float | None]]
) -> list[dict[str, Any]]:
    """Compare every target with its measures; `off` is the larger difference, as a share.

    Of a target of zero, such as no overlaps, it is the difference itself.
    """
    rows = []
    for target in targets_of(human):
        measured = {way: measures[way][target.name] for way in WAYS}
        known = [value for value in measured.values() if value is not None]
        off = None
        if len(known) == len(WAYS):
            off = round(
                max(abs(value - target.value) for value in known) / (target.value or 1.0), 4
            )
        rows.append(
            {
                "name": target.name,
                "description": target.description,
                "target": target.value,
                **measured,
                "off": off,
                "ok": off is not None and off <= human.tolerance,
                "people": target.people,
            }
        )
    return rows


def _offset_median(h: HumanTimingConfig) -> float:
    """Return the median of overlaps and gaps together."""
    if h.overlapped_changes < 0.5:
        below = (0.5 - h.overlapped_changes) / (1 - h.overlapped_changes)
        return h.gap_median_s * math.exp(h.gap_sigma * NORMAL.inv_cdf(below))
    longer = 0.5 / h.overlapped_changes
    return -h.overlap_median_s * math.exp(h.overlap_sigma * NORMAL.inv_cdf(1 - longer + 1e-9))
