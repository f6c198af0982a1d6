"""Which utterance of the agent is the reply that a user waits for, by what the user hears.

Time goes in steps of `STEP` samples. A reply is what begins after a silence from the moment on at
which it is waited for, or goes on for long after it. What does not come is given up by the user.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from microturn.datagen.closed_loop.plan import STEP, PlannedReply

GOES_ON_S: Final = 1.0  # an utterance that lasts so long past the moment is taken for the reply
CLICK_S: Final = 0.1  # of sound before the moment says nothing: what follows it is a new onset
SAID_S: Final = 0.2  # and one that ends, if so much of it was heard after the moment


@dataclass(kw_only=True, eq=False)
class HeardReply:
    """One reply of the plan as it is heard; times are samples as they happen."""

    planned: PlannedReply
    shift: int | None = None  # of what it is a reply to; None: that has not happened
    patience: int = 0  # samples that the user waits beyond the planned time
    onset: int | None = None
    last_heard: int = 0  # end of the last step with sound
    n_heard: int = 0  # steps with sound
    n_before_gate: int = 0  # of an utterance that began before it was waited for
    n_past_gate: int = 0  # of the same
    over: bool = False
    absent_since: int | None = None

    @property
    def is_awaited(self) -> bool:
        return self.onset is None and self.absent_since is None

    @property
    def moved(self) -> int:
        """Samples by which the reply of an agent as good as the planned one comes later."""
        shift = self.shift or 0
        return shift if self.onset is None else max(shift, self.onset - self.planned.onset)

    def wait_again(self, shift: int | None, patience: int) -> None:
        """The user has asked again; None: will do so."""
        self.shift, self.patience = shift, patience
        self.onset, self.absent_since, self.over = None, None, False
        self.n_heard = self.n_before_gate = self.n_past_gate = 0

    def end(self, delay: int, n_heard: int, *, silence: int) -> int | None:
        """When a user speaks who wants to `delay` samples after its end; None: not known yet.

        `silence` in samples ends it where more was expected, if it has none as long inside.
        """
        silence = max(self.planned.longest_gap + STEP, silence)
        if self.n_heard >= n_heard:
            return self.last_heard + delay
        if self.over:
            return self.last_heard + max(delay, silence)
        return None


class ReplyListener:
    """Listens to the agent and matches what it says with the planned replies, in order."""

    def __init__(
        self,
        planned: Sequence[PlannedReply],
        *,
        rate: int,
        silence: int,
        patience: Callable[[int], int],
    ) -> None:
        """`silence` in samples ends an utterance; `patience` draws that for a reply."""
        self.replies = [HeardReply(planned=reply) for reply in planned]
        self._rate, self._silent_steps, self._patience = rate, silence // STEP, patience
        self._quiet = self._silent_steps  # steps of silence so far
        self._n_said = 0  # steps with sound since it began
        self._current: HeardReply | None = None
        self.heard: list[bool] = []  # by step
        self.began: int | None = None  # first sample of what the agent says, or said last

    @property
    def quiet(self) -> int:
        """Samples for which the agent has been silent."""
        return self._quiet * STEP

    def sounded_in(self, start: int, end: int) -> int:
        """Samples of sound in whole steps of [start, end) that have been heard."""
        return sum(self.heard[-(-start // STEP) : end // STEP]) * STEP

    def expect(self, replies: Iterator[HeardReply], shift: int) -> None:
        """What these are replies to has happened, `shift` samples later than planned."""
        for reply in replies:
            reply.wait_again(shift, self._patience(reply.planned.number))

    def forget(self, replies: Iterator[HeardReply]) -> None:
        """What these are replies to was broken off: they are expected once it has been said."""
        for reply in replies:
            if reply is self._current:
                self._current = None
            reply.wait_again(None, 0)

    def give_up(self, replies: Iterator[HeardReply], now: int) -> None:
        """These will not come."""
        for reply in replies:
            if reply.is_awaited:
                reply.absent_since = now

    def listen(self, sounds: bool) -> HeardReply | None:
        """Hear the next step; returns a reply that the user has waited for in vain until now."""
        start = len(self.heard) * STEP
        self.heard.append(sounds)
        fresh = sounds and self._quiet >= self._silent_steps
        onset = sounds and self._quiet > 0
        self._n_said = sounds + (0 if fresh else self._n_said)
        self._quiet = 0 if sounds else self._quiet + 1
        if fresh:
            self.began = start
        awaited = next((reply for reply in self.replies if reply.is_awaited), None)
        if awaited is None or awaited.shift is None:
            self._hear_more(start, sounds=sounds)
            return None
        self._match(awaited, start, sounds=sounds, fresh=fresh, onset=onset)
        if awaited.onset is not None:
            return None
        self._hear_more(start, sounds=sounds)
        if start < self._deadline(awaited):
            return None
        awaited.absent_since = start
        return awaited

    def _hear_more(self, start: int, *, sounds: bool) -> None:
        """Hear more of the reply that came last, or of its end."""
        current = self._current
        if current is not None:
            if sounds:
                current.n_heard += 1
                current.last_heard = start + STEP
            elif self._quiet >= self._silent_steps:
                current.over = True

    def _match(
        self, awaited: HeardReply, start: int, *, sounds: bool, fresh: bool, onset: bool
    ) -> None:
        assert awaited.shift is not None
        planned = awaited.planned
        gate = planned.gate + awaited.shift
        if start + STEP <= gate:
            awaited.n_before_gate = 0 if self._quiet >= self._silent_steps else self._n_said
            return
        after_click = onset and awaited.n_past_gate >= planned.n_early
        after_click &= 0 < awaited.n_before_gate * STEP <= round(CLICK_S * self._rate)
        if sounds and (fresh or after_click):
            self._begin(awaited, start, n_heard=1, last_heard=start + STEP)
            return
        seconds = GOES_ON_S if sounds else SAID_S
        enough = planned.n_early + round(seconds * self._rate) // STEP
        awaited.n_past_gate += sounds
        ends = sounds or self._quiet == self._silent_steps
        if ends and awaited.n_past_gate >= enough:
            last = start + STEP - self.quiet
            self._begin(awaited, gate, n_heard=awaited.n_past_gate, last_heard=last)
            awaited.over = not sounds

    def _begin(self, reply: HeardReply, onset: int, *, n_heard: int, last_heard: int) -> None:
        if self._current is not None:
            self._current.over = True
        reply.onset, reply.n_heard, reply.last_heard = onset, n_heard, last_heard
        self._current = reply

    def _deadline(self, reply: HeardReply) -> int:
        """Until when the user waits: for its patience, or until the next reply is due."""
        assert reply.shift is not None
        planned = reply.planned
        deadline = planned.onset + reply.shift + reply.patience
        follows = self.replies[planned.number + 1 :][:1]
        if follows and (follows[0].planned.cause, follows[0].planned.errand) == (
            planned.cause,
            planned.errand,
        ):
            deadline = min(deadline, follows[0].planned.gate + reply.shift)
        return deadline
