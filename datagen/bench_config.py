"""What `microturn bench simulate` can be told."""

from dataclasses import dataclass

from microturn.configs.command import option


@dataclass(frozen=True, kw_only=True)
class BenchSimulateConfig:
    """Seconds of dialogue per CPU second, beside lhotse and beside the least that must be done."""

    n_dialogues: int = option(12, "dialogues in a round")
    n_micro_turns: int = option(300, "length of a dialogue in micro-turns")
    rounds: int = option(7, "rounds, each of other dialogues; the median of them counts")
    warm_up: int = option(72, "dialogues that ours makes first, as a set does")
    seed: int = option(0, "seed of the dialogues")
    peers: bool = option(True, "also measure lhotse, which has to be installed")
    scaling: bool = option(True, "also measure one process against two")
    scaling_shards: int = option(16, "shards that one and two processes make")
    cache: str = option("", "folder for room responses; empty: the user's cache folder")
    json: str = option("", "write the numbers to this file (- for stdout)")

    def __post_init__(self) -> None:
        least = {"n_dialogues": 1, "n_micro_turns": 1, "rounds": 1, "warm_up": 0}
        for name, bound in {**least, "scaling_shards": 2}.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name}={getattr(self, name)} must be at least {bound}")

    @property
    def warm_shards(self) -> int:
        """Shards of a round's size that are made before anything is measured."""
        return -(-self.warm_up // self.n_dialogues)
