"""Configuration of `microturn reconstruct`."""

from __future__ import annotations

from dataclasses import dataclass

from microturn.configs.command import option


@dataclass(frozen=True, kw_only=True)
class ReconstructConfig:
    """`microturn reconstruct`."""

    data: str = option(help="folder of a shard set")
    out: str = option(help="folder for reconstruction.md, reconstruction.json, pictures and sounds")
    checkpoint: str = option(
        "", "folder of a checkpoint with another vocoder; empty: Griffin-Lim alone"
    )
    n_dialogues: int = option(24, "dialogues to resynthesise, from the start of the set; 0: all")
    n_samples: int = option(3, "dialogues drawn and written as sound")
    words: bool = option(True, "count word errors with pocketsphinx, which takes most of the time")
    json: str = option("", "also write reconstruction.json to this file, - for stdout")

    def __post_init__(self) -> None:
        for name in ("n_dialogues", "n_samples"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must not be negative")
