"""Configuration of `microturn evaluate hearing` and `microturn evaluate voice`."""

from __future__ import annotations

from dataclasses import dataclass

from microturn.configs.command import option, require_at_least


@dataclass(frozen=True, kw_only=True)
class HearingConfig:
    """What a checkpoint writes down of recordings of people whom it never heard."""

    out: str = option(help="folder for hearing.md, hearing.json and recordings.jsonl")
    corpus: str = option("default", "corpora, separated by commas, whose held-out people speak")
    checkpoint: str = option("shipped", "folder of a checkpoint, or shipped")
    n_each: int = option(4, "most recordings of one kind by one person; 0: all")
    gap_s: float = option(1.6, "silence between two recordings")
    session_s: float = option(60.0, "length after which a person's recordings begin a new session")
    batch_size: int = option(8, "sessions streamed side by side")
    seed: int = option(0, "seed of the agent's sampling and of the intervals")
    device: str = option("auto", "device of the checkpoint: auto, cpu, cuda, ...")
    json: str = option("", "also write hearing.json to this file, - for stdout")

    def __post_init__(self) -> None:
        require_at_least(self, "", n_each=0, gap_s=0.5, session_s=5.0, batch_size=1)


@dataclass(frozen=True, kw_only=True)
class VoiceConfig:
    """How clearly a checkpoint says the words that it writes."""

    out: str = option(help="folder for voice.md, voice.json and dialogues.jsonl")
    checkpoint: str = option("shipped", "folder of a checkpoint, or shipped")
    suites: list[str] = option(
        default_factory=lambda: ["turn", "multi_challenge", "translation"],
        help="suites whose dialogues are played, without those in which somebody interrupts",
    )
    n_dialogues: int = option(0, "dialogues of each; 0: all")
    batch_size: int = option(8, "dialogues streamed side by side")
    workers: int = option(0, "processes that simulate dialogues; 0: one per core")
    seed: int = option(0, "seed of the agent's sampling and of the intervals")
    device: str = option("auto", "device of the checkpoint: auto, cpu, cuda, ...")
    cache: str = option("", "folder of the suites' dialogues; empty: the user's cache")
    json: str = option("", "also write voice.json to this file, - for stdout")

    def __post_init__(self) -> None:
        require_at_least(self, "", n_dialogues=0, batch_size=1, workers=0)
