"""Does anything but the words give away what an event is? A small classifier tries.

For each feature of `leakage_rows`, and for all that must not help, a ridge classifier learns from
four fifths of the dialogues to tell two kinds of event apart and is tested on the rest. Chance is
what it gets from labels that are shifted along the events: the features, the numbers of both kinds
and their order stay. Beyond `limit`, 3.3 standard deviations above chance, a feature leaks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from microturn.datagen.report.leakage_rows import FEATURES, NuisanceRow

ALL: Final = "all"
MAX_DIALOGUES: Final = 1000  # the first of a set: more would slow down the simulation
MIN_EVENTS: Final = 20  # of each kind
FOLDS: Final = 5
N_SHIFTS, N_RESAMPLES = 100, 200
DEVIATIONS: Final = 3.3  # above chance; once in 2,000 tests without a leak
RIDGE: Final = 3.0
BINS: Final = 4  # of every number, besides the number itself
MAX_NAMES: Final = 24
MIN_OF_SPEAKER: Final = 4  # dialogues with a speaker, for a mean spectrum that is not one of words

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two kinds of event, and the features by which a model may tell them apart."""

    name: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    allowed: tuple[str, ...] = ()
    why: str = ""

    def in_conversation(self) -> Pair:
        """Return the pair with the timing of people, who overlap at the end of a turn."""
        why = " and ".join(filter(None, [self.why, "people interrupt late in what the agent says"]))
        return replace(self, allowed=(*self.allowed, "before"), why=why)

    @property
    def reason(self) -> str:
        """Say why the allowed features are, if there are any."""
        return f"Allowed, because {self.why}." if self.allowed else ""

    @property
    def forbidden(self) -> tuple[str, ...]:
        return tuple(name for name in FEATURES if name not in self.allowed)


_INTERRUPTIONS: Final = ("stop phrase", "interrupting question", "unfinished interruption")
OVER: Final = frozenset(_INTERRUPTIONS)
_VOICE: Final = ("voice", "spectrum", "speed")
PAIRS: Final = (
    Pair(
        name="backchannel or interruption",
        first=("backchannel",),
        second=_INTERRUPTIONS,
    ),
    Pair(
        name="stop phrase or interrupting question",
        first=("stop phrase",),
        second=("interrupting question",),
    ),
    Pair(
        name="pause or end of a turn",
        first=("pause",),
        second=("end",),
        allowed=("time", "before"),
        why="a pause comes before the end of its turn",
    ),
    Pair(
        name="forbidden request or one like it",
        first=("forbidden request",),
        second=("request like a forbidden one",),
    ),
    Pair(
        name="turn or other request",
        first=("turn",),
        second=("other request", "forbidden request", "request like a forbidden one"),
        allowed=("time", "before"),
        why="what takes longer than the rest of a dialogue is not begun",
    ),
    Pair(
        name="aside or backchannel or interruption",
        first=("aside over the agent",),
        second=("backchannel", *_INTERRUPTIONS),
        allowed=("level",),
        why="a user who turns away is quieter",
    ),
    Pair(
        name="aside or turn",
        first=("aside",),
        second=("turn",),
        allowed=(*_VOICE, "level", "time", "before"),
        why="a user who turns away is quieter, and other people ask few questions",
    ),
    Pair(
        name="distant voice or backchannel or interruption",
        first=("distant voice over the agent",),
        second=("backchannel", *_INTERRUPTIONS),
        allowed=(*_VOICE, "level"),
        why="a voice in the background is another one, and far away",
    ),
)


def pairs_of(*, conversation: bool) -> tuple[Pair, ...]:
    """Return the pairs, with what people's timing allows if a set has conversations."""
    if not conversation:
        return PAIRS
    return tuple(pair.in_conversation() if OVER & {*pair.second} else pair for pair in PAIRS)


