"""Routings, competitors, byte floors and timing of the kernel benches.

A timed sweep calls a layer once for each of several sets of weights and inputs, so that nothing
is still in the cache from the call before; on a GPU the sweep is a captured graph.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Experts = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
ROUTINGS = ("random", "skewed", "half", "one")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One mixture-of-experts layer."""

    d_model: int = 1024
    n_experts: int = 64
    top_k: int = 4
    d_expert: int = 512

    def weights(self, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
        """Fresh weights (E, D, 2F) and (E, F, D), scaled so that outputs are of order one."""
        E, D, W = self.n_experts, self.d_model, self.d_expert
        up = torch.randn(E, D, 2 * W, dtype=dtype, device=device) * D**-0.5
        down = torch.randn(E, W, D, dtype=dtype, device=device) * W**-0.5
        return up, down

    def inputs(
        self, kind: str, n_tokens: int, dtype: torch.dtype, device: torch.device
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens, their experts and weights; see `routing` for the kinds."""
        x_ND = torch.randn(n_tokens, self.d_model, dtype=dtype, device=device)
        ids_NK = routing(kind, n_tokens, self.n_experts, self.top_k, device)
        w_NK = torch.rand(ids_NK.shape, device=device) + 0.1
        return x_ND, ids_NK, w_NK / w_NK.sum(-1, keepdim=True)

    def floor_bytes(self, ids_NK: Tensor, itemsize: int) -> int:
        """Each expert that is needed read once, tokens read and written once."""
        expert = 3 * self.d_model * self.d_expert
        tokens = 2 * len(ids_NK) * self.d_model
        return (len(ids_NK.unique()) * expert + tokens) * itemsize


def routing(kind: str, n_tokens: int, n_experts: int, top_k: int, device: torch.device) -> Tensor:
    """Expert ids (N, K), no expert twice in a row of them.

    random: uniform; skewed: expert i is drawn as 1 / (i + 1); half: the upper half of the
    experts gets nothing; one: all tokens use the same experts.
    """
    rows = 1 if kind == "one" else n_tokens
    score = -torch.empty(rows, n_experts, device=device).exponential_().log()  # Gumbel noise
    rank = torch.arange(n_experts, device=device)
    if kind == "skewed":
        score -= (rank + 1.0).log()
    elif kind == "half":
        score = score.masked_fill(rank >= max(top_k, n_experts // 2), -torch.inf)
    elif kind not in ("random", "one"):
        raise ValueError(f"routing {kind!r} is none of {ROUTINGS}")
    return score.topk(top_k, dim=-1).indices.expand(n_tokens, top_k).contiguous()


def gather_einsum(x_ND: Tensor, ids_NK: Tensor, w_NK: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """Weights gathered pair by pair, as an inference library would write it for a compiler."""
    hidden = torch.einsum("nd,nkdf->nkf", x_ND, up[ids_NK])
    gate, value = hidden.chunk(2, dim=-1)
    rows = torch.einsum("nkf,nkfd->nkd", F.silu(gate) * value, down[ids_NK])
    return (rows * w_NK.unsqueeze(-1).to(rows.dtype)).sum(1)


def gather_reduce(x_ND: Tensor, ids_NK: Tensor, w_NK: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """The same as products and sums, which a compiler turns into one gather and reduction."""
    hidden = (x_ND[:, None, :, None] * up[ids_NK]).sum(2)
    gate, value = hidden.chunk(2, dim=-1)
    rows = ((F.silu(gate) * value)[..., None] * down[ids_NK]).sum(2)
    return (rows * w_NK.unsqueeze(-1).to(rows.dtype)).sum(1)


def dense_loop(x_ND: Tensor, ids_NK: Tensor, w_NK: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """Every expert on every token, masked: what needs no gather and no host synchronisation."""
    y_ND = torch.zeros_like(x_ND)
    for expert in range(len(up)):
        gate, value = (x_ND @ up[expert]).chunk(2, dim=-1)
        weight = (w_NK * (ids_NK == expert)).sum(-1, keepdim=True)
        y_ND = y_ND + (F.silu(gate) * value) @ down[expert] * weight.to(x_ND.dtype)
    return y_ND


@contextmanager
def poisoned() -> Iterator[None]:
    """Memory from `torch.empty` is NaN inside: an element that a kernel does not write is found."""
    empty = torch.empty

    def nan(*args: Any, **kwargs: Any) -> Tensor:
        out = empty(*args, **kwargs)
        with torch.no_grad():  # a compiler makes leaves that want gradients, and flags
            if out.is_floating_point():
                out.fill_(torch.nan)
            elif out.dtype != torch.bool:
                out.fill_(torch.iinfo(out.dtype).min)
        return out

    torch.empty = nan
    try:
        yield
    finally:
        torch.empty = empty


def relative_error(out: Tensor, reference: Tensor) -> float:
    """|out - reference| / |reference|; NaN stays NaN and passes no limit."""
    difference = (out.double() - reference.double()).norm()
    return float(difference / (reference.double().norm() + 1e-30))


def seconds_per_call(calls: Sequence[Callable[[], Any]], *, repeats: int, graph: bool) -> float:
    """Median over sweeps of the time of one call.

    graph: the sweep is captured once and replayed (CUDA); otherwise it is run by the host.
    """
    cuda = torch.cuda.is_available()
    for call in calls:
        call()
    if cuda and graph:
        return _graph_seconds(calls, repeats)
    times = []
    for _ in range(repeats):
        _synchronise(cuda)
        started = time.perf_counter()
        for call in calls:
            call()
        _synchronise(cuda)
        times.append((time.perf_counter() - started) / len(calls))
    return median(times)


def _graph_seconds(calls: Sequence[Callable[[], Any]], repeats: int) -> float:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for call in calls:
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    graph.replay()
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    for mark in marks[:-1]:
        mark.record()
        graph.replay()
    marks[-1].record()
    torch.cuda.synchronize()
    pairs = zip(marks[:-1], marks[1:], strict=True)
    return median(a.elapsed_time(b) for a, b in pairs) / 1000 / len(calls)


def _synchronise(cuda: bool) -> None:
    if cuda:
        torch.cuda.synchronize()


def stream_bytes_per_second(device: torch.device) -> float:
    """Bandwidth of a large copy, bytes read plus bytes written."""
    n_bytes = 2 << 30 if device.type == "cuda" else 64 << 20
    source = torch.randint(256, (n_bytes,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    call = [lambda: target.copy_(source)]
    return 2 * n_bytes / seconds_per_call(call, repeats=9, graph=False)


def matmul_flops_per_second(device: torch.device) -> float:
    """Rate of one large bf16 product (GPU), of a small fp32 one (CPU)."""
    n, dtype = (8192, torch.bfloat16) if device.type == "cuda" else (512, torch.float32)
    a, b = (torch.randn(n, n, dtype=dtype, device=device) for _ in range(2))
    return 2 * n**3 / seconds_per_call([lambda: a @ b], repeats=9, graph=False)


def measure_device(device: torch.device) -> dict[str, Any]:
    """Name, bandwidth and matmul rate of the device, to stand beside every figure."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return {
        "device": name,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "stream_gb_s": stream_bytes_per_second(device) / 1e9,
        "matmul_tflop_s": matmul_flops_per_second(device) / 1e12,
    }


@dataclass(frozen=True)
class Sets:
    """Weights and inputs that a sweep rotates through."""

    shape: Shape
    weights: list[tuple[Tensor, Tensor]]

    @classmethod
    def draw(cls, shape: Shape, n_sets: int, dtype: torch.dtype, device: torch.device) -> Sets:
        return cls(shape, [shape.weights(dtype, device) for _ in range(n_sets)])

    def cases(self, kind: str, n_tokens: int) -> list[tuple[Tensor, ...]]:
        """Arguments of one call per set: x, ids, w, up, down."""
        up = self.weights[0][0]
        return [
            (*self.shape.inputs(kind, n_tokens, up.dtype, up.device), *pair)
            for pair in self.weights
        ]

    def floor_bytes(self, cases: Sequence[tuple[Tensor, ...]]) -> float:
        """Mean byte floor of the cases."""
        itemsize = self.weights[0][0].element_size()
        return sum(self.shape.floor_bytes(case[1], itemsize) for case in cases) / len(cases)


def time_layer(
    run: Experts, cases: Sequence[tuple[Tensor, ...]], *, repeats: int = 11, graph: bool = True
) -> float:
    """Seconds of one layer."""
    calls = [lambda case=case: run(*case) for case in cases]
    return seconds_per_call(calls, repeats=repeats, graph=graph)


@dataclass(frozen=True)
class RotatingBuffers:
    """Rows with a full ring of keys and values: `small`'s eight heads of 64 on one of keys."""

    qkv: Tensor
    weights: tuple[Tensor, Tensor]
    angles: tuple[Tensor, Tensor]
    positions: Tensor
    cache: tuple[Tensor, Tensor]
    reach: int
    n_sinks: int = 4

    @classmethod
    def draw(cls, n: int, new: int, reach: int, device: torch.device) -> RotatingBuffers:
        """n rows that reach `reach` positions back, `new` positions each."""
        H, K, slots = 8, 64, reach + 14 + cls.n_sinks
        first = torch.randint(5000, 9000, (n, 1), device=device)
        turn = torch.rand(n, new, K // 2, device=device) * 6
        return cls(
            torch.randn(n, new, (H + 2) * K, device=device),
            (torch.ones(K, device=device), torch.ones(K, device=device)),
            (turn.cos(), turn.sin()),
            first + torch.arange(new, device=device),
            (
                torch.randn(n, 1, slots, K, device=device),
                torch.randn(n, 1, slots, K, device=device),
            ),
            reach,
        )

    def row(self, i: int) -> RotatingBuffers:
        part = slice(i, i + 1)
        return replace(
            self,
            qkv=self.qkv[part],
            angles=(self.angles[0][part], self.angles[1][part]),
            positions=self.positions[part],
            cache=(self.cache[0][part].clone(), self.cache[1][part].clone()),
        )

    def run(self) -> Tensor:
        """Attend in place; a second call gives the same, because it writes the same slots."""
        from microturn.kernels.ring_attention_triton import ring_attention_triton

        return ring_attention_triton(*self._arguments(self.cache))

    def reference(self) -> Tensor:
        from microturn.kernels.ring_attention import attention_reference

        return attention_reference(*self._arguments((self.cache[0].clone(), self.cache[1].clone())))

    def _arguments(self, cache: tuple[Tensor, Tensor]) -> tuple[Any, ...]:
        arguments = (self.qkv, self.weights, self.angles, self.positions, cache)
        return (*arguments, self.reach, 1e-6, self.n_sinks)

    def sdpa(self) -> Tensor:
        """The core alone, keys repeated for every head by the library."""
        (B, T, width), (_, _, C, K) = self.qkv.shape, self.cache[0].shape
        q = self.qkv[..., : width - 2 * K].view(B, T, -1, K).transpose(1, 2)
        mask = torch.ones(B, 1, T, C, dtype=torch.bool, device=q.device)
        return F.scaled_dot_product_attention(q, *self.cache, attn_mask=mask, enable_gqa=True)
