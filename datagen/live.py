"""Simulates dialogues on demand, in place of a shard set.

`live:datagen/demo.yaml` or `live:datagen/demo.yaml seed=5 n_micro_turns=100` is accepted where a
folder of shards is expected. Dialogue `i` equals dialogue `i` of the set of that configuration;
their number is unlimited.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from microturn.configs.load import load_config
from microturn.configs.paths import cache_folder
from microturn.datagen.acoustics import rooms
from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.sides import audible
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.pipeline import Simulator, make_tokenizer, open_corpus
from microturn.datagen.report.heard import credits_of, identities_of
from microturn.datagen.sets.contents import Contents
from microturn.model.streams import Lanes, StreamLayout, Tokenizer
from microturn.model.streams.pcm import from_pcm16

PREFIX = "live:"


@dataclass(frozen=True, kw_only=True)
class LiveSource:
    """The dialogues of a configuration; copies in other processes build their own simulator."""

    config: DatagenConfig
    rooms: Path
    tokenizer_json: str

    @staticmethod
    def open(name: str) -> LiveSource:
        """Open `live:FILE.yaml key=value ...`; builds rooms and tokenizer once."""
        words = name.removeprefix(PREFIX).split()
        files = [word for word in words if "=" not in word]
        overrides = [word for word in words if "=" in word]
        return LiveSource.of(load_config(DatagenConfig, files, ["out=live", *overrides]))

    @staticmethod
    def of(config: DatagenConfig) -> LiveSource:
        folders = [cache_folder(config.cache), Path(tempfile.gettempdir())]
        bank = rooms.ensure_bank(config.rooms, config.layout.sample_rate, folders=folders)
        tokenizer = make_tokenizer(config, UnitBank(open_corpus(config), config))
        Simulator(config, rooms=bank, tokenizer=tokenizer)  # refuses a bad configuration
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tokenizer.json"
            tokenizer.save(path)
            return LiveSource(
                config=config, rooms=bank, tokenizer_json=path.read_text(encoding="utf-8")
            )

    @property
    def layout(self) -> StreamLayout:
        return self.config.layout

    @property
    def n_micro_turns(self) -> int:
        return self.config.n_micro_turns

    @cached_property
    def tokenizer(self) -> Tokenizer:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tokenizer.json"
            path.write_text(self.tokenizer_json, encoding="utf-8")
            return Tokenizer.load(path)

    @cached_property
    def simulator(self) -> Simulator:
        """Build it once in each process."""
        return Simulator(self.config, rooms=self.rooms, tokenizer=self.tokenizer)

    def __len__(self) -> int:
        """Return the size of the equivalent set; larger indices are valid too."""
        return self.config.n_dialogues

    def lanes(self, index: int) -> Lanes:
        """Simulate the lanes of one dialogue."""
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, "blas"):  # as in the workers of `microturn simulate`
            return self.simulator.dialogue(index).lanes

    def agent(self, index: int) -> NDArray[np.float32]:
        """Simulate the agent's voice in one dialogue, without its lanes."""
        recipe = self.simulator.recipe(index)
        script, _, conditions = self.simulator.script(recipe)
        pcm = self.simulator.sound(recipe, script, conditions=conditions).agent
        return from_pcm16(pcm)

    def contents(self) -> Contents:
        """Return whoever may be heard, since nothing is drawn yet; sentences and rooms are open."""
        contents, corpus = Contents(), self.simulator.bank.corpus
        heard = audible(corpus, self.config)
        seconds = heard.numbers("duration_s").tolist()
        for facts in zip(heard.texts("speaker"), identities_of(heard), seconds, strict=True):
            contents.hear(*facts)
        agent, music = corpus.filter(speaker=self.config.voices.agent), corpus.filter(tag="music")
        contents.credits = {
            credit for some in (heard, agent, music) for credit in credits_of(some, corpus)
        }
        contents.said = self.simulator.agent_words
        return contents

    def __getstate__(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in ("config", "rooms", "tokenizer_json")}
