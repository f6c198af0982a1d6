"""Simulates one room: the positions in it, and their impulse responses at the microphone.

A response begins with the direct sound and has unit energy, so that a recording keeps its times
and its level; the time of flight and the distance are stored with it. Two methods: image sources
up to a high order, or low-order image sources and a tail of decaying noise with the energy of the
room's diffuse field.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from microturn.datagen.acoustics.config import RoomsConfig
from microturn.datagen.dialogue.seeds import rng_for
from microturn.model.streams.pcm import Audio

Samples = npt.NDArray[np.float64]
SPEED_OF_SOUND: Final = 343.0  # m/s, that of pyroomacoustics
N_BESIDE: Final = 2
DECAY_DB: Final = 45.0  # a response ends when its remaining energy has decayed by this much
MARGIN_M: Final = 0.4  # smallest distance of a place from a wall
PLACE_TRIES: Final = 16
SMOOTHING_S: Final = 0.004  # energy of single reflections is averaged over this long
MAX_RT60_ERROR: Final = 0.2  # of the measured reverberation time, relative to the drawn one
ROOM_TRIES: Final = 4  # with walls that make up for the error of the last try
MAX_CORRECTION: Final = 1.5  # a response that is cut off too early does not decay more slowly


@dataclass(frozen=True, kw_only=True, eq=False)
class RoomPosition:
    """A position in a room and its impulse response at the microphone."""

    distance_m: float
    delay_samples: float  # time of flight of the direct sound, measured on the response
    response: Audio


@dataclass(frozen=True, kw_only=True, eq=False)
class Room:
    """The positions of one room, its size and its reverberation times."""

    size_m: tuple[float, float, float]
    rt60_s: float  # the drawn target
    measured_rt60_s: float  # of the responses as they are used; decay between -5 and -25 dB
    near: RoomPosition  # the user
    far: tuple[RoomPosition, ...]  # other voices
    beside: tuple[RoomPosition, ...]  # persons beside the user
    loudspeaker: RoomPosition  # the agent


def simulate_room(config: RoomsConfig, sample_rate: int, index: int) -> Room:
    """Simulate room `index` of a bank; a pure function of its arguments."""
    rng = rng_for(config.seed, index, "room")
    size = [round(float(x), 2) for x in rng.uniform((3.0, 2.6, 2.3), (7.0, 5.0, 3.2))]
    rt60_s = round(float(rng.uniform(*config.rt60_s)), 3)
    microphone = rng.uniform(MARGIN_M, np.array(size) - MARGIN_M)
    # The first three distances and positions come from this generator, the rest from another one.
    first = [rng.uniform(*config.near_m)] + [rng.uniform(*config.far_m) for _ in range(2)]
    points = [_point(microphone, float(metres), size, rng) for metres in first]
    more = rng_for(config.seed, index, "room/places")
    ranges_m = [config.far_m] * (config.n_far - 2) + [config.beside_m] * N_BESIDE
    ranges_m.append(config.loudspeaker_m)
    points += [
        _best_point(microphone, float(more.uniform(*range_m)), size, more) for range_m in ranges_m
    ]
    tries: list[tuple[float, float]] = []  # walls_s, measured_s
    for _ in range(ROOM_TRIES):
        walls_s = _next_walls(rt60_s, tries)
        positions = _positions(config, sample_rate, index, size, walls_s, microphone, points)
        measured_s = _measured(positions, sample_rate)
        if abs(measured_s / rt60_s - 1) <= MAX_RT60_ERROR:
            break
        tries.append((walls_s, measured_s))
    return Room(
        size_m=(size[0], size[1], size[2]),
        rt60_s=rt60_s,
        measured_rt60_s=measured_s,
        near=positions[0],
        far=tuple(positions[1 : 1 + config.n_far]),
        beside=tuple(positions[1 + config.n_far : -1]),
        loudspeaker=positions[-1],
    )


def _next_walls(rt60_s: float, tries: Sequence[tuple[float, float]]) -> float:
    """Return the decay of the walls to try next: between the nearest tries on either side of the
    target where there are such (by logarithms, as a secant), else the last corrected in proportion.

    Proportion alone may swing for ever between two walls, one too dry and one too live.
    """
    if not tries:
        return rt60_s
    dry = [t for t in tries if t[1] < rt60_s]
    live = [t for t in tries if t[1] > rt60_s]
    if dry and live:
        (dry_walls, dry_s), (live_walls, live_s) = max(dry), min(live)
        share = math.log(rt60_s / dry_s) / math.log(live_s / dry_s)
        return float(dry_walls * (live_walls / dry_walls) ** share)
    walls_s, measured_s = tries[-1]
    return min(walls_s * rt60_s / measured_s, MAX_CORRECTION * rt60_s)


def _positions(
    config: RoomsConfig,
    sample_rate: int,
    index: int,
    size: Sequence[float],
    rt60_s: float,
    microphone: Samples,
    points: Sequence[Samples],
) -> list[RoomPosition]:
    """Compute the response of each place in a room whose walls give a reverberation time."""
    raw = _responses(config, sample_rate, size, rt60_s, microphone, points)
    if config.method == "tail":
        tails = rng_for(config.seed, index, "room/tail")
        raw = [
            _with_tail(response, sample_rate, config, size, rt60_s, metres, tails)
            for response, metres in zip(raw, _metres(points, microphone), strict=True)
        ]
    return [
        _position(response, metres, sample_rate, config.max_response_s)
        for response, metres in zip(raw, _metres(points, microphone), strict=True)
    ]


def _measured(positions: Sequence[RoomPosition], sample_rate: int) -> float:
    decays = [decay_time(p.response.astype(np.float64), sample_rate) for p in positions]
    return round(max(float(np.median(decays)), 1 / sample_rate), 3)


def decay_time(response: Samples, sample_rate: int) -> float:
    """Return the reverberation time by Schroeder's integral, extrapolated from -5 to -25 dB."""
    remaining = np.cumsum(np.square(response)[::-1])[::-1]
    level = 10 * np.log10(np.maximum(remaining / remaining[0], 1e-12))
    begin, end = int(np.argmax(level <= -5.0)), int(np.argmax(level <= -25.0))
    return 3.0 * (end - begin) / sample_rate


