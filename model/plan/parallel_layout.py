"""Layouts of training over GPUs: memory and traffic of each, and the choice between them.

States (weights, gradients, optimiser) are in fp32 and fully sharded over all GPUs, as FSDP keeps
them; a block's weights are gathered in bf16 when it runs. Tensor parallelism cuts a position's
arithmetic (heads, hidden widths, vocabulary; activations between by sequence), expert parallelism
keeps whole experts apart and sends positions to them. Bytes; time in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from microturn.model.plan.config import PlanConfig
from microturn.model.plan.count import Counts

_FP32, _BF16 = 4, 2
RESERVED = 0.1  # share of a GPU's memory for libraries, buffers of collectives and fragments


@dataclass(frozen=True)
class Layout:
    """One layout of training; `data` ranks read different dialogues."""

    data: int
    tensor: int
    expert: int
    memory: dict[str, float]  # bytes per GPU, by use
    traffic: dict[str, tuple[float, float]]  # bytes per GPU and step, seconds

    @property
    def bytes(self) -> float:
        return sum(self.memory.values())

    @property
    def seconds(self) -> float:
        return sum(seconds for _, seconds in self.traffic.values())


def layouts(config: PlanConfig, counts: Counts) -> list[Layout]:
    """List the layouts that divide evenly, least time for traffic first."""
    model, gpus, node = config.model, config.gpus, config.machine.node_gpus
    tensors = [t for t in _divisors(gpus) if t <= node and model.n_kv_heads % t == 0]
    experts = [e for e in _divisors(gpus) if (model.moe.n_experts or 1) % e == 0]
    even = [t for t in tensors if config.dialogues % (gpus // t) == 0]
    if not even:
        raise ValueError(
            f"batch_size={config.dialogues} cannot be dealt evenly to {gpus} GPUs; "
            f"use a multiple of {gpus // max(tensors)}"
        )
    ways = [_layout(config, counts, t, e) for t in even for e in experts]
    return sorted(ways, key=lambda way: (way.seconds, way.tensor, way.expert))


def choose(config: PlanConfig, counts: Counts) -> Layout:
    """Choose the layout with the least traffic that fits; ValueError if none does."""
    ways = layouts(config, counts)
    room = available(config)
    fitting = [way for way in ways if way.bytes <= room]
    if fitting:
        return fitting[0]
    least = min(ways, key=lambda way: way.bytes)
    kind, size = max(least.memory.items(), key=lambda item: item[1])
    raise ValueError(
        f"does not fit: the leanest layout (tensor={least.tensor}, expert={least.expert}) needs "
        f"{least.bytes / 1e9:.1f} GB per GPU, {kind} {size / 1e9:.1f} GB of it, and "
        f"{room / 1e9:.1f} GB of machine.memory_gb={config.machine.memory_gb:g} can be used; "
        "give more gpus, fewer micro_turns or a smaller batch_size"
    )


def available(config: PlanConfig) -> float:
    """Compute the bytes of a GPU that the plan may fill."""
    return config.machine.memory_gb * 1e9 * (1 - RESERVED)


def _layout(config: PlanConfig, counts: Counts, tensor: int, expert: int) -> Layout:
    data = config.gpus // tensor
    memory = _states(config, counts) | _working(config, counts, tensor, expert)
    return Layout(data, tensor, expert, memory, _traffic(config, counts, tensor, expert))


def _states(config: PlanConfig, counts: Counts) -> dict[str, float]:
    optimizer = counts.matrices + 2 * (counts.total - counts.matrices)
    return {
        "weights": _FP32 * counts.total / config.gpus,
        "gradients": _FP32 * counts.total / config.gpus,
        "optimizer": _FP32 * optimizer / config.gpus,
    }


def _gathered(config: PlanConfig, counts: Counts, tensor: int, expert: int) -> tuple[float, float]:
    """Count one block's weights that a GPU gathers to run it: around the experts, and experts."""
    n_moe = sum(not config.model.is_dense(layer) for layer in range(config.model.n_layers))
    experts = counts.routed / n_moe / expert if n_moe else 0.0
    return counts.largest_block / tensor, experts


