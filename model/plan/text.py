"""The plan as text: tables, and the sentences that explain them."""

from __future__ import annotations

from typing import Any

from microturn.model.plan.config import PlanConfig
from microturn.model.plan.count import Counts
from microturn.model.plan.parallel_layout import RESERVED, Layout, routed_share
from microturn.model.plan.scale import sources, table


def arithmetic(config: PlanConfig, counts: Counts, way: Layout) -> list[str]:
    """Explain the layout, one line per quantity."""
    model, layout, others = config.model, config.layout, counts.total - counts.matrices
    group = way.shard * way.expert
    at_once = config.micro_turns_at_once
    lines = [
        f"data {way.data} = {config.gpus} gpus / (shard {way.shard} x expert {way.expert})",
        f"positions at once = {at_once // config.micro_turns} dialogues x {config.micro_turns} "
        f"micro-turns x {layout.n_positions} = {at_once * layout.n_positions:,}",
        f"states = (4 weights + 4 gradients) x {_size(counts.total)} + 4 x "
        f"{_size(counts.matrices)} matrices + 8 x {_size(others)} others, over {group} gpus",
        "peak = weights + optimizer + the larger of (gathered weights + activations) and "
        "(gradients + update)" + (", gradients in both" if config.accumulate > 1 else ""),
        f"room = {config.machine.memory_gb:g} GB less {RESERVED:.0%}",
    ]
    if model.moe.n_experts:
        held = routed_share(config, way.shard, way.expert) * model.moe.n_experts
        lines.insert(
            1,
            f"experts of a layer = {model.moe.n_experts}, {model.moe.n_experts // way.expert} for "
            f"each of expert {way.expert}; a gpu keeps {held:.0f} of them",
        )
    return lines


def text(result: dict[str, Any], config: PlanConfig) -> str:
    """Format the plan as a text table."""
    memory, work = result["memory_per_gpu"], result["flops_per_step_and_gpu"]
    flops, serving = result["flops_per_micro_turn"], result["serving"]
    total, active = result["parameters_total"], result["parameters_active"]
    lines = [
        f"parameters {_size(total)}, active {_size(active)}",
        *(
            f"  {name:<16}{_size(part['total']):>10}{_size(part['active']):>10}"
            for name, part in result["parts"].items()
        ),
        "",
        f"training on {result['gpus']} GPUs, as keys of microturn train:",
        *_wrapped([f"{name}={value}" for name, value in result["train"].items()]),
        *(f"  {line}" for line in result["arithmetic"]),
        "",
        "memory per GPU, GB",
        *(f"  {name:<18}{size / 1e9:>9.2f}" for name, size in memory.items()),
        "",
        "traffic per GPU and step",
        *(
            f"  {name:<28}{part['bytes'] / 1e9:>9.2f} GB {part['seconds']:>8.3f} s"
            for name, part in result["traffic_per_step"].items()
        ),
        f"  {'together':<28}{'':>12} {result['traffic_seconds']:>8.3f} s",
        "",
        "arithmetic per GPU and step",
        *(f"  {name:<18}{_si(value):>8}FLOP" for name, value in work.items()),
        f"  at {_si(config.model_flops_per_s)}FLOP/s, the optimizer at "
        f"{_si(config.optimizer_flops_per_s)}FLOP/s: {result['step']['seconds']:.3f} s",
        f"  {result['tokens_per_s']:,.0f} positions/s, {result['dialogue_s_per_s']:,.0f} s of "
        "dialogue per second",
        "",
        f"forward and backward: {_si(flops['training']['forward_and_backward'])}FLOP per "
        f"micro-turn; live: {_si(flops['live']['total'])}FLOP",
        f"session cache {_si(result['session_cache_bytes'])}B; {serving['gpus']} GPU(s) hold "
        f"the weights and {serving['sessions_in_memory']:,} sessions in memory",
    ]
    if result["conversations"]:
        lines += ["", "hours of conversation"]
        lines += [f"  {line}" for line in table(result["conversations"], config)]
        lines += [f"  {line}" for line in sources(config, result["state_bytes"])]
    return "\n".join(lines) + "\n"


def _wrapped(words: list[str]) -> list[str]:
    """Set words in lines that can be copied into one command."""
    lines = [""]
    for word in words:
        if len(lines[-1]) + len(word) > 88:
            lines[-1] += " \\"
            lines.append("")
        lines[-1] += f"  {word}" if not lines[-1] else f" {word}"
    return lines


def _si(value: float, giga: str = "G") -> str:
    """Format with three digits and a prefix."""
    for size, unit in ((1e15, "P"), (1e12, "T"), (1e9, giga), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} "


def _size(value: float) -> str:
    """Format a number of parameters, B for 10^9."""
    return _si(value, "B")