def _metres(points: Sequence[Samples], microphone: Samples) -> list[float]:
    return [float(np.linalg.norm(point - microphone)) for point in points]


def _responses(
    config: RoomsConfig,
    sample_rate: int,
    size: Sequence[float],
    rt60_s: float,
    microphone: Samples,
    points: Sequence[Samples],
) -> list[Samples]:
    """Compute the image sources; the delay of the fractional delay filter is removed."""
    import pyroomacoustics as pra

    # It sums in as many parts as it has threads: the last bit would depend on the machine.
    pra.constants.set("num_threads", 1)
    if config.method == "tail":
        absorption, order = _absorption(rt60_s, size), config.tail_order
    else:
        absorption, order = _reachable(pra, rt60_s, size)
        order = min(order, config.max_order) if config.max_order else order
    room = pra.ShoeBox(size, fs=sample_rate, materials=pra.Material(absorption), max_order=order)
    for point in points:
        room.add_source(point)
    room.add_microphone(microphone)
    room.compute_rir()
    delay = int(pra.constants.get("frac_delay_length")) // 2
    return [np.asarray(room.rir[0][s], np.float64)[delay:] for s in range(len(points))]


def _reachable(pra: Any, rt60_s: float, size: Sequence[float]) -> tuple[float, int]:
    """Return absorption and reflection order for a reverberation time, or the driest possible."""
    try:
        absorption, order = pra.inverse_sabine(rt60_s, size)
    except ValueError:
        return 0.95, 3
    return float(absorption), int(order)


def _absorption(rt60_s: float, size: Sequence[float]) -> float:
    """Return the absorption by Eyring's formula, which holds for the diffuse field of the tail."""
    x, y, z = size
    volume, surface = x * y * z, 2 * (x * y + y * z + z * x)
    exponent = 24 * math.log(10) * volume / (SPEED_OF_SOUND * surface * rt60_s)
    return min(1 - math.exp(-exponent), 0.98)


