"""What has happened so far, as an ordinary timeline.

User, background and texts are what was said and what arrived. The agent's words are those of the
agent that answers rightly, moved to where its answers became due, or to where the actual agent
began them: that is what the scores compare an agent with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from microturn.datagen.closed_loop.plan import DialoguePlan
from microturn.datagen.closed_loop.replies import HeardReply
from microturn.datagen.closed_loop.user import SimulatedUser
from microturn.datagen.dialogue.expectations import expectation_during, silence_beside
from microturn.datagen.dialogue.script import words_at
from microturn.datagen.dialogue.timeline import Event, Timeline, Word
from microturn.datagen.labels.event_types import INTERRUPTION


def history(user: SimulatedUser, *, now: int, tail: int) -> Timeline:
    """Return what has happened before sample `now`, without events of the channel.

    `tail` is how long after a voice an agent has to be silent, in samples.
    """
    plan = user.plan
    timeline = Timeline(n_samples=plan.n_samples)
    for performance in user.performed:
        timeline.words(performance.act.spoken_lane).extend(performance.words())
        timeline.events += [e for e in performance.events() if e.start_sample < now]
    for clip in (overlay.clip for overlay in plan.overlays):
        if clip.start_sample < now:
            timeline.background += words_at(clip.unit, clip.start_sample)
    timeline.text_in = [text for text in user.arrivals if text.sample < now]
    _tell(user, timeline, now)
    _answer(user, timeline)
    timeline.without_loss = list(plan.without_loss)
    timeline.events += _overheard(plan, timeline, now, tail)
    return timeline


def _tell(user: SimulatedUser, timeline: Timeline, now: int) -> None:
    """Add the events of results that have arrived."""
    for number, state in enumerate(user.errands):
        if state.arrives is None or state.arrives >= min(now, timeline.n_samples):
            continue
        shift = state.arrives - state.errand.text.sample
        for event in state.errand.events:
            moved = event.shifted(shift)
            wait = _floor_shift(user, number) - shift
            if wait > 0 and moved.expect is not None:  # it is said once the floor is free
                first, last = moved.expect.window_samples
                window = (first + wait, last + wait)
                moved = replace(moved, expect=replace(moved.expect, window_samples=window))
            timeline.events.append(moved)


def _floor_shift(user: SimulatedUser, errand: int) -> int:
    """Samples by which what the agent says before a result ends later than planned."""
    replies = user.listener.replies
    told = next((n for n, r in enumerate(replies) if r.planned.errand == errand), 0)
    before = replies[told - 1] if told else None
    if before is None or before.onset is None:
        return 0
    return before.last_heard - before.planned.end


def _answer(user: SimulatedUser, timeline: Timeline) -> None:
    """Add what a right agent says."""
    for reply in user.listener.replies:
        if reply.shift is None:
            continue
        planned, moved = reply.planned, reply.moved
        words = planned.words
        if _goes_on(user, reply):  # nobody broke it off
            _complete(timeline, planned.words, planned.intended)
            words = planned.intended
        timeline.agent += [w for w in _moved(words, moved) if w.start_sample < timeline.n_samples]
        timeline.intended += _moved(planned.intended, moved)
        timeline.controls += [
            replace(control, sample=control.sample + moved)
            for control in planned.controls
            if control.sample + moved < timeline.n_samples
        ]


def _moved(words: Sequence[Word], samples: int) -> list[Word]:
    return [
        replace(
            word, start_sample=word.start_sample + samples, end_sample=word.end_sample + samples
        )
        for word in words
    ]


def _goes_on(user: SimulatedUser, reply: HeardReply) -> bool:
    """Whether an utterance that was to be broken off was not."""
    planned = reply.planned
    if len(planned.intended) <= len(planned.words) and not any(w.cut for w in planned.words):
        return False
    breaks = [
        act
        for act in user.never
        if act.trigger.reply == planned.number and any(e.type == INTERRUPTION for e in act.events)
    ]
    return bool(breaks)


def _complete(timeline: Timeline, said: tuple[Word, ...], intended: tuple[Word, ...]) -> None:
    """Expect all of an answer that the plan breaks off."""
    text, whole = (" ".join(word.text for word in words) for words in (said, intended))
    timeline.events[:] = [
        replace(event, expect=replace(event.expect, text=whole))
        if event.expect is not None and text and event.expect.text == text
        else event
        for event in timeline.events
    ]


def _overheard(plan: DialoguePlan, timeline: Timeline, now: int, tail: int) -> Iterator[Event]:
    """Yield events that come at their time, with what can be expected of the agent then."""
    for overlay in plan.overlays:
        event = overlay.event
        start, end = event.start_sample, event.end_sample
        if start >= now:
            continue
        window = (start, min(end + tail, timeline.n_samples))
        expect = silence_beside(timeline, window)
        if overlay.goes_on:
            expect = expectation_during(timeline, start, end, rate=plan.rate, tail=tail)
        yield replace(event, expect=expect)
    for event in plan.fixed:
        if event.start_sample < now:
            keeps = event.expect is None or silence_beside(timeline, event.expect.window_samples)
            yield event if keeps else replace(event, expect=None)