def _working(config: PlanConfig, counts: Counts, tensor: int, expert: int) -> dict[str, float]:
    around, experts = _gathered(config, counts, tensor, expert)
    model = config.model
    # Two blocks in bf16 (one runs, one arrives), the gradients of one, both tables.
    tables = 2 * config.vocab_size * model.d_model / tensor
    gathered = (around + experts) * (2 * _BF16 + _FP32) + tables * _BF16
    turns = micro_turns_of_a_rank(config, tensor)
    positions = turns * config.layout.n_positions
    block, flow = block_activations(config), turns * flow_activations(config)
    kept = (
        model.n_layers * model.d_model + block if config.checkpointing else model.n_layers * block
    )
    words = config.layout.heard_positions + config.layout.say_positions
    logits = turns * words * config.vocab_size
    return {
        "gathered weights": gathered,
        "activations": _BF16 * (positions * kept + flow) / tensor,
        "logits": (_BF16 + _FP32) * logits / tensor,
    }


def micro_turns_of_a_rank(config: PlanConfig, tensor: int) -> int:
    """Count the micro-turns that the GPUs of one dialogue read in a step."""
    return config.dialogues * tensor // config.gpus * config.micro_turns


def block_activations(config: PlanConfig) -> int:
    """Count the numbers that the backward pass of the largest block needs, per position."""
    model, moe = config.model, config.model.moe
    D = model.d_model
    attention = 4 * D + (model.n_heads + 2 * model.n_kv_heads) * model.head_dim
    dense = D + 3 * model.d_ff
    mixed = D + 3 * moe.n_active * moe.d_expert + 2 * moe.top_k * D if moe.n_experts else 0
    return attention + max(dense, mixed)


def flow_activations(config: PlanConfig) -> int:
    """Count the numbers that the backward pass of the flow head needs, per micro-turn."""
    flow, layout = config.model.flow, config.layout
    each = 2 * layout.patch_dim + flow.depth * 10 * flow.width
    return layout.audio_out_positions * flow.draws * each


def _traffic(
    config: PlanConfig, counts: Counts, tensor: int, expert: int
) -> dict[str, tuple[float, float]]:
    """Compute the bytes that a GPU sends in one step, and their time if nothing hides it."""
    model, node = config.model, config.machine.node_gpus
    n_moe = sum(not model.is_dense(layer) for layer in range(model.n_layers))
    passes = 3 if config.checkpointing else 2  # forward, forward again, backward
    outside = counts.total - counts.routed
    positions = micro_turns_of_a_rank(config, tensor) * config.layout.n_positions
    # Weights are gathered in bf16 for each pass and gradients scattered once in fp32.
    each = _BF16 * passes + _FP32
    data, replicas = config.gpus // tensor, config.gpus // expert
    sent = {
        "gather and scatter": (
            each * outside / tensor * (data - 1) / data,
            config.gpus > node and data > 1,
        ),
        "gather and scatter experts": (
            each * counts.routed / expert * (replicas - 1) / replicas,
            config.gpus > node and replicas > 1,
        ),
        # To the experts and back, in every pass.
        "to experts": (
            2 * passes * n_moe * _BF16 * positions / tensor * model.moe.top_k * model.d_model
            * (expert - 1) / expert,
            expert > node,
        ),
        # After attention and after the feed-forward layer, in every pass, gather and scatter.
        "tensor": (
            2 * passes * model.n_layers * 2 * _BF16 * positions * model.d_model
            * (tensor - 1) / tensor,
            False,
        ),
    }  # fmt: skip
    speed = {False: config.machine.node_gb_s * 1e9, True: config.machine.network_gb_s * 1e9}
    return {name: (size, size / speed[far]) for name, (size, far) in sent.items()}


def _divisors(n: int) -> list[int]:
    return [k for k in range(1, n + 1) if n % k == 0]
