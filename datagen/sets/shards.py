"""A shard set on disk: its writer, its reader and its index.

A set is a folder of tars in the WebDataset format (one dialogue is one key) with `index.json`,
which is written last: a folder without it is not finished. The folder may be a URL (see
storage.py). Needs numpy and the standard library only; audio is decoded on demand.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from microturn.configs.reading import naming_damage
from microturn.datagen.labels.dialogue import DialogueLabels
from microturn.datagen.sets.storage import Draft, Place, local_copy, place, read_range, size_of
from microturn.datagen.sets.tar_copies import seekable
from microturn.datagen.sets.tar_members import tar_members
from microturn.model.streams import Lanes, StreamLayout, Tokenizer
from microturn.model.streams.lanes import load_lane
from microturn.model.streams.layout import FEATURES, STREAMS
from microturn.model.streams.npz import read_npz
from microturn.model.streams.pcm import Audio

INDEX_NAME = "index.json"
LAYOUT_NAME = "layout.json"
TOKENIZER_NAME = "tokenizer.json"
CONFIG_NAME = "config.yaml"
FORMAT = 1
KEY_DIGITS = 8
COPY_AGAIN: Final = (
    "copy or download it again; if it was simulated here, delete the folder and simulate it again"
)
_VOICE: Final = frozenset({"agent.flac"})
_LABELS: Final = frozenset({"json"})


def key_of(index: int) -> str:
    """Return the key of a dialogue inside the tars."""
    return f"{index:0{KEY_DIGITS}d}"


@dataclass(frozen=True, kw_only=True)
class ShardInfo:
    """One tar of a set.

    `index.json` has the number of dialogues under the key `samples`, which stays: a WebDataset
    sample is a dialogue, and another key would make every existing set unreadable.
    """

    name: str
    n_dialogues: int
    bytes: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "samples": self.n_dialogues,
            "bytes": self.bytes,
            "sha256": self.sha256,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> ShardInfo:
        return cls(
            name=row["name"],
            n_dialogues=int(row["samples"]),
            bytes=int(row["bytes"]),
            sha256=row["sha256"],
        )


class ShardWriter:
    """Writes one tar under a temporary name until `close`. Equal input gives equal bytes.

    The WebDataset format is written with the standard library: importing `webdataset` loads torch,
    which no worker of a simulation needs.
    """

    def __init__(self, target: Place) -> None:
        self._name = target.name
        self._draft = Draft(target)
        self._digest = hashlib.sha256()
        self._n_dialogues = 0

    def write(self, index: int, members: Mapping[str, bytes]) -> None:
        for name in sorted(members):
            data = members[name]
            info = tarfile.TarInfo(f"{key_of(index)}.{name}")
            info.size = len(data)
            info.mode = 0o444
            info.uname = info.gname = "microturn"  # and mtime 0: equal bytes for all
            self._add(info.tobuf(tarfile.USTAR_FORMAT))
            self._add(data)
            self._add(bytes(-len(data) % tarfile.BLOCKSIZE))
        self._n_dialogues += 1

    def _add(self, data: bytes) -> None:
        self._digest.update(data)
        self._draft.write(data)

    def close(self) -> ShardInfo:
        end = self._draft.tell() + 2 * tarfile.BLOCKSIZE
        self._add(bytes(2 * tarfile.BLOCKSIZE + -end % tarfile.RECORDSIZE))
        info = ShardInfo(
            name=self._name,
            n_dialogues=self._n_dialogues,
            bytes=self._draft.tell(),
            sha256=self._digest.hexdigest(),
        )
        self._draft.commit()
        return info

    def abandon(self) -> None:
        """Discard the unfinished tar."""
        self._draft.abandon()


@dataclass(frozen=True, kw_only=True)
class StoredDialogue:
    """One dialogue of a set; members are decoded on demand."""

    key: str
    members: Mapping[str, bytes]
    source: str  # shard and key, for messages
    layout: StreamLayout

    @cached_property
    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self._member("json"))
        return value

    @cached_property
    def labels(self) -> DialogueLabels:
        """Words, events and conditions; raises ValueError that names the dialogue and the field."""
        return DialogueLabels.from_json(self.json, where=f"{self.source}.json")

    @property
    def index(self) -> int:
        return int(self.key)

    def lanes(self) -> Lanes:
        """Return the stored lanes; requires a set made with features=true."""
        stored = self.layout.members & set(self.members)
        return lanes_of({n: bytearray(self.members[n]) for n in stored}, self.source, self.layout)

    def given(self) -> dict[str, npt.NDArray[Any]]:
        """Read the given lanes that no front end computes, such as frames, by lane."""
        return {
            spec.name: load_lane(spec, self._arrays(spec.member))
            for spec in self.layout.ready_lanes
            if spec.member in self.members
        }

    def frames(self) -> dict[str, npt.NDArray[np.uint8]]:
        """Read the frames (N, H, W, 3) of each lane of frames."""
        return {n: a for n, a in self.given().items() if self.layout.lane(n).kind == "frames"}

    def tokens(self) -> dict[str, npt.NDArray[Any]]:
        """Return integer lanes and weights, without the audio."""
        return self._arrays("streams.npz")

    def user(self) -> Audio:
        """Return the microphone, 16 kHz mono float32."""
        return self._audio("user.flac")

    def agent(self) -> Audio:
        """Return the agent's voice on the clock of the microphone."""
        return self._audio("agent.flac")

    def stem(self, name: str) -> Audio:
        """Return one source of the microphone; requires a set made with stems=true."""
        return self._audio(f"stem_{name}.flac")

    def _member(self, name: str) -> bytes:
        try:
            return self.members[name]
        except KeyError:
            raise ValueError(f"{self.source} has no member {name}") from None

    def _arrays(self, name: str) -> dict[str, npt.NDArray[Any]]:
        return read_npz(bytearray(self._member(name)), f"{self.source}.{name}")

    def _audio(self, name: str) -> Audio:
        import soundfile

        data = self._member(name)
        try:
            samples, _ = soundfile.read(io.BytesIO(data), dtype="float32")
        except soundfile.SoundFileError as error:
            raise ValueError(f"{self.source}.{name} is damaged ({error}); {COPY_AGAIN}") from error
        return np.asarray(samples, np.float32)


