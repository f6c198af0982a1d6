"""Agents that talk with users who react: each is asked for one micro-turn at a time.

`Replayed` plays what an agent without a model does in the planned dialogue, whatever happens: the
oracle, `silent`, `always`, the adversarial panel. `HalfDuplexTalker` waits for a silence and then
gives the expected answer, as `half_duplex.py` does in recorded dialogues. `StreamedTalker` is a
checkpoint in the sessions of a batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from microturn.datagen.closed_loop.environment import Environment
from microturn.datagen.closed_loop.micro_turn import MicroTurn, Output, Played
from microturn.datagen.dialogue.rules import MIN_WORD_GAP_S
from microturn.datagen.labels.dialogue import EventLabel
from microturn.datagen.labels.event_types import RESULT
from microturn.datagen.sets.shards import key_of
from microturn.evaluation.agents.closed_loop import output_of, play
from microturn.evaluation.agents.performance import HEARD_S, RecordedWords, is_request
from microturn.evaluation.agents.streaming import StreamingRows
from microturn.evaluation.scoring.agent_output import AgentOutput, words_of_lane
from microturn.evaluation.scoring.dialogue import Dialogue
from microturn.evaluation.speech.endpointer import Endpointer
from microturn.evaluation.speech.silero import FRAME, SAMPLE_RATE, SpeechStream
from microturn.inference.micro_turn import MicroTurnIn
from microturn.model.streams import DELEGATE

_GAP_S: Final = float(MIN_WORD_GAP_S)


class Talker(Protocol):
    """An agent of the closed loop."""

    def talk(self, environments: Sequence[Environment]) -> Iterator[AgentOutput]:
        """Play every environment to its end, and return what the agent did, in order."""
        ...


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """Plays an output that was made for the planned dialogue."""

    made_for: Callable[[Environment], AgentOutput]

    def talk(self, environments: Sequence[Environment]) -> Iterator[AgentOutput]:
        for environment in environments:
            turns = deque(_in_micro_turns(self.made_for(environment), environment))
            play(environment, lambda _, turns=turns: turns.popleft())  # type: ignore[misc]
            yield output_so_far(environment)


def _in_micro_turns(output: AgentOutput, environment: Environment) -> list[Output]:
    """Divide an output by the micro-turns in which it is decided on: one before it sounds."""
    layout, tokenizer = environment.layout, environment.source.tokenizer
    block, n = layout.samples_per_micro_turn, environment.source.n_micro_turns
    audio = np.zeros(n * block, np.float32)
    audio[: len(output.audio)] = output.audio[: len(audio)]
    say: list[list[int]] = [[] for _ in range(n)]

    def decided(time_s: float) -> int:
        return min(max(layout.micro_turn_of(round(time_s * layout.sample_rate)) - 1, 0), n - 1)

    for time_s in output.delegates_s:
        say[decided(time_s)].append(DELEGATE)
    for word in output.words:
        say[decided(word.start_s)] += tokenizer.encode(word.text)
    return [
        Played(audio=audio[(k + 1) * block : (k + 2) * block], say=say[k]) for k in range(n - 1)
    ]


@dataclass(frozen=True, kw_only=True)
class HalfDuplexTalker:
    """An end of silence, then the expected answer in the recorded voice; deaf while it talks."""

    voice: RecordedWords
    silence_s: float

    def talk(self, environments: Sequence[Environment]) -> Iterator[AgentOutput]:
        for environment in environments:
            play(environment, _HalfDuplex(environment, self.voice, silence_s=self.silence_s).answer)
            yield output_so_far(environment)


@dataclass
class _HalfDuplex:
    """One conversation; times are seconds of the dialogue."""

    environment: Environment
    voice: RecordedWords
    silence_s: float = field(kw_only=True)

    def __post_init__(self) -> None:
        layout = self.environment.layout
        if layout.sample_rate != SAMPLE_RATE:
            raise ValueError(f"half_duplex hears {SAMPLE_RATE} Hz, not {layout.sample_rate}")
        self._ear, self._vad = Endpointer(silence_s=self.silence_s), SpeechStream()
        n = self.environment.source.n_micro_turns
        self._sound = np.zeros((n + 1) * layout.samples_per_micro_turn, np.float32)
        self._say: list[list[int]] = [[] for _ in range(n + 1)]
        self._n_frames, self._talks_until_s = 0, 0.0
        self._answered: set[tuple[str, float]] = set()
        self._is_told = False  # whether a result has begun to come

    def answer(self, heard: MicroTurn) -> Played:
        """Take in a micro-turn, and return what is played in the next."""
        k, block = self.environment.micro_turn, self.environment.layout.samples_per_micro_turn
        for probability in self._vad.hear(heard.audio).tolist():
            self._n_frames += 1
            now_s = self._n_frames * FRAME / SAMPLE_RATE
            if now_s <= self._talks_until_s:
                self._ear.forget()
            elif self._ear.hear(probability, now_s, FRAME / SAMPLE_RATE) is not None:
                self._reply(self._request(now_s), k)
        self._is_told = self._is_told or bool(heard.text_in)
        if (
            self._is_told
            and self._ear.began_s is None
            and (k + 1) * self._micro_turn_s > self._talks_until_s
        ):
            self._reply(self._result(), k)
        return Played(audio=self._sound[(k + 1) * block : (k + 2) * block], say=self._say[k])

    @property
    def _micro_turn_s(self) -> float:
        return self.environment.layout.micro_turn_s

    def _open(self) -> list[EventLabel]:
        """Events that ask for words, and were not answered."""
        events = dialogue_of(self.environment).events
        return [e for e in events if e.expected and (e.type, e.start_s) not in self._answered]

    def _request(self, now_s: float) -> EventLabel | None:
        """Take the last request whose beginning was heard; those before it are given up."""
        found = [
            event
            for event in self._open()
            if is_request(event) and self._talks_until_s - HEARD_S <= event.start_s < now_s
        ]
        self._answered |= {(event.type, event.start_s) for event in found}
        return max(found, key=lambda event: event.start_s, default=None)

    def _result(self) -> EventLabel | None:
        """Take the first result of the background agent that has arrived."""
        found = next((event for event in self._open() if event.type == RESULT), None)
        if found is not None:
            self._answered.add((found.type, found.start_s))
            self._is_told = False
        return found

    def _reply(self, event: EventLabel | None, k: int) -> None:
        """Say the answer to an event from the next micro-turn on."""
        if event is None:
            return
        layout, tokenizer = self.environment.layout, self.environment.source.tokenizer
        if event.act == "delegate":
            self._say[k].append(DELEGATE)
        at = (k + 1) * layout.samples_per_micro_turn
        for text in event.expected:
            sound = self.voice.words.get(text, np.zeros(0, np.float32))
            part = sound[: max(len(self._sound) - at, 0)]
            if not len(part):
                continue
            self._sound[at : at + len(part)] = part
            self._say[layout.micro_turn_of(at) - 1] += tokenizer.encode(text)
            self._talks_until_s = (at + len(part)) / layout.sample_rate
            at += len(part) + round(_GAP_S * layout.sample_rate)


class StreamedTalker:
    """A checkpoint, with as many conversations at once as its batch has rows."""

    def __init__(self, batch: StreamingRows) -> None:
        self._batch = batch

    def talk(self, environments: Sequence[Environment]) -> Iterator[AgentOutput]:
        n_rows = self._batch.n_rows
        for first in range(0, len(environments), n_rows):
            yield from self._talk(environments[first : first + n_rows])

    def _talk(self, environments: Sequence[Environment]) -> Iterator[AgentOutput]:
        for row in range(self._batch.n_rows):
            self._batch.reset(row)
        observed = {row: one.reset() for row, one in enumerate(environments)}
        heard: list[list[Sequence[int]]] = [[] for _ in environments]
        while observed:
            inputs = {
                row: MicroTurnIn(
                    audio=one.audio,
                    text_in=one.text_in,
                    missing_input=one.missing_input,
                    given=one.given,
                )
                for row, one in observed.items()
            }
            for row, output in self._batch.step_rows(inputs).items():
                heard[row].append([int(token) for token in output.heard])
                observed[row], _, done = environments[row].step(output)
                if done:
                    del observed[row]
        for environment, rows in zip(environments, heard, strict=True):
            words = words_of_lane(rows, self._batch.tokenizer, self._batch.layout, shift=0)
            yield replace(output_so_far(environment), heard=words)


def dialogue_of(environment: Environment) -> Dialogue:
    """Return what has happened around the agent so far, and what it asked of it."""
    return Dialogue.of(key_of(environment.index), environment.labels())


def output_so_far(environment: Environment) -> AgentOutput:
    """Return what the agent has done so far."""
    return output_of(environment.episode(), environment.source)


def microphone_of(environment: Environment) -> NDArray[np.float32]:
    """Return what the microphone heard (T,) of an episode that is over, by playing it again."""
    block = environment.layout.samples_per_micro_turn
    played = environment.agent_audio().reshape(-1, block)[1:]
    turns = [
        Played(audio=audio, say=say) for audio, say in zip(played, environment.say, strict=True)
    ]
    heard = [environment.reset().audio]
    heard += [environment.step(turn)[0].audio for turn in turns]
    return np.concatenate(heard)
