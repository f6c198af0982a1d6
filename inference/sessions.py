"""Sessions: live conversations as handles to open, step, rewind, fork and close.

    sessions = Sessions(RowBatch(checkpoint, 8, rewind=50))
    session = sessions.open()
    output = sessions.step_session(session, MicroTurnIn(audio=samples))
    twin = sessions.fork(session)       # goes on from here on its own
    sessions.rewind(session, to=0)      # back to the start

All memory is allocated at the start; a session that closes gives its row to the next. Nothing that
one session does (joining, leaving, missing input, rewinding) changes a single bit of what another
one hears, says or sounds like (fp32 on one thread).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from microturn.inference.micro_turn import Gap, MicroTurnIn, MicroTurnOut
from microturn.inference.rows import RowBatch
from microturn.inference.tick import OpenedRow


class SessionsFull(RuntimeError):
    """Every row is in use."""


@dataclass(frozen=True, eq=False)
class Session:
    """A handle to one conversation; made by `Sessions.open` and `Sessions.fork`."""

    name: str

    def __str__(self) -> str:
        return self.name


class Sessions:
    """Up to `batch.n_rows` sessions on preallocated rows.

    One thread at a time may call. A session takes the lowest free row, so that few sessions are a
    small batch.
    """

    def __init__(self, batch: RowBatch) -> None:
        self.batch, self.layout = batch, batch.layout
        self._rows: dict[Session, int] = {}
        self._n_opened = 0

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def max_sessions(self) -> int:
        return self.batch.n_rows

    def open(self, opened: OpenedRow | None = None) -> Session:
        """Begin a new conversation, perhaps with a voice and instructions that were read before.

        `opened` is the row that `read_opening` returned for this batch; its time does not count.
        Raises SessionsFull when every row is in use.
        """
        session = self._claim_row()
        self.batch.reset(self._rows[session], opened)
        return session

    def step_session(self, session: Session, micro_turn: MicroTurnIn) -> MicroTurnOut:
        """Run one micro-turn of one session, while the others sit out."""
        return self.step_sessions({session: micro_turn})[session]

    def step_sessions(self, inputs: Mapping[Session, MicroTurnIn]) -> dict[Session, MicroTurnOut]:
        """Run one micro-turn of these sessions as one batch; the others sit out.

        Raises ValueError for a closed session and for input of a wrong shape, before any state
        changes.
        """
        rows = {session: self._row(session) for session in inputs}
        outputs = self.batch.step_rows({rows[session]: i for session, i in inputs.items()})
        return {session: outputs[row] for session, row in rows.items()}

    def pass_over(self, gaps: Mapping[Session, Gap]) -> None:
        """Let micro-turns of these sessions pass that get no answer; the agent is silent in them.

        One pass reads what all of these sessions heard in them. Raises ValueError for a closed
        session, and as `RowBatch.pass_over` does.
        """
        self.batch.pass_over({self._row(session): gap for session, gap in gaps.items()})

    @property
    def reach(self) -> int:
        """Micro-turns that the model looks back."""
        return self.batch.reach

    def rewind(self, session: Session, *, to: int) -> None:
        """Go back to the boundary after the first `to` micro-turns; forget what came later.

        The session continues bit for bit as it would have then. Raises ValueError when that is
        further back than the batch keeps, or ahead.
        """
        self.batch.rewind(self._row(session), to=to)

    def fork(self, session: Session) -> Session:
        """Open a second session with the same past. Raises SessionsFull.

        Both draw the same random numbers from here on, so the same input has the same answer.
        """
        row = self._row(session)
        twin = self._claim_row()
        self.batch.copy_row(row, self._rows[twin])
        return twin

    def close(self, session: Session) -> None:
        """Give the row back. Raises ValueError for a session that is closed already."""
        self._row(session)
        del self._rows[session]

    def micro_turns(self, session: Session) -> int:
        """Count the micro-turns of a session so far."""
        return int(self.batch.micro_turns[self._row(session)])

    def oldest(self, session: Session) -> int:
        """Return the smallest `to` that `rewind` accepts now."""
        return int(self.batch.oldest[self._row(session)])

    def n_rows_computed(self, sessions: Iterable[Session]) -> int:
        """Count the rows that a micro-turn of these sessions computes: up to the last one's."""
        return max((self._row(session) + 1 for session in sessions), default=0)

    def _claim_row(self) -> Session:
        used = set(self._rows.values())
        free = next((row for row in range(self.max_sessions) if row not in used), None)
        if free is None:
            raise SessionsFull(f"all {self.max_sessions} sessions are in use; close one first")
        self._n_opened += 1
        session = Session(f"s{self._n_opened}")
        self._rows[session] = free
        return session

    def _row(self, session: Session) -> int:
        row = self._rows.get(session)
        if row is None:
            raise ValueError(f"session {session} is closed or not one of these")
        return row
