"""`microturn plan`: size of a model, its needs, and a layout of its training over GPUs."""

from __future__ import annotations

import math
import sys
from typing import Any

from microturn.configs.command import write_json
from microturn.configs.load import ConfigError
from microturn.model.plan.config import PlanConfig
from microturn.model.plan.count import Counts, count, meta_model
from microturn.model.plan.flops import forward_flops, muon_flops
from microturn.model.plan.parallel_layout import Layout, available, choose, routed_share
from microturn.model.plan.scale import costs, state_bytes
from microturn.model.plan.text import arithmetic, text

_BF16 = 2
_MAX_WEIGHT_SHARE = 0.6  # of memory, where sessions are served


def print_plan(config: PlanConfig) -> int:
    """Print the plan as text and write it as JSON to `json=`."""
    result = plan(config)
    sys.stdout.write(text(result, config) if config.json != "-" else "")
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
    work = step_flops(config, counts, way, trained)
    passes = sum(work.values()) - work["optimizer"]
    seconds = passes / config.model_flops_per_s + work["optimizer"] / config.optimizer_flops_per_s
    turns = config.dialogues * config.micro_turns
    hours = config.conversations.hours
    return {
        "parameters_total": counts.total,
        "parameters_active": counts.active,
        "parts": {
            name: {"total": total, "active": active}
            for name, (total, active) in counts.parts.items()
        },
        "gpus": config.gpus,
        "parallel": {"data": way.data, "shard": way.shard, "expert": way.expert},
        "train": train_keys(config, way),
        "memory_per_gpu": way.memory | {"peak": way.bytes, "available": available(config)},
        "traffic_per_step": {
            name: {"bytes": size, "seconds": seconds}
            for name, (size, seconds) in way.traffic.items()
        },
        "traffic_seconds": way.seconds,
        "flops_per_micro_turn": {
            "training": {"forward": trained, "forward_and_backward": 3 * sum(trained.values())},
            "live": live | {"total": sum(live.values())},
        },
        "flops_per_step_and_gpu": work,
        "session_cache_bytes": counts.cache * _BF16,
        "state_bytes": state_bytes(counts),
        "serving": serving(config, counts, sum(live.values())),
        "micro_turns_per_s": turns / seconds,
        "tokens_per_s": turns / seconds * layout.n_positions,
        "dialogue_s_per_s": layout.duration_s(turns) / seconds,
        "step": {"micro_turns": turns, "seconds": seconds},
        "conversations": [
            costs(config, counts, each, arithmetic_s=seconds, traffic_s=way.seconds)
            for each in hours
        ],
        "arithmetic": arithmetic(config, counts, way),
    }


def train_keys(config: PlanConfig, way: Layout) -> dict[str, str]:
    """Write the layout as keys of `microturn train`."""
    devices = min(config.gpus, config.machine.node_gpus)
    keys = {
        "accelerator": config.accelerator,
        "nodes": config.gpus // devices,
        "devices": devices,
        "parallel.data": way.data,
        "parallel.shard": way.shard,
        "parallel.expert": way.expert,
        "batch_size": config.dialogues,
        "accumulate": config.accumulate,
        "precision": config.precision,
        "activation_checkpointing": config.activation_checkpointing,
    }
    return {name: str(value).lower() for name, value in keys.items()}


def step_flops(
    config: PlanConfig, counts: Counts, way: Layout, forward: dict[str, float]
) -> dict[str, float]:
    """Count what each GPU computes in a step, by pass.

    With checkpointing the blocks run forward twice. Every GPU of a group orthogonalises its own
    experts and, whole, all other matrices.
    """
    blocks = sum(forward[part] for part in ("projections", "attention", "dense", "experts"))
    turns = config.dialogues / config.gpus * config.micro_turns
    share = routed_share(config, way.shard, way.expert)
    return {
        "forward": turns * sum(forward.values()),
        "forward again": turns * blocks * config.activation_checkpointing,
        "backward": 2 * turns * sum(forward.values()),
        "optimizer": sum(
            n * muon_flops(shape) * (share if len(shape) > 2 else 1)
            for shape, n in counts.matrix_shapes.items()
        ),
    }


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
