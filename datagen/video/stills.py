"""Single pictures of drawn worlds with what they show: the figure's pose, the sign on the board.

Dialogues show the same world for a minute; what reads pictures has to see thousands of different
ones, which stills give at a millisecond each. S stills.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from microturn.datagen.dialogue.camera_acts import Acts, BoardAct, BoardItem, FigureAct
from microturn.datagen.dialogue.seeds import rng_for
from microturn.datagen.video.config import VideoConfig
from microturn.datagen.video.figures import ACTIONS
from microturn.datagen.video.film import picture, with_noise
from microturn.datagen.video.world import draw_world

POSES: Final = tuple(ACTIONS)
SIGN_SHARE: Final = 0.65  # of stills with a sign
POSE_SHARE: Final = 0.75  # of stills in which the figure does something
END_SHARE: Final = 0.3  # of its phases that are one of the two ends, which count repetitions
APPEARS_S: Final = (0.0, 0.5)  # how long a sign has been complete
RATE: Final = 1000  # samples per second of the times of a still
LONGEST_S: Final = 30.0  # a still shows the light and the camera at a moment before this
WAYS: Final = ("fade", "grow", "slide", "write")


@dataclass(frozen=True, kw_only=True)
class Stills:
    """Pictures and what is seen in them."""

    frames: NDArray[np.uint8]  # (S, H, W, 3)
    signs: NDArray[np.int64]  # (S,) 0: none, else one more than the place in the list of signs
    poses: NDArray[np.int64]  # (S,) 0: standing, else one more than the place in `POSES`
    phases: NDArray[np.float32]  # (S,) 0 to 1, of those who do something


def draw_stills(
    config: VideoConfig,
    signs: Sequence[str],
    *,
    seed: int,
    world: int,
    n: int,
    height: int,
    width: int,
) -> Stills:
    """Draw `n` pictures of one world; they depend on these arguments alone.

    signs: digits and capital letters that the board may show.
    """
    rng = rng_for(seed, world, "video/stills")
    scene = draw_world(config, rng, height=height, width=width)
    frames = np.zeros((n, height, width, 3), np.uint8)
    seen = np.zeros((2, n), np.int64)
    phases = np.zeros(n, np.float32)
    for k in range(n):
        at = round(float(rng.uniform(0, LONGEST_S)) * RATE)
        acts = Acts()
        seen[0, k] = _draw_sign(acts, signs, rng, at)
        seen[1, k], phases[k] = _draw_pose(acts, rng, at)
        image = picture(scene, acts, sample=at, sample_rate=RATE, height=height, width=width)
        frames[k] = with_noise(image, scene.noise, rng)
    return Stills(frames=frames, signs=seen[0], poses=seen[1], phases=phases)


def _draw_sign(acts: Acts, signs: Sequence[str], rng: np.random.Generator, at: int) -> int:
    if rng.random() >= SIGN_SHARE:
        return 0
    index = int(rng.integers(len(signs)))
    way = WAYS[int(rng.integers(len(WAYS)))]
    ready = at - round(float(rng.uniform(*APPEARS_S)) * RATE)
    item = BoardItem(
        text=signs[index], start_sample=ready - 1, ready_sample=ready, end_sample=at + 1, how=way
    )
    acts.board.append(BoardAct(items=(item,)))
    return index + 1


def _draw_pose(acts: Acts, rng: np.random.Generator, at: int) -> tuple[int, float]:
    if rng.random() >= POSE_SHARE:
        return 0, 0.0
    index = int(rng.integers(len(POSES)))
    at_end = rng.random() < END_SHARE
    phase = float(rng.integers(2)) if at_end else float(rng.random())
    held = ((at - 1, phase), (at + 1, phase))
    blend = ((at - 2, 1.0), (at + 2, 1.0))
    acts.figure.append(FigureAct(action=POSES[index], phase=held, blend=blend))
    return index + 1, phase
