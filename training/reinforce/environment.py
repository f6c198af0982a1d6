"""Users to talk with: what post-training asks of one, and where they come from.

An environment is `live:FILE.yaml`, dialogues whose user reacts to what the agent does, or a folder
of recorded dialogues, whose user hears nothing and goes on as recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from microturn.datagen.closed_loop.environment import Environment
from microturn.datagen.live import PREFIX, LiveSource
from microturn.evaluation.agents import closed_loop
from microturn.evaluation.agents.streaming import StreamedDialogue
from microturn.evaluation.config import ActivityConfig, WindowConfig
from microturn.evaluation.scoring.agent_output import Trace
from microturn.evaluation.scoring.dialogue_set import DialogueSet
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.model.streams import StreamLayout, Tokenizer


class Observed(Protocol):
    """Input of one micro-turn, as `MicroTurnIn` holds it."""

    @property
    def audio(self) -> NDArray[np.float32]: ...
    @property
    def text_in(self) -> Sequence[int]: ...
    @property
    def missing_input(self) -> bool: ...
    @property
    def given(self) -> Mapping[str, NDArray[Any]]: ...


class User(Protocol):
    """One conversation: a pure function of its number and of what the agent does."""

    def reset(self) -> Observed:
        """Begin again; returns the input of the first micro-turn."""
        ...

    def step(self, agent: MicroTurnOut, /) -> tuple[Observed, Any, bool]:
        """Take what the agent made; returns the next input, news, and whether it is the last.

        The answer to the last input would sound after the end, so nobody asks for it.
        """
        ...


class Users(Protocol):
    """Conversations by number, the same ones each time."""

    @property
    def layout(self) -> StreamLayout: ...
    @property
    def tokenizer(self) -> Tokenizer: ...
    def begin(self, number: int) -> User: ...
    def scored(self, user: Any) -> ScoredDialogue:
        """Return a conversation that is over, ready to be scored."""
        ...


def open_users(environment: str, tokenizer: Path) -> Users:
    """Open an environment; raises ValueError or OSError where there is none.

    tokenizer: file of the agent's, in which dialogues that are simulated are written too.
    """
    if environment.startswith(PREFIX):
        return ReactiveUsers.open(environment, tokenizer)
    return RecordedUsers.open(environment)


@dataclass(frozen=True, kw_only=True)
class ReactiveUsers:
    """The dialogues of a configuration, whose users react to what the agent does."""

    source: LiveSource

    @classmethod
    def open(cls, name: str, tokenizer: Path) -> ReactiveUsers:
        """Open `live:FILE.yaml key=value ...`; raises ValueError for what has no such user."""
        source = LiveSource.open(name)
        users = cls(source=replace(source, tokenizer_json=tokenizer.read_text(encoding="utf-8")))
        users.begin(0)
        return users

    @property
    def layout(self) -> StreamLayout:
        return self.source.layout

    @property
    def tokenizer(self) -> Tokenizer:
        return self.source.tokenizer

    def begin(self, number: int) -> Environment:
        return Environment(self.source, number, seed=number)

    def scored(self, user: Environment) -> ScoredDialogue:
        return closed_loop.scored(user.episode(), self.source)


@dataclass(frozen=True, kw_only=True)
class RecordedUsers:
    """The dialogues of a set, again and again."""

    dialogues: DialogueSet

    @classmethod
    def open(cls, folder: str) -> RecordedUsers:
        return cls(dialogues=DialogueSet.open(folder))

    @property
    def layout(self) -> StreamLayout:
        return self.dialogues.layout

    @property
    def tokenizer(self) -> Tokenizer:
        return self.dialogues.reader.tokenizer

    def begin(self, number: int) -> RecordedUser:
        sample = self.dialogues.at(number % self.dialogues.count())
        return RecordedUser(StreamedDialogue.begin(sample, self.layout, self.tokenizer))

    def scored(self, user: RecordedUser) -> ScoredDialogue:
        trace = Trace.of(user.stream.output(), ActivityConfig())
        return ScoredDialogue(user.stream.sample.dialogue, trace, WindowConfig())


class RecordedUser:
    """The user of a recorded dialogue: says what was recorded whatever the agent does."""

    def __init__(self, stream: StreamedDialogue) -> None:
        self.stream = stream

    def reset(self) -> MicroTurnIn:
        stream = self.stream
        self.stream = StreamedDialogue.begin(stream.sample, stream.layout, stream.tokenizer)
        return self.stream.next_input()

    def step(self, agent: MicroTurnOut, /) -> tuple[MicroTurnIn, tuple[()], bool]:
        stream = self.stream
        stream.keep(agent)
        following = stream.next_input()
        done = len(stream.audio) + 1 >= stream.n_micro_turns
        if done:  # what answers the last micro-turn is never heard
            silence = np.zeros(stream.layout.samples_per_micro_turn, np.float32)
            stream.keep(MicroTurnOut(audio=silence, tokens={"heard": [], "say": []}))
        return following, (), done