def _with_tail(
    early: Samples,
    sample_rate: int,
    config: RoomsConfig,
    size: Sequence[float],
    rt60_s: float,
    distance_m: float,
    rng: np.random.Generator,
) -> Samples:
    """Fill up the low-order reflections with noise to the energy of a diffuse field.

    There are 4 pi c^3 t^2 / V images per second at time t, each of energy 1 / (c t)^2, so that a
    second holds 4 pi c / V, decaying by 60 dB in the reverberation time.
    """
    x, y, z = size
    n = max(len(early), round((rt60_s + distance_m / SPEED_OF_SOUND) * sample_rate))
    time = np.arange(n) / sample_rate
    response = np.zeros(n)
    response[: len(early)] = early
    diffuse = 4 * math.pi * SPEED_OF_SOUND / (x * y * z) / sample_rate
    target = diffuse * np.exp(-6 * math.log(10) * time / rt60_s)
    # Within this distance the image sources up to tail_order are complete.
    complete_m = (config.tail_order + 1) / math.sqrt(x**-2 + y**-2 + z**-2) - min(size)
    target[time * SPEED_OF_SOUND < max(complete_m, distance_m)] = 0.0
    width = max(1, round(SMOOTHING_S * sample_rate))
    power = np.convolve(np.square(response), np.ones(width) / width, mode="same")
    noise: Samples = rng.standard_normal(n) * np.sqrt(np.maximum(target - power, 0.0))
    return response + noise


def _best_point(
    microphone: Samples, distance: float, size: Sequence[float], rng: np.random.Generator
) -> Samples:
    """Draw points inside the room and return the one nearest to the target distance."""
    points = []
    for _ in range(PLACE_TRIES):
        direction = rng.standard_normal(3)
        direction[2] *= 0.3
        point = microphone + distance * direction / np.linalg.norm(direction)
        points.append(np.clip(point, MARGIN_M, np.array(size) - MARGIN_M))
    errors = [abs(float(np.linalg.norm(point - microphone)) - distance) for point in points]
    return points[int(np.argmin(errors))]


def _point(
    microphone: Samples, distance: float, size: Sequence[float], rng: np.random.Generator
) -> Samples:
    """Draw a point inside the room at about a distance from the microphone."""
    direction = rng.standard_normal(3)
    direction[2] *= 0.3  # people are rarely above each other
    point = microphone + distance * direction / np.linalg.norm(direction)
    inside = np.clip(point, MARGIN_M, np.array(size) - MARGIN_M)
    if np.linalg.norm(inside - microphone) < 0.2:  # pressed into a corner, onto the microphone
        inside = microphone + (np.array(size) / 2 - microphone) * 0.5
    return np.asarray(inside, np.float64)


def _position(response: Samples, distance_m: float, sample_rate: int, max_s: float) -> RoomPosition:
    """Cut a response from its direct sound to its decay, and scale it to unit energy."""
    direct = int(np.argmax(np.abs(response) > 0.3 * np.abs(response).max()))
    cut = response[direct : direct + round(max_s * sample_rate)]
    remaining = np.cumsum(np.square(cut)[::-1])[::-1]
    n = int(np.count_nonzero(remaining > remaining[0] * 10 ** (-DECAY_DB / 10)))
    cut = cut[: max(n, 1)].copy()
    fade = min(len(cut) // 4, round(0.005 * sample_rate))
    if fade:
        cut[-fade:] *= np.linspace(1.0, 0.0, fade)
    unit: Audio = (cut / np.sqrt(np.sum(np.square(cut)))).astype(np.float32)
    return RoomPosition(
        distance_m=round(distance_m, 4),
        delay_samples=round(_peak(response, direct), 3),
        response=unit,
    )


def _peak(response: Samples, first: int) -> float:
    """Return the peak of the direct sound between samples, by a parabola through three."""
    at = first + int(np.argmax(np.abs(response[first : first + 3])))
    if not 0 < at < len(response) - 1:
        return float(at)
    before, here, after = (abs(float(x)) for x in response[at - 1 : at + 2])
    curvature = before - 2 * here + after
    return at + (0.5 * (before - after) / curvature if curvature else 0.0)
