"""Configurations of the commands `microturn bench ...`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from microturn.configs.command import option, require_at_least
from microturn.configs.load import ConfigError
from microturn.datagen.derive.config import DeriveConfig

# Benches of a GPU, in order of worth, and the share of the time that each gets.
GPU_PARTS: Final = {"training": 0.6, "sessions": 0.25, "kernels": 0.15}


@dataclass(frozen=True, kw_only=True)
class BenchSimulateConfig:
    """`microturn bench simulate`."""

    n_dialogues: int = option(12, "dialogues in a round")
    n_micro_turns: int = option(300, "length of a dialogue in micro-turns")
    rounds: int = option(7, "rounds, each of other dialogues; the median of them counts")
    warm_up: int = option(72, "dialogues that microturn makes first, as in a set")
    seed: int = option(0, "seed of the dialogues")
    peers: bool = option(True, "also measure lhotse, which has to be installed")
    scaling: bool = option(True, "also measure one process against two")
    scaling_shards: int = option(16, "shards that one and two processes make")
    cache: str = option("", "folder for room responses; empty: the user's cache folder")
    json: str = option("", "write the numbers to this file (- for stdout)")

    def __post_init__(self) -> None:
        require_at_least(self, "", n_dialogues=1, n_micro_turns=1, rounds=1, warm_up=0)
        require_at_least(self, "", scaling_shards=2)

    @property
    def warm_shards(self) -> int:
        """Shards of a round's size that are made before anything is measured."""
        return -(-self.warm_up // self.n_dialogues)


@dataclass(frozen=True, kw_only=True)
class BenchMixesConfig:
    """`microturn bench mixes`."""

    mixes: list[str] = option(
        default_factory=lambda: [f"datagen/{name}.yaml" for name in ("open", "human", "demo")],
        help="configurations of `simulate`, of any names; the first is compared with the others",
    )
    n_dialogues: int = option(12, "dialogues of each mix in a round")
    rounds: int = option(5, "rounds, each of other dialogues; the median of them counts")
    warm_rounds: int = option(3, "rounds that are made first, as in a set")
    cache: str = option("", "folder for room responses; empty: the user's cache folder")
    json: str = option("", "write the numbers to this file, - for stdout")

    def __post_init__(self) -> None:
        require_at_least(self, "", n_dialogues=1, rounds=1, warm_rounds=0)
        if not self.mixes or len(set(self.names)) < len(self.mixes):
            raise ConfigError(f"mixes={self.mixes} must be files of different names")

    @property
    def names(self) -> list[str]:
        """Names of the mixes in tables and figures."""
        return [Path(mix).stem for mix in self.mixes]


@dataclass(frozen=True, kw_only=True)
class BenchAcousticsConfig:
    """`microturn bench acoustics`."""

    n_dialogues: int = option(6, "dialogues that are rendered in a round")
    n_micro_turns: int = option(300, "length of a dialogue in micro-turns")
    rounds: int = option(3, "rounds; of every row the fastest one counts")
    json: str = option("", "write the numbers to this file, - for stdout")

    def __post_init__(self) -> None:
        require_at_least(self, "", n_dialogues=1, n_micro_turns=1, rounds=1)


@dataclass(frozen=True, kw_only=True)
class BenchEnvironmentConfig:
    """`microturn bench environment`."""

    mixes: list[str] = option(
        default_factory=lambda: [f"datagen/{name}.yaml" for name in ("demo", "human", "open")],
        help="configurations of `simulate`, with users that react",
    )
    n_episodes: int = option(12, "episodes of each mix; the median of them counts")
    warm_up: int = option(6, "episodes that are played first, as in a longer run")
    n_micro_turns: int = option(300, "length of an episode in micro-turns")
    cache: str = option("", "folder for room responses; empty: the user's cache folder")
    json: str = option("", "write the numbers to this file, - for stdout")

    def __post_init__(self) -> None:
        require_at_least(self, "", n_episodes=1, warm_up=0, n_micro_turns=2)


@dataclass(frozen=True, kw_only=True)
class BenchLoaderConfig:
    """`microturn bench loader`."""

    data: str = option("", "shard set with features; empty: one is simulated")
    simulate: str = option("datagen/demo.yaml", "without data: configuration of the simulated set")
    n_dialogues: int = option(128, "dialogues that are read in a round")
    batch_size: int = option(8, "dialogues of a batch")
    rounds: int = option(5, "rounds; of every row the best one counts")
    peers: bool = option(True, "also measure a plain webdataset loop")
    seed: int = option(0, "seed of the order of dialogues")
    json: str = option("", "write the numbers to this file, - for stdout")

    def __post_init__(self) -> None:
        require_at_least(self, "", n_dialogues=1, batch_size=1, rounds=1)


@dataclass(frozen=True, kw_only=True)
class BenchCorpusConfig:
    """`microturn bench corpus`."""

    utterances: list[int] = option(
        default_factory=lambda: [3_000, 30_000, 300_000], help="utterances of each corpus"
    )
    peers: bool = option(True, "also measure lhotse, pyarrow and datasets, which are installed")
    json: str = option("", "write the numbers to this file, - for stdout")

    def __post_init__(self) -> None:
        if not self.utterances or min(self.utterances) < 1:
            raise ConfigError(f"utterances={self.utterances} must be counts of at least 1")


@dataclass(frozen=True, kw_only=True)
class BenchDeriveConfig:
    """`microturn bench derive`."""

    n_dialogues: int = option(24, "dialogues of each set, a minute or half a minute long")
    seed: int = option(0, "seed of the dialogues")
    tolerance_s: float = option(0.25, "a derived event this near to a label is the same")
    own_forms: bool = option(
        True, "what these sets say as backchannels is added to the list of forms"
    )
    derive: DeriveConfig = field(default_factory=DeriveConfig)
    cache: str = option("", "folder for room responses; empty: the user's cache folder")
    json: str = option("", "write the numbers to this file, - for stdout")

    def __post_init__(self) -> None:
        require_at_least(self, "", n_dialogues=1)
        if self.tolerance_s <= 0:
            raise ValueError(f"tolerance_s={self.tolerance_s} must be positive")


@dataclass(frozen=True, kw_only=True)
class BenchTrainingConfig:
    """`microturn bench training`."""

    data: str = option("", "shard set with features; empty: one is simulated")
    simulate: str = option("datagen/demo.yaml", "without data: configuration of the simulated set")
    train: str = option("training/tiny.yaml", "configuration of the training that is timed")
    threads: list[int] = option(
        default_factory=lambda: [1, 2],
        help="torch threads of each row; with lengths the first number counts",
    )
    lengths: list[int] = option(
        default_factory=list,
        help="lengths of a dialogue in micro-turns, whose forward and backward pass is timed "
        "instead; []: the training's steps",
    )
    steps: int = option(
        12,
        "measured steps of each row, each beside a replay of its matrix products; with lengths "
        "the rounds, of which the fastest counts",
    )
    warm_up: int = option(12, "steps of each row that are not counted")
    n_dialogues: int = option(64, "without data: dialogues that are simulated")
    json: str = option("", "write the numbers to this file, - for stdout")

    def __post_init__(self) -> None:
        require_at_least(self, "", steps=1, warm_up=1, n_dialogues=1)
        if not self.threads or min(self.threads) < 1:
            raise ValueError(f"threads={self.threads} must be numbers of at least 1")
        if self.lengths and min(self.lengths) < 1:
            raise ValueError(f"lengths={self.lengths} must be micro-turns, at least 1")


@dataclass(frozen=True, kw_only=True)
class BenchPlanConfig:
    """`microturn bench plan`."""

    data: str = option("", "shard set with features; empty: one is simulated")
    simulate: str = option("datagen/demo.yaml", "without data: configuration of the simulated set")
    runs: list[str] = option(
        default_factory=lambda: [
            "training/tiny.yaml",
            "training/tiny.yaml batch_size=16",
            "training/tiny.yaml batch_size=16 accumulate=2",
            "training/tiny.yaml activation_checkpointing=true",
            "training/small.yaml batch_size=2 precision=32",
            "training/small.yaml batch_size=4 precision=32",
        ],
        help="words of `train` of each run that is planned and measured",
    )
    steps: int = option(4, "measured steps of each run, each beside products")
    warm_up: int = option(4, "steps of each run that are not timed")
    n_dialogues: int = option(64, "without data: dialogues that are simulated")
    json: str = option("", "write the numbers to this file, - for stdout")

    def __post_init__(self) -> None:
        require_at_least(self, "", steps=1, warm_up=1, n_dialogues=1)
        if not self.runs:
            raise ConfigError("runs=[] must name a configuration of `train` at least")


@dataclass(frozen=True, kw_only=True)
class BenchSessionConfig:
    """`microturn bench session`."""

    sessions: list[int] = option(
        default_factory=lambda: [1, 2, 4, 8], help="sessions at once, one row each"
    )
    micro_turns: int = option(200, "measured micro-turns in each row")
    warm_up: int = option(20, "micro-turns before the measurement")
    hour: int = option(18_000, "micro-turns of one long session, an hour by default; 0: none")
    lengths: list[int] = option(
        default_factory=lambda: [50, 200, 800, 3000],
        help="lengths of a dialogue, in micro-turns, at which a server that reads it all again and "
        "a growing cache are timed; []: none",
    )
    peer_s: float = option(2.0, "seconds for each of these, three micro-turns at least")
    checkpoint: str = option("", "folder of a trained model, empty: tiny with random weights")
    threads: int = option(1, "processor threads of the engine, 0: as many as there are cores")
    seed: int = option(0, "random numbers of weights, input and voice")
    limit_ms: float = option(0.0, "exit 1 if p99 of one session is above this, 0: no limit")
    json: str = option("", "write the numbers to this file, - for stdout")

    def __post_init__(self) -> None:
        require_at_least(self, "", micro_turns=1, warm_up=0, threads=0, limit_ms=0.0, peer_s=0.0)
        if not self.sessions or min(self.sessions) < 1:
            raise ConfigError(f"sessions={self.sessions} must be counts of at least 1")
        if self.lengths and min(self.lengths) < 1:
            raise ConfigError(f"lengths={self.lengths} must be micro-turns, at least 1")
        if self.hour and self.hour < 200:
            raise ConfigError(
                f"hour={self.hour} must be 0 or at least 200: its first hundred micro-turns are "
                "compared with its last"
            )


@dataclass(frozen=True, kw_only=True)
class BenchServeConfig:
    """`microturn bench serve`."""

    clients: int = option(4, "clients at once, each sends 200 ms every 200 ms")
    duration_s: float = option(60.0, "seconds that each row lasts")
    sleep_ms: float = option(0.0, "a batch that sleeps so long in place of the model, 0: the model")
    passed_share: float = option(
        0.25, "it sleeps this share of that to read what sessions have dropped"
    )
    checkpoint: str = option("", "folder of a trained model, empty: tiny with random weights")
    max_waiting: int = option(5, "`max_waiting_micro_turns` of the server")
    keep_waiting: list[int] = option(
        default_factory=lambda: [1], help="`keep_waiting_micro_turns` of the server, a row for each"
    )
    max_behind_ms: list[float] = option(
        default_factory=lambda: [1_000.0], help="`max_behind_ms` of the server, a row for each"
    )
    threads: int = option(1, "processor threads of the engine, 0: as many as there are cores")
    limit_p50_ms: float = option(
        0.0, "exit 1 if the median round trip is longer than sleep_ms by more than this, 0: never"
    )
    limit_p99_ms: float = option(0.0, "the same of the 99th percentile")
    json: str = option("", "write the numbers to this file, - for stdout")

    def __post_init__(self) -> None:
        require_at_least(self, "", clients=1, sleep_ms=0.0, max_waiting=1, threads=0)
        require_at_least(self, "", limit_p50_ms=0.0, limit_p99_ms=0.0, passed_share=0.0)
        if self.duration_s <= 0:
            raise ConfigError(f"duration_s={self.duration_s} must be positive")
        if not self.max_behind_ms or min(self.max_behind_ms) < 0:
            raise ConfigError(f"max_behind_ms={self.max_behind_ms} must be times of at least 0")
        if (
            not self.keep_waiting
            or not 1 <= min(self.keep_waiting) <= max(self.keep_waiting) <= self.max_waiting
        ):
            raise ConfigError(
                f"keep_waiting={self.keep_waiting} must be numbers from 1 to "
                f"max_waiting={self.max_waiting}"
            )


@dataclass(frozen=True, kw_only=True)
class BenchClientsConfig:
    """`microturn bench clients`."""

    environment: str = option(
        "frameworks", "folder with the clients that need an environment of their own"
    )
    checkpoint: str = option(
        "", "folder of a trained model; empty: rules that hear, ask for help and give way"
    )
    json: str = option("", "write the figures to this file, - for stdout")


@dataclass(frozen=True, kw_only=True)
class BenchKernelsConfig:
    """`microturn bench kernels`; sizes of 0 are 1024/64/4/512 on a GPU, the tiny model's else."""

    tokens: list[int] = option(
        default_factory=lambda: [1, 2, 4, 8, 16, 24, 32], help="positions at once, one row each"
    )
    d_model: int = option(0, "width of the residual stream, 0: by device")
    n_experts: int = option(0, "routed experts, 0: by device")
    top_k: int = option(0, "experts that each position uses, 0: by device")
    d_expert: int = option(0, "hidden width of one expert, a multiple of 8, 0: by device")
    repeats: int = option(11, "sweeps over all sets of weights; the median counts")
    seed: int = option(0, "random numbers of weights and inputs")
    json: str = option("", "write the numbers to this file, - for stdout")

    def __post_init__(self) -> None:
        if not self.tokens or min(self.tokens) < 1:
            raise ConfigError(f"tokens={self.tokens} must be counts of at least 1")
        require_at_least(self, "", repeats=1, d_model=0, n_experts=0, top_k=0, d_expert=0)
        if self.d_model % 8 or self.d_expert % 8:
            raise ConfigError(
                f"d_model={self.d_model} and d_expert={self.d_expert} must be multiples of 8"
            )


@dataclass(frozen=True, kw_only=True)
class BenchGpuConfig:
    """`microturn bench gpu`."""

    out: str = option("runs/bench", "folder of gpu.json, of the figures and log of each part")
    parts: list[str] = option(
        default_factory=lambda: [*GPU_PARTS], help="parts to run, in this order"
    )
    data: str = option("", "shard set to train on; empty: one is simulated")
    smoke: bool = option(False, "tiny sizes, on a CPU too: shows that the benches work")
    max_s: float = option(
        420.0,
        "seconds for all parts; steps that would begin later are left out, and a part that "
        "takes half as long again as its share is ended",
    )

    def __post_init__(self) -> None:
        if not self.parts or set(self.parts) - set(GPU_PARTS):
            raise ConfigError(f"parts={self.parts} must be some of {', '.join(GPU_PARTS)}")
        if self.max_s <= 0:
            raise ConfigError(f"max_s={self.max_s:g} must be above 0")


@dataclass(frozen=True, kw_only=True)
class BenchGpuKernelsConfig:
    """`microturn bench gpu-kernels`."""

    out: str = option("runs/bench", "folder of kernels.json, which is written step by step")
    short: bool = option(False, "no search for tiles and few competitors: under a minute")
    smoke: bool = option(False, "tiny sizes, on a CPU too: shows that the bench works")
    max_s: float = option(165.0, "the search for tiles and the compiled rows stop then")


@dataclass(frozen=True, kw_only=True)
class BenchGpuSessionsConfig:
    """`microturn bench gpu-sessions`."""

    out: str = option("runs/bench", "folder of sessions.json, which is written row by row")
    smoke: bool = option(False, "tiny sizes, on a CPU too: shows that the bench works")
    max_s: float = option(120.0, "rows that would begin later are left out")


@dataclass(frozen=True, kw_only=True)
class BenchGpuTrainingConfig:
    """`microturn bench gpu-training`."""

    out: str = option("runs/bench", "folder of training.json, which is written step by step")
    data: str = option("", "shard set; empty: no runs of `microturn train`")
    smoke: bool = option(False, "tiny sizes, on a CPU too: shows that the bench works")
    max_s: float = option(600.0, "steps that would begin later are left out")


@dataclass(frozen=True, kw_only=True)
class BenchFaultsConfig:
    """`microturn bench faults`."""

    out: str = option("runs/faults", "folder of the runs, each with what its ranks said")
    faults: list[str] = option(default_factory=list, help="names of faults; empty: all of them")
    n_ranks: int = option(4, "processes of a run")
    steps: int = option(24, "steps of a run; a state is saved every fourth")
    silence_s: float = option(60.0, "the key of `train` of this name")
    json: str = option("", "write the rows to this file, - for stdout")

    def __post_init__(self) -> None:
        require_at_least(self, "", n_ranks=2, steps=12, silence_s=5)
