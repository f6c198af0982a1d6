"""A performance by its sound alone: an utterance says something where it holds speech.

In open speech every voice has words of its own, and there are no recordings to find them by: a
checkpoint speaks with the voices that it learnt, the agents of a test set are other people. So
words are left out, and a detector of speech decides which sound is any.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from microturn.evaluation.scoring.activity import Span, overlap
from microturn.evaluation.scoring.agent_output import HeardWord, SpokenWord
from microturn.evaluation.scoring.scene import ScoredDialogue

LEAST_SPEECH_S: Final = 0.1  # in an utterance; a hum or a click gets none from the detector
_ANY: Final = "speech"  # stands for whatever was said


def wordless(scored: ScoredDialogue) -> ScoredDialogue:
    """Put one word in place of each utterance with speech; other sound is none.

    Raises ValueError where no detector has listened to the sound.
    """
    speech = scored.trace.speech
    if speech is None:
        raise ValueError("the performance cannot be scored by its speech: nobody listened for it")
    said = [span for span in scored.utterances if _seconds_in(span, speech) >= LEAST_SPEECH_S]
    trace = replace(
        scored.trace,
        words=tuple(SpokenWord(text=_ANY, start_s=start, end_s=end) for start, end in said),
        sounds=tuple(
            HeardWord(text=_ANY if span in said else "", start_s=span[0], end_s=span[1])
            for span in scored.utterances
        ),
    )
    return replace(scored, trace=trace)


def _seconds_in(span: Span, speech: tuple[Span, ...]) -> float:
    return sum(max(overlap(span, one), 0.0) for one in speech)
