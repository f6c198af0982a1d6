"""Texts that several speakers of a language have recorded."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import numpy as np
from numpy.typing import NDArray

from microturn.datagen.dialogue.open.speech import OpenSpeech
from microturn.model.streams import normalise

MIN_WORDS: Final = 2
Text = tuple[str, str]  # language and normalised text


class ParallelReadings:
    """By speaker the texts that somebody else has recorded too, in order; a take of each."""

    def __init__(self, speech: OpenSpeech) -> None:
        takes: defaultdict[Text, dict[str, str]] = defaultdict(dict)
        repeated = _texts_of_several(speech)
        for name, speaker in sorted(speech.speakers.items()):
            own = speaker.recordings
            own = own.where(np.isin(own.numbers("text"), repeated))
            lines = zip(own.texts("id"), own.texts("text"), strict=True)
            for line_id, written in lines:
                text = normalise(written)
                if len(text.split()) >= MIN_WORDS:
                    takes[(speaker.language, text)].setdefault(name, line_id)
        self._takes = {text: found for text, found in takes.items() if len(found) > 1}
        by_speaker: defaultdict[str, list[Text]] = defaultdict(list)
        for shared, found in sorted(self._takes.items()):
            for name in found:
                by_speaker[name].append(shared)
        self.by_speaker = {name: tuple(texts) for name, texts in by_speaker.items()}

    def takes(self, text: Text) -> dict[str, str]:
        """Return the recording of a text by each of its speakers."""
        return self._takes[text]


def _texts_of_several(speech: OpenSpeech) -> NDArray[np.int32]:
    """Return the codes of texts that more than one recording has: few, in a large corpus."""
    codes = [speaker.recordings.numbers("text") for speaker in speech.speakers.values()]
    used, n_recordings = np.unique(np.concatenate(codes), return_counts=True)
    return used[n_recordings > 1]
