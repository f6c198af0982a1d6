"""Teaches the video stem of a checkpoint to read drawn worlds, before it hears dialogues of them.

A linear reader of the stem's vectors says which sign a picture shows, what the figure does and how
far it is in it; the reader is thrown away, the stem goes into the checkpoint. Other weights keep
their bits. S stills, P patches, D width.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from microturn.configs.command import write_json
from microturn.configs.files import make_folder
from microturn.datagen.video.stills import POSES, Stills, draw_stills
from microturn.model.model import InteractionModel
from microturn.model.stored.weights import give_weights, has_weights
from microturn.model.streams.layout import PATCH_SIZE
from microturn.training.seeing.config import SeeConfig
from microturn.training.start.init_weights import InitialWeights

AGAIN: Final = 3  # earlier steps whose stills are seen again in a step
REMEMBERED: Final = 512  # steps whose stills are kept for that
DECAY: Final = 0.6  # share of the steps, at the end, over which the rate falls to zero
WARMUP_STEPS: Final = 50
PHASE_WEIGHT: Final = 4.0  # a squared error, beside cross-entropies
TEST_SEED: Final = 2**32  # added to the seed: worlds that are not trained on
TEST_STILLS: Final = 2


class StillReader(nn.Module):
    """What the vectors of all patches of a picture say of it, linearly."""

    def __init__(self, n_inputs: int, n_signs: int) -> None:
        super().__init__()
        self.sign = nn.Linear(n_inputs, n_signs + 1)
        self.pose = nn.Linear(n_inputs, len(POSES) + 1)
        self.phase = nn.Linear(n_inputs, 1)

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read vectors (S, P, D): logits of signs and of poses, and phases (S,)."""
        x = vectors.flatten(1)
        return self.sign(x), self.pose(x), self.phase(x)[:, 0]


@dataclass(frozen=True)
class StillBatch:
    """Stills of several worlds as tensors."""

    frames: Tensor  # (S, H, W, 3) uint8
    signs: Tensor  # (S,)
    poses: Tensor  # (S,)
    phases: Tensor  # (S,)

    @classmethod
    def of(cls, worlds: list[Stills]) -> StillBatch:
        def joined(name: str) -> Tensor:
            return torch.from_numpy(np.concatenate([getattr(stills, name) for stills in worlds]))

        return cls(joined("frames"), joined("signs"), joined("poses"), joined("phases"))

    def with_more(self, other: StillBatch) -> StillBatch:
        pairs = ((getattr(self, name), getattr(other, name)) for name in vars(self))
        return StillBatch(*(torch.cat(pair) for pair in pairs))


def see(cfg: SeeConfig) -> int:
    """Write the checkpoint of `init` with a stem that reads; returns 0.

    Raises OSError or ValueError, one sentence, where `init` or `out` cannot be used.
    """
    torch.set_num_threads(cfg.threads or max(1, len(os.sched_getaffinity(0))))
    out = Path(cfg.out)
    if has_weights(out):
        raise ValueError(f"out={out} holds a checkpoint; give another out=")
    model = _start(cfg)
    make_folder(out)  # before the work, so that it fails early
    reader = StillReader(model.layout.lane("video").positions * model.cfg.d_model, len(cfg.signs))
    teach(cfg, model.embed.get_submodule("video"), reader)
    read = measure(cfg, model.embed.get_submodule("video"), reader)
    model.save_pretrained(out)
    print(f"{cfg.worlds} worlds seen; of {cfg.test_worlds} others it reads:")
    print("\n".join(f"  {name:<14} {value:.3f}" for name, value in read.items()))
    write_json({"worlds": cfg.worlds, **read}, cfg.json)
    return 0


def _start(cfg: SeeConfig) -> InteractionModel:
    """Make the model of `init` with the video lane, and its stem where it has one."""
    initial = InitialWeights.read(cfg.init)
    torch.manual_seed(cfg.seed)
    layout = replace(initial.layout, video_rows=cfg.video_rows, video_cols=cfg.video_cols)
    model = InteractionModel(initial.cfg, layout, len(initial.tokenizer))
    found, _ = initial.sources(model, initial.tokenizer)
    give_weights(model, found)
    model.tokenizer = initial.tokenizer
    model.notes = initial.notes()
    return model


def stills_of(cfg: SeeConfig, worlds: range, *, seed: int, n: int) -> StillBatch:
    """Draw `n` stills of each of some worlds."""
    height, width = cfg.video_rows * PATCH_SIZE, cfg.video_cols * PATCH_SIZE
    drawn = [
        draw_stills(cfg.video, cfg.signs, seed=seed, world=w, n=n, height=height, width=width)
        for w in worlds
    ]
    return StillBatch.of(drawn)


def reading_loss(said: tuple[Tensor, Tensor, Tensor], stills: StillBatch) -> Tensor:
    """Add up what a reader got wrong, a mean over stills; phases count where the figure moves."""
    sign, pose, phase = said
    moving = (stills.poses > 0).float()
    off = ((phase - stills.phases).square() * moving).sum() / moving.sum().clamp_min(1)
    classes = F.cross_entropy(sign, stills.signs) + F.cross_entropy(pose, stills.poses)
    return classes + PHASE_WEIGHT * off


def teach(cfg: SeeConfig, stem: nn.Module, reader: StillReader) -> None:
    """Train stem and reader: each step on new worlds and on three earlier steps' worlds again."""
    parameters = [*stem.parameters(), *reader.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=cfg.lr, weight_decay=0.01)
    steps = cfg.worlds // cfg.step_worlds
    rng, seen = np.random.default_rng(cfg.seed), []
    for step in tqdm(range(steps), desc="see", unit="step"):
        worlds = range(step * cfg.step_worlds, (step + 1) * cfg.step_worlds)
        seen.append(stills_of(cfg, worlds, seed=cfg.seed, n=cfg.stills))
        del seen[:-REMEMBERED]
        again = [seen[int(k)] for k in rng.integers(len(seen), size=AGAIN)]
        rising, falling = (step + 1) / WARMUP_STEPS, (1 - step / steps) / DECAY
        optimizer.param_groups[0]["lr"] = cfg.lr * min(1.0, rising, falling)
        for first, second in ((seen[-1], again[0]), (again[1], again[2])):
            stills = first.with_more(second)
            loss = reading_loss(reader(stem(stills.frames)), stills)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()


@torch.no_grad()
def measure(cfg: SeeConfig, stem: nn.Module, reader: StillReader) -> dict[str, Any]:
    """Compare what stem and reader say of worlds that they have not seen with what is there."""
    stills = stills_of(cfg, range(cfg.test_worlds), seed=cfg.seed + TEST_SEED, n=TEST_STILLS)
    sign, pose, phase = reader(stem(stills.frames))
    there, moving = stills.signs > 0, stills.poses > 0

    def share(right: Tensor) -> float:
        return round(float(right.float().mean()), 4)

    return {
        "sign": share((sign.argmax(1) == stills.signs)[there]),
        "no_sign": share((sign.argmax(1) == stills.signs)[~there]),
        "pose": share(pose.argmax(1) == stills.poses),
        "phase_error": share((phase - stills.phases)[moving].abs()),
    }
