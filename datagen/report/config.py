"""Configuration of `microturn inspect` and `microturn verify-audio`."""

from dataclasses import dataclass

from microturn.configs.command import option


@dataclass(frozen=True, kw_only=True)
class InspectConfig:
    """The view or check of a shard set by `microturn inspect`."""

    data: str = option(help="folder of the shard set")
    against: str = option(
        "", "count what the set shares with this one: people, recordings, sentences, rooms"
    )
    index: int = option(-1, "dialogue to draw and to write as audio; -1: only the data card")
    out: str = option("", "folder for picture and audio; empty: runs/inspect")
    check: bool = option(False, "verify digests, labels and features; exit code 1 on any fault")
    json: str = option("", "write the data card, or `shared`, to this file (- for stdout)")


@dataclass(frozen=True, kw_only=True)
class VerifyAudioConfig:
    """The scenarios whose audio `microturn verify-audio` checks."""

    config: str = option("datagen/everything.yaml", "configuration of the dialogues")
    n_dialogues: int = option(100, "dialogues of every scenario")
    scenarios: tuple[str, ...] = option((), "scenarios to verify; empty: those with a weight")
    align_every: int = option(10, "align the words of every such dialogue; 0: of none")
    json: str = option("", "write the result to this file (- for stdout)")

    def __post_init__(self) -> None:
        if self.n_dialogues < 1 or self.align_every < 0:
            raise ValueError(
                f"n_dialogues={self.n_dialogues} must be at least 1 and "
                f"align_every={self.align_every} at least 0"
            )
