"""How a conversation is timed: the corpus statistics of dGSLM (arXiv 2203.16502), and offsets.

Of each speaker: inter-pausal units (IPU), speech between silences of 200 ms of that speaker. Of
both: overlaps (both speak), pauses (nobody speaks, the same speaker goes on), gaps (nobody speaks,
the other begins); silence before the first and after the last speech belongs to neither. The
floor-transfer offset is the time from the end of one speaker's turn to the start of the other's
next, negative where they overlap; an IPU inside the other's is no turn.

Rates are pooled: all events of all dialogues over all their minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from microturn.evaluation.scoring.activity import Span, merge, overlap, subtract
from microturn.evaluation.scoring.scene import ScoredDialogue

IPU_GAP_S: Final = 0.2
KINDS: Final = ("agent_ipu", "user_ipu", "overlap", "pause", "gap")
_ROUNDING_S: Final = 1e-6  # of sums of times


@dataclass(kw_only=True)
class Timing:
    """Durations in seconds by kind, offsets in seconds, and how long all dialogues are."""

    seconds: float = 0.0
    durations: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    offsets: list[float] = field(default_factory=list)

    def add(self, user: Sequence[Span], agent: Sequence[Span], duration_s: float) -> None:
        """One dialogue, from when each of the two speaks."""
        users, agents = merge(user, IPU_GAP_S), merge(agent, IPU_GAP_S)
        self.seconds += duration_s
        self._keep("user_ipu", users)
        self._keep("agent_ipu", agents)
        self._keep("overlap", both(users, agents))
        pauses, gaps = silences(users, agents)
        self._keep("pause", pauses)
        self._keep("gap", gaps)
        self.offsets += offsets(users, agents)

    def _keep(self, kind: str, spans: Sequence[Span]) -> None:
        self.durations[kind] += [end - start for start, end in spans]

    def to_json(self, reference: Timing | None = None) -> dict[str, Any]:
        """Rates per minute and medians; with a reference, also how far each kind is from it."""
        minutes = self.seconds / 60
        kinds: dict[str, Any] = {}
        for kind, durations in self.durations.items():
            kinds[kind] = {
                "per_min": len(durations) / minutes if minutes else None,
                "seconds_per_min": sum(durations) / minutes if minutes else None,
                "median_s": float(np.median(durations)) if durations else None,
            }
            if reference is not None:
                kinds[kind]["distance_s"] = wasserstein(durations, reference.durations[kind])
        report = {
            "minutes": minutes,
            "kinds": kinds,
            "offset_median_s": float(np.median(self.offsets)) if self.offsets else None,
            "offsets": len(self.offsets),
        }
        if reference is not None:
            report["offset_distance_s"] = wasserstein(self.offsets, reference.offsets)
        return report


def add_dialogue(timing: Timing, scored: ScoredDialogue) -> None:
    """Add a dialogue: the agent by its sound, the user by the times of what was put there."""
    user = [(word.start_s, word.end_s) for word in scored.dialogue.user_words]
    timing.add(user, scored.runs, scored.dialogue.duration_s)


def both(users: Sequence[Span], agents: Sequence[Span]) -> list[Span]:
    """Stretches in which both speak."""
    return [
        (max(a[0], b[0]), min(a[1], b[1]))
        for a in users
        for b in agents
        if overlap(a, b) > _ROUNDING_S
    ]


def silences(users: Sequence[Span], agents: Sequence[Span]) -> tuple[list[Span], list[Span]]:
    """Pauses and gaps: silences of both, by who spoke before and who after."""
    speech = merge([*users, *agents], 0.0)
    if not speech:
        return [], []
    pauses: list[Span] = []
    gaps: list[Span] = []
    for start, end in subtract([(speech[0][0], speech[-1][1])], speech):
        before = {name for name, spans in _lanes(users, agents) if _touches(spans, 1, start)}
        after = {name for name, spans in _lanes(users, agents) if _touches(spans, 0, end)}
        (pauses if before & after else gaps).append((start, end))
    return pauses, gaps


def offsets(users: Sequence[Span], agents: Sequence[Span]) -> list[float]:
    """From the end of a turn to the start of the other speaker's next, over all changes."""
    turns = sorted(
        [(start, end, "user") for start, end in users if not _inside((start, end), agents)]
        + [(start, end, "agent") for start, end in agents if not _inside((start, end), users)]
    )
    changes, last = [], None
    for start, end, speaker in turns:
        if last is not None and last[1] != speaker:
            changes.append(start - last[0])
        last = (end, speaker)
    return changes


def wasserstein(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Wasserstein-1 distance of two samples; None where one is empty."""
    if not first or not second:
        return None
    from scipy.stats import wasserstein_distance

    return float(wasserstein_distance(first, second))


def _lanes(users: Sequence[Span], agents: Sequence[Span]) -> list[tuple[str, Sequence[Span]]]:
    return [("user", users), ("agent", agents)]


def _touches(spans: Sequence[Span], edge: int, moment_s: float) -> bool:
    return any(abs(span[edge] - moment_s) < _ROUNDING_S for span in spans)


def _inside(span: Span, others: Sequence[Span]) -> bool:
    return any(start <= span[0] and span[1] <= end for start, end in others)
