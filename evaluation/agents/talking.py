"""Agents that talk with users who react: each is asked for one micro-turn at a time.

`Replayed` plays what an agent without a model does in the planned dialogue, whatever happens: the
oracle, `silent`, `always`, the adversarial panel. `StreamedTalker` is a checkpoint in the sessions
of a batch. `assistants.py` has those that listen for speech and silence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from microturn.datagen.closed_loop.environment import Environment
from microturn.datagen.closed_loop.micro_turn import Output, Played
from microturn.datagen.sets.shards import key_of
from microturn.evaluation.agents.closed_loop import output_of, play
from microturn.evaluation.agents.streaming import StreamingRows
from microturn.evaluation.scoring.agent_output import AgentOutput, words_of_lane
from microturn.evaluation.scoring.dialogue import Dialogue
from microturn.inference.micro_turn import MicroTurnIn
from microturn.model.streams import DELEGATE


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
