"""The scene of a dialogue, which is independent of requests: room, light, camera, distractors.

World coordinates are frame heights: x from the middle of the frame, y upwards from the floor.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from microturn.datagen.video.canvas import Canvas, Colour, Image, Point
from microturn.datagen.video.config import VideoConfig

VIEW: Final = 0.88  # scale from world heights to frame heights
MIN_CONTRAST: Final = 0.28  # difference in brightness of figure and signs from the background
SWITCHES: Final = 4  # sudden changes of the light in LIGHT_SPAN_S
LIGHT_SPAN_S: Final = 60.0
KINDS: Final = ("pendulum", "ball", "lamp", "fan", "walker")
Project = Callable[[float, float], Point]


@dataclass(frozen=True, kw_only=True)
class Distractor:
    """A moving object of no importance."""

    kind: str
    x: float
    y: float
    size: float
    rate: float  # per second
    shift: float  # of its cycle, 0 to 1
    colour: Colour


@dataclass(frozen=True, kw_only=True)
class Sway:
    """One component of the camera's motion."""

    rate: float
    shift: float
    x: float
    y: float
    roll: float
    zoom: float


@dataclass(frozen=True, kw_only=True)
class View:
    """The position of the camera at one moment, in frame heights and radians."""

    x: float
    y: float
    roll: float
    zoom: float


@dataclass(frozen=True, kw_only=True)
class World:
    """The scene of one dialogue."""

    room: Image  # larger than the frame, at the frame's resolution
    reach: float  # the room shows x from -reach to reach
    figure_x: float
    figure_size: float
    faces_left: bool
    clothes: tuple[Colour, Colour, Colour]  # head, torso and arms, legs
    limb: float
    board_x: float
    board: tuple[Colour, Colour]  # surface and signs
    distractors: tuple[Distractor, ...]
    sways: tuple[Sway, ...]
    light: tuple[float, float, float]  # depth, rate and shift of its slow change
    switches: tuple[tuple[float, float], ...]  # second, level
    noise: float

    def view(self, second: float) -> View:
        parts = [(math.sin(2 * math.pi * (s.rate * second + s.shift)), s) for s in self.sways]
        return View(
            x=sum(v * s.x for v, s in parts),
            y=sum(v * s.y for v, s in parts),
            roll=sum(v * s.roll for v, s in parts),
            zoom=math.exp(sum(v * s.zoom for v, s in parts)),
        )

    def brightness(self, second: float) -> float:
        depth, rate, shift = self.light
        slow = 1.0 + depth * math.sin(2 * math.pi * (rate * second + shift))
        levels = [level for at, level in self.switches if at <= second]
        return slow * (levels[-1] if levels else 1.0)


LOW, HIGH = -0.35, 1.35  # range of heights that the room shows


def draw_world(config: VideoConfig, rng: np.random.Generator, *, height: int, width: int) -> World:
    """Draw the scene of a dialogue."""
    aspect = width / height
    reach = 0.75 * aspect / VIEW + 0.2
    base = rng.uniform(0.25, 0.85, 3).astype(np.float32)
    room = _room(rng, height, reach, base)
    wall = float(base.mean())
    side = -1.0 if rng.random() < 0.5 else 1.0
    n = int(rng.integers(config.distractors[0], config.distractors[1] + 1))
    motion, light = config.camera_motion * rng.random(), config.light * rng.random()
    surface = _colour(rng, wall, 0.1)
    return World(
        room=room,
        reach=reach,
        figure_x=-side * float(rng.uniform(0.16, 0.24)) * aspect,
        figure_size=float(rng.uniform(0.72, 0.86)) * min(1.0, aspect),
        faces_left=bool(rng.random() < 0.5),
        clothes=(_colour(rng, wall), _colour(rng, wall), _colour(rng, wall)),
        limb=float(rng.uniform(0.022, 0.036)),
        board_x=side * 0.27 * aspect,
        board=(surface, _colour(rng, sum(surface) / 3, 0.4)),
        distractors=tuple(_distractor(rng, aspect) for _ in range(n)),
        sways=tuple(_sway(rng, motion) for _ in range(2)),
        light=(light / 2, float(rng.uniform(0.03, 1.2)), float(rng.random())),
        switches=_switches(rng, light),
        noise=float(rng.uniform(*config.noise)),
    )


def _colour(rng: np.random.Generator, against: float, contrast: float = MIN_CONTRAST) -> Colour:
    """Draw a colour whose brightness differs from `against`."""
    for _ in range(64):
        red, green, blue = (float(value) for value in rng.uniform(0.02, 0.98, 3))
        if abs((red + green + blue) / 3 - against) >= contrast:
            return red, green, blue
    return (0.95, 0.95, 0.95) if against < 0.5 else (0.05, 0.05, 0.05)


