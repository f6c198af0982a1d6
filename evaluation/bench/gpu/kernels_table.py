"""The text table of `microturn bench gpu-kernels`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from microturn.evaluation.bench.gpu.steps import device_line

_COLUMNS: Final = (
    "decode",
    "decode again",
    "default",
    "grouped",
    "gather_reduce",
    "gather_einsum",
    "dense loop",
    "expert loop",
)
_HEADS: Final = [("T", 4), ("floor", 8), ("of copy", 9), ("decode", 8), ("again", 8)] + [
    (head, 9) for head in ("default", "grouped", "reduce*", "einsum*", "dense", "loop")
]


def format_gpu_kernels(figures: Mapping[str, Any]) -> str:
    """Format the figures as a text table."""
    bits, errors = figures.get("bits", {}), figures.get("parity", {"": -1.0})
    lines = [
        device_line(figures.get("device_info", {})),
        f"worst parity error {max(errors.values()):.1e}; "
        f"same bits in {sum(bits.values())} of {len(bits)} comparisons",
        *_single_kernels(figures),
        *_layers(figures),
        "us per layer; decode: best tiles, default: built-in; * under torch.compile",
    ]
    return "\n".join(lines)


def _single_kernels(figures: Mapping[str, Any]) -> Iterator[str]:
    for n, row in figures.get("router", {}).items():
        yield f"router T={n}: {row['us']:.1f} us, torch {row['torch_us']:.1f} us"
    for n, row in figures.get("ring attention", {}).items():
        yield (
            f"ring attention {n}: {row['us']:.1f} us, SDPA {row['sdpa_us']:.1f} us, "
            f"{row['floor_mb']:.1f} MB, error {row['error']:.1e}"
        )
    for n, row in figures.get("dmel bag", {}).items():
        yield (
            f"dMel bag N={n}: {row['us']:.1f} us, torch {row['torch_us']:.1f} us, "
            f"{row['read_mb']:.1f} MB, error {row['error']:.1e}"
        )
    for n, times in figures.get("streams", {}).items():
        (best, us), built_in = next(iter(times.items())), times["built in"]
        yield f"T={n}: fastest {best}, {us:.1f} us; built in {built_in:.1f} us"
    for name, ranking in figures.get("tiles", {}).items():
        yield f"tiles {name}: up {ranking['up'][:2]} down {ranking['down'][:2]}"


def _layers(figures: Mapping[str, Any]) -> Iterator[str]:
    yield "".join(f"{head:>{width}}" for head, width in _HEADS)
    for n, row in figures.get("layer", {}).items():
        us = {**row["us"], **figures.get("compiled", {}).get(n, {})}
        cells = [n, f"{row['floor_us']:.1f}", f"{row['stream_share']:.0%}"]
        cells += [f"{us[name]:.1f}" if name in us else "-" for name in _COLUMNS]
        pairs = zip(cells, _HEADS, strict=True)
        yield "".join(f"{cell:>{width}}" for cell, (_, width) in pairs)
