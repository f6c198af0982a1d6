"""`microturn plan`: size of a model, its needs, and a layout of its training over GPUs."""

from __future__ import annotations

import math
import sys
from typing import Any

from microturn.configs.command import write_json
from microturn.configs.load import ConfigError
from microturn.model.plan.config import PlanConfig
from microturn.model.plan.count import Counts, count, meta_model
from microturn.model.plan.flops import forward_flops
from microturn.model.plan.parallel_layout import (
    RESERVED,
    Layout,
    available,
    choose,
    micro_turns_of_a_rank,
)

_BF16 = 2
_MAX_WEIGHT_SHARE = 0.6  # of memory, where sessions are served


def print_plan(config: PlanConfig) -> int:
    """Print the plan as text and write it as JSON to `json=`."""
    result = plan(config)
    sys.stdout.write(text(result) if config.json != "-" else "")
    write_json(result, config.json)
    return 0


def plan(config: PlanConfig) -> dict[str, Any]:
    """Compute all numbers; ConfigError for an impossible model, ValueError if it does not fit."""
    try:
        model = meta_model(config.model, config.layout, config.vocab_size)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    counts = count(model)
    way = choose(config, counts)
    cfg, layout = config.model, config.layout
    trained = forward_flops(cfg, layout, config.vocab_size, config.micro_turns, training=True)
    reached = max(cfg.reach(layer) for layer in range(cfg.n_layers))
    live = forward_flops(cfg, layout, config.vocab_size, 100 * reached, training=False)
    both = 3 * sum(trained.values())
    per_second = config.gpus * config.machine.tflops * 1e12 * config.mfu / both
    step = config.dialogues * config.micro_turns
    room = available(config)
    return {
        "parameters_total": counts.total,
        "parameters_active": counts.active,
        "parts": {
            name: {"total": total, "active": active}
            for name, (total, active) in counts.parts.items()
        },
        "gpus": config.gpus,
        "parallel": {"data": way.data, "tensor": way.tensor, "expert": way.expert},
        "memory_per_gpu": way.memory | {"total": way.bytes, "available": room},
        "traffic_per_step": {
            name: {"bytes": size, "seconds": seconds}
            for name, (size, seconds) in way.traffic.items()
        },
        "traffic_seconds": way.seconds,
        "flops_per_micro_turn": {
            "training": {"forward": trained, "forward_and_backward": both},
            "live": live | {"total": sum(live.values())},
        },
        "session_cache_bytes": counts.cache * _BF16,
        "serving": serving(config, counts, sum(live.values())),
        "mfu": config.mfu,
        "micro_turns_per_s": per_second,
        "tokens_per_s": per_second * layout.n_positions,
        "dialogue_s_per_s": layout.duration_s(per_second),
        "step": {"micro_turns": step, "seconds": step / per_second},
        "arithmetic": arithmetic(config, counts, way),
    }  # fmt: skip


def serving(config: PlanConfig, counts: Counts, flops: float) -> dict[str, float | int]:
    """Find the fewest GPUs, a power of two, that hold the bf16 weights with room for sessions."""
    room, weights = available(config), counts.total * _BF16
    gpus = 1 << max(0, math.ceil(math.log2(weights / (_MAX_WEIGHT_SHARE * room))))
    left = gpus * room - weights
    return {
        "gpus": gpus,
        "weights_bytes_per_gpu": weights / gpus,
        "sessions_in_memory": int(left // (counts.cache * _BF16)),
        "flops_per_second_and_session": flops * 1000 / config.layout.micro_turn_ms,
    }


def arithmetic(config: PlanConfig, counts: Counts, way: Layout) -> list[str]:
    """Explain the layout, one line per quantity."""
    model, layout = config.model, config.layout
    held = model.moe.n_experts // way.expert
    turns = micro_turns_of_a_rank(config, way.tensor)
    others = counts.total - counts.matrices
    lines = [
        f"data {way.data} = {config.gpus} gpus / tensor {way.tensor}",
        f"positions of a rank = {config.dialogues} dialogues / data {way.data} x "
        f"{config.micro_turns} micro-turns x {layout.n_positions} = {turns * layout.n_positions:,}",
        f"states = (4 weights + 4 gradients) x {_size(counts.total)} + 4 x "
        f"{_size(counts.matrices)} matrices + 8 x {_size(others)} others, over {config.gpus} gpus",
        f"gathered = (2 blocks x 2 bytes + 4 of gradients) x one block of "
        f"{_size(counts.largest_block)} / {way.tensor} and its experts, plus both tables",
        f"room = {config.machine.memory_gb:g} GB less {RESERVED:.0%}",
    ]
    if model.moe.n_experts:
        lines.insert(
            1,
            f"experts of a gpu and layer = {model.moe.n_experts} / expert {way.expert} = {held}, "
            f"sharded over {config.gpus // way.expert} replicas",
        )
    return lines


def text(result: dict[str, Any]) -> str:
    """Format the plan as a text table."""
    parallel, memory = result["parallel"], result["memory_per_gpu"]
    flops, serving = result["flops_per_micro_turn"], result["serving"]
    total, active = result["parameters_total"], result["parameters_active"]
    lines = [
        f"parameters {_size(total)}, active {_size(active)}",
        *(
            f"  {name:<16}{_size(part['total']):>10}{_size(part['active']):>10}"
            for name, part in result["parts"].items()
        ),
        "",
        f"training on {result['gpus']} GPUs: data {parallel['data']}, tensor {parallel['tensor']}, "
        f"expert {parallel['expert']}",
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
        f"  {'together':<28}{'':>12} {result['traffic_seconds']:>8.3f} s, beside "
        f"{result['step']['seconds']:.3f} s of arithmetic",
        "",
        f"forward and backward: {_si(flops['training']['forward_and_backward'])}FLOP per "
        f"micro-turn; live: {_si(flops['live']['total'])}FLOP",
        f"at an MFU of {result['mfu']:.0%}: {result['tokens_per_s']:,.0f} tokens/s, "
        f"{result['dialogue_s_per_s']:,.0f} s of dialogue per second",
        f"session cache {_si(result['session_cache_bytes'])}B; {serving['gpus']} GPU(s) hold "
        f"the weights and {serving['sessions_in_memory']:,} sessions in memory",
    ]
    return "\n".join(lines) + "\n"


def _si(value: float, giga: str = "G") -> str:
    """Format with three digits and a prefix."""
    for size, unit in ((1e15, "P"), (1e12, "T"), (1e9, giga), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} "


def _size(value: float) -> str:
    """Format a number of parameters, B for 10^9."""
    return _si(value, "B")
