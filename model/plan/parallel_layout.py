"""Layouts of training over GPUs: memory and traffic of each, and the choice between them.

A layout is what `microturn train` runs (`training/parallel.py`): `data` groups of GPUs that keep
all weights, each of `shard` x `expert` GPUs that share them. A block gathers its weights to
compute; routed experts are split over `expert` neighbours, and positions are sent to them. Every
GPU reads other dialogues. Bytes; time in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod

from microturn.model.plan import activations
from microturn.model.plan.config import PlanConfig
from microturn.model.plan.count import Counts

_FP32, _BF16 = 4, 2
_MUON_COPIES = 5  # of the matrices that Newton-Schulz takes at once: mixed, normed, rounds
# A process on a CPU over what it uses: glibc's heap, which the trainer lets keep what it frees, has
# 1.54 to 1.71 times that after some steps (bench plan).
_HEAP = 1.65
RESERVED = 0.1  # share of a GPU's memory for libraries, buffers of collectives and fragments


@dataclass(frozen=True)
class Layout:
    """One layout of training; all GPUs read different dialogues."""

    data: int
    shard: int
    expert: int
    memory: dict[str, float]  # bytes per GPU, by use
    bytes: float  # its peak per GPU
    traffic: dict[str, tuple[float, float]]  # bytes per GPU and step, seconds

    @property
    def seconds(self) -> float:
        return sum(seconds for _, seconds in self.traffic.values())


def layouts(config: PlanConfig, counts: Counts) -> list[Layout]:
    """List the layouts that `train` accepts, least time for traffic first."""
    n_experts = config.model.moe.n_experts or 1
    ways = [
        _layout(config, counts, group // expert, expert)
        for group in _divisors(config.gpus)
        for expert in _divisors(group)
        if n_experts % expert == 0
    ]
    return sorted(ways, key=lambda way: (way.seconds, way.shard, way.expert))


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
        f"does not fit: the leanest layout (parallel.shard={least.shard}, "
        f"parallel.expert={least.expert}) needs {least.bytes / 1e9:.1f} GB per GPU, {kind} "
        f"{size / 1e9:.1f} GB of it, and {room / 1e9:.1f} GB of "
        f"machine.memory_gb={config.machine.memory_gb:g} can be used; give more gpus, more "
        "accumulate, fewer micro_turns or a smaller batch_size"
    )


def available(config: PlanConfig) -> float:
    """Compute the bytes of a GPU that the plan may fill."""
    return config.machine.memory_gb * 1e9 * (1 - RESERVED)


def _layout(config: PlanConfig, counts: Counts, shard: int, expert: int) -> Layout:
    memory = _states(config, counts, shard, expert)
    memory["gathered weights"] = _gathered(config, counts, shard, expert)
    memory["activations"] = _activations(config)
    memory["update"] = _update(config, counts, shard, expert)
    data = config.gpus // (shard * expert)
    traffic = _traffic(config, counts, shard, expert)
    return Layout(data, shard, expert, memory, _peak(config, memory), traffic)


def _peak(config: PlanConfig, memory: dict[str, float]) -> float:
    """Compute the peak: a backward pass begins with all activations, an update has all gradients.

    Gradients of earlier micro-batches are there all the time.
    """
    computing = memory["gathered weights"] + memory["activations"]
    if config.accumulate > 1:
        computing += memory["gradients"]
    updating = memory["gradients"] + memory["update"]
    used = memory["weights"] + memory["optimizer"] + max(computing, updating)
    return used if config.accelerator == "gpu" else _HEAP * used


def routed_share(config: PlanConfig, shard: int, expert: int) -> float:
    """Compute the share of the routed experts that the fullest GPU keeps: it cuts none."""
    n_experts = config.model.moe.n_experts or 1
    return ceil(n_experts / expert / shard) / n_experts


def _held(config: PlanConfig, counts: Counts, shard: int, expert: int) -> tuple[float, float]:
    """Count the weights that a GPU keeps: matrices, and all others."""
    group = shard * expert
    routed = counts.routed * routed_share(config, shard, expert)
    others = counts.total - counts.matrices
    return routed + (counts.matrices - counts.routed) / group, others / group


def _states(config: PlanConfig, counts: Counts, shard: int, expert: int) -> dict[str, float]:
    matrices, others = _held(config, counts, shard, expert)
    return {
        "weights": _FP32 * (matrices + others),
        "optimizer": _FP32 * (matrices + 2 * others),
        "gradients": _FP32 * (matrices + others),
    }


def _update(config: PlanConfig, counts: Counts, shard: int, expert: int) -> float:
    """Compute what the optimiser needs beside its states (`training/optim.py`).

    Muon takes all matrices of a shape at once on a GPU, one by one on a CPU; a GPU orthogonalises
    its own experts, and whole single matrices.
    """
    share = routed_share(config, shard, expert)
    at_once = max(
        prod(shape) * (n if config.accelerator == "gpu" else 1) * (share if len(shape) > 2 else 1)
        for shape, n in counts.matrix_shapes.items()
    )
    _, others = _held(config, counts, shard, expert)
    return _FP32 * max(_MUON_COPIES * at_once, 2 * others)


def _experts_of_a_block(config: PlanConfig, counts: Counts, expert: int) -> float:
    n_moe = config.model.n_blocks_of_experts()
    return counts.routed / n_moe / expert if n_moe else 0.0


def _gathered(config: PlanConfig, counts: Counts, shard: int, expert: int) -> float:
    """Compute what a GPU keeps of weights that it shares, while it computes.

    In fp32 two blocks (one runs, one arrives) and the gradients of one, both word tables and the
    gradients of one. For bf16 a copy of what products read: of a block that is computed again, or
    of all blocks.
    """
    table = config.vocab_size * config.model.d_model
    experts = _experts_of_a_block(config, counts, expert)
    gathered = 0.0
    if shard * expert > 1:
        gathered += 3 * _FP32 * (counts.largest_block + table)
    if shard > 1:
        gathered += 3 * _FP32 * experts
    if config.precision == "bf16":
        blocks = counts.matrices - counts.routed * (1 - 1 / expert)
        one = counts.largest_block + experts
        gathered += _BF16 * (table + (one if config.activation_checkpointing else blocks))
    return gathered


def _activations(config: PlanConfig) -> float:
    """Compute what forward keeps for backward, all at once (`activations.py`)."""
    model, turns = config.model, config.micro_turns_at_once
    blocks = [activations.block(config, layer) for layer in range(model.n_layers)]
    per_position = sum(kept.bytes(config) for kept in blocks)
    if config.activation_checkpointing:
        inputs = activations.Kept(model.n_layers * model.d_model)
        per_position = inputs.bytes(config) + max(kept.bytes(config) for kept in blocks)
    per_turn = config.layout.n_positions * per_position + activations.ends(config).bytes(config)
    return turns * per_turn + activations.vocoder(config).bytes(config)


def _traffic(
    config: PlanConfig, counts: Counts, shard: int, expert: int
) -> dict[str, tuple[float, float]]:
    """Compute the bytes that a GPU sends in one step, and their time if nothing hides it."""
    model, node = config.model, config.machine.node_gpus
    group = shard * expert
    data = config.gpus // group
    n_moe = model.n_blocks_of_experts()
    passes = 3 if config.activation_checkpointing else 2  # forward, forward again, backward
    positions = config.accumulate * config.micro_turns_at_once * config.layout.n_positions
    # In each micro-batch weights are gathered twice and gradients scattered once, all in fp32.
    each = 3 * _FP32 * config.accumulate
    sent = {
        "gather and scatter": (
            each * (counts.total - counts.routed) * (group - 1) / group,
            group > node,
        ),
        "gather and scatter experts": (
            each * counts.routed / expert * (shard - 1) / shard,
            group > node,
        ),
        # A ring sends what it sums twice.
        "sum over groups": (
            2 * _FP32 * sum(_held(config, counts, shard, expert)) * (data - 1) / data,
            config.gpus > node,
        ),
        # To the experts and back, in every pass.
        "to experts": (
            2 * passes * n_moe * config.bytes_of_products * positions * model.moe.top_k
            * model.d_model * (expert - 1) / expert,
            expert > node,
        ),
    }  # fmt: skip
    speed = {False: config.machine.node_gb_s * 1e9, True: config.machine.network_gb_s * 1e9}
    return {name: (size, size / speed[far]) for name, (size, far) in sent.items()}


def _divisors(n: int) -> list[int]:
    return [k for k in range(1, n + 1) if n % k == 0]
