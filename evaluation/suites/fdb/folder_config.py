"""Configuration of `microturn evaluate fdb`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from microturn.configs.command import option
from microturn.evaluation.config import ActivityConfig
from microturn.evaluation.suites.fdb.quirks import Quirks


@dataclass(frozen=True, kw_only=True)
class FdbConfig:
    """`microturn evaluate fdb`."""

    path: str = option(help="a folder of Full-Duplex-Bench: of one recording, one task, or more")
    checkpoint: str = option("", "folder of a checkpoint that answers every input.wav")
    baseline: Literal["", "silent", "oracle"] = option(
        "", "answer with this instead; oracle: the simulated agent's answer, which export= wrote"
    )
    out: str = option("", "folder for scores.json and scores.md; empty: path")
    export: int = option(0, "first write this many simulated dialogues into path")
    version: Literal["v1", "v1_5", "v3"] = option("v1", "the layout that export= writes")
    again: bool = option(False, "answer recordings again that have an answer")
    backchannel_reference: str = option(
        "", "icc_gt_distribution.json, for the JSD; empty: the one in path or beside it"
    )
    voice: str = option(
        "",
        "shard set whose recorded agent has the checkpoint's voice: words that the sound does not "
        "say are not written to output.json; empty: the shipped voice",
    )
    quirks: Quirks = field(default_factory=Quirks)
    activity: ActivityConfig = field(default_factory=ActivityConfig)
    cache: str = option("", "folder for dialogues of export=; empty: the user's cache folder")
    workers: int = option(0, "processes that make the dialogues of export=; 0: one per core")
    seed: int = option(0, "seed of the agent's sampling")
    batch_size: int = option(8, "recordings streamed side by side")
    device: str = option("auto", "device of the checkpoint: auto, cpu, cuda, ...")
    json: str = option("", "also write scores.json to this file, - for stdout")

    def __post_init__(self) -> None:
        if self.checkpoint and self.baseline:
            raise ValueError("give checkpoint= or baseline=, not both")
        if self.export < 0:
            raise ValueError(f"export={self.export} must not be negative")
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size} must be at least 1")
