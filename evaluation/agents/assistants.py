"""Voice assistants without a model, with users who react: speech, silence, and the right words.

Both hear with Silero VAD. `half_duplex` waits for a silence, gives the expected answer and is deaf
while it talks, as `half_duplex.py` does in recorded dialogues. `endpointing` answers every silence
and stops at every sound, as `endpointing.py` does there; its microphone has the echo of its own
voice, as far as the dialogue's canceller leaves any.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from microturn.datagen.closed_loop.environment import Environment
from microturn.datagen.closed_loop.micro_turn import MicroTurn, Played
from microturn.datagen.dialogue.rules import MIN_WORD_GAP_S
from microturn.datagen.labels.dialogue import EventLabel
from microturn.datagen.labels.event_types import RESULT
from microturn.evaluation.agents.closed_loop import play
from microturn.evaluation.agents.performance import HEARD_S, RecordedWords, is_request
from microturn.evaluation.agents.talking import dialogue_of, output_so_far
from microturn.evaluation.scoring.activity import Span, overlap
from microturn.evaluation.scoring.agent_output import AgentOutput
from microturn.evaluation.scoring.dialogue import Dialogue
from microturn.evaluation.speech.endpointer import Endpointer
from microturn.evaluation.speech.silero import FRAME, SAMPLE_RATE, SpeechStream
from microturn.model.streams import DELEGATE

_GAP_S: Final = float(MIN_WORD_GAP_S)
_FRAME_S: Final = FRAME / SAMPLE_RATE


@dataclass(frozen=True, kw_only=True)
class HalfDuplexTalker:
    """An end of silence, then the expected answer in the recorded voice; deaf while it talks."""

    voice: RecordedWords
    silence_s: float

    def talk(self, environments: Sequence[Environment]) -> Iterator[AgentOutput]:
        for environment in environments:
            play(environment, _HalfDuplex(environment, self.voice, self.silence_s).answer)
            yield output_so_far(environment)


@dataclass(frozen=True, kw_only=True)
class EndpointingTalker:
    """Answers each end of speech, falls silent at each beginning of it, understands every word."""

    voice: RecordedWords
    line: tuple[str, ...]  # said where nothing is asked
    silence_s: float

    def talk(self, environments: Sequence[Environment]) -> Iterator[AgentOutput]:
        for environment in environments:
            assistant = _Endpointing(environment, self.voice, self.silence_s, line=self.line)
            play(environment, assistant.answer)
            heard = dialogue_of(environment).user_words
            yield replace(output_so_far(environment), heard=heard)


def longest_line(dialogues: Iterable[Dialogue], voice: RecordedWords) -> tuple[str, ...]:
    """Return the longest answer that is expected anywhere, as it would sound."""
    lines = [event.expected for dialogue in dialogues for event in dialogue.events]
    return max(lines, key=lambda line: sum(len(voice.words.get(t, ())) for t in line), default=())


class _Word(NamedTuple):
    text: str
    start: int  # samples
    end: int


class _Mouth:
    """What an assistant says in one dialogue; k is the micro-turn that was heard last."""

    def __init__(self, environment: Environment, voice: RecordedWords) -> None:
        self._layout, self._tokenizer = environment.layout, environment.source.tokenizer
        self._voice, n = voice, environment.source.n_micro_turns
        self._sound = np.zeros((n + 1) * self._layout.samples_per_micro_turn, np.float32)
        self._ids: list[list[int]] = [[] for _ in range(n + 1)]
        self._words: list[_Word] = []
        self.talks_until_s = 0.0

    def say(self, texts: Sequence[str], k: int) -> None:
        """Say words from the next micro-turn on."""
        at = self._next(k)
        for text in texts:
            sound = self._voice.words.get(text, np.zeros(0, np.float32))
            part = sound[: max(len(self._sound) - at, 0)]
            if not len(part):
                continue
            self._sound[at : at + len(part)] = part
            self._ids[self._layout.micro_turn_of(at) - 1] += self._tokenizer.encode(text)
            self._words.append(_Word(text, at, at + len(part)))
            self.talks_until_s = (at + len(part)) / self._layout.sample_rate
            at += len(part) + round(_GAP_S * self._layout.sample_rate)

    def delegate(self, k: int) -> None:
        self._ids[k].append(DELEGATE)

    def talks(self, k: int) -> bool:
        """Whether something is to be said from the next micro-turn on."""
        return self.talks_until_s > self._next(k) / self._layout.sample_rate

    def break_off(self, k: int) -> tuple[str, ...]:
        """Fall silent from the next micro-turn on; return the words that were not said whole."""
        now = self._next(k)
        self._sound[now:] = 0.0
        for ids in self._ids[k:]:
            ids.clear()
        left = tuple(word.text for word in self._words if word.end > now)
        self._words = [word for word in self._words if word.end <= now]
        self.talks_until_s = min(self.talks_until_s, now / self._layout.sample_rate)
        return left

    def played(self, k: int) -> Played:
        block = self._layout.samples_per_micro_turn
        return Played(audio=self._sound[(k + 1) * block : (k + 2) * block], say=self._ids[k])

    def _next(self, k: int) -> int:
        return (k + 1) * self._layout.samples_per_micro_turn


class _Assistant:
    """One conversation; times are seconds of the dialogue."""

    def __init__(self, environment: Environment, voice: RecordedWords, silence_s: float) -> None:
        if environment.layout.sample_rate != SAMPLE_RATE:
            raise ValueError(
                f"half_duplex and endpointing hear {SAMPLE_RATE} Hz, not "
                f"{environment.layout.sample_rate}"
            )
        self.environment, self.mouth = environment, _Mouth(environment, voice)
        self.ear, self._vad = Endpointer(silence_s=silence_s), SpeechStream()
        self._n_frames, self._answered = 0, set[tuple[str, float]]()
        self._is_told = False  # whether a result has begun to come

    def answer(self, heard: MicroTurn) -> Played:
        """Take in a micro-turn, and return what is played in the next."""
        k = self.environment.micro_turn
        for probability in self._vad.hear(heard.audio).tolist():
            self._n_frames += 1
            self.listen(probability, self._n_frames * _FRAME_S, k)
        self._is_told = self._is_told or bool(heard.text_in)
        if self._is_told and self.ear.began_s is None and not self.mouth.talks(k):
            result = next((event for event in self._open() if event.type == RESULT), None)
            if result is not None:
                self._answered.add((result.type, result.start_s))
                self._is_told = False
                self.reply(result, k)
        return self.mouth.played(k)

    def listen(self, probability: float, now_s: float, k: int) -> None:
        """Take in a frame of the microphone that ends now: how probable it is that it is speech."""
        raise NotImplementedError

    def reply(self, event: EventLabel, k: int) -> None:
        """Say the answer to an event from the next micro-turn on."""
        if event.act == "delegate":
            self.mouth.delegate(k)
        self.mouth.say(event.expected, k)

    def request(self, *, from_s: float, until_s: float) -> EventLabel | None:
        """Take the last request that begins in a span; those before it are given up."""
        found = [e for e in self._open() if is_request(e) and from_s <= e.start_s < until_s]
        self._answered |= {(event.type, event.start_s) for event in found}
        return max(found, key=lambda event: event.start_s, default=None)

    def _open(self) -> list[EventLabel]:
        """Events that ask for words, and were not answered."""
        events = dialogue_of(self.environment).events
        return [e for e in events if e.expected and (e.type, e.start_s) not in self._answered]


class _HalfDuplex(_Assistant):
    def listen(self, probability: float, now_s: float, k: int) -> None:
        until_s = self.mouth.talks_until_s
        if now_s <= until_s:
            self.ear.forget()
        elif self.ear.hear(probability, now_s, _FRAME_S) is not None:
            event = self.request(from_s=until_s - HEARD_S, until_s=now_s)
            if event is not None:
                self.reply(event, k)


class _Endpointing(_Assistant):
    def __init__(
        self,
        environment: Environment,
        voice: RecordedWords,
        silence_s: float,
        *,
        line: tuple[str, ...],
    ) -> None:
        super().__init__(environment, voice, silence_s)
        self._line, self._at_s = line, 0.0
        self._said: EventLabel | None = None  # what is answered; None: the line is said
        self._left: tuple[EventLabel, tuple[str, ...]] | None = None  # of what was broken off

    def listen(self, probability: float, now_s: float, k: int) -> None:
        span = self.ear.hear(probability, now_s, _FRAME_S)
        if self.ear.is_speech(now_s) and self.mouth.talks(k):
            self._break_off(k)
        if span is None:
            return
        event = self.request(from_s=0.0, until_s=now_s)
        if event is not None:
            self.reply(event, k)
        elif self._told_to_stop(span):
            self._left = None
        else:
            self._go_on(now_s, k)

    def reply(self, event: EventLabel, k: int) -> None:
        self._said, self._left, self._at_s = event, None, self._n_frames * _FRAME_S
        super().reply(event, k)

    def _break_off(self, k: int) -> None:
        """Fall silent; an answer that began before the request was over is to be said anew."""
        rest = self.mouth.break_off(k)
        if self._said is not None:
            early = self._at_s < self._said.end_s
            self._left = self._said, self._said.expected if early else rest

    def _go_on(self, now_s: float, k: int) -> None:
        """Say what is left of an answer, or the line."""
        self._said, texts = self._left or (None, self._line)
        self._left, self._at_s = None, now_s
        self.mouth.say(texts, k)

    def _told_to_stop(self, span: Span) -> bool:
        return any(
            event.act == "stop" and overlap((event.start_s, event.end_s), span) > 0
            for event in dialogue_of(self.environment).events
        )
