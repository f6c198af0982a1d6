"""`microturn bench gpu-kernels`: parity, bits and time of every kernel on a GPU.

Parity with the definition, batch invariance, every tile, then whole layers beside the operations
of PyTorch. Figures go to OUT/kernels.json step by step; the table is printed last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from microturn.evaluation.bench.config import BenchGpuKernelsConfig
from microturn.evaluation.bench.gpu.kernels_table import format_gpu_kernels
from microturn.evaluation.bench.gpu.steps import StepRecorder
from microturn.evaluation.bench.gpu.tiles import TileSearch, best_experts
from microturn.evaluation.bench.kernels_measure import (
    ROUTINGS,
    Experts,
    RotatingBuffers,
    Sets,
    Shape,
    dense_loop,
    gather_einsum,
    gather_reduce,
    measure_device,
    poisoned,
    relative_error,
    seconds_per_call,
    time_layer,
)
from microturn.kernels.dmel_bag import dmel_bag_reference
from microturn.kernels.dmel_bag_triton import dmel_bag_triton
from microturn.kernels.experts import (
    experts_decode_reference,
    experts_grouped,
    experts_reference,
)
from microturn.kernels.experts_tiles import PAIR_TOKENS, Streams, Tile, plan_for
from microturn.kernels.experts_triton import experts_decode
from microturn.kernels.router import route_reference
from microturn.kernels.router_triton import route_triton

LIMITS: Final = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
_INTERPRETED_LIMITS: Final = {**LIMITS, torch.bfloat16: 2e-2}  # it truncates
SHORT_SECONDS: Final = 40.0
SLOT_TILES: Final = (Tile(32, 128, 4, 6), Tile(64, 128, 4, 3), Tile(64, 64, 4, 6))  # of down
MAX_DENSE_TOKENS: Final = 32  # up to which the loops over all experts are timed


@dataclass(frozen=True, kw_only=True)
class KernelSizes:
    """Sizes at which the kernels are checked and timed."""

    shape: Shape
    odd: Shape  # no power of two, for parity
    tokens: tuple[int, ...]
    layer_tokens: tuple[int, ...]
    router_tokens: tuple[int, ...]
    rings: tuple[tuple[int, int, int], ...]  # rows, new positions, reach
    frames: tuple[int, ...]
    routings: tuple[str, ...]
    n_sets: int
    calls: int  # in one captured graph
    repeats: int


FULL: Final = KernelSizes(
    shape=Shape(),
    odd=Shape(d_model=200, n_experts=7, top_k=3, d_expert=72),
    tokens=(1, 2, 4, 8, 16, 24, 32),
    layer_tokens=(1, 2, 4, 8, 16, 24, 32, 48, 64, 128, 256),
    router_tokens=(1, 4, 32),
    rings=(
        *((n, 1, reach) for reach in (672, 2688) for n in (1, 4, 16, 64)),
        *((n, 6, reach) for reach in (672, 2688) for n in (1, 64)),
    ),
    frames=(4, 64, 256),
    routings=ROUTINGS,
    n_sets=12,  # 12 sets of four experts each already exceed the L2 at one token
    calls=8,
    repeats=11,
)
SMOKE: Final = KernelSizes(
    shape=Shape(d_model=32, n_experts=4, top_k=2, d_expert=16),
    odd=Shape(d_model=40, n_experts=3, top_k=2, d_expert=24),
    tokens=(1, 4),
    layer_tokens=(1, 4),
    router_tokens=(1, 3),
    rings=((2, 1, 24),),
    frames=(2,),
    routings=("random", "one"),
    n_sets=2,
    calls=1,
    repeats=1,
)


def run_bench_gpu_kernels(config: BenchGpuKernelsConfig, device: torch.device) -> int:
    """Check and time the kernels; return 1 when a check fails."""
    torch.manual_seed(0)
    max_s = min(SHORT_SECONDS, config.max_s) if config.short else config.max_s
    recorder = StepRecorder(Path(config.out) / "kernels.json", max_s=max_s)
    with torch.inference_mode():
        KernelBench(config, device, recorder).run()
    return recorder.finish(format_gpu_kernels(recorder.figures))


class KernelBench:
    """The steps of the bench; each returns its figures and adds to the recorder's failures."""

    def __init__(
        self, config: BenchGpuKernelsConfig, device: torch.device, recorder: StepRecorder
    ) -> None:
        self.config, self.device, self.recorder = config, device, recorder
        self.sizes = SMOKE if config.smoke else FULL

    def run(self) -> None:
        step = self.recorder.run
        step("device_info", lambda: measure_device(self.device))
        step("parity", self.parity)
        step("bits", self.same_bits)
        step("router", self.router)
        sets = Sets.draw(self.sizes.shape, self.sizes.n_sets, torch.bfloat16, self.device)
        step("ring attention", self.ring_attention)
        step("dmel bag", self.dmel_bag)
        if not (self.config.short or self.config.smoke):
            search = TileSearch(sets, is_over_time=lambda: self.recorder.is_over_time)
            step("tiles", search.run)
        step("streams", lambda: self.streams(sets))
        step("layer", lambda: self.layer(sets))
        if not self.config.smoke:
            step("compiled", lambda: self.compiled(sets))

    def _us(self, run: Callable[..., Any], *args: Any) -> float:
        """Microseconds of one call inside a captured graph."""
        calls = [lambda: run(*args)] * self.sizes.calls
        return 1e6 * seconds_per_call(calls, repeats=self.sizes.repeats, graph=True)

    def parity(self) -> dict[str, float]:
        """Worst relative error per type and number of tokens, over routings and mappings."""
        errors: dict[str, float] = {}
        limits = LIMITS if self.device.type == "cuda" else _INTERPRETED_LIMITS
        for dtype, limit in limits.items():
            for shape in (self.sizes.shape, self.sizes.odd):
                up, down = shape.weights(dtype, self.device)
                for n in self.sizes.tokens:
                    name = f"{dtype}"[6:] + f" d={shape.d_model} T={n}"
                    errors[name] = max(
                        self._error(shape.inputs(kind, n, dtype, self.device), up, down, by_pair)
                        for kind in self.sizes.routings
                        for by_pair in (False, True)
                    )
                    if not errors[name] < limit:
                        self.recorder.failures.append(f"parity {name}: {errors[name]:.1e}")
        return errors

    def _error(
        self, inputs: tuple[Tensor, Tensor, Tensor], up: Tensor, down: Tensor, by_pair: bool
    ) -> float:
        with poisoned():
            out = experts_decode(*inputs, up, down, by_pair=by_pair)
        error = relative_error(out, experts_decode_reference(*inputs, up, down))
        return error if error == error else float("inf")

    def same_bits(self) -> dict[str, bool]:
        """Compare a token's bits alone, in small batches and under other tiles."""
        same: dict[str, bool] = {}
        shape, total = self.sizes.shape, max(self.sizes.tokens)
        for dtype in LIMITS:
            up, down = shape.weights(dtype, self.device)
            for kind in self.sizes.routings:
                x, ids, w = shape.inputs(kind, total, dtype, self.device)
                full = experts_decode(x, ids, w, up, down)
                for n in (1, 2, 4, 8, 16)[: total.bit_length() - 1]:
                    parts = [
                        experts_decode(x[i : i + n], ids[i : i + n], w[i : i + n], up, down)
                        for i in range(0, total, n)
                    ]
                    same[f"{dtype} {kind} {n}"] = torch.equal(full, torch.cat(parts))
                for tile in (Tile(64, 64, 4, 3), Tile(16, 128, 4, 4)):
                    if dtype == torch.bfloat16:
                        other = experts_decode(x, ids, w, up, down, (tile, tile))
                        same[f"{dtype} {kind} {tile}"] = torch.equal(full, other)
        wrong = [name for name, equal in same.items() if not equal]
        self.recorder.failures.extend(f"bits differ: {name}" for name in wrong)
        return same

    def router(self) -> dict[str, Any]:
        """Parity, bits and time of the router beside PyTorch."""
        E, K, D = (getattr(self.sizes.shape, name) for name in ("n_experts", "top_k", "d_model"))
        weight = torch.randn(E + 1, D, device=self.device) * D**-0.5
        bias = torch.randn(E, device=self.device) * 0.01
        rows: dict[str, Any] = {}
        for n in self.sizes.router_tokens:
            x = torch.randn(n, D, dtype=torch.bfloat16, device=self.device)
            args = (weight, bias, K, 5.0)
            with poisoned():
                got = route_triton(x, *args)
            ref = route_reference(x, *args)
            alone = torch.cat([route_triton(x[i : i + 1], *args)[1] for i in range(n)])
            rows[str(n)] = {
                "same_ids": torch.equal(got[0], ref[0]),
                "error": max(relative_error(got[1], ref[1]), relative_error(got[2], ref[2])),
                "same_bits": torch.equal(got[1], alone),
                "us": self._us(route_triton, x, *args),
                "torch_us": self._us(route_reference, x, *args),
            }
            bad = not (rows[str(n)]["same_bits"] and rows[str(n)]["error"] < 1e-4)
            if bad:
                self.recorder.failures.append(f"router T={n}: {rows[str(n)]}")
        return rows

    def ring_attention(self) -> dict[str, Any]:
        """Parity, bits and time of attention over a full ring beside SDPA with the same mask.

        `small` has a window of 48 micro-turns of 14 positions, its global layers one of 192.
        """
        rows: dict[str, Any] = {}
        for n, new, reach in self.sizes.rings:
            ring = RotatingBuffers.draw(n, new, reach, self.device)
            with poisoned():
                got, cache = ring.run(), ring.cache
            expected = ring.reference()
            alone = ring.row(n - 1).run()
            rows[f"B={n} T={new} of {reach}"] = row = {
                "error": relative_error(got, expected),
                "same_bits": torch.equal(got[n - 1 :], alone),
                "us": self._us(ring.run),
                "sdpa_us": self._us(ring.sdpa),
                "floor_mb": 2 * cache[0].nbytes / 1e6,
            }
            if not (row["error"] < 1e-4 and row["same_bits"]):
                self.recorder.failures.append(f"ring attention {n} {new} {reach}: {row}")
        return rows

    def dmel_bag(self) -> dict[str, Any]:
        """Parity, bits and time of microphone frames, four for each session of `small`."""
        rows: dict[str, Any] = {}
        table, weight = (torch.randn(*size, device=self.device) for size in ((1280, 512), (512,)))
        for n in self.sizes.frames:
            ids = torch.randint(16, (n, 80), dtype=torch.uint8, device=self.device)
            args = (ids, table, weight, 1e-6)
            with poisoned():
                got = dmel_bag_triton(*args)
            alone = torch.cat([dmel_bag_triton(ids[i : i + 1], *args[1:]) for i in range(n)])
            rows[str(n)] = row = {
                "error": relative_error(got, dmel_bag_reference(*args)),
                "same_bits": torch.equal(got, alone),
                "us": self._us(dmel_bag_triton, *args),
                "torch_us": self._us(dmel_bag_reference, *args),
                "read_mb": n * 80 * table[0].nbytes / 1e6,
            }
            if not (row["error"] < 1e-6 and row["same_bits"]):
                self.recorder.failures.append(f"dMel bag N={n}: {row}")
        return rows

    def streams(self, sets: Sets) -> dict[str, dict[str, float]]:
        """Microseconds of a layer of few tokens by how weights flow, the fastest first."""
        rows: dict[str, dict[str, float]] = {}
        for n in (1,) if self.config.short or self.config.smoke else (1, 2, 4, PAIR_TOKENS):
            cases, variants = sets.cases("random", n), stream_variants(n)
            expected = variants["built in"](*cases[0])
            times: dict[str, float] = {}
            for name in [*variants][: 2 if self.config.smoke else None]:
                run = variants[name]
                if not torch.equal(run(*cases[0]), expected):
                    self.recorder.failures.append(f"bits differ: {name} at T={n}")
                times[name] = 1e6 * time_layer(run, cases, repeats=self.sizes.repeats)
            rows[str(n)] = dict(sorted(times.items(), key=lambda item: item[1]))
        return rows

    def layer(self, sets: Sets) -> dict[str, Any]:
        """Microseconds of a whole layer, and the share of the copy's bandwidth."""
        rows: dict[str, Any] = {}
        stream = self.recorder.figures["device_info"]["stream_gb_s"] * 1e9
        for n in self.sizes.layer_tokens:
            cases = sets.cases("random", n)
            choice, seconds = self._time_variants(n, cases)
            floor = sets.floor_bytes(cases)
            rows[str(n)] = {
                "choice": choice,
                "floor_mb": floor / 1e6,
                "floor_us": 1e6 * floor / stream,
                "stream_share": floor / seconds["decode"] / stream,
                "us": {name: 1e6 * value for name, value in seconds.items()},
            }
        return rows

    def _time_variants(
        self, n: int, cases: list[tuple[Tensor, ...]]
    ) -> tuple[str, dict[str, float]]:
        """The name of the tiles chosen for n tokens, and the seconds of each variant."""
        choice, best = best_experts(self.recorder.figures.get("tiles", {}), n)
        variants = {"decode": best, "default": experts_decode, "decode again": best}
        if self.device.type == "cuda":
            variants["grouped"] = experts_grouped
        repeats = self.sizes.repeats
        seconds = {name: time_layer(run, cases, repeats=repeats) for name, run in variants.items()}
        if n <= MAX_DENSE_TOKENS and not self.config.short:
            seconds["dense loop"] = time_layer(dense_loop, cases[:4], repeats=5)
            seconds["expert loop"] = time_layer(experts_reference, cases, repeats=3, graph=False)
        return choice, seconds

    def compiled(self, sets: Sets) -> dict[str, Any]:
        """Microseconds of the gathers under torch.compile, while time is left."""
        rows: dict[str, Any] = {}
        for n in (1, 8, 16, 4, 32, 2, 24):
            for run in (gather_reduce,) if self.config.short else (gather_reduce, gather_einsum):
                if self.recorder.is_over_time:
                    return rows
                compiled = torch.compile(run, dynamic=False)
                cases = sets.cases("random", n)
                rows.setdefault(str(n), {})[run.__name__] = 1e6 * time_layer(compiled, cases)
        return rows


def stream_variants(n_tokens: int) -> dict[str, Experts]:
    """The ways for weights to flow with the built-in tiles, and slot by slot with wider ones."""
    (up, _), _ = plan_for(n_tokens, torch.bfloat16)
    variants: dict[str, Experts] = {"built in": partial(experts_decode, by_pair=True)}
    for ahead, overlap in ((True, False), (False, True), (True, True)):
        streams = Streams(ahead=ahead, overlap=overlap)
        names = [name for name, on in streams._asdict().items() if on]
        variants[" + ".join(names)] = partial(experts_decode, by_pair=True, streams=streams)
    for tile in SLOT_TILES:
        streams = Streams(by_slot=True, ahead=True, overlap=True)
        run = partial(experts_decode, tiles=(up, tile), by_pair=True, streams=streams)
        variants[f"by slot {tuple(tile)} + ahead + overlap"] = run
    return variants
