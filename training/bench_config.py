"""What `microturn bench loader` and `microturn bench training` can be asked."""

from __future__ import annotations

from dataclasses import dataclass

from microturn.configs.command import option


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
        for name in ("n_dialogues", "batch_size", "rounds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")


@dataclass(frozen=True, kw_only=True)
class BenchTrainingConfig:
    """`microturn bench training`."""

    data: str = option("", "shard set with features; empty: one is simulated")
    simulate: str = option("datagen/demo.yaml", "without data: configuration of the simulated set")
    train: str = option("training/tiny.yaml", "configuration of the training that is timed")
    threads: list[int] = option(default_factory=lambda: [1, 2], help="torch threads of each row")
    steps: int = option(12, "measured steps of each row, each beside a round of bare products")
    warm_up: int = option(12, "steps of each row that are not counted")
    n_dialogues: int = option(64, "without data: dialogues that are simulated")
    json: str = option("", "write the numbers to this file, - for stdout")

    def __post_init__(self) -> None:
        for name in ("steps", "warm_up", "n_dialogues"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if not self.threads or min(self.threads) < 1:
            raise ValueError(f"threads={self.threads} must be numbers of at least 1")
