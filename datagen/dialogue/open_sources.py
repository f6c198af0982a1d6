"""What scenarios of open speech are made of: whole recordings of many voices."""

from __future__ import annotations

from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.open_speech import OpenSpeech
from microturn.datagen.dialogue.units import UnitBank


class OpenSources:
    """The recordings of a configuration's corpora on the side of its split."""

    def __init__(self, bank: UnitBank, config: DatagenConfig) -> None:
        self.config = config
        self.speech = OpenSpeech(bank, config)
