"""Configuration of `microturn match`."""

from __future__ import annotations

from dataclasses import dataclass

from microturn.configs.command import option, require_at_least


@dataclass(frozen=True, kw_only=True)
class MatchConfig:
    """Two first blocks that compare a heard word with the words that were agreed on."""

    init: str = option(help="checkpoint that gets the blocks, as init= of train")
    data: str = option(help="dialogues with agreements, as data= of train")
    out: str = option(help="folder of the new checkpoint")
    means: str = option("equals", "word between a cue and its answer in `heard`")
    n_dialogues: int = option(64, "dialogues that say which words are cues and answers")
    n_test: int = option(32, "others that the blocks are tried on at the end")
    seed: int = option(0, "seed of the codes of words")
    threads: int = option(0, "torch threads, 0: as many as there are cores")
    json: str = option("", "write what they find there to this file (- for stdout)")

    def __post_init__(self) -> None:
        require_at_least(self, "", n_dialogues=1, n_test=1, seed=0, threads=0)
