"""One simulated room: where talkers stand in it, and their impulse responses at the microphone.

A response begins with the direct sound and has unit energy, so that a recording keeps its times
and its level; the time of flight and the distance are kept beside it. Two methods: image sources
up to a high order, or few of them and the rest as decaying noise with the energy that a diffuse
field of this room has.
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

Audio = npt.NDArray[np.float32]
Samples = npt.NDArray[np.float64]
SPEED_OF_SOUND: Final = 343.0  # m/s, that of pyroomacoustics
N_BESIDE: Final = 2
DECAY_DB: Final = 45.0  # a response ends where what is left of its energy is this far down
MARGIN_M: Final = 0.4  # nothing stands nearer to a wall
PLACE_TRIES: Final = 16
SMOOTHING_S: Final = 0.004  # energy of single reflections is averaged over this long


@dataclass(frozen=True, kw_only=True, eq=False)
class Place:
    """Somewhere in a room, and how it sounds at the microphone."""

    distance_m: float
    delay_samples: float  # time of flight of the direct sound, measured on the response
    response: Audio


@dataclass(frozen=True, kw_only=True, eq=False)
class Room:
    """The places of one room and what describes it."""

    size_m: tuple[float, float, float]
    rt60_s: float  # asked for
    measured_rt60_s: float  # of the responses, from their decay between -5 and -25 dB
    near: Place  # the user
    far: tuple[Place, ...]  # other voices, a television
    beside: tuple[Place, ...]  # somebody beside the user
    loudspeaker: Place  # the agent


def simulate_room(config: RoomsConfig, sample_rate: int, index: int) -> Room:
    """Room `index` of a bank; a pure function of its arguments."""
    rng = rng_for(config.seed, index, "room")
    size = [round(float(x), 2) for x in rng.uniform((3.0, 2.6, 2.3), (7.0, 5.0, 3.2))]
    rt60 = round(float(rng.uniform(*config.rt60)), 3)
    microphone = rng.uniform(MARGIN_M, np.array(size) - MARGIN_M)
    # The first three distances and places come from this generator, the rest from another one.
    first = [rng.uniform(*config.near_m)] + [rng.uniform(*config.far_m) for _ in range(2)]
    points = [_point(microphone, float(metres), size, rng) for metres in first]
    more = rng_for(config.seed, index, "room/places")
    wanted = [config.far_m] * (config.n_far - 2) + [config.beside_m] * N_BESIDE
    wanted.append(config.loudspeaker_m)
    points += [
        _best_point(microphone, float(more.uniform(*metres)), size, more) for metres in wanted
    ]
    raw = _responses(config, sample_rate, size, rt60, microphone, points)
    if config.method == "tail":
        tails = rng_for(config.seed, index, "room/tail")
        raw = [
            _with_tail(response, sample_rate, config, size, rt60, metres, tails)
            for response, metres in zip(raw, _metres(points, microphone), strict=True)
        ]
    places = [
        _place(response, metres, sample_rate, config.longest)
        for response, metres in zip(raw, _metres(points, microphone), strict=True)
    ]
    decays = [decay_time(response, sample_rate) for response in raw]
    return Room(
        size_m=(size[0], size[1], size[2]),
        rt60_s=rt60,
        measured_rt60_s=round(float(np.median(decays)), 3),
        near=places[0],
        far=tuple(places[1 : 1 + config.n_far]),
        beside=tuple(places[1 + config.n_far : -1]),
        loudspeaker=places[-1],
    )


def decay_time(response: Samples, sample_rate: int) -> float:
    """Reverberation time by Schroeder's integral, extrapolated from -5 to -25 dB."""
    left = np.cumsum(np.square(response)[::-1])[::-1]
    level = 10 * np.log10(np.maximum(left / left[0], 1e-12))
    begin, end = int(np.argmax(level <= -5.0)), int(np.argmax(level <= -25.0))
    return 3.0 * (end - begin) / sample_rate


def _metres(points: Sequence[Samples], microphone: Samples) -> list[float]:
    return [float(np.linalg.norm(point - microphone)) for point in points]


def _responses(
    config: RoomsConfig,
    sample_rate: int,
    size: Sequence[float],
    rt60: float,
    microphone: Samples,
    points: Sequence[Samples],
) -> list[Samples]:
    """Image sources; every response is late by half the length of a fractional delay filter."""
    import pyroomacoustics as pra

    # It sums in as many parts as it has threads, so the last bit would depend on the machine.
    pra.constants.set("num_threads", 1)
    if config.method == "tail":
        absorption, order = _absorption(rt60, size), config.tail_order
    else:
        absorption, order = _reachable(pra, rt60, size)
        order = min(order, config.max_order) if config.max_order else order
    room = pra.ShoeBox(size, fs=sample_rate, materials=pra.Material(absorption), max_order=order)
    for point in points:
        room.add_source(point)
    room.add_microphone(microphone)
    room.compute_rir()
    late = int(pra.constants.get("frac_delay_length")) // 2
    return [np.asarray(room.rir[0][s], np.float64)[late:] for s in range(len(points))]


