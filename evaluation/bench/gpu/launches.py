"""What a training step asks a GPU to do, operation by operation and part by part, without a GPU.

A narrow model of as many layers steps on CPU tensors that say they are on a GPU, so that the code
takes its GPU's way, and every operation that is no view is counted; Triton's interpreter runs the
kernels. An operation is about one launch: sorting takes several, foreach operations one per few
hundred tensors. Attention is that of a CPU, and the learned vocoder is left out. Operations that
wait for the GPU are listed by the line that asks.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves
from triton.runtime.interpreter import GridExecutor

from microturn.evaluation.bench.gpu.trainee import VOCABULARY, random_lanes
from microturn.kernels import ops
from microturn.kernels.row_noise_triton import row_noise_triton
from microturn.model.attention import Attention
from microturn.model.embed import DMelEmbedding, LaneEmbedding
from microturn.model.flow_head import FlowHead
from microturn.model.losses import compute_losses
from microturn.model.model import InteractionModel
from microturn.model.moe import MixtureOfExperts, SwiGLU, balance_
from microturn.model.noise import Noise
from microturn.model.streams import StreamLayout
from microturn.training.config import TrainingConfig
from microturn.training.optim import build_optimizer, clip_gradients_
from microturn.training.watch.expert_loads import load_metrics

T = TypeVar("T")

_FREE: Final = {"empty", "empty_like", "empty_strided", "new_empty", "_unsafe_view", "lift_fresh"}
_WAITS: Final = {"_local_scalar_dense", "nonzero", "bincount", "_unique2"}
_PARTS: Final[tuple[tuple[type[nn.Module], str, str], ...]] = (
    (LaneEmbedding, "forward", "embedding"),
    (DMelEmbedding, "forward", "dMel embedding"),
    (Attention, "forward", "attention"),
    (MixtureOfExperts, "forward", "experts"),
    (MixtureOfExperts, "_route_measured", "router"),
    (SwiGLU, "forward", "dense layers"),
    (FlowHead, "loss", "flow head"),
)


def count_launches(cfg: TrainingConfig, layout: StreamLayout) -> dict[str, Any]:
    """Count the operations of a step: `parts.PART.{forward, backward}`, `total`, and `waits`."""
    torch.manual_seed(0)
    model = InteractionModel(_narrow(cfg).model, layout, VOCABULARY).train()
    optimizer = build_optimizer(model, cfg.optim)
    batch = random_lanes(layout, 2, 4)
    routers = model.backbone.routers()
    shape = (layout.audio_out_positions, layout.patch_dim)
    device = torch.device("cpu")

    def step(counting: _Counting | None) -> None:
        at: Callable[[str], Any] = counting.part if counting else lambda _: ExitStack()
        with at("noise"):
            noise = Noise.draw_by_row(
                [1, 2], (4, *shape), n_draws=model.cfg.flow.draws, device=device
            )
        with at("losses and blocks"), torch.autocast("cpu", torch.bfloat16):
            loss = compute_losses(model, batch, noise=noise)["loss"]
        if counting:
            counting.is_backward = True
        with at("losses and blocks"):
            loss.backward()
        if counting:
            counting.is_backward = False
        with at("clipping"):
            clip_gradients_([*model.parameters()], cfg.optim.clip)
        with at("optimiser"):
            optimizer.step()
            optimizer.zero_grad()
        with at("balance of experts"):
            load_metrics(balance_([*routers.values()]))

    with _as_on_gpu():
        step(None)  # makes the optimiser's state
        counting = _Counting()
        with counting.of_modules(), counting.of_kernels(), counting:
            step(counting)
    return counting.figures()


def _narrow(cfg: TrainingConfig) -> TrainingConfig:
    """The same layers and experts at widths that a CPU computes at once."""
    model = cfg.model
    heads = model.n_heads
    return replace(
        cfg,
        model=replace(
            model,
            d_model=16 * heads,
            d_ff=64,
            moe=replace(model.moe, d_expert=16),
            flow=replace(model.flow, width=32),
        ),
    )


class _Counting(TorchDispatchMode):
    """Counts operations under the part of the model that asks for them, or for whose gradient."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.is_backward = False
        self._part = "other"
        self._counts: Counter[tuple[str, bool]] = Counter()
        self._waits: Counter[str] = Counter()
        self._known: dict[Any, str] = {}  # nodes of the graph whose part is known

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        if not func.is_view and name not in _FREE:
            self._counts[self._part, self.is_backward] += 1
        if name in _WAITS:
            self._waits[_caller()] += 1
        return func(*args, **(kwargs or {}))

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what happens inside under this name."""
        outer, self._part = self._part, name
        try:
            yield
        finally:
            self._part = outer

    @contextmanager
    def of_modules(self) -> Iterator[None]:
        """Count calls of `_PARTS` under their names, and the nodes of the graph that they add."""
        plain = [(module, method, getattr(module, method)) for module, method, _ in _PARTS]
        for (module, method, function), (_, _, name) in zip(plain, _PARTS, strict=True):
            setattr(module, method, self._wrapped(function, name))
        try:
            yield
        finally:
            for module, method, function in plain:
                setattr(module, method, function)

    @contextmanager
    def of_kernels(self) -> Iterator[None]:
        """Count launches of interpreted kernels, and nothing that the interpreter does."""
        plain = GridExecutor.__call__

        def launch(*args: Any, **kwargs: Any) -> None:
            self._counts[self._part, self.is_backward] += 1
            with _disable_current_modes():
                plain(*args, **kwargs)

        GridExecutor.__call__ = launch
        try:
            yield
        finally:
            GridExecutor.__call__ = plain

    def _wrapped(self, function: Callable[..., T], name: str) -> Callable[..., T]:
        def run(*args: Any, **kwargs: Any) -> T:
            before = {t.grad_fn for t in _tensors([*args, kwargs]) if t.grad_fn is not None}
            with self.part(name):
                output = function(*args, **kwargs)
            self._mark([t.grad_fn for t in _tensors(output)], before, name)
            return output

        return run

    def _mark(self, nodes: list[Any], before: set[Any], name: str) -> None:
        while nodes:
            node = nodes.pop()
            if node is None or node in before or node in self._known:
                continue
            self._known[node] = name
            node.register_prehook(lambda *_, name=name: setattr(self, "_part", name))
            nodes += [following for following, _ in node.next_functions]

    def figures(self) -> dict[str, Any]:
        names = sorted({name for name, _ in self._counts})
        parts = {
            name: {"forward": self._counts[name, False], "backward": self._counts[name, True]}
            for name in names
        }
        return {"parts": parts, "total": self._counts.total(), "waits": dict(self._waits)}


class _SaysGpu(TorchFunctionMode):
    """Tensors answer that they are on a GPU."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func == torch.Tensor.is_cuda.__get__:  # type: ignore[attr-defined]
            return True
        return func(*args, **(kwargs or {}))


