"""Conversations as handles: open, append micro-turns, rewind, fork, close.

    sessions = Sessions(SessionBatch(checkpoint, 8, rewind=50))
    one = sessions.open()
    output = sessions.append(one, MicroTurn(audio=samples))
    other = sessions.fork(one)          # goes on from here on its own
    sessions.rewind(one, to=0)          # as if nothing had been said

All memory is there from the start; a session that leaves gives its row to the next. Nothing that
one session does (joining, leaving, being late, going back, failing to send) changes what another
one hears, says or sounds like, not in a single bit of fp32 on one thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from microturn.inference.rows import SessionBatch, TurnOutput


class SessionsFull(RuntimeError):
    """Every row is taken."""


@dataclass(frozen=True, kw_only=True)
class MicroTurn:
    """What one session takes in during one micro-turn."""

    audio: NDArray[np.float32]  # (samples_per_micro_turn,) of the microphone
    text_in: Sequence[int] = ()  # up to text_in_positions ids
    late: bool = False  # the sound did not arrive in time and is not to be heard
    video: NDArray[np.uint8] | None = None  # (H, W, 3), the newest frame


@dataclass(frozen=True, eq=False)
class Session:
    """A handle to one conversation; made by `Sessions.open` and `Sessions.fork`."""

    name: str

    def __str__(self) -> str:
        return self.name


class Sessions:
    """Up to `batch.batch_size` conversations on preallocated rows.

    One thread at a time may call. Sessions take the lowest free row, so that few conversations
    are a small batch.
    """

    def __init__(self, batch: SessionBatch) -> None:
        self.batch, self.layout = batch, batch.layout
        self._rows: dict[Session, int] = {}
        self._made = 0
        samples = batch.layout.samples_per_micro_turn
        self._audio = np.zeros((batch.batch_size, samples), np.float32)
        self._active = np.zeros(batch.batch_size, np.bool_)
        self._late = np.zeros(batch.batch_size, np.bool_)
        self._text: list[Sequence[int] | None] = [None] * batch.batch_size

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def places(self) -> int:
        return self.batch.batch_size

    def open(self) -> Session:
        """A new conversation. Raises SessionsFull when every row is taken."""
        session = self._take_row()
        self.batch.reset(self._rows[session])
        return session

    def append(self, session: Session, micro_turn: MicroTurn) -> TurnOutput:
        """One micro-turn of one session, while the others sit out."""
        return self.append_all({session: micro_turn})[session]

    def append_all(self, micro_turns: Mapping[Session, MicroTurn]) -> dict[Session, TurnOutput]:
        """One micro-turn of every session that has one, as one batch; the others sit out.

        Raises ValueError for a closed session and for input of a wrong shape, before anything
        moves.
        """
        if not micro_turns:
            return {}
        rows = {session: self._row(session) for session in micro_turns}
        self._audio[:] = 0.0
        self._active[:] = self._late[:] = False
        self._text[:] = [None] * len(self._text)
        for session, turn in micro_turns.items():
            row = rows[session]
            if np.shape(turn.audio) != self._audio[row].shape:
                raise ValueError(
                    f"audio of session {session} has shape {np.shape(turn.audio)}, a micro-turn "
                    f"needs {self._audio[row].shape}"
                )
            self._audio[row] = turn.audio
            self._active[row], self._late[row] = True, turn.late
            self._text[row] = turn.text_in
        outputs = self.batch.append(
            self._audio,
            self._text,
            active=self._active,
            late=self._late,
            video=self._frames(micro_turns, rows),
        )
        return {session: outputs[row] for session, row in rows.items()}

    def rewind(self, session: Session, to: int) -> None:
        """Go back to the boundary after the first `to` micro-turns; what came later is forgotten.

        What follows is what would have followed then, bit for bit. Raises ValueError when that is
        further back than the batch keeps, or ahead.
        """
        self.batch.rewind(self._row(session), to)

    def fork(self, session: Session) -> Session:
        """A second session that has lived through the same until now. Raises SessionsFull.

        Both draw the same random numbers from here on, so the same input has the same answer.
        """
        row = self._row(session)
        twin = self._take_row()
        self.batch.copy(row, self._rows[twin])
        return twin

    def close(self, session: Session) -> None:
        """Give the row back. Raises ValueError for a session that is closed already."""
        self._row(session)
        del self._rows[session]

    def micro_turns(self, session: Session) -> int:
        """Micro-turns appended so far."""
        return int(self.batch.micro_turns[self._row(session)])

    def oldest(self, session: Session) -> int:
        """The smallest `to` that `rewind` takes now."""
        return int(self.batch.oldest[self._row(session)])

    def span(self, sessions: Iterable[Session]) -> int:
        """Rows that a micro-turn of these computes: up to the last one's."""
        return max((self._row(session) + 1 for session in sessions), default=0)

    def _take_row(self) -> Session:
        taken = set(self._rows.values())
        free = next((row for row in range(self.places) if row not in taken), None)
        if free is None:
            raise SessionsFull(f"all {self.places} places are taken; close a session first")
        self._made += 1
        session = Session(f"s{self._made}")
        self._rows[session] = free
        return session

    def _row(self, session: Session) -> int:
        row = self._rows.get(session)
        if row is None:
            raise ValueError(f"session {session} is closed or not one of these")
        return row

    def _frames(
        self, micro_turns: Mapping[Session, MicroTurn], rows: Mapping[Session, int]
    ) -> NDArray[np.uint8] | None:
        frames = {rows[s]: turn.video for s, turn in micro_turns.items() if turn.video is not None}
        if not frames:
            return None
        shape = next(iter(frames.values())).shape
        video = np.zeros((self.places, *shape), np.uint8)
        for row, frame in frames.items():
            if frame.shape != shape:
                raise ValueError(
                    f"frames of one micro-turn have the shapes {shape} and {frame.shape}"
                )
            video[row] = frame
        return video
