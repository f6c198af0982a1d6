"""`microturn bench kernels`: parity, bytes, and time beside what PyTorch offers.

Without a GPU the kernels run in Triton's interpreter, which says whether they are right and
nothing about their speed: then only the PyTorch variants are timed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

import torch
from tqdm import tqdm

from microturn.configs.load import ConfigError
from microturn.evaluation.bench.config import BenchKernelsConfig
from microturn.evaluation.bench.gpu.steps import bench_device
from microturn.evaluation.bench.kernels_measure import (
    ROUTINGS,
    Experts,
    Sets,
    Shape,
    dense_loop,
    gather_einsum,
    gather_reduce,
    measure_device,
    poisoned,
    relative_error,
    time_layer,
)
from microturn.evaluation.bench.results import publish
from microturn.kernels.experts import (
    experts_decode_reference,
    experts_grouped,
    experts_reference,
)

LIMITS: Final = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
_CACHE_BYTES: Final = {"cuda": 100e6, "cpu": 64e6}  # a sweep reads at least this much


def run_bench_kernels(config: BenchKernelsConfig) -> int:
    """The command: exit 1 when a kernel differs from its definition."""
    device = bench_device(needs_gpu=False)
    torch.manual_seed(config.seed)
    shape = _shape(config, device)
    with torch.inference_mode():
        result = {
            **measure_device(device),
            "shape": vars(shape),
            "parity": parity(device),
            "layer": layer(config, shape, device),
        }
    publish(result, format_kernels(result), config)
    wrong = [name for name, row in result["parity"].items() if not row["error"] < row["limit"]]
    for name in wrong:
        sys.stderr.write(f"{name} differs from its definition\n")
    return 1 if wrong else 0


def _shape(config: BenchKernelsConfig, device: torch.device) -> Shape:
    base = (
        Shape() if device.type == "cuda" else Shape(d_model=192, n_experts=8, top_k=2, d_expert=128)
    )
    shape = Shape(
        d_model=config.d_model or base.d_model,
        n_experts=config.n_experts or base.n_experts,
        top_k=config.top_k or base.top_k,
        d_expert=config.d_expert or base.d_expert,
    )
    if shape.top_k > shape.n_experts:
        raise ConfigError(f"top_k={shape.top_k} must not exceed n_experts={shape.n_experts}")
    return shape


def parity(device: torch.device) -> dict[str, dict[str, float]]:
    """Worst relative error of each kernel over routings, with outputs poisoned beforehand."""
    from microturn.kernels.experts_triton import experts_decode

    shape = Shape(d_model=40, n_experts=6, top_k=2, d_expert=24)
    rows = {}
    for dtype, limit in LIMITS.items():
        up, down = shape.weights(dtype, device)
        for by_pair in (False, True):
            errors = []
            for kind in ROUTINGS:
                inputs = shape.inputs(kind, 5, dtype, device)
                with poisoned():
                    out = experts_decode(*inputs, up, down, by_pair=by_pair)
                reference = experts_decode_reference(*inputs, up, down)
                errors.append(relative_error(out, reference))
            name = f"experts by {'pair' if by_pair else 'expert'} {str(dtype)[6:]}"
            worst = max(errors, key=lambda error: (error != error, error))  # NaN is worst
            rows[name] = {"error": worst, "limit": limit}
    return rows


def _variants(device: torch.device) -> dict[str, tuple[Experts, bool]]:
    """What is timed, and whether it can be captured as a graph."""
    loop: dict[str, tuple[Experts, bool]] = {
        "expert loop": (experts_reference, False),
        "dense loop": (dense_loop, True),
    }
    if device.type == "cpu":
        return {**loop, "gather einsum": (gather_einsum, False)}
    from microturn.kernels.experts_triton import experts_decode

    compiled: Callable[[Experts], Experts] = torch.compile
    return {
        "decode": (experts_decode, True),
        "grouped": (experts_grouped, True),
        "gather einsum*": (compiled(gather_einsum), True),
        "gather reduce*": (compiled(gather_reduce), True),
        **loop,
    }


def layer(config: BenchKernelsConfig, shape: Shape, device: torch.device) -> dict[str, Any]:
    """Microseconds of one layer per variant, and the bytes that it cannot do without."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    itemsize = torch.empty((), dtype=dtype).element_size()
    per_call = 3 * shape.top_k * shape.d_model * shape.d_expert * itemsize
    n_sets = min(64, max(2, int(_CACHE_BYTES[device.type] / per_call) + 1))
    sets = Sets.draw(shape, n_sets, dtype, device)
    variants = _variants(device)
    rows: dict[str, Any] = {}
    steps = len(config.tokens) * len(variants)
    with tqdm(total=steps, desc="bench kernels", unit="timing", file=sys.stderr) as bar:
        for n in config.tokens:
            cases, us = sets.cases("random", n), {}
            for name, (run_, graph) in variants.items():
                seconds = time_layer(run_, cases, repeats=config.repeats, graph=graph)
                us[name] = 1e6 * seconds
                bar.update()
            rows[str(n)] = {"floor_bytes": sets.floor_bytes(cases), "us": us}
    return rows


def format_kernels(result: dict[str, Any]) -> str:
    """Format the figures as a text table; the share is that of the copy's bandwidth."""
    shape = result["shape"]
    lines = [
        f"{result['device']}, {result['threads']} threads: copy {result['stream_gb_s']:.1f} GB/s, "
        f"matmul {result['matmul_tflop_s']:.2f} TFLOP/s",
        *(
            f"parity {name:<28} {row['error']:.1e} (limit {row['limit']:.0e})"
            for name, row in result["parity"].items()
        ),
        "experts, us per layer (share of the copy's bandwidth): "
        + ", ".join(f"{name}={value}" for name, value in shape.items()),
    ]
    names = list(next(iter(result["layer"].values()))["us"])
    lines.append(f"{'T':>4} {'floor MB':>9} {'floor us':>9}" + "".join(f"{n:>21}" for n in names))
    for n, row in result["layer"].items():
        floor_us = 1e-3 * row["floor_bytes"] / result["stream_gb_s"]
        cells = [f"{us:.1f} ({floor_us / us:.0%})" for us in row["us"].values()]
        lines.append(
            f"{n:>4} {row['floor_bytes'] / 1e6:>9.2f} {floor_us:>9.1f}"
            + "".join(f"{cell:>21}" for cell in cells)
        )
    if any(name.endswith("*") for name in names):
        lines.append("* under torch.compile")
    return "\n".join(lines) + "\n"
