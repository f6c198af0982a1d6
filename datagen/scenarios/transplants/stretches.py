"""Free stretches of a finished script: where nobody says anything and nothing is expected.

A stretch that is too short can be widened: what comes after it begins later, by whole micro-turns,
and what no longer fits is left out from a moment on at which nobody speaks. Nothing else changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from microturn.datagen.corpora.waveform import joined
from microturn.datagen.dialogue.script import Clip, Script
from microturn.datagen.dialogue.timeline import Event, Expect, TextArrival, Timeline, Word

LONG_S: Final = 3.0  # a shorter silence holds no request, and belongs to who speaks around it
SEAM_S: Final = 0.1  # the shortest silence that can be widened
LOST_S: Final = 10.0  # of the end of a dialogue that may become silent when what spoke there goes

T = TypeVar("T")
Samples = tuple[int, int]  # first and end


@dataclass(frozen=True, kw_only=True)
class FreeStretch:
    """A span of samples in which nothing happens.

    A seam may be widened: the user speaks or writes next, after the agent or nobody.
    """

    start: int
    end: int
    is_long: bool
    is_seam: bool


@dataclass(frozen=True, kw_only=True)
class Widening:
    """What begins at sample `at` or later comes `by` samples later; from `last` on it is gone."""

    at: int
    by: int
    last: int

    def later(self, sample: int) -> int:
        """By how much something that begins at a sample comes later."""
        return self.by if sample >= self.at else 0

    def keeps(self, sample: int) -> bool:
        return sample + self.later(sample) < self.last

    def moved(self, spans: Iterable[Samples]) -> list[Samples]:
        return [(a + self.later(a), b + self.later(a)) for a, b in spans if self.keeps(a)]


def occupied(script: Script, taken: Sequence[Samples]) -> list[Samples]:
    """Where something sounds, happens or is expected, or is `taken`, in the order of time."""
    timeline = script.timeline
    spans = [*taken, *timeline.without_loss]
    spans += [(clip.start_sample, clip.end_sample) for clip in script.clips]
    agent = sorted(timeline.agent, key=lambda word: word.start_sample)
    for event in timeline.events:
        times = [event.start_sample, event.end_sample]
        if event.expect is not None:
            times += [*event.expect.window_samples, _said_until(event.expect, agent)]
        spans.append((min(times), max(times)))
    points = [control.sample for control in timeline.controls]
    points += [text.sample for text in timeline.text_in]
    spans += [(sample, sample + 1) for sample in points]
    return joined(spans, 1)


def _said_until(expect: Expect, agent: Sequence[Word]) -> int:
    """Where all is said that is expected, which may have several lines."""
    first, end = expect.window_samples
    left = len(expect.text.split())
    for word in (word for word in agent if word.start_sample >= first):
        if left <= 0:
            break
        left, end = left - len(word.text.split()), word.end_sample
    return end


def free_stretches(script: Script, taken: Sequence[Samples], *, rate: int) -> list[FreeStretch]:
    """Return the stretches that are long, or seams, in the order of time."""
    blocks = [(0, 0), *occupied(script, taken)]
    ends = [start for start, _ in blocks[1:]] + [script.timeline.n_samples]
    speech = [
        (clip.start_sample, clip.end_sample, clip.lane)
        for clip in script.clips
        if clip.lane in ("user", "agent")
    ]
    heard = {  # backchannels and asides in the agent's turn
        event.start_sample
        for event in script.timeline.events
        if event.expect is not None and event.expect.act == "resume"
    }
    speech += [(text.sample, text.sample, "user") for text in script.timeline.text_in]
    found = []
    for (_, start), end in zip(blocks, ends, strict=True):
        said = max(((last, lane) for _, last, lane in speech if last <= start), default=(0, ""))[1]
        says = min(((first, lane) for first, _, lane in speech if first >= end), default=(0, ""))[1]
        is_seam = said != "user" and says == "user" and end - start >= SEAM_S * rate
        is_seam = is_seam and end not in heard
        is_long = end - start >= LONG_S * rate
        if is_long or is_seam:
            found.append(FreeStretch(start=start, end=end, is_long=is_long, is_seam=is_seam))
    return found


def widening(
    script: Script, taken: Sequence[Samples], *, at: int, by: int, rate: int
) -> Widening | None:
    """Return how the stretch that ends at a sample is widened, or None if too much would go."""
    n = script.timeline.n_samples
    how = Widening(at=at, by=by, last=n + by + 1)
    blocks = how.moved(occupied(script, taken))
    last = next((start for start, end in blocks if end > n), None)
    if last is None:
        return how
    turns = [stretch.end for stretch in free_stretches(script, taken, rate=rate)]
    begins = [turn + how.later(turn) for turn in turns if turn >= at]
    last = max(begin for begin in begins if begin <= last)
    return replace(how, last=last) if last >= n - LOST_S * rate else None


def widened(script: Script, how: Widening) -> Script:
    """Return a script in which a stretch is wider, and so are its parts."""
    return _Later(how).script(script)


class _Later:
    """Moves a script and its parts, which share their clips, events and texts with it."""

    def __init__(self, how: Widening) -> None:
        self._how = how
        self._moved: dict[int, tuple[object, Any]] = {}  # what something became, by its id

    def script(self, script: Script) -> Script:
        how = self._how
        clips = [self._once(c, self._clip) for c in script.clips if how.keeps(c.start_sample)]
        return Script(
            timeline=self._timeline(script.timeline),
            clips=clips,
            acts=script.acts,
            parts=[(family, self.script(part)) for family, part in script.parts],
        )

    def _timeline(self, old: Timeline) -> Timeline:
        how = self._how
        return Timeline(
            n_samples=old.n_samples,
            user=_words(old.user, how),
            agent=_words(old.agent, how),
            background=_words(old.background, how),
            intended=_words(old.intended, how),
            controls=[
                replace(c, sample=c.sample + how.later(c.sample))
                for c in old.controls
                if how.keeps(c.sample)
            ],
            events=[self._once(e, self._event) for e in old.events if how.keeps(e.start_sample)],
            text_in=[self._once(t, self._text) for t in old.text_in if how.keeps(t.sample)],
            without_loss=how.moved(old.without_loss),
        )

    def _once(self, old: T, move: Callable[[T], T]) -> T:
        """Return what something becomes, the same object each time."""
        if id(old) not in self._moved:
            self._moved[id(old)] = (old, move(old))
        moved: T = self._moved[id(old)][1]
        return moved

    def _clip(self, clip: Clip) -> Clip:
        return replace(clip, start_sample=clip.start_sample + self._how.later(clip.start_sample))

    def _text(self, text: TextArrival) -> TextArrival:
        return replace(text, sample=text.sample + self._how.later(text.sample))

    def _event(self, event: Event) -> Event:
        return event.shifted(self._how.later(event.start_sample))


def _words(words: Iterable[Word], how: Widening) -> list[Word]:
    return [
        replace(
            word,
            start_sample=word.start_sample + how.later(word.start_sample),
            end_sample=word.end_sample + how.later(word.start_sample),
        )
        for word in words
        if how.keeps(word.start_sample)
    ]
