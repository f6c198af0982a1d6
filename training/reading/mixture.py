"""Several sets in given shares, also by stages: `a:0.7,b:0.3`, or a file of such mixes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from microturn.configs.command import option
from microturn.configs.load import ConfigError, load_config
from microturn.datagen.sets.contents import Contents
from microturn.model.streams import Lanes, StreamLayout, Tokenizer
from microturn.training.reading.order import Endless, Mixed, Order, Shuffled, Stage, whole_shares
from microturn.training.reading.source import Source, tokenizer_text

_WEIGHTED = re.compile(r"(?P<name>.+):(?P<weight>\d+\.?\d*([eE][+-]?\d+)?|\.\d+)")
_OPENING, _CLOSING = "{[(", "}])"


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """One stage of a curriculum; the last one goes on to the end of the run."""

    data: str = option(help="what `data=` of train accepts, without a file of stages")
    steps: int = option(0, "steps of the stage")
    epochs: float = option(0.0, "the same in epochs: as many dialogues as its sets hold")

    def __post_init__(self) -> None:
        if self.steps < 0 or self.epochs < 0 or (self.steps and self.epochs):
            raise ConfigError(f"stage {self.data}: give a positive number of steps or of epochs")


@dataclass(frozen=True, kw_only=True)
class Curriculum:
    """The file that `data=FILE.yaml` names."""

    stages: list[StageConfig] = field(default_factory=list, metadata={"help": "stages in order"})


@dataclass(frozen=True, kw_only=True)
class MixStage:
    """Weights of the parts of a mixture, and the length of their stage (the last: neither)."""

    weights: tuple[float, ...]
    steps: int = 0
    epochs: float = 0.0


def split_mix(data: str) -> dict[str, float] | None:
    """Return the weights of `a:0.7,b:0.3` by name, or None where `data` is no such mix.

    Commas in braces and brackets separate nothing. Raises ValueError for half a mix.
    """
    entries = _split_at_commas(data)
    found = [_WEIGHTED.fullmatch(entry.strip()) for entry in entries]
    if len(entries) < 2 or not any(found):
        return None
    weights: dict[str, float] = {}
    for entry, match in zip(entries, found, strict=True):
        if match is None:
            raise ValueError(f"data={data}: {entry.strip()} has no weight; write NAME:WEIGHT")
        name, weight = match["name"], float(match["weight"])
        if weight <= 0 or not math.isfinite(weight):
            raise ValueError(f"data={data}: the weight of {name} must be above 0")
        if name in weights:
            raise ValueError(f"data={data}: {name} is named twice; add up its weights")
        weights[name] = weight
    return weights


class MixedSource:
    """A source of sources, its parts, in shares that may change by stages.

    Dialogues are numbered part by part; those of an endless part beyond its first ones take turns
    after all others.
    """

    def __init__(
        self, data: str, parts: Sequence[Source], names: Sequence[str], stages: Sequence[MixStage]
    ) -> None:
        self.data, self.parts, self.names, self.stages = data, parts, names, stages
        first = parts[0]
        for part, name in zip(parts[1:], names[1:], strict=True):
            first.layout.check_same(part.layout, names[0], name)
            if tokenizer_text(first.tokenizer) != tokenizer_text(part.tokenizer):
                raise ValueError(
                    f"{names[0]} and {name} have different tokenizers; simulate them with the same "
                    "texts and vocabulary size"
                )
        self._firsts = np.cumsum([0, *(len(part) for part in parts)])
        self.n_micro_turns = max(part.n_micro_turns for part in parts)
        self.endless = False  # its order knows which parts are

    @classmethod
    def open(
        cls, data: str, stages: Sequence[StageConfig], open_part: Callable[[str], Source]
    ) -> MixedSource:
        """Open every set that a stage names, once."""
        mixes = [split_mix(stage.data) or {stage.data: 1.0} for stage in stages]
        names = list(dict.fromkeys(name for mix in mixes for name in mix))
        found = [
            MixStage(
                weights=tuple(mix.get(name, 0.0) for name in names),
                steps=stage.steps,
                epochs=stage.epochs,
            )
            for stage, mix in zip(stages, mixes, strict=True)
        ]
        return cls(data, [open_part(name) for name in names], names, found)

    @property
    def layout(self) -> StreamLayout:
        return self.parts[0].layout

    @property
    def tokenizer(self) -> Tokenizer:
        return self.parts[0].tokenizer

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def order(self, seed: int, batch_size: int) -> Order:
        """Return the order of a run with so many dialogues per step."""
        orders = [
            Endless() if part.endless else Shuffled(len(part), (seed, number))
            for number, part in enumerate(self.parts)
        ]
        stages, first_draw = [], 0
        for stage in self.stages:
            stages.append(Stage(first_draw=first_draw, shares=whole_shares(stage.weights)))
            steps = stage.steps or math.ceil(stage.epochs * self._epoch(stage) / batch_size)
            first_draw += steps * batch_size
        return Mixed(orders, stages, self._number)

    def _epoch(self, stage: MixStage) -> int:
        """Count the dialogues of the parts that a stage reads."""
        used = zip(self.parts, stage.weights, strict=True)
        return sum(len(part) for part, weight in used if weight)

    def examples(self, n: int) -> list[int]:
        """Return the numbers of some dialogues in which every part has the share of the run."""
        total = Mixed(
            [Endless() if p.endless else _Repeated(len(p)) for p in self.parts],
            [Stage(first_draw=0, shares=whole_shares(self._mean_weights()))],
            self._number,
        )
        return list(dict.fromkeys(total.dialogues(0, n)))

    def _mean_weights(self) -> list[float]:
        rows = [np.array(stage.weights) / sum(stage.weights) for stage in self.stages]
        return [float(weight) for weight in np.mean(rows, axis=0)]

    def lanes(self, index: int) -> Lanes:
        part, inner = self.find(index)
        return self.parts[part].lanes(inner)

    def agent(self, index: int) -> NDArray[np.float32]:
        part, inner = self.find(index)
        return self.parts[part].agent(inner)

    def length(self, index: int) -> int:
        part, inner = self.find(index)
        return self.parts[part].length(inner)

    def name(self, index: int) -> str:
        part, inner = self.find(index)
        return self.parts[part].name(inner)

    def contents(self) -> Contents | None:
        united = Contents()
        for part in self.parts:
            found = part.contents()
            if found is None:
                return None
            united = united.united(found)
        return united

    def _number(self, part: int, inner: int) -> int:
        size = len(self.parts[part])
        if inner < size:
            return int(self._firsts[part]) + inner
        return len(self) + (inner - size) * len(self.parts) + part

    def find(self, index: int) -> tuple[int, int]:
        """Find the part of a dialogue, and its number in it."""
        if index < len(self):
            part = int(np.searchsorted(self._firsts, index, side="right")) - 1
            return part, index - int(self._firsts[part])
        turn, part = divmod(index - len(self), len(self.parts))
        return part, len(self.parts[part]) + turn


@dataclass(frozen=True)
class _Repeated:
    n_dialogues: int

    def dialogues(self, first_draw: int, n: int) -> list[int]:
        return [draw % self.n_dialogues for draw in range(first_draw, first_draw + n)]


def order_of(source: Source, *, seed: int, batch_size: int) -> Order:
    """Return the order in which a run with so many dialogues per step reads a source."""
    if isinstance(source, MixedSource):
        return source.order(seed, batch_size)
    return Endless() if source.endless else Shuffled(len(source), (seed,))


def examples_of(source: Source, n: int) -> list[int]:
    """Return the numbers of up to `n` dialogues that stand for all."""
    if isinstance(source, MixedSource):
        return source.examples(n)
    return list(range(min(n, len(source))))


def read_stages(file: str) -> list[StageConfig]:
    """Read a curriculum; ConfigError names the file and the key."""
    stages = load_config(Curriculum, [file]).stages
    if not stages:
        raise ConfigError(f"{file} has no stages")
    for stage in stages[:-1]:
        if not (stage.steps or stage.epochs):
            raise ConfigError(
                f"{file}: stage {stage.data} needs steps or epochs; only the last has none"
            )
    if stages[-1].steps or stages[-1].epochs:
        raise ConfigError(
            f"{file}: the last stage goes on to the end of the run; leave out its length"
        )
    return stages


def _split_at_commas(data: str) -> list[str]:
    entries, depth = [""], 0
    for character in data:
        depth += (character in _OPENING) - (character in _CLOSING)
        if character == "," and depth == 0:
            entries.append("")
        else:
            entries[-1] += character
    return entries
