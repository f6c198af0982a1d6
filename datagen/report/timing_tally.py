"""Turn-taking of a set, accumulated over dialogues, from audio or from word times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from microturn.datagen.dialogue.turn_taking import TurnTaking

LATE_MS = 200
SUMS = ("seconds", "overlap_s", "silence_s", "turns", "backchannels")


class TimingTally:
    """Histograms in milliseconds, and sums; both are additive over shards."""

    def __init__(self) -> None:
        self.offsets: Counter[int] = Counter()
        self.pauses: Counter[int] = Counter()
        self.sums: dict[str, float] = dict.fromkeys(SUMS, 0.0)

    def add(self, dialogue: TurnTaking, sample_rate: int) -> None:
        self.offsets.update(round(1000 * n / sample_rate) for n in dialogue.offsets)
        self.pauses.update(round(1000 * n / sample_rate) for n in dialogue.pauses)
        self.sums["seconds"] += dialogue.n_samples / sample_rate
        self.sums["overlap_s"] += dialogue.overlap / sample_rate
        self.sums["silence_s"] += dialogue.silence / sample_rate
        self.sums["turns"] += dialogue.turns
        self.sums["backchannels"] += dialogue.backchannels

    def to_json(self) -> dict[str, Any]:
        return {
            "offsets": {str(ms): n for ms, n in sorted(self.offsets.items())},
            "pauses": {str(ms): n for ms, n in sorted(self.pauses.items())},
            "sums": {name: round(value, 6) for name, value in self.sums.items()},
        }

    def merge(self, report: Mapping[str, Any]) -> None:
        self.offsets.update({int(ms): n for ms, n in report["offsets"].items()})
        self.pauses.update({int(ms): n for ms, n in report["pauses"].items()})
        for name, value in report["sums"].items():
            self.sums[name] += value

    def measures(self) -> dict[str, float | None]:
        """Return the measures that are compared with those of people; None without data."""
        gaps = Counter({ms: n for ms, n in self.offsets.items() if ms > 0})
        overlaps = Counter({-ms: n for ms, n in self.offsets.items() if ms <= 0})
        late = Counter({ms: n for ms, n in self.offsets.items() if ms > LATE_MS})
        contributions = self.sums["turns"] + self.sums["backchannels"]
        seconds = self.sums["seconds"]
        return {
            "offset_median_s": _median(self.offsets),
            "late_changes": _share(late.total(), self.offsets.total()),
            "overlapped_changes": _share(overlaps.total(), self.offsets.total()),
            "gap_median_s": _median(gaps),
            "gap_mean_s": _mean(gaps),
            "overlap_median_s": _median(overlaps),
            "overlap_mean_s": _mean(overlaps),
            "pause_median_s": _median(self.pauses),
            "overlap_ratio": _share(self.sums["overlap_s"], seconds),
            "silence_ratio": _share(self.sums["silence_s"], seconds),
            "backchannel_share": _share(self.sums["backchannels"], contributions),
            "backchannels_per_minute": _share(60 * self.sums["backchannels"], seconds),
        }

    def histogram(self, name: str, *, bin_ms: int) -> dict[str, int]:
        """Return counts by the lower edge of each bin, in milliseconds."""
        counts: Counter[int] = Counter()
        for ms, n in getattr(self, name).items():
            counts[ms // bin_ms * bin_ms] += n
        return {str(edge): n for edge, n in sorted(counts.items())}


def _median(histogram: Counter[int]) -> float | None:
    """Return the median in seconds, the mean of the two middle values if their number is even."""
    total = histogram.total()
    if not total:
        return None
    middle = [(total - 1) // 2, total // 2]
    values = list(_at(histogram, middle))
    return round(sum(values) / len(values) / 1000, 4)


def _at(histogram: Counter[int], places: list[int]) -> Iterator[int]:
    for place in places:
        seen = 0
        for ms, n in sorted(histogram.items()):
            seen += n
            if seen > place:
                yield ms
                break


def _mean(histogram: Counter[int]) -> float | None:
    total = histogram.total()
    return round(sum(ms * n for ms, n in histogram.items()) / total / 1000, 4) if total else None


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None
