"""Words of an agent's sound, by a recogniser with a grammar of the possible words.

Pocketsphinx's English model with a grammar: any of the words that the recorded agent says in the
dialogue or that are expected, in any order. It is a check on the `say` lane, not a transcript: in
a closed domain it tells which of these words a sound is nearest to. When words begin is taken from
the energy of the sound, as everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from microturn.datagen.corpora.pronunciations import pronounce
from microturn.evaluation.scoring.activity import Activity
from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.model.streams.pcm import PCM16_MAX

_RATE: Final = 16_000  # of the recogniser's model
_FRAME_S: Final = 0.01
_MARGIN_S: Final = 0.15
_PEAK: Final = 0.5
_NOISE: Final = 3e-4  # digital silence has no spectrum


def vocabulary(held_out: HeldOutDialogue) -> tuple[str, ...]:
    """Return the words that the agent may say in a dialogue."""
    dialogue = held_out.dialogue
    words = {word.text for word in dialogue.agent_words}
    words |= {text for event in dialogue.events for text in event.expected}
    return tuple(sorted(words | set(_COMMON)))


# Words that an agent may say wrongly: without them a wrong word becomes the nearest right one.
_COMMON: Final = (
    *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
    *("hello", "goodbye", "please", "moment"),
)


def recognise(
    audio: NDArray[np.float32], held_out: HeldOutDialogue, activity: Activity
) -> tuple[SpokenWord, ...]:
    """Recognise the words of every utterance and their times."""
    if held_out.sample_rate != _RATE:
        raise ValueError(
            f"words=audio needs sound at {_RATE} Hz; this checkpoint's has {held_out.sample_rate}"
        )
    recogniser = _recogniser(vocabulary(held_out))
    spoken: list[SpokenWord] = []
    for start_s, end_s in activity.utterances:
        first_s = max(start_s - _MARGIN_S, 0.0)
        part = audio[round(first_s * _RATE) : round((end_s + _MARGIN_S) * _RATE)]
        spoken += [
            SpokenWord(
                text=word.text,
                start_s=max(word.start_s + first_s, start_s),
                end_s=min(word.end_s + first_s, end_s),
            )
            for word in recogniser.words(part)
        ]
    return tuple(spoken)


@dataclass(frozen=True)
class Recogniser:
    """A decoder with its grammar."""

    decoder: Any

    def words(self, audio: NDArray[np.float32]) -> list[SpokenWord]:
        """Words of one utterance."""
        self.decoder.start_utt()
        self.decoder.process_raw(_prepared(audio), no_search=False, full_utt=True)
        self.decoder.end_utt()
        if self.decoder.hyp() is None:
            return []
        return [
            SpokenWord(
                text=segment.word.split("(")[0].replace("_", " "),
                start_s=segment.start_frame * _FRAME_S,
                end_s=(segment.end_frame + 1) * _FRAME_S,
            )
            for segment in self.decoder.seg()
            if segment.word[0] not in "<["
        ]


@cache
def _recogniser(words: tuple[str, ...]) -> Recogniser:
    import pocketsphinx

    dictionary = Path(pocketsphinx.get_model_path()) / "en-us" / "cmudict-en-us.dict"
    decoder = pocketsphinx.Decoder(lm=None, loglevel="FATAL", dict=str(dictionary), cmn="batch")
    for word in words:
        if decoder.lookup_word(word) is None:
            decoder.add_word(word, pronounce(word), True)
    choice = " | ".join(words)
    decoder.add_jsgf_string("words", f"#JSGF V1.0; grammar words; public <words> = ({choice})+;")
    decoder.activate_search("words")
    return Recogniser(decoder)


def _prepared(audio: NDArray[np.float32]) -> bytes:
    """16-bit sound at one level, with a little noise."""
    noise = np.random.default_rng(0).standard_normal(len(audio)) * _NOISE
    peak = max(float(np.abs(audio).max(initial=0.0)), 1e-3)
    scaled = np.clip(audio / peak * _PEAK + noise, -1.0, 1.0)
    # Truncated, not rounded: recognised words, and so scores, depend on every bit.
    return (scaled * PCM16_MAX).astype("<i2").tobytes()
