"""`microturn bench loader`: what reading a second of dialogue costs, in one table from one run.

Rows take turns in one process with one thread and are measured in CPU seconds, on the same
dialogues in the same drawn order, from the page cache. All but the floor and `flac` end in the
same batches of tensors.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from microturn.datagen.sets.shards import ShardReader
from microturn.evaluation.bench.config import BenchLoaderConfig
from microturn.evaluation.bench.results import publish
from microturn.evaluation.bench.training_data import shard_set
from microturn.model.batch import LaneBatch
from microturn.model.streams import Lanes, pack_agent_audio, pack_user_audio
from microturn.model.streams.layout import FEATURES, STREAMS

ROWS: Final = {
    "floor": "floor: the same bytes from the page cache",
    "packed": "ours: packed lanes to batches",
    "webdataset": "webdataset: plain loop over the same members to batches",
    "flac": "FLAC of both channels, decoding alone",
    "flac_lanes": "FLAC of both channels to lanes to batches",
}
GOALS: Final = {"packed": 10_000.0}  # seconds of dialogue per second and core
Job = Callable[[], None]


def run_bench_loader(config: BenchLoaderConfig) -> int:
    """The command; exit code 1 when the packed path misses its goal."""
    torch.set_num_threads(1)
    # numpy's BLAS threads spin after each product, which would be counted with other rows.
    with (
        shard_set(config.data, config.simulate, config.n_dialogues, config.seed) as folder,
        threadpool_limits(1, "blas"),
    ):
        result = measure(ShardReader(folder), config)
    publish(result, format_loader(result), config)
    return 0 if result["reached"] else 1


def measure(reader: ShardReader, config: BenchLoaderConfig) -> dict[str, Any]:
    """Numbers of every row; the best round counts, and the first one only fills caches."""
    if not isinstance(reader.folder, Path):
        raise ValueError(f"{reader.folder}: the bench compares with the page cache; give a folder")
    if not len(reader):
        raise ValueError(f"{reader.folder}: the shard set holds no dialogue")
    drawn = np.random.default_rng(config.seed).permutation(len(reader))
    order = [int(i) for i in drawn[: config.n_dialogues]]
    jobs: dict[str, Job] = {
        "floor": _floor(reader, order),
        "packed": _batches(reader.lanes, order, config.batch_size),
        "flac": _decoding(reader, order),
        "flac_lanes": _batches(_from_sound(reader), order, config.batch_size),
    }
    if config.peers:
        jobs["webdataset"] = _webdataset(reader, len(order), config.batch_size)
    best = dict.fromkeys((name for name in ROWS if name in jobs), float("inf"))
    with tqdm(total=(config.rounds + 1) * len(best), desc="bench loader", unit="row") as bar:
        for number in range(config.rounds + 1):
            for name in best:
                began = time.process_time()
                jobs[name]()
                spent = time.process_time() - began
                best[name] = min(best[name], spent) if number else best[name]
                bar.update()
    return _result(reader, order, best, config)


def _result(
    reader: ShardReader, order: Sequence[int], best: Mapping[str, float], config: BenchLoaderConfig
) -> dict[str, Any]:
    seconds = reader.layout.duration_s(reader.n_micro_turns)
    rates = {name: round(seconds * len(order) / spent, 1) for name, spent in best.items()}
    return {
        "seconds_per_core_second": rates,
        "ratios": {
            f"packed_vs_{name}": round(rates["packed"] / rate, 3)
            for name, rate in rates.items()
            if name != "packed"
        },
        "goals": GOALS,
        "reached": all(rates[name] >= goal for name, goal in GOALS.items()),
        "bytes_per_second_of_dialogue": round(_floor_bytes(reader, order) / seconds / len(order)),
        "seconds_per_dialogue": seconds,
        "n_dialogues": len(order),
        "batch_size": config.batch_size,
        "rounds": config.rounds,
        "rows": {name: ROWS[name] for name in rates},
    }


def format_loader(result: Mapping[str, Any]) -> str:
    """Format the figures as a text table."""
    lines = [
        f"{result['n_dialogues']} dialogues of {result['seconds_per_dialogue']:g} s, "
        f"{result['bytes_per_second_of_dialogue']} bytes of lanes per second, one thread, "
        f"best of {result['rounds']} rounds",
        f"{'':<58} {'s per core s':>13} {'us per second':>14}",
    ]
    for name, value in result["seconds_per_core_second"].items():
        goal = result["goals"].get(name)
        aim = f"  (goal {goal:,.0f})" if goal else ""
        lines.append(f"{result['rows'][name]:<58} {value:>13,.0f} {1e6 / value:>14.2f}{aim}")
    return "\n".join(lines) + "\n"


def _batches(lanes: Callable[[int], Lanes], order: Sequence[int], size: int) -> Job:
    def job() -> None:
        for first in range(0, len(order), size):
            LaneBatch.collate([lanes(i) for i in order[first : first + size]])

    return job


def _extents(reader: ShardReader, order: Sequence[int]) -> Iterator[tuple[str, int, int]]:
    """Path, first byte and size of what the packed path reads of each dialogue."""
    for position in order:
        path, places = reader.location(position)
        lanes = [places[name] for name in reader.layout.members]
        first = min(offset for offset, _ in lanes)
        yield str(path), first, max(offset + size for offset, size in lanes) - first


def _floor_bytes(reader: ShardReader, order: Sequence[int]) -> int:
    return sum(size for _, _, size in _extents(reader, order))


def _floor(reader: ShardReader, order: Sequence[int]) -> Job:
    """One read each into one buffer, files open: no program can do with less."""
    extents = list(_extents(reader, order))
    buffer = memoryview(bytearray(max(size for *_, size in extents)))

    def job() -> None:
        files = {path: os.open(path, os.O_RDONLY) for path in {path for path, *_ in extents}}
        for path, first, size in extents:
            os.preadv(files[path], [buffer[:size]], first)
        for file in files.values():
            os.close(file)

    return job


def _webdataset(reader: ShardReader, n: int, size: int) -> Job:
    """As many dialogues in the order of the shards, which is the only one that it reads."""
    import webdataset

    members = tuple(sorted(reader.layout.members))
    shards = [str(reader.folder / shard.name) for shard in reader.shards]

    def arrays(data: bytes) -> dict[str, np.ndarray]:
        with np.load(io.BytesIO(data)) as stored:
            return {name: stored[name] for name in stored.files}

    def job() -> None:
        dataset = webdataset.WebDataset(
            shards, shardshuffle=False, select_files=lambda name: name.endswith(members)
        )
        batch: list[Lanes] = []
        for _, sample in zip(range(n), dataset, strict=False):
            stored = {name: arrays(sample[name]) for name in members}
            batch.append(Lanes.from_members(reader.layout, stored))
            if len(batch) == size:
                LaneBatch.collate(batch)
                batch.clear()

    return job


def _decoding(reader: ShardReader, order: Sequence[int]) -> Job:
    def job() -> None:
        for position in order:
            sample = reader[position]
            sample.user()
            sample.agent()

    return job


def _from_sound(reader: ShardReader) -> Callable[[int], Lanes]:
    """What training would do without features: decode, and run both front ends."""
    layout = reader.layout

    def lanes(position: int) -> Lanes:
        sample = reader[position]
        levels, weight = pack_agent_audio(sample.agent(), layout)
        features = {"audio_in": _NOTHING, "audio_out": levels}
        frames = {layout.lane(n).member: {"frames": film} for n, film in sample.frames().items()}
        stored = Lanes.from_members(
            layout, {STREAMS: sample.tokens(), FEATURES: features, **frames}
        )
        return replace(
            stored,
            arrays={**stored.arrays, "audio_in": pack_user_audio(sample.user(), layout)},
            weights={**stored.weights, "audio_out": weight},
        )

    return lanes


_NOTHING: Final = np.zeros((0, 0, 0), np.uint8)