class ShardReader:
    """A finished shard set: iterable, and indexed by the position of a dialogue."""

    def __init__(self, folder: str | Place, *, layout: StreamLayout | None = None) -> None:
        self.folder = place(folder)
        self.index = read_index(self.folder)
        with local_copy(self.folder / LAYOUT_NAME) as path:
            self.layout = StreamLayout.load(path)
        if layout is not None:
            self.layout.check_same(layout, str(self.folder), "this run")
        self.shards = tuple(ShardInfo.from_json(shard) for shard in self.index["shards"])
        self._firsts = np.cumsum([0, *(shard.n_dialogues for shard in self.shards)])
        self._members: dict[int, list[dict[str, tuple[int, int]]]] = {}
        for shard in self.shards:
            _check_size(self.folder / shard.name, shard)
        self._tars = seekable([self.folder / shard.name for shard in self.shards])

    def __len__(self) -> int:
        return int(self._firsts[-1])

    @property
    def split(self) -> str:
        return str(self.index["split"])

    @property
    def n_micro_turns(self) -> int:
        return int(self.index["n_micro_turns"])

    @cached_property
    def tokenizer(self) -> Tokenizer:
        with local_copy(self.folder / TOKENIZER_NAME) as path:
            return Tokenizer.load(path)

    def __getitem__(self, position: int) -> StoredDialogue:
        """Read the dialogue at a position."""
        return self._dialogue(position)

    def _dialogue(self, position: int, names: Set[str] = frozenset()) -> StoredDialogue:
        """Read a dialogue with the named members, or with all if `names` is empty."""
        members, source = self._read(position, names)
        key = key_of(position + int(self.index["first_index"]))
        stored = {name: bytes(member) for name, member in members.items()}
        return StoredDialogue(key=key, members=stored, source=source, layout=self.layout)

    def without_sound(self, position: int) -> StoredDialogue:
        """Read only the labels of the dialogue at a position."""
        return self._dialogue(position, _LABELS)

    def lanes(self, position: int) -> Lanes:
        """Read the stored lanes of one dialogue without its audio."""
        return lanes_of(*self._read(position, self.layout.members), self.layout)

    def agent(self, position: int) -> Audio:
        """Read only the agent's voice of one dialogue."""
        return self._dialogue(position, _VOICE).agent()

    def __iter__(self) -> Iterator[StoredDialogue]:
        return (self[position] for position in range(len(self)))

    def _read(
        self, position: int, names: Set[str] = frozenset()
    ) -> tuple[dict[str, memoryview], str]:
        """Read the named members of a dialogue (all if empty), and its name for messages."""
        path, places = self.location(position)
        name = self.folder / self.shards[self._shard_of(position)].name
        source = f"{name}:{key_of(position + int(self.index['first_index']))}"
        if names:
            places = {name: span for name, span in places.items() if name in names}
        if not places:
            return {}, source
        # The members of a dialogue are adjacent: a single read, which matters for URLs.
        first = min(offset for offset, _ in places.values())
        end = max(offset + size for offset, size in places.values())
        data = memoryview(read_range(path, start=first, size=end - first))
        members = {
            name: data[offset - first : offset - first + size]
            for name, (offset, size) in places.items()
        }
        return members, source

    def location(self, position: int) -> tuple[Place, dict[str, tuple[int, int]]]:
        """Return the tar of a dialogue, and offset and size of each of its members."""
        if not 0 <= position < len(self):
            raise IndexError(
                f"{self.folder} has {len(self)} dialogues, 0 to {len(self) - 1}, not {position}"
            )
        shard = self._shard_of(position)
        dialogues, number = self._places(shard), position - int(self._firsts[shard])
        if number >= len(dialogues):
            info = self.shards[shard]
            raise ValueError(
                f"{self.folder / info.name} holds {len(dialogues)} dialogues but {INDEX_NAME} says "
                f"{info.n_dialogues}; {COPY_AGAIN}"
            )
        places = dialogues[number]
        return self._tars[shard], places

    def _shard_of(self, position: int) -> int:
        return int(np.searchsorted(self._firsts, position, side="right")) - 1

    def _places(self, shard: int) -> list[dict[str, tuple[int, int]]]:
        """Return offset and size of the members of every dialogue of a shard."""
        if shard not in self._members:
            path = self.folder / self.shards[shard].name
            dialogues: dict[str, dict[str, tuple[int, int]]] = {}
            try:
                with self._tars[shard].open("rb") as file:
                    for member, offset, size in tar_members(file):
                        key, _, name = member.partition(".")
                        dialogues.setdefault(key, {})[name] = (offset, size)
            except (tarfile.TarError, ValueError) as error:
                raise ValueError(f"{path} is damaged ({error}); {COPY_AGAIN}") from error
            self._members[shard] = list(dialogues.values())
        return self._members[shard]


