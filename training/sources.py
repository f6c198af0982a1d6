"""Sources of dialogues: shard sets by folder, URL or brace pattern, live simulation, mixes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from microturn.datagen.sets.contents import Contents, read_contents
from microturn.datagen.sets.shards import INDEX_NAME, TOKENIZER_NAME, ShardReader
from microturn.datagen.sets.storage import place
from microturn.datagen.sets.tar_copies import PIPE
from microturn.model.streams import Lanes, Tokenizer
from microturn.training.reading.heard_alone import HeardAlone
from microturn.training.reading.mixture import MixedSource, StageConfig, read_stages, split_mix
from microturn.training.reading.source import Source as Source
from microturn.training.reading.tars import BareTars
from microturn.training.reading.tolerant import TolerantSource

if TYPE_CHECKING:
    from microturn.datagen.live import LiveSource

LIVE = "live:"
HEARD_ALONE = "heard:"
WHERE_SIMULATED = ("executor=", "workers=", "ray_address=")  # changes no dialogue


def open_source(data: str, *, skip_damaged: int = 0, layout_from: str = "") -> Source:
    """Open what `data=` names.

    A folder or URL of a shard set; a brace pattern of folders (`runs/{a,b}`) or of tars within
    sets (`runs/a/{000000..000003}.tar`); tars without an index (files, URLs, `pipe:COMMAND`);
    `live:FILE.yaml key=value ...`; `heard:` before any of these, for dialogues that teach the
    transcript alone; a mix of such in shares (`runs/a:0.7,runs/b:0.3`); or FILE.yaml
    with the stages of a curriculum. Raises OSError or ValueError where something is missing,
    damaged, empty, or does not fit the rest.

    skip_damaged: dialogues that may be damaged; others are read in their place.
    layout_from: set or checkpoint with layout and tokenizer of tars that have none beside them.
    """

    def open_part(name: str) -> Source:
        source = _open_set(name, layout_from)
        return TolerantSource(source, max_skipped=skip_damaged) if skip_damaged else source

    stages = _stages(data)
    return open_part(data) if stages is None else MixedSource.open(data, stages, open_part)


def _stages(data: str) -> list[StageConfig] | None:
    """Return the stages of a mix or a curriculum; None for a single set."""
    if data.endswith((".yaml", ".yml")) and not data.startswith(LIVE):
        return read_stages(data)
    if Path(data).exists() or split_mix(data) is None:
        return None
    return [StageConfig(data=data)]


def _open_set(data: str, layout_from: str) -> Source:
    if data.startswith(HEARD_ALONE):
        return HeardAlone(_open_set(data.removeprefix(HEARD_ALONE), layout_from))
    if data.startswith(LIVE):
        return LiveDialogues.open(data)
    if Path(data).is_dir():
        return ShardDialogues.open(data, [data])
    names = [data] if Path(data).exists() else list(expand_braces(data))
    if all(_is_bare(name) for name in names):
        return BareTars(names, layout_from=layout_from)
    return ShardDialogues.open(data, names)


def _is_bare(name: str) -> bool:
    """Whether a name is that of a tar without an index beside it."""
    if name.startswith(PIPE):
        return True
    return name.endswith(".tar") and not (place(name).parent / INDEX_NAME).is_file()


@dataclass(frozen=True, kw_only=True)
class ShardRange:
    """Consecutive dialogues of one shard set."""

    reader: ShardReader
    first: int
    size: int


class ShardDialogues:
    """The dialogues of one or several shard sets, or of some of their tars, one after another."""

    endless = False

    def __init__(self, data: str, ranges: list[ShardRange]) -> None:
        self.ranges = ranges
        first = ranges[0].reader
        for shard_range in ranges[1:]:
            other = shard_range.reader
            first.layout.check_same(other.layout, str(first.folder), str(other.folder))
            _check_same_tokenizer(first, other)
        self._firsts = np.cumsum([0, *(shard_range.size for shard_range in ranges)])
        self.layout, self.tokenizer = first.layout, first.tokenizer
        self.n_micro_turns = max(shard_range.reader.n_micro_turns for shard_range in ranges)
        if len(self) == 0:
            raise ValueError(f"{data}: the shard set holds no dialogue; simulate some first")

    @classmethod
    def open(cls, data: str, names: list[str]) -> ShardDialogues:
        readers: dict[str, ShardReader] = {}
        ranges = []
        for name in names:
            folder, _, file = name.rpartition("/")
            tar = file if file.endswith(".tar") else ""
            folder = (folder or ".") if tar else name
            try:
                if folder not in readers:
                    readers[folder] = ShardReader(folder)
                ranges.append(_range_of(readers[folder], tar))
            except FileNotFoundError as error:
                if len(names) == 1:
                    raise
                raise FileNotFoundError(
                    f"{data} names {name}, but {error}; write the pattern so that all of it exists"
                ) from error
        return cls(data, ranges)

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def lanes(self, index: int) -> Lanes:
        reader, position = self._find(index)
        return reader.lanes(position)

    def agent(self, index: int) -> NDArray[np.float32]:
        reader, position = self._find(index)
        return reader.agent(position)

    def length(self, index: int) -> int:
        return self._find(index)[0].n_micro_turns

    def name(self, index: int) -> str:
        reader, position = self._find(index)
        for shard in reader.shards:
            if position < shard.n_dialogues:
                break
            position -= shard.n_dialogues
        return f"{reader.folder / shard.name} dialogue {self._key(index)}"

    def contents(self) -> Contents | None:
        """What is heard in the sets, also where only some of their tars are read."""
        united = Contents()
        for folder in {str(one.reader.folder): one.reader.folder for one in self.ranges}.values():
            found = read_contents(folder)
            if found is None:
                return None
            united = united.united(found)
        return united

    def _key(self, index: int) -> int:
        reader, position = self._find(index)
        return position + int(reader.index["first_index"])

    def _find(self, index: int) -> tuple[ShardReader, int]:
        number = int(np.searchsorted(self._firsts, index, side="right")) - 1
        shard_range = self.ranges[number]
        return shard_range.reader, shard_range.first + index - int(self._firsts[number])


class LiveDialogues:
    """Dialogues that are simulated on demand, without end."""

    endless = True

    def __init__(self, data: str, source: LiveSource) -> None:
        self.data, self.source = data, source
        self.layout, self.n_micro_turns = source.layout, source.n_micro_turns

    @classmethod
    def open(cls, data: str) -> LiveDialogues:
        from microturn.datagen.live import LiveSource  # only where it is needed: it simulates

        dialogues = " ".join(word for word in data.split() if not word.startswith(WHERE_SIMULATED))
        return cls(dialogues, LiveSource.open(data))

    @property
    def tokenizer(self) -> Tokenizer:
        return self.source.tokenizer

    @property
    def cluster(self) -> str | None:
        """Address of the Ray cluster that simulates, empty for the default one; None: here."""
        config = self.source.config
        return config.ray_address if config.executor == "ray" else None

    def __len__(self) -> int:
        return len(self.source)

    def lanes(self, index: int) -> Lanes:
        return self.source.lanes(index)

    def agent(self, index: int) -> NDArray[np.float32]:
        return self.source.agent(index)

    def length(self, index: int) -> int:
        return self.n_micro_turns

    def name(self, index: int) -> str:
        return f"{self.data} dialogue {index}"

    def contents(self) -> Contents:
        return self.source.contents()


def simulated_on_cluster(source: Source) -> dict[int, LiveSource]:
    """Return the live dialogues of `executor=ray` by their number in the mix; 0 is no mix.

    ValueError where other live ones are beside them.
    """
    parts = source.parts if isinstance(source, MixedSource) else [source]
    # Live ones are never damaged.
    inner = [part.inner if isinstance(part, TolerantSource) else part for part in parts]
    for part in inner:
        if isinstance(part, HeardAlone) and simulated_on_cluster(part.inner):
            raise ValueError(
                f"{HEARD_ALONE} takes no live dialogues of executor=ray; simulate that set, or "
                "leave out executor="
            )
    live = {i: one for i, one in enumerate(inner) if isinstance(one, LiveDialogues)}
    places = {one.cluster for one in live.values()}
    if len(places) > 1:
        raise ValueError(
            f"{' and '.join(one.data for one in live.values())}: one cluster simulates all live "
            "parts of a mix or none; give each of them executor=ray and the same ray_address="
        )
    return {} if places <= {None} else {i: one.source for i, one in live.items()}


def expand_braces(pattern: str) -> Iterator[str]:
    """Write out `a{1,2}` and `a{08..11}`, several and nested ones too, in their order."""
    start, end = pattern.rfind("{", 0, pattern.find("}") + 1), pattern.find("}")
    if start < 0 or end < 0:
        if "{" in pattern or "}" in pattern:
            raise ValueError(f"{pattern}: a brace is not closed")
        yield pattern
        return
    head, inside, tail = pattern[:start], pattern[start + 1 : end], pattern[end + 1 :]
    for choice in _choices(inside, pattern):
        yield from expand_braces(head + choice + tail)


def _choices(inside: str, pattern: str) -> list[str]:
    low, dots, high = inside.partition("..")
    if not dots:
        return inside.split(",")
    if not (low.isdecimal() and high.isdecimal() and int(low) <= int(high)):
        raise ValueError(f"{pattern}: {{{inside}}} is no range; write {{first..last}} in digits")
    return [str(n).zfill(len(low)) for n in range(int(low), int(high) + 1)]


def _range_of(reader: ShardReader, tar: str) -> ShardRange:
    """Select all of a set, or the dialogues of one of its tars."""
    if not tar:
        return ShardRange(reader=reader, first=0, size=len(reader))
    first = 0
    for shard in reader.shards:
        if shard.name == tar:
            return ShardRange(reader=reader, first=first, size=shard.n_dialogues)
        first += shard.n_dialogues
    has = ", ".join(shard.name for shard in reader.shards[:: max(1, len(reader.shards) - 1)])
    raise FileNotFoundError(f"the set in {reader.folder} has no {tar} (first and last: {has})")


def _check_same_tokenizer(first: ShardReader, other: ShardReader) -> None:
    if (first.folder / TOKENIZER_NAME).read_bytes() != (other.folder / TOKENIZER_NAME).read_bytes():
        raise ValueError(
            f"{first.folder} and {other.folder} have different tokenizers; simulate them with the "
            "same texts and vocabulary size"
        )
