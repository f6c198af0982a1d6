"""What `microturn bench simulate` can be told."""

from dataclasses import dataclass

from microturn.configs.command import option


@dataclass(frozen=True, kw_only=True)
class BenchSimulateConfig:
    """Seconds of dialogue per CPU second, beside lhotse and beside the least that must be done."""

    n_dialogues: int = option(12, "dialogues in a round")
    n_micro_turns: int = option(300, "length of a dialogue in micro-turns")
    rounds: int = option(5, "rounds; of every row the best one counts")
    seed: int = option(0, "seed of the dialogues")
    peers: bool = option(True, "also measure lhotse, which has to be installed")
    scaling: bool = option(True, "also measure one process against two")
    scaling_shards: int = option(8, "shards that one and two processes make")
    cache: str = option("", "folder for room responses; empty: the user's cache folder")
    json: str = option("", "write the numbers to this file (- for stdout)")

    def __post_init__(self) -> None:
        for name in ("n_dialogues", "n_micro_turns", "rounds", "scaling_shards"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
