"""The one short table of `microturn bench gpu`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from microturn.evaluation.bench.gpu.steps import device_line

LAYER_TOKENS: Final = ("1", "8", "32")
Row = Mapping[str, Any]


def format_summary(figures: Mapping[str, Any]) -> str:
    """Format what the parts measured, and last what failed or was left out."""
    training, sessions, kernels = (
        figures.get(part, {}) for part in ("training", "sessions", "kernels")
    )
    infos = (part.get("device_info") for part in (training, sessions, kernels))
    lines = [device_line(next(filter(None, infos), {}))]
    lines += [*_training(training), *_sessions(sessions), *_kernels(kernels)]
    lines.append(f"{figures.get('seconds', 0.0):.0f} s in all")
    for name, part in figures["parts"].items():
        if part["failure"]:
            lines.append(f"FAILED {name}: {part['failure']}")
    for part in (training, sessions, kernels):
        lines += [f"FAILED {failure}" for failure in part.get("failures", [])]
        lines += [f"left out: {name}" for name in part.get("left_out", [])]
    return "\n".join(lines)


def _training(figures: Row) -> Iterator[str]:
    if not figures:
        return
    yield (
        f"{'training':<22}{'ms/step':>9}{'tokens/s':>11}{'of matmul':>11}{'data wait':>11}"
        f"{'kernels':>9}{'GPU idle':>10}"
    )
    for name, row in figures.items():
        if isinstance(row, dict) and "step_ms" in row:
            yield (
                f"{name:<22}{row['step_ms']:>9.1f}{row['positions_per_s']:>11,.0f}"
                f"{row['utilisation']:>11.1%}{_share(row.get('data_wait')):>11}"
                f"{_count(row.get('kernels')):>9}{_share(_idle(row, 'step_ms')):>10}"
            )
    for n, row in figures.get("windows", {}).items():
        yield (
            f"attention of {n} micro-turns: {row['window_ms']:.2f} ms, "
            f"under a mask of all pairs {row['all_pairs_ms']:.2f} ms"
        )


def _sessions(figures: Row) -> Iterator[str]:
    if not figures:
        return
    yield (
        f"{'sessions':<22}{'p50 ms':>9}{'p99 ms':>11}{'eager ms':>11}{'kernels':>20}"
        f"{'GPU idle':>10}"
    )
    for name, row in figures.items():
        if isinstance(row, dict) and "eager_ms" in row:
            bits = "" if row["same"] else "  other bits than without a graph"
            yield (
                f"{name:<22}{row['p50_ms']:>9.1f}{row['p99_ms']:>11.1f}{row['eager_ms']:>11.1f}"
                f"{_count(row.get('kernels')):>20}{_share(_idle(row, 'p50_ms')):>10}{bits}"
            )


def _kernels(figures: Row) -> Iterator[str]:
    if not figures:
        return
    yield f"{'experts':<22}{'us':>9}{'of copy':>11}{'grouped us':>11}"
    for n in LAYER_TOKENS:
        row = figures.get("layer", {}).get(n)
        if row:
            grouped = row["us"].get("grouped")
            yield (
                f"{'T=' + n:<22}{row['us']['decode']:>9.1f}{row['stream_share']:>11.0%}"
                f"{'-' if grouped is None else f'{grouped:.1f}':>11}"
            )
    for n, times in figures.get("streams", {}).items():
        best, us = next(iter(times.items()))
        yield f"T={n}: {times['built in']:.1f} us as built in, {us:.1f} us the fastest way ({best})"
    errors, bits = figures.get("parity", {}), figures.get("bits", {})
    for dtype in ("float32", "bfloat16"):
        of_type = [error for name, error in errors.items() if name.startswith(dtype)]
        if of_type:
            yield f"worst error in {dtype}: {max(of_type):.1e}"
    yield f"same bits in {sum(bits.values())} of {len(bits)} comparisons"


def _idle(row: Row, whole: str) -> float | None:
    """Share of the time in which the GPU had nothing to do."""
    return 1 - row["gpu_ms"] / row[whole] if "gpu_ms" in row else None


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
