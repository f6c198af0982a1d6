"""A checkpoint in the agent's part: dialogues streamed micro-turn by micro-turn, side by side.

The session hears exactly what a live one would: one micro-turn of microphone at a time, and a
result of the background agent only after it has delegated.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from microturn.evaluation.scoring.agent_output import AgentOutput, Delivery, words_of_lane
from microturn.evaluation.scoring.dialogue import Dialogue, Message
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.model.streams import DELEGATE, StreamLayout, Tokenizer, frame_shape


class TurnOutput(Protocol):
    """What a session returns for one micro-turn."""

    @property
    def audio(self) -> NDArray[np.float32]: ...
    @property
    def heard(self) -> list[int]: ...
    @property
    def say(self) -> list[int]: ...


class StreamingSessions(Protocol):
    """What evaluation needs of a batch of streaming sessions."""

    @property
    def batch_size(self) -> int: ...
    def reset(self, row: int) -> None: ...
    def append(
        self,
        audio: NDArray[np.float32],
        text_in: Sequence[Sequence[int] | None] | None = None,
        active: NDArray[np.bool_] | None = None,
        *,
        late: NDArray[np.bool_] | None = None,
        video: NDArray[np.uint8] | None = None,
    ) -> Sequence[TurnOutput]: ...


@dataclass(frozen=True, kw_only=True)
class ScriptedResult:
    """A result that the background agent has ready for one request, in micro-turns."""

    asked_row: int  # from here on a `<delegate>` is for this request
    delay_rows: int  # from `<delegate>` to the arrival of the result
    message: Message


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
        # A token that is played from `time` on was made in the micro-turn before.
        made_row = _row_of(max(delegated, default=asked_s), layout) - 1
        results.append(
            ScriptedResult(
                asked_row=_row_of(asked_s, layout) - 1,
                delay_rows=max(_row_of(message.time_s, layout) - made_row, 1),
                message=message,
            )
        )
    return results


def _row_of(time_s: float, layout: StreamLayout) -> int:
    return layout.micro_turn_of(round(time_s * layout.sample_rate))


@dataclass(kw_only=True)
class _Part:
    """One dialogue on its way through a row."""

    sample: HeldOutDialogue
    user: NDArray[np.float32]  # (N, samples_per_micro_turn)
    video: NDArray[np.uint8] | None  # (N, H, W, 3)
    late: NDArray[np.bool_] | None  # (N,) whose input does not arrive in time
    results: list[ScriptedResult]
    arrivals: dict[int, list[Message]]  # by micro-turn
    waiting: deque[int] = field(default_factory=deque)  # ids that have not been read yet
    audio: list[NDArray[np.float32]] = field(default_factory=list)
    say: list[list[int]] = field(default_factory=list)
    heard: list[list[int]] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)


class StreamedAgent:
    """Plays dialogues to streaming sessions."""

    def __init__(
        self,
        sessions: StreamingSessions,
        layout: StreamLayout,
        tokenizer: Tokenizer,
        *,
        on_progress: Callable[[float], None] = lambda dialogues: None,
    ) -> None:
        self._sessions, self._layout, self._tokenizer = sessions, layout, tokenizer
        self._on_progress = on_progress  # gets parts of dialogues

    def perform(self, samples: Sequence[HeldOutDialogue]) -> Iterator[AgentOutput]:
        """Performances of the samples, in order."""
        for first in range(0, len(samples), self._sessions.batch_size):
            parts = [self._begin(s) for s in samples[first : first + self._sessions.batch_size]]
            for row in range(self._sessions.batch_size):
                self._sessions.reset(row)
            for k in range(max(len(part.user) for part in parts)):
                self._micro_turn(k, parts)
            yield from (self._finish(part) for part in parts)

    def _begin(self, sample: HeldOutDialogue) -> _Part:
        layout = self._layout
        audio = sample.load_user()
        n = len(audio) // layout.samples_per_micro_turn
        arrivals: dict[int, list[Message]] = {}
        for message in sample.dialogue.messages:
            if not message.is_result:
                arrivals.setdefault(_row_of(message.time_s, layout), []).append(message)
        return _Part(
            sample=sample,
            user=audio[: n * layout.samples_per_micro_turn].reshape(n, -1),
            video=sample.load_video(),
            late=sample.load_late(),
            results=scripted_results(sample.dialogue, layout),
            arrivals=arrivals,
        )

    def _micro_turn(self, k: int, parts: Sequence[_Part]) -> None:
        n_rows, layout = self._sessions.batch_size, self._layout
        audio = np.zeros((n_rows, layout.samples_per_micro_turn), np.float32)
        active = np.zeros(n_rows, np.bool_)
        texts: list[list[int] | None] = [None] * n_rows
        for row, part in enumerate(parts):
            if k < len(part.user):
                audio[row], active[row] = part.user[k], True
                texts[row] = self._read_text(part, k)
        more: dict[str, NDArray[Any]] = {}
        if layout.video_positions:
            more["video"] = self._frames(k, parts)
        late = [part.late is not None and k < len(part.late) and part.late[k] for part in parts]
        if any(late):
            more["late"] = np.array(late + [False] * (n_rows - len(late)), np.bool_)
        outputs = self._sessions.append(audio, texts, active=active, **more)
        for row, part in enumerate(parts):
            if active[row]:
                self._keep(part, k, outputs[row])
        self._on_progress(sum(1 / len(part.user) for part in parts if k < len(part.user)))

    def _frames(self, k: int, parts: Sequence[_Part]) -> NDArray[np.uint8]:
        """What every row sees in micro-turn k; black where there is nothing."""
        frames = np.zeros((self._sessions.batch_size, *frame_shape(self._layout)), np.uint8)
        for row, part in enumerate(parts):
            if part.video is not None and k < len(part.video):
                frames[row] = part.video[k]
        return frames

    def _read_text(self, part: _Part, k: int) -> list[int] | None:
        """The next ids of what has arrived: first in, first out, as many as there are positions."""
        for message in part.arrivals.get(k, ()):
            part.waiting.extend(self._tokenizer.encode(message.text))
        n = min(len(part.waiting), self._layout.text_in_positions)
        return [part.waiting.popleft() for _ in range(n)] or None

    def _keep(self, part: _Part, k: int, output: TurnOutput) -> None:
        part.audio.append(output.audio)
        part.say.append([int(token) for token in output.say])
        part.heard.append([int(token) for token in output.heard])
        if DELEGATE in part.say[-1]:
            self._delegate(part, k)

    def _delegate(self, part: _Part, k: int) -> None:
        """Start the background agent on the oldest open request; without one nothing happens.

        It is as slow as in the script, and never earlier.
        """
        for result in part.results:
            if result.asked_row <= k:
                part.results.remove(result)
                scripted = _row_of(result.message.time_s, self._layout)
                arrives = max(k + result.delay_rows, scripted)
                if arrives < len(part.user):
                    part.arrivals.setdefault(arrives, []).append(result.message)
                    micro_turn_s = self._layout.samples_per_micro_turn / self._layout.sample_rate
                    late_s = (arrives - scripted) * micro_turn_s
                    part.deliveries.append(
                        Delivery(
                            time_s=result.message.time_s + late_s,
                            scripted_s=result.message.time_s,
                            text=result.message.text,
                        )
                    )
                return

    def _finish(self, part: _Part) -> AgentOutput:
        """Put what was made in micro-turn k where it is played: in micro-turn k + 1."""
        layout = self._layout
        silence = np.zeros(layout.samples_per_micro_turn, np.float32)
        micro_turn_s = layout.samples_per_micro_turn / layout.sample_rate
        say = part.say[:-1]  # the last would sound after the end
        return AgentOutput(
            audio=np.concatenate([silence, *part.audio[:-1]]),
            sample_rate=layout.sample_rate,
            words=words_of_lane(say, self._tokenizer, layout, shift=1),
            delegates_s=tuple(
                (row + 1) * micro_turn_s for row, ids in enumerate(say) if DELEGATE in ids
            ),
            deliveries=tuple(part.deliveries),
            heard=words_of_lane(part.heard, self._tokenizer, layout, shift=0),
        )
