"""The caller's end of a session of the engine."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from microturn.inference.serve.codec import ContextText
from microturn.inference.serve.report import Deliver
from microturn.inference.serve.session.live_client import Action, LiveClient
from microturn.model.streams.pcm import Audio


class SessionEngine(Protocol):
    """What an engine does for the sessions that it runs, from any thread."""

    def push_audio(self, client: LiveClient, audio: Audio) -> None: ...

    def show(self, client: LiveClient, lane: str, frame: NDArray[np.uint8]) -> None: ...

    def act(self, client: LiveClient, action: Action) -> None: ...

    def instruct(self, client: LiveClient, text: str) -> None: ...

    def go_back(self, client: LiveClient, n: int) -> Future[None]: ...

    def fork(self, source: LiveClient, deliver: Deliver) -> LiveSession: ...

    def leave(self, client: LiveClient) -> None: ...


class LiveSession:
    """The caller's end of a session; any thread may call, and all but `instruct` return at once.

    `warning` is one sentence for the client, or empty.
    """

    def __init__(self, engine: SessionEngine, client: LiveClient, *, warning: str) -> None:
        self._engine, self._client, self.name = engine, client, client.name
        self.warning = warning

    def push_audio(self, audio: Audio) -> None:
        """Queue the next micro-turn of the microphone."""
        self._engine.push_audio(self._client, audio)

    def show(self, lane: str, frame: NDArray[np.uint8]) -> None:
        """Set the frame (H, W, 3) of a lane, such as `video`; it is seen until the next one.

        Raises LayoutError for a lane of frames that the layout lacks and for another shape.
        """
        self._engine.show(self._client, lane, frame)

    def type_text(self, text: str) -> None:
        """Queue typed text; raises ValueError when too many requests wait already."""
        self._engine.act(self._client, lambda conversation: conversation.type_text(text))

    def cancel(self, delegation_id: str) -> None:
        """End a delegation; raises ValueError when too many requests wait already."""
        self._engine.act(self._client, lambda conversation: conversation.cancel(delegation_id))

    def add_context(self, context: ContextText) -> None:
        """Queue text for the conversation, answered with `ContextTaken` or a problem.

        Raises ValueError when too many requests wait already.
        """
        self._engine.act(self._client, self._client.adding(context))

    def delegate_to_client(self) -> None:
        """Let the client answer what the model delegates, before its first audio."""
        self._engine.act(self._client, lambda conversation: conversation.delegate_to_client())

    def instruct(self, text: str) -> None:
        """Begin with these instructions instead of the server's; computes on the caller's thread.

        Raises ValueError the second time, after the first audio, and for what the model cannot
        read.
        """
        self._engine.instruct(self._client, text)

    def go_back(self, n_micro_turns: int) -> Future[None]:
        """Forget the last micro-turns of audio and all that came of them; answered by `WentBack`.

        No audio may be pushed until the future is done. It has a WrongMessage where the session
        does not go back so far; ValueError is raised when too many requests wait already.
        """
        return self._engine.go_back(self._client, n_micro_turns)

    def fork(self, deliver: Deliver) -> LiveSession:
        """Begin a session with the same past and waiting input; the same audio has the same answer.

        `BecameTwin` comes first. Raises EngineFull as `LiveEngine.join` does.
        """
        return self._engine.fork(self._client, deliver)

    def mark_unplayed(self, micro_turn: int) -> None:
        """Note that the sound of a micro-turn was dropped on its way: its words were not said."""
        self._client.unplayed.append(micro_turn)

    def leave(self) -> None:
        """End the session and free its row."""
        self._engine.leave(self._client)