def _reachable(pra: Any, rt60: float, size: Sequence[float]) -> tuple[float, int]:
    """Wall absorption for a reverberation time; the driest possible where it cannot be had."""
    try:
        absorption, order = pra.inverse_sabine(rt60, size)
    except ValueError:
        return 0.95, 3
    return float(absorption), int(order)


def _absorption(rt60: float, size: Sequence[float]) -> float:
    """Eyring's: that of the diffuse field which the tail continues."""
    x, y, z = size
    volume, surface = x * y * z, 2 * (x * y + y * z + z * x)
    exponent = 24 * math.log(10) * volume / (SPEED_OF_SOUND * surface * rt60)
    return min(1 - math.exp(-exponent), 0.98)


def _with_tail(
    early: Samples,
    sample_rate: int,
    config: RoomsConfig,
    size: Sequence[float],
    rt60: float,
    distance_m: float,
    rng: np.random.Generator,
) -> Samples:
    """Few reflections, filled up with noise to the energy of a diffuse field.

    There are 4 pi c^3 t^2 / V images per second at time t, each of energy 1 / (c t)^2, so that a
    second holds 4 pi c / V, decaying by 60 dB in the reverberation time.
    """
    x, y, z = size
    n = max(len(early), round((rt60 + distance_m / SPEED_OF_SOUND) * sample_rate))
    time = np.arange(n) / sample_rate
    response = np.zeros(n)
    response[: len(early)] = early
    diffuse = 4 * math.pi * SPEED_OF_SOUND / (x * y * z) / sample_rate
    wanted = diffuse * np.exp(-6 * math.log(10) * time / rt60)
    # All reflections are there as far as the sphere reaches which fits around the last order.
    complete_m = (config.tail_order + 1) / math.sqrt(x**-2 + y**-2 + z**-2) - min(size)
    wanted[time * SPEED_OF_SOUND < max(complete_m, distance_m)] = 0.0
    width = max(1, round(SMOOTHING_S * sample_rate))
    there = np.convolve(np.square(response), np.ones(width) / width, mode="same")
    noise: Samples = rng.standard_normal(n) * np.sqrt(np.maximum(wanted - there, 0.0))
    return response + noise


def _best_point(
    microphone: Samples, distance: float, size: Sequence[float], rng: np.random.Generator
) -> Samples:
    """Of some points inside the room, the one whose distance is nearest to that asked for."""
    points = []
    for _ in range(PLACE_TRIES):
        direction = rng.standard_normal(3)
        direction[2] *= 0.3
        point = microphone + distance * direction / np.linalg.norm(direction)
        points.append(np.clip(point, MARGIN_M, np.array(size) - MARGIN_M))
    off = [abs(float(np.linalg.norm(point - microphone)) - distance) for point in points]
    return points[int(np.argmin(off))]


def _point(
    microphone: Samples, distance: float, size: Sequence[float], rng: np.random.Generator
) -> Samples:
    """A point about so far from the microphone and inside the room."""
    direction = rng.standard_normal(3)
    direction[2] *= 0.3  # people are rarely above each other
    place = microphone + distance * direction / np.linalg.norm(direction)
    inside = np.clip(place, MARGIN_M, np.array(size) - MARGIN_M)
    if np.linalg.norm(inside - microphone) < 0.2:  # pressed into a corner, onto the microphone
        inside = microphone + (np.array(size) / 2 - microphone) * 0.5
    return np.asarray(inside, np.float64)


def _place(response: Samples, distance_m: float, sample_rate: int, longest_s: float) -> Place:
    """A response from its direct sound to where it has decayed, with unit energy."""
    direct = int(np.argmax(np.abs(response) > 0.3 * np.abs(response).max()))
    cut = response[direct : direct + round(longest_s * sample_rate)]
    left = np.cumsum(np.square(cut)[::-1])[::-1]
    n = int(np.count_nonzero(left > left[0] * 10 ** (-DECAY_DB / 10)))
    cut = cut[: max(n, 1)].copy()
    fade = min(len(cut) // 4, round(0.005 * sample_rate))
    if fade:
        cut[-fade:] *= np.linspace(1.0, 0.0, fade)
    unit: Audio = (cut / np.sqrt(np.sum(np.square(cut)))).astype(np.float32)
    return Place(
        distance_m=round(distance_m, 4),
        delay_samples=round(_peak(response, direct), 3),
        response=unit,
    )


def _peak(response: Samples, first: int) -> float:
    """Where the direct sound peaks, between samples: the top of a parabola through three."""
    at = first + int(np.argmax(np.abs(response[first : first + 3])))
    if not 0 < at < len(response) - 1:
        return float(at)
    before, here, after = (abs(float(x)) for x in response[at - 1 : at + 2])
    bend = before - 2 * here + after
    return at + (0.5 * (before - after) / bend if bend else 0.0)
