"""What users have done of their acts, and what has come of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from microturn.datagen.closed_loop.plan import Act, Errand
from microturn.datagen.dialogue.script import Clip, words_at
from microturn.datagen.dialogue.timeline import Event, Expect, Word
from microturn.datagen.labels.event_types import PAUSE

NEEDS_AGENT: Final = ("stop", "resume")  # acts of an agent that speaks


@dataclass(frozen=True, kw_only=True)
class Sound:
    """A clip that begins at a sample, or one that began there and breaks off at `stop`."""

    clip: Clip
    start: int
    stop: int | None = None


@dataclass(kw_only=True, eq=False)
class PerformedAct:
    """An act as it is being done, or the rest of one that was broken off."""

    act: Act
    start_sample: int  # of the act; of a rest: as if all had been said
    n_begun: int = 0  # clips that sound or have sounded
    first: int = 0  # clip with which a rest begins
    earlier: int = 0  # shift of what was said before the rest
    again: bool = False  # said before, when the agent may have been speaking
    stopped_at: int | None = None  # the rest was not said
    in_words: bool = False  # it was stopped where no pause was planned
    told: bool = False  # that its events came
    resumed_at: int | None = None  # since when the user speaks again, or no longer wants to

    @property
    def shift(self) -> int:
        return self.start_sample - self.act.start_sample

    @property
    def end_sample(self) -> int:
        if self.stopped_at is not None:
            return self.stopped_at
        return self.act.end_sample + self.shift

    @property
    def begins(self) -> int:
        """First sample of its voice."""
        return self.act.clips[self.first].start_sample + self.shift

    def next_clip(self) -> int:
        """Number of the first clip that was not said, or not to its end."""
        assert self.stopped_at is not None
        n = self.n_begun
        return n - (self.act.clips[n - 1].end_sample + self.shift > self.stopped_at)

    def rest(self, start: int) -> PerformedAct:
        """Return what is left of it, said from a sample on."""
        first = self.next_clip()
        moved = start - self.act.clips[first].start_sample
        return PerformedAct(
            act=self.act,
            start_sample=self.act.start_sample + moved,
            n_begun=first,
            first=first,
            earlier=self.earlier if self.first else self.shift,
            again=self.again,
        )

    def broken_clips(self) -> list[Sound]:
        """The clip that broke off inside, if one did."""
        if self.stopped_at is None or self.next_clip() == self.n_begun:
            return []
        clip = self.act.clips[self.n_begun - 1]
        return [Sound(clip=clip, start=clip.start_sample + self.shift, stop=self.stopped_at)]

    def words(self) -> Iterator[Word]:
        """Yield what was said; a word that was broken off ends where it was."""
        for clip in self.act.clips[self.first : self.n_begun]:
            for word in words_at(clip.unit, clip.start_sample + self.shift):
                if self.stopped_at is None or word.end_sample <= self.stopped_at:
                    yield word
                elif word.start_sample < self.stopped_at:
                    yield replace(word, end_sample=self.stopped_at, cut=True)

    def events(self) -> Iterator[Event]:
        """Yield what has come of its events, and the pause that began where it was stopped."""
        for event in self.act.events:
            if self._came(event):
                yield self._moved(event)
        if self.pause is not None:
            yield self.pause

    @property
    def pause(self) -> Event | None:
        """The silence of a user who was broken off inside a word or between two, once it is over.

        As in a hesitation nobody else may speak: the request has no end yet.
        """
        if not self.in_words or self.stopped_at is None or self.resumed_at is None:
            return None
        window = (self.stopped_at, max(self.resumed_at, self.stopped_at + 1))
        expect = Expect(act="stay_silent", window_samples=window)
        return Event(
            type=PAUSE,
            start_sample=window[0],
            end_sample=window[1],
            speaker="user",
            expect=expect,
        )

    def unsaid(self) -> Iterator[Event]:
        """Yield the events that have not come because it was stopped."""
        assert self.stopped_at is not None
        until = self.act.clips[self.next_clip()].start_sample
        yield from (self._moved(e) for e in self.act.events if e.end_sample > until)

    def _came(self, event: Event) -> bool:
        clips = self.act.clips
        if self.first and event.end_sample <= clips[self.first].start_sample:
            return False  # before the rest
        if self.again and needs_agent(event):
            return False  # nobody speaks any more
        if self.stopped_at is None:
            return True
        inside = self.next_clip() < self.n_begun
        until = self.stopped_at if inside else clips[self.n_begun].start_sample + self.shift
        return event.end_sample + self.shift <= until

    def _moved(self, event: Event) -> Event:
        before = self.first and event.start_sample < self.act.clips[self.first].start_sample
        moved = event.shifted(self.shift)
        return replace(moved, start_sample=event.start_sample + self.earlier) if before else moved


@dataclass(kw_only=True, eq=False)
class ErrandState:
    """An errand, when its result arrives, and whether it will."""

    errand: Errand
    arrives: int | None = None
    failed: bool = False


def needs_agent(event: Event) -> bool:
    """Whether it is an event only while the agent speaks."""
    return event.expect is not None and event.expect.act in NEEDS_AGENT