def measure_leakage(
    rows: Iterable[NuisanceRow], *, conversation: bool = False
) -> dict[str, dict[str, Any]]:
    """Return, by pair and feature, the accuracy of the probe beside chance."""
    from threadpoolctl import threadpool_limits

    ordered = _with_speaker_spectra(sorted(rows, key=lambda row: row.dialogue))
    with threadpool_limits(1):  # threads may round differently, and are slow on small matrices
        pairs = pairs_of(conversation=conversation)
        return {pair.name: _of_pair(ordered, pair) for pair in pairs}


def leaks(measured: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a sentence for every feature that gives away what it must not."""
    return [
        f"{feature} tells {pair}: {row['accuracy']:.1%}, chance {row['chance']:.1%} "
        f"(limit {row['limit']:.1%}, {row['n']} events)"
        for pair, features in measured.items()
        for feature, row in features.items()
        if row["leaks"]
    ]


def _of_pair(rows: Sequence[NuisanceRow], pair: Pair) -> dict[str, Any]:
    chosen = [row for row in rows if row.kind in (*pair.first, *pair.second)]
    first = np.array([row.kind in pair.first for row in chosen], np.bool_)
    if min(first.sum(), (~first).sum()) < MIN_EVENTS:
        return {}
    columns = {name: _columns(chosen, name) for name in FEATURES}
    columns[ALL] = np.concatenate([columns[name] for name in pair.forbidden], axis=1)
    dialogues = np.array([row.dialogue for row in chosen])
    found = {
        name: _probe(matrix, first, dialogues=dialogues)
        for name, matrix in columns.items()
        if matrix.shape[1]
    }
    for name, result in found.items():
        result["allowed"] = name in pair.allowed
        result["leaks"] = not result["allowed"] and result["accuracy"] > result["limit"]
    return found


# --- the probe ---------------------------------------------------------------------------------
def _probe(matrix: Matrix, first: npt.NDArray[np.bool_], *, dialogues: Matrix) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    n = len(first)
    shifts = rng.integers(1, n, size=N_SHIFTS)
    labels = np.stack([first, *(np.roll(first, shift) for shift in shifts)], axis=1)
    hits = _hits(matrix, labels, folds=_folds(dialogues))
    accuracy = _balanced(hits, labels)
    chance, spread = float(accuracy[1:].mean()), float(accuracy[1:].std())
    low, high = _interval(hits[:, 0], first, dialogues=dialogues)
    return {
        "accuracy": round(float(accuracy[0]), 4),
        "chance": round(chance, 4),
        "limit": round(chance + DEVIATIONS * spread, 4),
        "ci95": [round(low, 4), round(high, 4)],
        "n": n,
    }


def _folds(dialogues: Matrix) -> Matrix:
    """Number the dialogues, and give every fifth to a fold."""
    return np.unique(dialogues, return_inverse=True)[1].astype(np.float64) % FOLDS


def _hits(matrix: Matrix, labels: npt.NDArray[np.bool_], *, folds: Matrix) -> npt.NDArray[np.bool_]:
    """Which events of a fold a classifier of the other folds tells right, by column of labels."""
    guessed = np.zeros(labels.shape, np.bool_)
    for fold in range(FOLDS):
        test = folds == fold
        train = ~test
        if not test.any() or not train.any():
            continue
        mean, scale = matrix[train].mean(axis=0), matrix[train].std(axis=0)
        scaled = (matrix - mean) / np.where(scale > 1e-9, scale, 1.0)
        guessed[test] = _classify(scaled[train], labels[train], scaled[test])
    return np.equal(guessed, labels)


def _classify(train: Matrix, labels: npt.NDArray[np.bool_], test: Matrix) -> npt.NDArray[np.bool_]:
    """Classify by ridge regression, with the threshold half-way between the kinds."""
    n_first = labels.sum(axis=0)
    sums = train.T @ labels.astype(np.float64)
    firsts = sums / np.maximum(n_first, 1)
    seconds = (train.sum(axis=0)[:, None] - sums) / np.maximum(len(labels) - n_first, 1)
    gram = train.T @ train + RIDGE * np.eye(train.shape[1])
    weights = np.linalg.solve(gram, firsts - seconds)
    middle = (weights * (firsts + seconds)).sum(axis=0) / 2
    found: npt.NDArray[np.bool_] = test @ weights > middle
    return found


def _balanced(hits: npt.NDArray[np.bool_], labels: npt.NDArray[np.bool_]) -> Matrix:
    """Mean of the shares of both kinds that are told right."""
    first = (hits & labels).sum(axis=0) / np.maximum(labels.sum(axis=0), 1)
    second = (hits & ~labels).sum(axis=0) / np.maximum((~labels).sum(axis=0), 1)
    return np.asarray((first + second) / 2, np.float64)


def _interval(
    hits: npt.NDArray[np.bool_], first: npt.NDArray[np.bool_], *, dialogues: Matrix
) -> tuple[float, float]:
    """Return an interval of the balanced accuracy, from resampled dialogues."""
    place = np.unique(dialogues, return_inverse=True)[1]
    n = int(place.max()) + 1
    drawn = np.random.default_rng(1).multinomial(n, np.full(n, 1 / n), size=N_RESAMPLES)
    shares = []
    for kind in (first, ~first):
        right, total = (
            np.bincount(place, weights=mask, minlength=n) for mask in (hits & kind, kind)
        )
        shares.append(drawn @ right / np.maximum(drawn @ total, 1))
    low, high = np.quantile((shares[0] + shares[1]) / 2, (0.025, 0.975))
    return float(low), float(high)


# --- columns -----------------------------------------------------------------------------------
def _columns(rows: Sequence[NuisanceRow], feature: str) -> Matrix:
    """Numbers, their bins, and names as columns; none where no event has the feature."""
    n = max((len(row.numbers.get(feature, ())) for row in rows), default=0)
    numbers = np.full((len(rows), n), np.nan)
    for i, row in enumerate(rows):
        values = row.numbers.get(feature, ())
        numbers[i, : len(values)] = values
    mean = np.nanmean(numbers, axis=0) if n and not np.isnan(numbers).all() else np.zeros(n)
    numbers = np.where(np.isnan(numbers), mean, numbers)
    parts = [numbers, *(_bins(column) for column in numbers.T), _one_hot(rows, feature)]
    matrix = np.concatenate(parts, axis=1)
    return matrix[:, matrix.std(axis=0) > 1e-9]


def _bins(values: Matrix) -> Matrix:
    edges = np.quantile(values, np.arange(1, BINS) / BINS)
    place = np.searchsorted(edges, values)
    return np.equal(place[:, None], np.arange(BINS)).astype(np.float64)


def _one_hot(rows: Sequence[NuisanceRow], feature: str) -> Matrix:
    names = [row.names.get(feature, "") for row in rows]
    unique, counts = np.unique(names, return_counts=True)
    common = unique[np.argsort(-counts, kind="stable")][:MAX_NAMES]
    return np.stack([[name == other for name in names] for other in common], axis=1).astype(
        np.float64
    )


def _with_speaker_spectra(rows: Sequence[NuisanceRow]) -> list[NuisanceRow]:
    """Replace the spectrum of an event by the mean of everything that its speaker says."""
    bands: dict[str, list[tuple[float, ...]]] = {}
    seen: dict[str, set[int]] = {}
    for row in rows:
        if "spectrum" in row.numbers:
            bands.setdefault(row.names["voice"], []).append(row.numbers["spectrum"])
            seen.setdefault(row.names["voice"], set()).add(row.dialogue)
    means = {
        speaker: tuple(np.mean(values, axis=0))
        for speaker, values in bands.items()
        if len(seen[speaker]) >= MIN_OF_SPEAKER
    }
    found = []
    for row in rows:
        rest = {name: value for name, value in row.numbers.items() if name != "spectrum"}
        mean = means.get(row.names.get("voice", ""))
        numbers = rest if mean is None else {**rest, "spectrum": mean}
        found.append(
            NuisanceRow(kind=row.kind, dialogue=row.dialogue, numbers=numbers, names=row.names)
        )
    return found
