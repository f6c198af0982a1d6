"""Configuration of `microturn train`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import ceil

from microturn.configs.command import option, require_at_least
from microturn.model.config import ModelConfig
from microturn.model.streams.layout import N_MELS


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """AdamW for vectors and tables, Muon for matrices, one schedule for both."""

    lr: float = option(3e-3, "peak learning rate of AdamW")
    muon_lr: float = option(0.02, "peak learning rate of Muon on matrices, 0: AdamW for all")
    weight_decay: float = option(0.01, "decoupled weight decay of matrices")
    beta2: float = option(0.95, "second-moment decay of AdamW")
    warmup_steps: int = option(30, "steps of linear warm-up")
    decay: float = option(0.6, "share of the run, at its end, over which the rate falls to zero")
    clip: float = option(1.0, "largest norm of the gradient")

    def __post_init__(self) -> None:
        if not 0 < self.decay <= 1:
            raise ValueError(f"optim.decay={self.decay} must lie in (0, 1]")
        if self.clip <= 0:
            raise ValueError(f"optim.clip={self.clip} must be above 0")


@dataclass(frozen=True, kw_only=True)
class ParallelConfig:
    """How the devices of a run share its weights (training/parallel.py); all read other dialogues.

    data x shard x expert is the number of devices.
    """

    data: int = option(0, "groups of devices that each keep all weights, 0: as many as there are")
    shard: int = option(1, "devices of a group that share each weight")
    expert: int = option(
        1, "devices that the routed experts are split over; other weights are shared by them too"
    )

    def __post_init__(self) -> None:
        require_at_least(self, "parallel", data=0, shard=1, expert=1)

    @property
    def group_size(self) -> int:
        """Devices that keep all weights together."""
        return self.shard * self.expert

    @property
    def is_sharded(self) -> bool:
        """Whether a device keeps a part of the weights only."""
        return self.group_size > 1

    def on(self, n_devices: int) -> ParallelConfig:
        """Return the same with the number of groups; ValueError where the devices do not fit."""
        data = self.data or max(1, n_devices // self.group_size)
        if data * self.group_size != n_devices:
            keys = [f"parallel.{name}" for name in ("data", "shard", "expert")]
            given = " x ".join(keys if self.data else keys[1:])
            kind = "must be" if self.data else "must divide"
            raise ValueError(
                f"{given}={(self.data or 1) * self.group_size} {kind} nodes x devices={n_devices}"
            )
        return replace(self, data=data)


@dataclass(frozen=True, kw_only=True)
class StreamingValidationConfig:
    """Streaming validation: test dialogues streamed through sessions and scored."""

    data: str = option("", "shard set of test dialogues, empty: no validation")
    n_dialogues: int = option(16, "dialogues that are streamed each time, all at once")
    every_minutes: float = option(4.0, "minutes of training between two validations")


@dataclass(frozen=True, kw_only=True)
class HeardConfig:
    """What dialogues read as `heard` in training (training/validating/read_heard.py)."""

    own_share: float = option(0.0, "share of dialogues that read what the model heard itself")
    masked_share: float = option(0.0, "share of dialogues that read no words at all")
    ramp_steps: int = option(0, "steps over which both shares grow from zero")

    def __post_init__(self) -> None:
        shares = (self.own_share, self.masked_share)
        if min(shares) < 0 or sum(shares) > 1:
            raise ValueError(
                f"heard.own_share={self.own_share} and heard.masked_share={self.masked_share} must "
                "be at least 0 and together at most 1"
            )


@dataclass(frozen=True, kw_only=True)
class SoundConfig:
    """Changes of the sound that dialogues hear in training (training/reading/vary_sound.py)."""

    share: float = option(0.0, "share of dialogues whose sound is changed")
    largest_factor: float = option(
        1.2, "largest factor on all frequencies, and one over the smallest"
    )
    largest_gain_db: float = option(
        12.0, "largest gain or loss of the lowest and of the highest band, a line between them"
    )
    masked_bands: int = option(8, "longest stretch of bands that is silent; two are drawn")

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"sound.share={self.share:g} must lie between 0 and 1")
        if self.largest_factor < 1:
            raise ValueError(f"sound.largest_factor={self.largest_factor:g} must be at least 1")
        if self.largest_gain_db < 0:
            raise ValueError(f"sound.largest_gain_db={self.largest_gain_db:g} must be 0 or more")
        if not 0 <= self.masked_bands <= N_MELS:
            raise ValueError(f"sound.masked_bands={self.masked_bands} must lie in 0..{N_MELS}")


@dataclass(frozen=True, kw_only=True)
class ValidateConfig:
    """Validation losses on dialogues that are not trained on (training/validating/losses.py)."""

    data: str = option("", "dialogues to validate on, as `data`; empty: no validation")
    every_steps: int = option(100, "optimiser steps between two validations")
    n_dialogues: int = option(64, "the first dialogues of `validate.data`, at most")
    monitor: str = option(
        "validate/own_heard/loss", "the loss by which the best checkpoint is kept in out/best"
    )
    patience: int = option(
        0, "validations without a better loss after which the run ends, 0: it does not"
    )


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """One run of `microturn train`."""

    data: str = option(
        help="training shards: a folder or URL made by `microturn simulate`, a brace pattern of "
        "such (runs/{a,b}) or of tars in them (runs/a/{000000..000003}.tar); "
        "live:FILE.yaml, dialogues that are simulated while training; heard: before one of these, "
        "dialogues that teach the transcript alone; tars without an index, also "
        "by URL or pipe:COMMAND; a mix of such in shares "
        "(runs/a:0.7,runs/b:0.3); or FILE.yaml with the stages of a curriculum"
    )
    layout_from: str = option(
        "",
        "set or checkpoint with layout and tokenizer, for tars in data that have none beside them",
    )
    skip_damaged: int = option(
        0, "damaged dialogues that the run may leave out; each is named in out/damaged.jsonl"
    )
    bucket_steps: int = option(
        1, "steps whose dialogues are sorted by length together, for less padding; 1: not sorted"
    )
    crop_micro_turns: int = option(
        0, "longest piece of a dialogue that is read, at a random moment of it; 0: all of it"
    )
    carry: bool = option(
        False,
        "train on all of a longer dialogue, in windows of crop_micro_turns: each one reads what "
        "attention kept of those before, and no gradient crosses the border",
    )
    out: str = option(help="run folder; gets checkpoint/, states/, log/ and streaming_validation/")
    resume: bool = option(True, "continue from the last state in out/states where there is one")
    init: str = option(
        "",
        "checkpoint whose weights the run starts from: folder, run, file or OWNER/NAME of the hub; "
        "of several, separated by commas, their mean; keys of model that are not given come from "
        "there",
    )
    freeze: tuple[str, ...] = option(
        (),
        "parts that are not trained: lanes (audio_in), modules (backbone, embed.tokens), layers "
        "(layer.0, layer.0..3)",
    )
    seed: int = option(0, "seed of weights, data order and noise")
    max_steps: int = option(1000, "optimiser steps of the whole run")
    max_epochs: float = option(
        0.0, "length of the whole run in epochs, in place of max_steps; 0: max_steps counts"
    )
    max_minutes: float = option(
        0.0, "minutes of the whole run, 0: no limit; the schedule follows whichever comes first"
    )
    batch_size: int = option(8, "dialogues per step, over all devices and micro-batches")
    accumulate: int = option(1, "micro-batches of a step that a device computes one after another")
    precision: str = option("auto", "32, bf16, or auto: bf16 on a GPU, 32 elsewhere")
    threads: int = option(0, "torch threads, 0: as many as there are cores")
    loader_workers: int = option(1, "processes that read shards, 0: the training process itself")
    checkpoint_minutes: float = option(1.0, "minutes between two saved states, 0: not by time")
    checkpoint_steps: int = option(0, "steps between two saved states, 0: not by steps")
    checkpoints_kept: int = option(2, "saved states that are kept, the last ones")
    divergence: float = option(
        10.0,
        "multiple of the lowest mean loss of five steps at which the run ends as diverged, if that "
        "is also twice the loss of its first step; 0: it goes on",
    )
    log: str = option("csv", "csv: out/log/metrics.csv, tensorboard: event files in out/log, both")
    callbacks: tuple[str, ...] = option(
        (),
        "Lightning callbacks beside the run's own: class paths or names of Lightning's, with "
        "arguments in brackets (EarlyStopping(monitor='loss/loss', patience=3))",
    )
    logger: str = option(
        "",
        "Lightning logger beside log: csv, tensorboard, wandb, or a class path; in out/lightning",
    )
    log_steps: int = option(10, "steps between two lines of the log")
    accelerator: str = option("auto", "Lightning accelerator: auto, cpu or gpu")
    devices: int = option(1, "GPUs, or processes on a CPU, per machine")
    nodes: int = option(1, "machines")
    parallel: ParallelConfig = option(
        default_factory=ParallelConfig, help="how several devices share the weights"
    )
    silence_s: float = option(
        60.0,
        "seconds without a sign of life of a rank, or of standstill while others wait for it, "
        "after which the run ends and names it; 0: no watch",
    )
    activation_checkpointing: bool = option(
        False, "compute blocks a second time for the backward pass instead of keeping them"
    )
    compile: bool = option(False, "torch.compile the blocks")
    model: ModelConfig = field(default_factory=ModelConfig, metadata={"help": "sizes of the model"})
    optim: OptimConfig = option(default_factory=OptimConfig, help="optimiser and schedule")
    heard: HeardConfig = option(
        default_factory=HeardConfig, help="the true words of the user, none, or the model's own"
    )
    sound: SoundConfig = option(
        default_factory=SoundConfig, help="changes of the sound that dialogues hear"
    )
    validate: ValidateConfig = option(
        default_factory=ValidateConfig, help="losses on other dialogues"
    )
    streaming_validation: StreamingValidationConfig = option(
        default_factory=StreamingValidationConfig, help="test dialogues that are streamed"
    )

    def __post_init__(self) -> None:
        self._check_one_of("precision", ("auto", "32", "bf16"))
        self._check_one_of("log", ("csv", "tensorboard", "both"))
        self._check_at_least(1, "max_steps", "batch_size", "accumulate", "checkpoints_kept")
        self._check_at_least(1, "log_steps", "devices", "nodes")
        self._check_at_least(0, "seed", "loader_workers", "checkpoint_steps", "checkpoint_minutes")
        self._check_at_least(0, "max_epochs", "skip_damaged", "crop_micro_turns")
        self._check_at_least(1, "bucket_steps")
        if 0 != self.silence_s < 5:
            raise ValueError(f"silence_s={self.silence_s:g} must be at least 5, or 0 for no watch")
        if 0 != self.divergence <= 1:
            raise ValueError(f"divergence={self.divergence:g} must be above 1, or 0")
        self._check_parallel()
        require_at_least(self.validate, "validate", every_steps=1, n_dialogues=1, patience=0)
        if self.carry and not self.crop_micro_turns:
            raise ValueError("carry=true needs the length of a window: give crop_micro_turns=N")
        if self.batch_size % self.n_micro_batches:
            raise ValueError(
                f"batch_size={self.batch_size} must be a multiple of nodes x devices x accumulate="
                f"{self.n_micro_batches}"
            )

    def _check_parallel(self) -> None:
        parallel = self.parallel.on(self.n_devices)
        n_experts = self.model.moe.n_experts
        if n_experts % parallel.expert or (parallel.expert > 1 and not n_experts):
            raise ValueError(
                f"parallel.expert={parallel.expert} must divide model.moe.n_experts={n_experts}"
            )
        if not parallel.is_sharded:
            return
        for name, is_set in (("heard.own_share", self.heard.own_share), ("carry", self.carry)):
            if is_set:
                raise ValueError(
                    f"{name} needs whole weights on a device; leave out parallel.shard and "
                    "parallel.expert"
                )

    def for_dialogues(self, n_dialogues: int) -> TrainingConfig:
        """Return the same with `max_steps` where the length of the run is given in epochs."""
        if not self.max_epochs:
            return self
        steps = ceil(self.max_epochs * n_dialogues / self.batch_size)
        return replace(self, max_steps=max(1, steps))

    @property
    def longest_piece(self) -> int:
        """Micro-turns of a dialogue that are read at most; 0: all of it."""
        return 0 if self.carry else self.crop_micro_turns

    @property
    def n_devices(self) -> int:
        """Devices of all machines."""
        return self.nodes * self.devices

    @property
    def n_micro_batches(self) -> int:
        """Micro-batches of a step, over all devices."""
        return self.n_devices * self.accumulate

    def _check_one_of(self, name: str, known: tuple[str, ...]) -> None:
        if getattr(self, name) not in known:
            raise ValueError(f"{name}={getattr(self, name)} is none of {', '.join(known)}")

    def _check_at_least(self, minimum: int, *names: str) -> None:
        for name in names:
            if getattr(self, name) < minimum:
                raise ValueError(f"{name}={getattr(self, name)} must be at least {minimum}")