def _room(rng: np.random.Generator, height: int, reach: float, base: Image) -> Image:
    """Paint wall, floor, furniture and a soft texture."""
    rows, cols = math.ceil((HIGH - LOW) * height), math.ceil(2 * reach * height)
    up = np.linspace(HIGH, LOW, rows)[:, None, None]
    wall = base * (1.0 + rng.uniform(-0.15, 0.15) * (up - 0.5))
    floor = np.clip(base * rng.uniform(0.7, 1.25) + rng.uniform(-0.05, 0.05, 3), 0, 1)
    horizon = rng.uniform(0.02, 0.12)
    image = np.where(up > horizon, wall, floor) * np.ones((1, cols, 1))
    canvas = Canvas(image.astype(np.float32))
    for _ in range(int(rng.integers(0, 5))):
        centre = (float(rng.uniform(0, cols)), float(rng.uniform(0, rows * 0.65)))
        half = (height * float(rng.uniform(0.04, 0.22)), height * float(rng.uniform(0.04, 0.22)))
        tint = np.clip(base + rng.uniform(-0.16, 0.16, 3), 0, 1)
        canvas.box(centre, half, angle=0.0, colour=(float(tint[0]), float(tint[1]), float(tint[2])))
    grain = rng.standard_normal((rows // 6 + 2, cols // 6 + 2)).astype(np.float32)
    grain = np.repeat(np.repeat(grain, 6, axis=0), 6, axis=1)[:rows, :cols, None]
    textured: Image = np.clip(canvas.image + np.float32(rng.uniform(0, 0.03)) * grain, 0, 1)
    return textured


def _distractor(rng: np.random.Generator, aspect: float) -> Distractor:
    kind = KINDS[int(rng.integers(len(KINDS)))]
    red, green, blue = (float(value) for value in rng.uniform(0, 1, 3))
    return Distractor(
        kind=kind,
        x=float(rng.uniform(-0.55, 0.55)) * aspect,
        y=float(rng.uniform(0.15, 0.95)),
        size=float(rng.uniform(0.04, 0.14)),
        rate=float(rng.uniform(0.2, 1.4)),
        shift=float(rng.random()),
        colour=(red, green, blue),
    )


def _sway(rng: np.random.Generator, motion: float) -> Sway:
    x, y = (float(value) for value in rng.uniform(-motion, motion, 2))
    return Sway(
        rate=float(rng.uniform(0.05, 1.1)),
        shift=float(rng.random()),
        x=x,
        y=y,
        roll=float(rng.uniform(-motion, motion)),
        zoom=float(rng.uniform(-motion, motion)) * 0.7,
    )


def _switches(rng: np.random.Generator, light: float) -> tuple[tuple[float, float], ...]:
    times = np.sort(rng.uniform(0, LIGHT_SPAN_S, SWITCHES))
    levels = 1.0 + light * rng.uniform(-1, 1, SWITCHES)
    return tuple((float(at), float(level)) for at, level in zip(times, levels, strict=True))


def draw_distractor(
    canvas: Canvas, project: Project, *, scale: float, distractor: Distractor, second: float
) -> None:
    """Draw a distractor at one moment; `scale` is pixels per frame height."""
    cycle = second * distractor.rate + distractor.shift
    turn = 2 * math.pi * cycle
    x, y, size, colour = distractor.x, distractor.y, distractor.size, distractor.colour
    if distractor.kind == "pendulum":
        angle = 0.7 * math.sin(turn)
        end = (x + 3 * size * math.sin(angle), y + 0.1 - 3 * size * math.cos(angle))
        canvas.line(project(x, y + 0.1), project(*end), radius=0.012 * scale, colour=colour)
        canvas.disc(project(*end), radius=0.5 * size * scale, colour=colour)
    elif distractor.kind == "ball":
        height = 0.04 + 3 * size * abs(math.sin(turn / 2))
        canvas.disc(project(x, height), radius=0.5 * size * scale, colour=colour)
    elif distractor.kind == "lamp":
        lit = 1.0 if cycle % 1.0 < 0.5 else 0.25
        canvas.disc(project(x, y), radius=0.6 * size * scale, colour=colour, opacity=lit)
    elif distractor.kind == "fan":
        for blade in range(3):
            angle = turn / 3 + 2 * math.pi * blade / 3
            end = (x + size * math.cos(angle), y + size * math.sin(angle))
            canvas.line(project(x, y), project(*end), radius=0.018 * scale, colour=colour)
    else:  # a small person who walks to and fro
        at = x + 0.4 * math.sin(turn / 6)
        step = 0.5 * size * math.sin(turn)
        canvas.line(
            project(at, 3 * size),
            project(at, 1.5 * size),
            radius=0.25 * size * scale,
            colour=colour,
        )
        for foot in (at - step, at + step):
            canvas.line(
                project(at, 1.5 * size),
                project(foot, 0.0),
                radius=0.15 * size * scale,
                colour=colour,
            )
        canvas.disc(project(at, 3.8 * size), radius=0.5 * size * scale, colour=colour)
