"""A small bank of simulated rooms, built once, kept on disk under the digest of what it is made of.

Responses start with the direct sound at sample 0 and have unit energy, so that a recording keeps
its times and its level; distance is heard as reverberation and set as a gain elsewhere.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from microturn.datagen.config import RoomsConfig
from microturn.datagen.seeds import rng_for

Audio = npt.NDArray[np.float32]
BANK_VERSION = 1  # bump when the same configuration gives other responses
N_FAR = 2
LONGEST_S = 0.35
DECAY_DB = 45.0  # a response ends where what is left of its energy is this far down
MARGIN_M = 0.4  # nothing stands nearer to a wall


@dataclass(frozen=True, kw_only=True, eq=False)
class Room:
    """The responses of one room and what describes it."""

    size_m: tuple[float, float, float]
    rt60_s: float
    near_m: float
    far_m: tuple[float, ...]
    near: Audio
    far: tuple[Audio, ...]


def bank_key(config: RoomsConfig, sample_rate: int) -> str:
    """The name of a bank: a digest of everything it depends on."""
    what = {"version": BANK_VERSION, "sample_rate": sample_rate, **asdict(config)}
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def ensure_bank(config: RoomsConfig, sample_rate: int, folders: Sequence[Path]) -> Path:
    """The file of a bank: from the first folder that has it, else built into one that takes it."""
    name = f"rooms-{bank_key(config, sample_rate)}.npz"
    for folder in folders:
        if _readable(folder / name):
            return folder / name
    stored = _serialise(_build(config, sample_rate))
    problem: OSError | None = None
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            temporary = folder / f".{name}.{os.getpid()}"
            temporary.write_bytes(stored)
            temporary.replace(folder / name)
        except OSError as error:
            problem = error
        else:
            return folder / name
    raise OSError(f"the bank of rooms can be written to none of {_names(folders)} ({problem})")


def load_bank(path: Path) -> tuple[Room, ...]:
    with path.open("rb") as file, np.load(file) as stored:
        facts = json.loads(bytes(stored["facts"]).decode())
        return tuple(
            Room(
                size_m=tuple(fact["size_m"]),
                rt60_s=fact["rt60_s"],
                near_m=fact["near_m"],
                far_m=tuple(fact["far_m"]),
                near=stored[f"near{i}"],
                far=tuple(stored[f"far{i}_{j}"] for j in range(len(fact["far_m"]))),
            )
            for i, fact in enumerate(facts)
        )


def digest(path: Path) -> str:
    """What the responses are, however the file came about."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _readable(path: Path) -> bool:
    """Whether a complete bank lies here; half a file of a full disk is built again."""
    if not path.is_file():
        return False
    try:
        load_bank(path)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return False
    return True


def _names(folders: Sequence[Path]) -> str:
    return ", ".join(map(str, folders))


def _serialise(rooms: Sequence[Room]) -> bytes:
    facts = [
        {"size_m": r.size_m, "rt60_s": r.rt60_s, "near_m": r.near_m, "far_m": r.far_m}
        for r in rooms
    ]
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "facts": np.frombuffer(json.dumps(facts).encode(), np.uint8)
    }
    for i, room in enumerate(rooms):
        arrays[f"near{i}"] = room.near
        for j, far in enumerate(room.far):
            arrays[f"far{i}_{j}"] = far
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _build(config: RoomsConfig, sample_rate: int) -> tuple[Room, ...]:
    return tuple(_room(config, sample_rate, index) for index in range(config.n_rooms))


def _room(config: RoomsConfig, sample_rate: int, index: int) -> Room:
    import pyroomacoustics as pra

    rng = rng_for(config.seed, index, "room")
    size = [round(float(x), 2) for x in rng.uniform((3.0, 2.6, 2.3), (7.0, 5.0, 3.2))]
    rt60 = round(float(rng.uniform(*config.rt60)), 3)
    absorption, order = _reachable(pra, rt60, size)
    room = pra.ShoeBox(
        size,
        fs=sample_rate,
        materials=pra.Material(absorption),
        max_order=min(order, config.max_order),
    )
    microphone = rng.uniform(MARGIN_M, np.array(size) - MARGIN_M)
    wanted = [rng.uniform(*config.near_m)] + [rng.uniform(*config.far_m) for _ in range(N_FAR)]
    places = [_place(microphone, float(distance), size, rng) for distance in wanted]
    for place in places:
        room.add_source(place)
    room.add_microphone(microphone)
    room.compute_rir()
    responses = [_clean(np.asarray(room.rir[0][s]), sample_rate) for s in range(len(places))]
    metres = [round(float(np.linalg.norm(place - microphone)), 2) for place in places]
    return Room(
        size_m=(size[0], size[1], size[2]),
        rt60_s=rt60,
        near_m=metres[0],
        far_m=tuple(metres[1:]),
        near=responses[0],
        far=tuple(responses[1:]),
    )


def _reachable(pra: object, rt60: float, size: Sequence[float]) -> tuple[float, int]:
    """Wall absorption for a reverberation time; the driest possible where it cannot be had."""
    try:
        absorption, order = pra.inverse_sabine(rt60, size)  # type: ignore[attr-defined]
    except ValueError:
        return 0.95, 3
    return float(absorption), int(order)


def _place(
    microphone: npt.NDArray[np.float64],
    distance: float,
    size: Sequence[float],
    rng: np.random.Generator,
) -> npt.NDArray[np.float64]:
    """A point about so far from the microphone and inside the room."""
    direction = rng.standard_normal(3)
    direction[2] *= 0.3  # people are rarely above each other
    place = microphone + distance * direction / np.linalg.norm(direction)
    inside = np.clip(place, MARGIN_M, np.array(size) - MARGIN_M)
    if np.linalg.norm(inside - microphone) < 0.2:  # pressed into a corner, onto the microphone
        inside = microphone + (np.array(size) / 2 - microphone) * 0.5
    return np.asarray(inside, np.float64)


def _clean(response: npt.NDArray[np.float64], sample_rate: int) -> Audio:
    """From the direct sound to where the energy has decayed, with unit energy."""
    direct = int(np.argmax(np.abs(response) > 0.3 * np.abs(response).max()))
    cut = response[direct : direct + round(LONGEST_S * sample_rate)]
    left = np.cumsum(np.square(cut)[::-1])[::-1]
    n = int(np.count_nonzero(left > left[0] * 10 ** (-DECAY_DB / 10)))
    cut = cut[: max(n, 1)].copy()
    fade = min(len(cut) // 4, round(0.005 * sample_rate))
    if fade:
        cut[-fade:] *= np.linspace(1.0, 0.0, fade)
    unit: Audio = (cut / np.sqrt(np.sum(np.square(cut)))).astype(np.float32)
    return unit