@contextmanager
def _as_on_gpu() -> Iterator[None]:
    """Let the code take the way of a GPU, whose RMSNorm is one operation."""
    plain, draw = torch.nn.functional.rms_norm, ops.row_noise
    functional: Any = torch.nn.functional
    functional.rms_norm, ops.row_noise = _rms_norm, _row_noise
    try:
        with _SaysGpu():
            yield
    finally:
        functional.rms_norm, ops.row_noise = plain, draw


def _row_noise(
    seeds: list[int], shape: tuple[int, int, int], *, n_uniform: int, n_normal: int, **_: object
) -> tuple[Tensor, Tensor]:
    uniform, normal = row_noise_triton(seeds, shape, n_uniform, n_normal, torch.device("cpu"))
    return uniform, normal


class _Norm(torch.autograd.Function):
    """As many operations as RMSNorm has on a GPU: one, and two backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 1.0

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return (grad * 1.0) * 1.0


def _rms_norm(
    x: Tensor, shape: Any, weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    y: Tensor = _Norm.apply(x)  # type: ignore[no-untyped-call]
    return y


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _caller() -> str:
    """The innermost line of this project that is not in this file."""
    root = Path(__file__).parents[3]
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(root) and path != Path(__file__) and ".venv" not in path.parts:
            return f"{path.relative_to(root)}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"
