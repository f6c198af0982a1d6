"""The output of an agent in one dialogue, on the wall clock: the only thing that is scored.

An `AgentOutput` holds its sound; a `Trace` keeps of the sound only when there was speech, which is
all that scoring needs and little enough to be written down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microturn.datagen.labels.time_classes import ALIGNED, KNOWN
from microturn.evaluation.config import ActivityConfig
from microturn.evaluation.scoring.activity import Activity, Span
from microturn.model.streams import CONTROL_TOKENS, StreamLayout, Tokenizer

MAX_WORD_S = 1.0


@dataclass(frozen=True, kw_only=True)
class SpokenWord:
    """A word and when it sounds; one of unknown times sounds somewhere in its span."""

    text: str
    start_s: float
    end_s: float
    times: str = ALIGNED  # of a recorded word: one of TIME_CLASSES

    @property
    def is_known(self) -> bool:
        return self.times in KNOWN


@dataclass(frozen=True, kw_only=True)
class HeardWord:
    """A word of the agent's voice that its sound says, or speech that is no such word."""

    text: str  # empty: none of the words of the voice
    start_s: float
    end_s: float
    distance: float = 0.0  # from the recording, in log10 magnitude
    share: float = 1.0  # of the word, up to where it was broken off


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A result of the background agent, and how much later than scripted it arrived."""

    time_s: float
    scripted_s: float
    text: str


@dataclass(frozen=True, kw_only=True)
class AgentOutput:
    """Sound that was played, words and control tokens of the `say` lane, results that arrived."""

    audio: NDArray[np.float32]
    sample_rate: int
    words: tuple[SpokenWord, ...] = ()
    delegates_s: tuple[float, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    heard: tuple[SpokenWord, ...] | None = None  # None: it has no such lane

    @property
    def duration_s(self) -> float:
        return len(self.audio) / self.sample_rate


@dataclass(frozen=True, kw_only=True)
class Trace:
    """An output without its sound."""

    activity: Activity
    words: tuple[SpokenWord, ...]
    delegates_s: tuple[float, ...]
    deliveries: tuple[Delivery, ...]
    heard: tuple[SpokenWord, ...] | None
    sounds: tuple[HeardWord, ...] | None = None  # what its sound says; None: not listened to
    missing_input: tuple[int, ...] = ()  # micro-turns whose input did not arrive in time
    recognised: tuple[SpokenWord, ...] | None = None  # words of the sound alone; None: not asked
    speech: tuple[Span, ...] | None = None  # when the sound is speech; None: not asked

    @classmethod
    def of(
        cls,
        output: AgentOutput,
        config: ActivityConfig,
        sounds: tuple[HeardWord, ...] | None = None,
        missing_input: NDArray[np.bool_] | None = None,
        speech: tuple[Span, ...] | None = None,
    ) -> Trace:
        return cls(
            sounds=sounds,
            speech=speech,
            missing_input=()
            if missing_input is None
            else tuple(int(k) for k in np.flatnonzero(missing_input)),
            activity=Activity.of(output.audio, output.sample_rate, config),
            words=output.words,
            delegates_s=output.delegates_s,
            deliveries=output.deliveries,
            heard=output.heard,
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "activity": self.activity.to_json(),
            "words": _words_to_json(self.words),
            "delegates": list(self.delegates_s),
            "deliveries": [asdict(delivery) for delivery in self.deliveries],
            "heard": None if self.heard is None else _words_to_json(self.heard),
            "sounds": None if self.sounds is None else [list(astuple(s)) for s in self.sounds],
            "missing_input": list(self.missing_input),
            "recognised": None if self.recognised is None else _words_to_json(self.recognised),
            "speech": None if self.speech is None else [list(span) for span in self.speech],
        }

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> Trace:
        heard, sounds, recognised = entry["heard"], entry["sounds"], entry["recognised"]
        speech = entry["speech"]
        return cls(
            activity=Activity.from_json(entry["activity"]),
            words=_words_from_json(entry["words"]),
            delegates_s=tuple(entry["delegates"]),
            deliveries=tuple(Delivery(**delivery) for delivery in entry["deliveries"]),
            heard=None if heard is None else _words_from_json(heard),
            sounds=None if sounds is None else tuple(_heard_word(row) for row in sounds),
            missing_input=tuple(entry["missing_input"]),
            recognised=None if recognised is None else _words_from_json(recognised),
            speech=None if speech is None else tuple((start, end) for start, end in speech),
        )


def _words_to_json(words: Sequence[SpokenWord]) -> list[list[Any]]:
    return [[word.text, word.start_s, word.end_s] for word in words]


def _words_from_json(rows: Sequence[Sequence[Any]]) -> tuple[SpokenWord, ...]:
    return tuple(SpokenWord(text=text, start_s=start, end_s=end) for text, start, end in rows)


def _heard_word(row: Sequence[Any]) -> HeardWord:
    text, start_s, end_s, distance, share = row
    return HeardWord(text=text, start_s=start_s, end_s=end_s, distance=distance, share=share)


def words_of_lane(
    rows: Sequence[Sequence[int]], tokenizer: Tokenizer, layout: StreamLayout, *, shift: int
) -> tuple[SpokenWord, ...]:
    """Words of a text lane given as one list of ids per micro-turn.

    `shift` is 1 for what is played in the next micro-turn (`say`) and 0 for what is heard in the
    same one. The lane marks beginnings only: a word lasts until the next one, at most
    `MAX_WORD_S`.
    """
    ids: list[int] = []
    micro_turns: list[int] = []
    for row, tokens in enumerate(rows):
        ids += [int(token) for token in tokens]
        micro_turns += [row] * len(tokens)
    micro_turn_s = layout.micro_turn_s
    onsets = [
        (text, (micro_turns[index] + shift) * micro_turn_s)
        for text, index in tokenizer.words(ids)
        if text not in CONTROL_TOKENS
    ]
    starts = [start for _, start in onsets] + [float("inf")]
    return tuple(
        SpokenWord(text=text, start_s=start, end_s=min(starts[i + 1], start + MAX_WORD_S))
        for i, (text, start) in enumerate(onsets)
    )
