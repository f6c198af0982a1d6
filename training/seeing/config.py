"""Configuration of `microturn see`."""

from __future__ import annotations

from dataclasses import dataclass, field
from string import ascii_uppercase, digits
from typing import Final

from microturn.configs.command import option, require_at_least
from microturn.datagen.video.config import VideoConfig
from microturn.model.config import SHIPPED

DRAWN: Final = frozenset(digits + ascii_uppercase)  # what datagen/video/glyphs.py has strokes for


@dataclass(frozen=True, kw_only=True)
class SeeConfig:
    """A video stem that learns to read drawn worlds before any dialogue about them."""

    init: str = option(
        SHIPPED, "checkpoint that gets the stem: as init= of train, with or without a video lane"
    )
    out: str = option(help="folder of the new checkpoint")
    video_rows: int = option(1, "rows of 40x40 patches of the video lane")
    video_cols: int = option(1, "columns of 40x40 patches of the video lane")
    worlds: int = option(12_000, "different worlds that are seen")
    stills: int = option(4, "pictures of each world")
    step_worlds: int = option(16, "new worlds of a step; as many are seen again, three times over")
    signs: tuple[str, ...] = option(
        ("1", "2", "3", "4", "5", "6", "7", "8", "9", "10", *"ABHILORWZ"),
        "digits and capital letters that the board shows",
    )
    lr: float = option(2e-3, "peak learning rate of AdamW")
    seed: int = option(0, "seed of worlds and new weights")
    threads: int = option(0, "torch threads, 0: as many as there are cores")
    test_worlds: int = option(250, "other worlds that the stem is tried on at the end")
    json: str = option("", "write what the stem reads of them to this file (- for stdout)")
    video: VideoConfig = field(default_factory=VideoConfig, metadata={"help": "scenes"})

    def __post_init__(self) -> None:
        require_at_least(self, "", video_rows=1, video_cols=1, stills=1, step_worlds=1, threads=0)
        require_at_least(self, "", worlds=self.step_worlds, test_worlds=1, seed=0)
        if not self.signs:
            raise ValueError("signs=[] leaves nothing to read; give digits or capital letters")
        unknown = [sign for sign in self.signs if not set(sign) <= DRAWN or not sign]
        if unknown:
            raise ValueError(
                f"signs has {unknown[0]!r}, which cannot be drawn; give digits and letters A to Z"
            )
