"""Draws the frames of a dialogue: one per micro-turn, the view at its end."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from microturn.datagen.dialogue.camera_acts import Acts, BoardItem, FigureAct, value_at
from microturn.datagen.dialogue.recipe import Recipe
from microturn.datagen.video.canvas import Canvas, Image, Point
from microturn.datagen.video.config import VideoConfig
from microturn.datagen.video.figures import (
    ACTIONS,
    BONES,
    HEAD_RADIUS,
    Pose,
    blended,
    standing,
)
from microturn.datagen.video.glyphs import ASPECT, SPACE, strokes_of
from microturn.datagen.video.world import (
    HIGH,
    VIEW,
    Project,
    View,
    World,
    draw_distractor,
    draw_world,
)
from microturn.model.streams import StreamLayout

Frames = npt.NDArray[np.uint8]
BOARD_Y, BOARD_HALF = 0.76, 0.2
GLYPH_HEIGHT, GLYPH_WIDTH = 0.27, 0.33  # at most
PEN = 0.024  # radius of a stroke of a sign of height one; half of it is the minimum


def films(
    recipe: Recipe, config: VideoConfig, *, acts: Acts, n_micro_turns: int, layout: StreamLayout
) -> dict[str, Frames]:
    """Draw the frames of each lane of frames, by its name."""
    drawn = {"video": film(recipe, config, acts=acts, n_micro_turns=n_micro_turns, layout=layout)}
    return {lane: frames for lane, frames in drawn.items() if frames is not None}


def film(
    recipe: Recipe, config: VideoConfig, *, acts: Acts, n_micro_turns: int, layout: StreamLayout
) -> Frames | None:
    """Draw the frames of a dialogue (N, H, W, 3); None if the layout has no video lane.

    Frame k shows the scene at the end of micro-turn k. It depends on nothing later, so the first
    frames of a longer dialogue equal those of a shorter one.
    """
    lane = layout.lane("video")
    if not lane.positions:
        return None
    height, width, _ = lane.shape
    frames = np.zeros((n_micro_turns, height, width, 3), np.uint8)
    if not acts and recipe.rng("video/off").random() < config.off_probability:
        return frames
    world = draw_world(config, recipe.rng("video/world"), height=height, width=width)
    noise = recipe.rng("video/noise")
    for k in range(n_micro_turns):
        sample = (k + 1) * layout.samples_per_micro_turn
        image = picture(
            world, acts, sample=sample, sample_rate=layout.sample_rate, height=height, width=width
        )
        frames[k] = with_noise(image, world.noise, noise)
    return frames


def with_noise(image: Image, level: float, rng: np.random.Generator) -> Frames:
    """Return what the camera makes of a view (H, W, 3), its noise in levels of 255 included."""
    grain = rng.standard_normal((*image.shape[:2], 1), dtype=np.float32)
    noisy = image * np.float32(255) + np.float32(level) * grain
    return np.rint(np.clip(noisy, 0, 255)).astype(np.uint8)


def picture(
    world: World, acts: Acts, *, sample: int, sample_rate: int, height: int, width: int
) -> Image:
    """Draw the view of the camera at one sample, without its noise."""
    second = sample / sample_rate
    view = world.view(second)
    canvas = Canvas(_room_through(view, world, height, width))
    scale = height * VIEW * view.zoom
    project = _projection(view, height, width)
    for distractor in world.distractors:
        draw_distractor(canvas, project, scale=scale, distractor=distractor, second=second)
    _draw_board(canvas, project, scale, view.roll, world, acts, sample)
    _draw_figure(canvas, project, scale, world, _pose(acts.figure, sample), second)
    lit: Image = canvas.image * np.float32(world.brightness(second))
    return lit


def _projection(view: View, height: int, width: int) -> Project:
    cos, sin = math.cos(view.roll), math.sin(view.roll)
    scale = height * VIEW * view.zoom

    def project(x: float, y: float) -> Point:
        dx, dy = x + view.x, y - 0.5 + view.y
        return (
            width / 2 + scale * (dx * cos - dy * sin),
            height / 2 - scale * (dx * sin + dy * cos),
        )

    return project


def _room_through(view: View, world: World, height: int, width: int) -> Image:
    """Project the room into the view of the camera, by bilinear interpolation."""
    scale = height * VIEW * view.zoom
    cos, sin = math.cos(view.roll) / scale, math.sin(view.roll) / scale
    right = np.arange(width, dtype=np.float32) + np.float32(0.5 - width / 2)
    up = np.float32(height / 2 - 0.5) - np.arange(height, dtype=np.float32)[:, None]
    x = right * np.float32(cos) + up * np.float32(sin) + np.float32(world.reach - view.x)
    y = up * np.float32(cos) - right * np.float32(sin) + np.float32(0.5 - view.y)
    rows, cols = world.room.shape[:2]
    across = np.clip(x * np.float32(height) - np.float32(0.5), 0, cols - 1.001)
    down = np.clip((np.float32(HIGH) - y) * np.float32(height) - np.float32(0.5), 0, rows - 1.001)
    left, top = across.astype(np.int32), down.astype(np.int32)
    wx, wy = (across - left)[..., None], (down - top)[..., None]
    flat = world.room.reshape(-1, 3)
    at = top * cols + left
    upper = flat[at] * (1 - wx) + flat[at + 1] * wx
    lower = flat[at + cols] * (1 - wx) + flat[at + cols + 1] * wx
    view_of_room: Image = upper * (1 - wy) + lower * wy
    return view_of_room


def _pose(figure_acts: list[FigureAct], sample: int) -> Pose:
    for act in figure_acts:
        if act.start_sample <= sample <= act.end_sample:
            pose = ACTIONS[act.action](value_at(act.phase, sample))
            return blended(standing(), pose, share=value_at(act.blend, sample))
    return standing()


def _draw_figure(
    canvas: Canvas, project: Project, scale: float, world: World, pose: Pose, second: float
) -> None:
    size, flip = world.figure_size, -1.0 if world.faces_left else 1.0
    sway = 0.008 * math.sin(2 * math.pi * 0.31 * second)

    def place(name: str) -> Point:
        x, y = pose[name]
        return project(world.figure_x + size * (flip * x + sway * y), size * y + 0.03)

    head, torso, legs = world.clothes
    for a, b in BONES:
        lower = "knee" in b or "foot" in b
        width = world.limb * (1.7 if (a, b) == ("hip", "neck") else 1.0)
        canvas.line(
            place(a), place(b), radius=width * size * scale, colour=legs if lower else torso
        )
    canvas.disc(place("head"), radius=HEAD_RADIUS * size * scale, colour=head)


def _draw_board(
    canvas: Canvas,
    project: Project,
    scale: float,
    roll: float,
    world: World,
    acts: Acts,
    sample: int,
) -> None:
    surface, ink = world.board
    half = BOARD_HALF * scale
    canvas.box(project(world.board_x, BOARD_Y), (half, half * 0.85), angle=-roll, colour=surface)
    for act in acts.board:
        for item in act.items:
            if item.start_sample < sample <= item.end_sample:
                share = min(
                    1.0,
                    (sample - item.start_sample) / max(item.ready_sample - item.start_sample, 1),
                )
                _write(canvas, project, scale, world, item, share, ink)


def _write(
    canvas: Canvas,
    project: Project,
    scale: float,
    world: World,
    item: BoardItem,
    share: float,
    ink: tuple[float, float, float],
) -> None:
    """Draw a sign on the board at a share of its appearance."""
    width = ASPECT * (len(item.text) + SPACE * (len(item.text) - 1))
    size = min(GLYPH_HEIGHT, GLYPH_WIDTH / width)
    opacity, lift = 1.0, 0.0
    if item.how == "fade":
        opacity = share
    elif item.how == "grow":
        size *= max(share, 0.05)
    elif item.how == "slide":
        opacity, lift = share, 0.25 * (1 - share)
    strokes = strokes_of(item.text)
    if item.how == "write":
        strokes = strokes[: math.ceil(share * len(strokes))]
    for stroke in strokes:
        points = [project(world.board_x + size * x, BOARD_Y + lift - size * y) for x, y in stroke]
        for a, b in zip(points, points[1:], strict=False):
            canvas.line(
                a,
                b,
                radius=(PEN * size / GLYPH_HEIGHT + PEN / 2) * scale / 1.5,
                colour=ink,
                opacity=opacity,
            )
