"""Steps of training on one batch of random lanes that lies on the device, timed in thirds."""

from __future__ import annotations

import time
from typing import Final

import torch
from torch import Tensor

from microturn.evaluation.bench.gpu.steps import synchronise
from microturn.model.batch import LaneBatch
from microturn.model.losses import compute_losses
from microturn.model.model import InteractionModel
from microturn.model.moe import balance_
from microturn.model.streams import LaneSpec, StreamLayout
from microturn.training.config import TrainingConfig
from microturn.training.optim import build_optimizer, clip_gradients_, rate

VOCABULARY: Final = 1024


class Trainee:
    """One step of `microturn train`, with a clock around each third of it."""

    def __init__(self, cfg: TrainingConfig, layout: StreamLayout, device: torch.device) -> None:
        torch.manual_seed(0)
        self.cfg, self.device = cfg, device
        with device:
            self.model = InteractionModel(cfg.model, layout, VOCABULARY).train()
        self.optimizer = build_optimizer(self.model, cfg.optim)
        self.routers = [*self.model.backbone.routers().values()]
        self.steps = 0

    def step(self, batch: LaneBatch) -> dict[str, float]:
        marks = [self._now()]
        for group in self.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
            group["lr"] = group["initial_lr"] * rate(self.steps, 0.0, self.cfg.optim)
        half = self.device.type == "cuda"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            loss = compute_losses(self.model, batch)["loss"]
        marks.append(self._now())
        loss.backward()
        marks.append(self._now())
        clip_gradients_(self.model.parameters(), self.cfg.optim.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        balance_(self.routers)
        self.steps += 1
        marks.append(self._now())
        if not torch.isfinite(loss):
            raise ValueError(f"step {self.steps}: the loss is not finite")
        names = ("forward", "backward", "optimizer")
        return {n: b - a for n, a, b in zip(names, marks[:-1], marks[1:], strict=True)}

    def _now(self) -> float:
        synchronise(self.device)
        return time.perf_counter()


def random_lanes(layout: StreamLayout, B: int, N: int) -> LaneBatch:
    """Lanes of B dialogues with every weight one."""
    g = torch.Generator().manual_seed(0)
    ends = {"frames": 256, "dmel": 16, "tokens": VOCABULARY, "mel": 256}

    def lane(spec: LaneSpec) -> Tensor:
        dtype = torch.int64 if spec.kind == "tokens" else torch.uint8
        return torch.randint(0, ends[spec.kind], (B, N, *spec.shape), generator=g, dtype=dtype)

    return LaneBatch(
        lanes={spec.name: lane(spec) for spec in layout.lane_specs},
        weights={spec.name: torch.ones(B, N, spec.positions) for spec in layout.made_lanes},
        missing_input=torch.rand(B, N, generator=g) < 0.01,
    )
