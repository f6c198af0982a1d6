"""The bank of simulated rooms, built once and cached on disk under a digest of its configuration.

The number of processes that build it does not change a byte.
"""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from microturn.configs.files import replacing
from microturn.configs.signals import leave_to_parent
from microturn.datagen.acoustics.config import RoomsConfig
from microturn.datagen.acoustics.responses import (
    MAX_RT60_ERROR,
    Room,
    RoomPosition,
    simulate_room,
)

BANK_VERSION: Final = 4  # bump when the same configuration gives other responses
SERIAL_S: Final = 3.0  # processes are started when the remaining rooms would take longer than this


def bank_key(config: RoomsConfig, sample_rate: int) -> str:
    """Return the name of a bank: a digest of everything it depends on."""
    inputs = {"version": BANK_VERSION, "sample_rate": sample_rate, **asdict(config)}
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]


def ensure_bank(
    config: RoomsConfig, sample_rate: int, *, folders: Sequence[Path], workers: int = 1
) -> Path:
    """Return the file of a bank from the first folder that has it, else build and write it."""
    name = f"rooms-{bank_key(config, sample_rate)}.npz"
    for folder in folders:
        if _readable(folder / name):
            return folder / name
    stored = _serialise(build_bank(config, sample_rate, workers=workers))
    last_error: OSError | None = None
    for folder in folders:
        try:
            with replacing(folder / name) as temporary:
                temporary.write_bytes(stored)
        except OSError as error:
            last_error = error
        else:
            return folder / name
    raise OSError(f"the bank of rooms can be written to none of {_names(folders)} ({last_error})")


def build_bank(
    config: RoomsConfig, sample_rate: int, *, workers: int = 1, serial_s: float = SERIAL_S
) -> tuple[Room, ...]:
    """Build all rooms in order; in several processes if the rest would take long.

    Raises ValueError for a reverberation time that the method cannot give.
    """
    import pyroomacoustics  # noqa: F401  (its import is not part of the time per room)

    make = partial(room_as_asked, config, sample_rate)
    n = config.n_rooms
    with tqdm(total=n, desc="simulate rooms", unit="room", delay=1.0) as bar:
        started = time.monotonic()
        rooms: list[Room] = []
        while len(rooms) < n:
            rooms.append(make(len(rooms)))
            bar.update()
            spent = time.monotonic() - started
            if spent / len(rooms) * (n - len(rooms)) > serial_s:
                break
        rest = range(len(rooms), n)
        if min(workers, len(rest)) > 1:
            for room in _in_processes(make, rest, min(workers, len(rest))):
                rooms.append(room)
                bar.update()
        else:
            for index in rest:
                rooms.append(make(index))
                bar.update()
    return tuple(rooms)


def room_as_asked(config: RoomsConfig, sample_rate: int, index: int) -> Room:
    """Simulate a room; raises ValueError if it does not decay as fast as was drawn."""
    room = simulate_room(config, sample_rate, index)
    if abs(room.measured_rt60_s / room.rt60_s - 1) <= MAX_RT60_ERROR:
        return room
    low, high = config.rt60_s
    raise ValueError(
        f"rooms.rt60_s=[{low:g}, {high:g}] cannot be had with rooms.method={config.method}, "
        f"max_order={config.max_order} and max_response_s={config.max_response_s:g}: a room of "
        f"{room.rt60_s:g} s decays in {room.measured_rt60_s:g} s; set rooms.method=tail and "
        "rooms.max_response_s=0.5, or another range"
    )


def _in_processes(make: partial[Room], indices: Sequence[int], workers: int) -> Iterator[Room]:
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),  # inherits no threads and no locks
        initializer=leave_to_parent,
    )
    try:
        yield from pool.map(make, indices)
    finally:
        pool.shutdown(cancel_futures=True)


def load_bank(path: Path) -> tuple[Room, ...]:
    with path.open("rb") as file, np.load(file) as stored:
        descriptions = json.loads(bytes(stored["facts"]).decode())
        return tuple(_room(row, i, stored) for i, row in enumerate(descriptions))


def digest(path: Path) -> str:
    """Return the SHA-256 of a bank's file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _readable(path: Path) -> bool:
    """Tell whether a complete bank is there; a truncated file is built again."""
    if not path.is_file():
        return False
    try:
        load_bank(path)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return False
    return True


def _names(folders: Sequence[Path]) -> str:
    return ", ".join(map(str, folders))


def _places(room: Room) -> dict[str, tuple[RoomPosition, ...]]:
    return {
        "near": (room.near,),
        "far": room.far,
        "beside": room.beside,
        "loudspeaker": (room.loudspeaker,),
    }


def _serialise(rooms: Sequence[Room]) -> bytes:
    descriptions, arrays = [], {}
    for i, room in enumerate(rooms):
        places = _places(room)
        descriptions.append(
            {
                "size_m": room.size_m,
                "rt60_s": room.rt60_s,
                "measured_rt60_s": room.measured_rt60_s,
                "places": {
                    kind: [[place.distance_m, place.delay_samples] for place in of_kind]
                    for kind, of_kind in places.items()
                },
            }
        )
        for kind, of_kind in places.items():
            for j, place in enumerate(of_kind):
                arrays[f"{i}_{kind}_{j}"] = place.response
    text = np.frombuffer(json.dumps(descriptions).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, facts=text, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _room(row: Mapping[str, Any], i: int, stored: Mapping[str, npt.NDArray[Any]]) -> Room:
    def places(kind: str) -> tuple[RoomPosition, ...]:
        return tuple(
            RoomPosition(distance_m=metres, delay_samples=delay, response=stored[f"{i}_{kind}_{j}"])
            for j, (metres, delay) in enumerate(row["places"][kind])
        )

    return Room(
        size_m=tuple(row["size_m"]),
        rt60_s=row["rt60_s"],
        measured_rt60_s=row["measured_rt60_s"],
        near=places("near")[0],
        far=places("far"),
        beside=places("beside"),
        loudspeaker=places("loudspeaker")[0],
    )
