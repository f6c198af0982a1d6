"""What the members of the panel speak with: the words, habits and delays of the recorded agent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from microturn.evaluation.agents.performance import RecordedWords
from microturn.evaluation.config import WindowConfig
from microturn.evaluation.scoring.activity import Span, merge
from microturn.evaluation.scoring.agent_output import AgentOutput, SpokenWord
from microturn.evaluation.scoring.answers import answers_of
from microturn.evaluation.scoring.dialogue import Dialogue
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue, Samples

TURN_GAP_S: Final = 0.7  # silence that ends a turn of the user
REPLY_S: Final = 0.3  # from the end of a turn to a constant reply
_MAX_DIALOGUES = 48  # whose habits are learnt
_UNKNOWN: Final = "oh"  # in a set without a word of the agent

Timed = tuple[float, str]  # seconds, word
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A turn of the user, and what the recorded agent said until the next one."""

    end_s: float
    until_s: float
    replies: tuple[Timed, ...]  # seconds after the end of the turn


@dataclass(frozen=True, kw_only=True)
class _Heard:
    """What one dialogue teaches about its set."""

    words: tuple[str, ...]
    answers: tuple[tuple[str, ...], ...]
    replies: tuple[tuple[Timed, ...], ...]

    @classmethod
    def of(cls, sample: HeldOutDialogue) -> _Heard:
        answers = answers_of(sample.dialogue, (), WindowConfig())
        return cls(
            words=tuple(word.text for word in sample.dialogue.agent_words),
            answers=tuple(answer.expected for answer in answers if answer.expected),
            replies=tuple(exchange.replies for exchange in exchanges(sample.dialogue)),
        )


@dataclass(frozen=True, kw_only=True)
class Habits:
    """Whatever can be known of a set without listening to the dialogue at hand."""

    voice: RecordedWords
    samples: Mapping[str, HeldOutDialogue]
    heard: Mapping[str, _Heard]
    words: tuple[str, ...] = ()  # by frequency
    phrases: tuple[tuple[str, ...], ...] = ()  # whole answers, by frequency
    delays_s: tuple[float, float] = (0.0, 0.0)  # medians to the first two words of a reply

    @classmethod
    def of(cls, dialogues: Samples) -> Habits:
        """Hear the first dialogues of a set."""
        first = [one for one, _ in zip(dialogues(), range(_MAX_DIALOGUES), strict=False)]
        return cls(
            voice=RecordedWords.of(dialogues),
            samples={one.key: one for one in first},
            heard={one.key: _Heard.of(one) for one in first},
        )

    def without(self, key: str) -> Habits:
        """Return what all dialogues but one teach; that one where there is no other."""
        heard = [one for other, one in self.heard.items() if other != key]
        heard = heard or list(self.heard.values())
        replies = [reply for one in heard for reply in one.replies]
        answers = Counter(answer for one in heard for answer in one.answers)
        return replace(
            self,
            words=_by_frequency(Counter(w for one in heard for w in one.words)) or (_UNKNOWN,),
            phrases=_by_frequency(answers) or ((_UNKNOWN,),),
            delays_s=(_median(replies, 0), _median(replies, 1)),
        )

    @property
    def is_alone(self) -> bool:
        """Whether the set has one dialogue only, which is then its own other."""
        return len(self.samples) == 1

    def other(self, key: str) -> HeldOutDialogue:
        """Another dialogue of the set; the same one where there is no other."""
        keys = list(self.samples)
        at = keys.index(key) if key in self.samples else -1
        return self.samples[keys[(at + 1) % len(keys)]]

    def sound(self, text: str, rate: int) -> NDArray[np.float32]:
        """Return a recording of the word, or a burst of noise where there is none."""
        recorded = self.voice.words.get(text)
        return noise(round(0.3 * rate)) if recorded is None else recorded


def exchanges(dialogue: Dialogue) -> list[Exchange]:
    """The turns of the user, each with what was said until the next one begins."""
    turns = turns_of(dialogue)
    untils = [start for start, _ in turns[1:]] + [dialogue.duration_s] * bool(turns)
    return [
        Exchange(
            end_s=end,
            until_s=until,
            replies=tuple(
                (word.start_s - end, word.text)
                for word in dialogue.agent_words
                if end <= word.start_s < until
            ),
        )
        for (_, end), until in zip(turns, untils, strict=True)
    ]


def turns_of(dialogue: Dialogue) -> list[Span]:
    """When the user speaks, gaps between words bridged."""
    return merge([(word.start_s, word.end_s) for word in dialogue.user_words], TURN_GAP_S)


def compose(sample: HeldOutDialogue, habits: Habits, said: Sequence[Timed]) -> AgentOutput:
    """Return an output that says these words and is silent otherwise."""
    n = round(sample.dialogue.duration_s * sample.sample_rate)
    silence = AgentOutput(audio=np.zeros(n, np.float32), sample_rate=sample.sample_rate)
    return add(silence, habits, said)


def add(output: AgentOutput, habits: Habits, said: Sequence[Timed]) -> AgentOutput:
    """Return the output with more words; one word cuts off the one before it."""
    audio, rate = output.audio.copy(), output.sample_rate
    ordered = sorted((at, text) for at, text in said if 0.0 <= at < output.duration_s)
    ends = [at for at, _ in ordered[1:]] + [output.duration_s] * bool(ordered)
    words = []
    for (at, text), until in zip(ordered, ends, strict=True):
        first = round(at * rate)
        sound = habits.sound(text, rate)[: max(round(until * rate) - first, 0)]
        sound = sound[: len(audio) - first]
        audio[first : first + len(sound)] = sound
        words.append(SpokenWord(text=text, start_s=at, end_s=at + len(sound) / rate))
    everything = sorted([*output.words, *words], key=lambda word: word.start_s)
    return replace(output, audio=audio, words=tuple(everything))


def in_a_row(texts: Sequence[str], at_s: float, habits: Habits, rate: int) -> list[Timed]:
    """Words one after the other, as long as each of them sounds."""
    timed = []
    for text in texts:
        timed.append((at_s, text))
        at_s += len(habits.sound(text, rate)) / rate + 0.02
    return timed


def noise(n: int, level: float = 0.1) -> NDArray[np.float32]:
    return (level * np.random.default_rng(n).standard_normal(n)).astype(np.float32)


def _by_frequency(counts: Counter[_T]) -> tuple[_T, ...]:
    """Return the most frequent one first; equals in a fixed order."""
    return tuple(sorted(counts, key=lambda one: (-counts[one], str(one))))


def _median(replies: Sequence[Sequence[Timed]], number: int) -> float:
    delays = [words[number][0] for words in replies if len(words) > number]
    return median(delays) if delays else REPLY_S * (1 + number)