def lanes_of(
    members: Mapping[str, memoryview | bytearray], source: str, layout: StreamLayout
) -> Lanes:
    """Decode the lanes of a stored dialogue; ValueError names `source` and what it lacks."""
    for name in sorted(layout.members):
        if name not in members:
            # Only features are left out on purpose; a tar that is torn ends with its other members.
            left_out = name == FEATURES and STREAMS in members
            advice = "simulate with features=true" if left_out else f"its tar is torn: {COPY_AGAIN}"
            raise ValueError(f"{source} has no {name}; {advice}")
    arrays = {name: read_npz(data, f"{source}.{name}") for name, data in members.items()}
    try:
        return Lanes.from_members(layout, arrays)
    except (KeyError, TypeError, ValueError) as error:  # a name that is damaged is another name
        raise ValueError(
            f"{source} is damaged or of another program ({type(error).__name__}: {error}); "
            f"{COPY_AGAIN}"
        ) from error


def read_index(folder: Place) -> dict[str, Any]:
    """Read the index of a finished set; FileNotFoundError or ValueError where there is none."""
    path = folder / INDEX_NAME
    if not path.is_file():
        if not folder.is_dir():
            raise FileNotFoundError(
                f"there is no shard set in {folder}; make one: microturn simulate"
            )
        raise FileNotFoundError(
            f"{folder} has no {INDEX_NAME}: it is not a shard set, or an unfinished one, which the "
            "same microturn simulate command finishes"
        )
    with naming_damage(path, COPY_AGAIN):
        index = dict(json.loads(path.read_text(encoding="utf-8")))
        if index.get("format") != FORMAT:
            raise ValueError(
                f"{path}: format {index.get('format')}, this code reads {FORMAT}; simulate it again"
            )
        _ = (
            index["split"],
            int(index["n_micro_turns"]),
            [*map(ShardInfo.from_json, index["shards"])],
        )
    return index


def _check_size(path: Place, shard: ShardInfo) -> None:
    try:
        size = size_of(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing although {INDEX_NAME} lists it") from None
    if size != shard.bytes:
        raise ValueError(
            f"{path} has {size} bytes but {INDEX_NAME} says {shard.bytes}; {COPY_AGAIN}"
        )


def sha256_of(path: Place) -> str:
    """Return the SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
