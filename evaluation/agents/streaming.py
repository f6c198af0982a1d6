"""A checkpoint as the agent: dialogues streamed micro-turn by micro-turn, several at once.

A row gets the input of a live session: one micro-turn of microphone at a time, and a result of the
background agent only after it has delegated.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from microturn.datagen.labels.dialogue import TextLabel
from microturn.evaluation.scoring.agent_output import AgentOutput, Delivery, words_of_lane
from microturn.evaluation.scoring.dialogue import Dialogue
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.model.streams import DELEGATE, StreamLayout, Tokenizer


class StreamingRows(Protocol):
    """The part of `inference.rows.RowBatch` that evaluation needs."""

    @property
    def n_rows(self) -> int: ...
    @property
    def layout(self) -> StreamLayout: ...
    @property
    def tokenizer(self) -> Tokenizer: ...
    def reset(self, row: int) -> None: ...
    def step_rows(self, inputs: Mapping[int, MicroTurnIn]) -> Mapping[int, MicroTurnOut]: ...


@dataclass(frozen=True, kw_only=True)
class ScriptedResult:
    """A scripted result of the background agent for one request; times in micro-turns."""

    asked_micro_turn: int  # from here on a `<delegate>` is for this request
    delay_micro_turns: int  # from `<delegate>` to the arrival of the result
    message: TextLabel


def scripted_results(dialogue: Dialogue, layout: StreamLayout) -> list[ScriptedResult]:
    """Pair each result of the script with the request and the `<delegate>` before it."""
    results = []
    requests = [event for event in dialogue.events if event.act == "delegate"]
    for message in dialogue.messages:
        if not message.is_result:
            continue
        asked = [event.end_s for event in requests if event.end_s <= message.time_s]
        delegated = [time_s for time_s in dialogue.delegates_s if time_s <= message.time_s]
        asked_s = max(asked, default=0.0)
        # A token that is played from a time on is an output of the micro-turn before.
        delegated_at = _micro_turn_of(max(delegated, default=asked_s), layout) - 1
        results.append(
            ScriptedResult(
                asked_micro_turn=_micro_turn_of(asked_s, layout) - 1,
                delay_micro_turns=max(_micro_turn_of(message.time_s, layout) - delegated_at, 1),
                message=message,
            )
        )
    return results


def _micro_turn_of(time_s: float, layout: StreamLayout) -> int:
    return layout.micro_turn_of(round(time_s * layout.sample_rate))


@dataclass(kw_only=True)
class StreamedDialogue:
    """One dialogue, micro-turn by micro-turn: what the agent is given, and what it has made."""

    sample: HeldOutDialogue
    layout: StreamLayout
    tokenizer: Tokenizer
    user: NDArray[np.float32]  # (N, samples_per_micro_turn)
    given: Mapping[str, NDArray[Any]]  # (N, ...) lanes that are neither sound nor text
    missing_input: NDArray[np.bool_] | None  # (N,) micro-turns without input
    results: list[ScriptedResult]
    arrivals: dict[int, list[TextLabel]]  # by micro-turn
    waiting: deque[int] = field(default_factory=deque)  # ids that have not been read yet
    audio: list[NDArray[np.float32]] = field(default_factory=list)
    say: list[list[int]] = field(default_factory=list)
    heard: list[list[int]] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)

    @classmethod
    def begin(
        cls, sample: HeldOutDialogue, layout: StreamLayout, tokenizer: Tokenizer
    ) -> StreamedDialogue:
        """Load the sample for an agent of this layout.

        An agent without a lane plays the sample without it: a blind one is scored as blind.
        """
        audio = sample.load_user()
        n = len(audio) // layout.samples_per_micro_turn
        arrivals: dict[int, list[TextLabel]] = {}
        for message in sample.dialogue.messages:
            if not message.is_result:
                arrivals.setdefault(_micro_turn_of(message.time_s, layout), []).append(message)
        lanes = {spec.name for spec in layout.ready_lanes}
        return cls(
            sample=sample,
            layout=layout,
            tokenizer=tokenizer,
            user=audio[: n * layout.samples_per_micro_turn].reshape(n, -1),
            given={lane: array for lane, array in sample.load_given().items() if lane in lanes},
            missing_input=sample.load_missing_input(),
            results=scripted_results(sample.dialogue, layout),
            arrivals=arrivals,
        )

    @property
    def n_micro_turns(self) -> int:
        return len(self.user)

    def next_input(self) -> MicroTurnIn:
        """Return the input of the next micro-turn; its text counts as read."""
        k, missing = len(self.audio), self.missing_input
        return MicroTurnIn(
            audio=self.user[k],
            text_in=self._read_text(k),
            missing_input=missing is not None and k < len(missing) and bool(missing[k]),
            given={lane: array[k] for lane, array in self.given.items() if k < len(array)},
        )

    def _read_text(self, k: int) -> list[int]:
        """Return the next ids of the text that has arrived, as many as there are positions."""
        for message in self.arrivals.get(k, ()):
            self.waiting.extend(self.tokenizer.encode_lane_text(message.read))
        n = min(len(self.waiting), self.layout.text_in_positions)
        return [self.waiting.popleft() for _ in range(n)]

    def keep(self, output: MicroTurnOut) -> None:
        """Keep what the agent made of that input; a `<delegate>` has its result sent."""
        k = len(self.audio)
        self.audio.append(output.audio)
        self.say.append([int(token) for token in output.say])
        self.heard.append([int(token) for token in output.heard])
        if DELEGATE in self.say[-1]:
            self._delegate(k)

    def _delegate(self, k: int) -> None:
        """Start the background agent on the oldest open request; without one nothing happens.

        It is as slow as in the script, and never earlier.
        """
        for result in self.results:
            if result.asked_micro_turn <= k:
                self.results.remove(result)
                scripted = _micro_turn_of(result.message.time_s, self.layout)
                arrives = max(k + result.delay_micro_turns, scripted)
                if arrives < self.n_micro_turns:
                    self.arrivals.setdefault(arrives, []).append(result.message)
                    late_s = (arrives - scripted) * self.layout.micro_turn_s
                    self.deliveries.append(
                        Delivery(
                            time_s=result.message.time_s + late_s,
                            scripted_s=result.message.time_s,
                            text=result.message.text,
                        )
                    )
                return

    def output(self) -> AgentOutput:
        """Place what was made in micro-turn k where it is played: in micro-turn k + 1."""
        layout = self.layout
        silence = np.zeros(layout.samples_per_micro_turn, np.float32)
        say = self.say[:-1]  # the last would sound after the end
        return AgentOutput(
            audio=np.concatenate([silence, *self.audio[:-1]]),
            sample_rate=layout.sample_rate,
            words=words_of_lane(say, self.tokenizer, layout, shift=1),
            delegates_s=tuple(
                (row + 1) * layout.micro_turn_s for row, ids in enumerate(say) if DELEGATE in ids
            ),
            deliveries=tuple(self.deliveries),
            heard=words_of_lane(self.heard, self.tokenizer, layout, shift=0),
        )


class StreamedAgent:
    """Streams dialogues through the rows of a batch."""

    def __init__(self, batch: StreamingRows) -> None:
        self._batch, self._layout, self._tokenizer = batch, batch.layout, batch.tokenizer

    def perform(self, samples: Sequence[HeldOutDialogue]) -> Iterator[AgentOutput]:
        """Stream the samples, as many at once as there are rows; yields outputs in order."""
        n_rows = self._batch.n_rows
        for first in range(0, len(samples), n_rows):
            dialogues = [
                StreamedDialogue.begin(sample, self._layout, self._tokenizer)
                for sample in samples[first : first + n_rows]
            ]
            for row in range(n_rows):
                self._batch.reset(row)
            for k in range(max(dialogue.n_micro_turns for dialogue in dialogues)):
                self._step(k, dialogues)
            yield from (dialogue.output() for dialogue in dialogues)

    def _step(self, k: int, dialogues: Sequence[StreamedDialogue]) -> None:
        """Run micro-turn k of every dialogue that is not over."""
        live = {row: d for row, d in enumerate(dialogues) if k < d.n_micro_turns}
        inputs = {row: dialogue.next_input() for row, dialogue in live.items()}
        outputs = self._batch.step_rows(inputs)
        for row, dialogue in live.items():
            dialogue.keep(outputs[row])
