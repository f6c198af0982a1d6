"""The planned dialogue taken apart: what users do, and what they wait for before they do it.

An act is what one voice says in one go. Its trigger is stated relative to what the agent does in
the plan, as it is heard: so long into an utterance of the agent, so long after its end, or so long
after the act before. With the agent of the plan every act falls on its planned sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from microturn.datagen.acoustics.echo import ACTIVE_STEP, active_steps
from microturn.datagen.acoustics.render import RenderedAudio
from microturn.datagen.dialogue.expectations import SAME_UTTERANCE_S
from microturn.datagen.dialogue.script import OVERLAY, SOUND, Clip, Script
from microturn.datagen.dialogue.timeline import Control, Event, TextArrival, Timeline, Word
from microturn.datagen.labels.event_types import RESULT
from microturn.model.streams import CONTROL_TOKENS, DELEGATE
from microturn.model.streams.pcm import from_pcm16

STEP: Final = ACTIVE_STEP  # samples of one step of what a user hears
HESITATION_S: Final = 1.05  # a longer silence of a user ends what it says in one go
TYPED: Final = "typed"  # the lane of acts that are texts
REACTION_S: Final = 0.1  # nobody reacts to anything sooner
OVER: Final = (OVERLAY, SOUND)  # parts that wait for nobody
# In these the user goes on whatever the agent says or does not say meanwhile.
KEEPS_TALKING: Final = ("agent_backchannel", "interjection", "spoken_cue", "translation")


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """What an act waits for: `delay` samples after

    begin   the beginning of the dialogue
    act     the start of the act before
    into    the onset of an utterance of the agent, which still lasts
    after   the end of an utterance of the agent
    """

    kind: Literal["begin", "act", "into", "after"]
    delay: int
    reply: int = -1  # number of the utterance
    n_heard: int = 0  # after: steps of it that have to be heard before a short silence is its end


@dataclass(frozen=True, kw_only=True, eq=False)
class Act:
    """What one voice does in one go; times are those of the plan."""

    number: int
    family: str
    lane: str
    start_sample: int
    end_sample: int
    clips: tuple[Clip, ...]
    text: TextArrival | None  # that is typed
    events: tuple[Event, ...]
    trigger: Trigger
    gap: int  # from the end of what the same voice said before

    @property
    def spoken_lane(self) -> str:
        """The lane of the voice, that of the user where a text is typed."""
        return "background" if self.lane == "background" else "user"

    @property
    def asks(self) -> bool:
        """Whether it is the user's, so that the agent may answer it."""
        return self.lane != "background"

    @property
    def reach(self) -> int:
        """Samples from its start to the end of all that is expected because of it."""
        windows = [e.expect.window_samples[1] for e in self.events if e.expect is not None]
        return max([self.end_sample, *windows]) - self.start_sample


@dataclass(frozen=True, kw_only=True, eq=False)
class Errand:
    """A result of the background agent, so many samples after the agent has asked for it."""

    act: int  # number of the request
    text: TextArrival
    delay: int
    events: tuple[Event, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class PlannedReply:
    """An utterance of the agent, by energy: what it says and because of what."""

    number: int
    onset: int
    end: int
    cause: int  # number of the act; -1 for none
    errand: int  # number of the errand that it tells the result of; -1 for none
    gate: int  # from here on it is waited for
    n_early: int  # steps after the gate in which the utterance before it is still heard
    longest_gap: int  # samples of silence inside
    words: tuple[Word, ...] = ()
    intended: tuple[Word, ...] = ()
    controls: tuple[Control, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Overlay:
    """A voice or a sound that comes at its time."""

    clip: Clip
    event: Event
    goes_on: bool  # an agent that speaks then is to go on


@dataclass(frozen=True, kw_only=True, eq=False)
class DialoguePlan:
    """A dialogue in acts and utterances, and what does not wait for anybody."""

    n_samples: int
    rate: int
    ahead: int  # samples by which what users do is known before it is heard
    acts: tuple[Act, ...]
    errands: tuple[Errand, ...]
    replies: tuple[PlannedReply, ...]
    overlays: tuple[Overlay, ...]  # voices and sounds over the dialogue
    fixed: tuple[Event, ...]  # at their time in any case
    texts: tuple[TextArrival, ...]
    without_loss: tuple[tuple[int, int], ...]
    audible: NDArray[np.bool_] = field(repr=False)  # the planned agent by step


def plan_dialogue(
    script: Script, rendered: RenderedAudio, *, rate: int, ahead: int
) -> DialoguePlan:
    """Take a script apart whose agent sounds as rendered.

    What users do has to be known `ahead` samples before it is heard.
    """
    timeline = script.timeline
    audible = active_steps(from_pcm16(rendered.agent))
    spans = _utterances(audible, round(SAME_UTTERANCE_S * rate))
    drafts = sorted(
        (
            draft
            for family, part in script.parts
            if family not in OVER
            for draft in _acts(family, part, rate)
        ),
        key=lambda draft: (draft.start_sample, draft.lane == "user"),
    )
    acts: list[Act] = []
    for number, draft in enumerate(drafts):
        acts.append(_triggered(draft, acts, spans, audible, number=number, rate=rate, ahead=ahead))
    errands = tuple(_errands(timeline, acts))
    owned = {id(e) for act in acts for e in act.events} | {id(e) for x in errands for e in x.events}
    parts = [part for family, part in script.parts if family not in OVER]
    return DialoguePlan(
        n_samples=timeline.n_samples,
        rate=rate,
        ahead=ahead,
        acts=tuple(acts),
        errands=errands,
        replies=tuple(_replies(timeline, spans, audible, acts, errands, parts, rate)),
        overlays=tuple(
            Overlay(clip=part.clips[0], event=part.timeline.events[0], goes_on=family == SOUND)
            for family, part in script.parts
            if family in OVER
        ),
        fixed=(
            *(e for part in parts for e in part.timeline.events if id(e) not in owned),
            *(e for e in timeline.events if e.speaker == "scene"),
        ),
        texts=tuple(
            text
            for text in timeline.text_in
            if id(text) not in {id(a.text) for a in acts} | {id(e.text) for e in errands}
        ),
        without_loss=tuple(timeline.without_loss),
        audible=audible,
    )


def _utterances(audible: NDArray[np.bool_], join: int) -> list[tuple[int, int]]:
    """Return the utterances (start, end) in steps, over silences of less than `join` samples."""
    found: list[tuple[int, int]] = []
    for step in np.flatnonzero(audible).tolist():
        if found and (step - found[-1][1]) * STEP < join:
            found[-1] = (found[-1][0], step + 1)
        else:
            found.append((step, step + 1))
    return found


# --- acts ------------------------------------------------------------------------------------
def _acts(family: str, part: Script, rate: int) -> Iterator[Act]:
    """Yield what each voice does in one go in a segment, without its trigger."""
    groups: list[list[Clip]] = []
    user = sorted((c for c in part.clips if c.lane == "user"), key=lambda clip: clip.start_sample)
    agent = [word.start_sample for word in part.timeline.agent]
    for clip in user:
        last = groups[-1][-1].end_sample if groups else 0
        same = groups and clip.start_sample - last <= HESITATION_S * rate
        answered = any(last <= start < clip.start_sample for start in agent)
        if groups and (family in KEEPS_TALKING or (same and not answered)):
            groups[-1].append(clip)
        else:
            groups.append([clip])
    groups += [[clip] for clip in part.clips if clip.lane == "background"]
    drafts = [_draft(family, clips[0].lane, clips=clips) for clips in groups]
    for text in part.timeline.text_in:
        if not text.text.is_result:
            drafts.append(_draft(family, TYPED, text=text))
    drafts.sort(key=lambda draft: draft.start_sample)
    events: dict[int, list[Event]] = {number: [] for number in range(len(drafts))}
    for event in part.timeline.events:
        owner = _owner(event, drafts)
        if owner is not None:
            events[owner].append(event)
    for number, draft in enumerate(drafts):
        own = tuple(events[number])
        ends = [e.end_sample for e in own] if draft.lane == TYPED else []
        yield replace(draft, events=own, end_sample=max([draft.end_sample, *ends]))


def _draft(
    family: str, lane: str, *, clips: Sequence[Clip] = (), text: TextArrival | None = None
) -> Act:
    """Return an act that has no number, trigger and events yet."""
    start = clips[0].start_sample if text is None else text.sample
    return Act(
        number=-1,
        family=family,
        lane=lane,
        start_sample=start,
        end_sample=max((clip.end_sample for clip in clips), default=start),
        clips=tuple(clips),
        text=text,
        events=(),
        trigger=Trigger(kind="begin", delay=0),
        gap=0,
    )


def _owner(event: Event, drafts: Sequence[Act]) -> int | None:
    """Return the act that an event belongs to: that of its voice, else the last before it."""
    if event.type == RESULT:
        return None
    before = [n for n, draft in enumerate(drafts) if draft.start_sample <= event.start_sample]
    typed = [
        n
        for n in before
        if drafts[n].lane == TYPED and drafts[n].start_sample == event.start_sample
    ]
    own = [n for n in before if drafts[n].lane == event.speaker]
    return max(typed or own or before, default=None)


def _triggered(
    act: Act,
    before: Sequence[Act],
    spans: Sequence[tuple[int, int]],
    audible: NDArray[np.bool_],
    *,
    number: int,
    rate: int,
    ahead: int,
) -> Act:
    """Return an act with what it waits for."""
    gap = act.start_sample - max((a.end_sample for a in before if a.lane == act.lane), default=0)
    previous = before[-1].start_sample if before else 0
    decided = max((act.start_sample - ahead) // STEP, 0)  # the step in which it is begun
    known = max(decided - round(REACTION_S * rate) // STEP, 0)
    heard = np.flatnonzero(audible[:known])
    trigger = Trigger(kind="act" if before else "begin", delay=act.start_sample - previous)
    if len(heard):
        last = int(heard[-1])
        reply = next(n for n, (first, end) in enumerate(spans) if first <= last < end)
        first, end = spans[reply]
        if end > decided:
            trigger = Trigger(kind="into", delay=act.start_sample - first * STEP, reply=reply)
        elif end * STEP > previous:
            delay = act.start_sample - end * STEP
            n_heard = _n_before_silence(audible[first:end], delay - ahead)
            trigger = Trigger(kind="after", delay=delay, reply=reply, n_heard=n_heard)
    return replace(act, number=number, trigger=trigger, gap=gap)


def _n_before_silence(audible: NDArray[np.bool_], delay: int) -> int:
    """Return after how many steps of an utterance a silence of `delay` samples ends it.

    From more than half of it on, and after the last silence inside it that is as long.
    """
    heard = np.flatnonzero(audible)
    silences = np.diff(heard) - 1
    long = np.flatnonzero(silences * STEP >= delay - 2 * STEP)
    inside = int(long[-1]) + 2 if len(long) else 1
    return max(inside, round(0.6 * len(heard)))


# --- the agent -------------------------------------------------------------------------------
def _errands(timeline: Timeline, acts: Sequence[Act]) -> Iterator[Errand]:
    """Yield the results that come after a `<delegate>`, with the request that it is for."""
    delegates = [c.sample for c in timeline.controls if c.token == CONTROL_TOKENS[DELEGATE]]
    for text in sorted(timeline.text_in, key=lambda item: item.sample):
        asked = max((d for d in delegates if d <= text.sample), default=None)
        requests = [
            act.number
            for act in acts
            if asked is not None and act.asks and act.start_sample < asked
        ]
        if asked is None or not requests or not text.text.is_result:
            continue
        events = tuple(
            e for e in timeline.events if e.type == RESULT and e.start_sample == text.sample
        )
        yield Errand(act=requests[-1], text=text, delay=text.sample - asked, events=events)


def _replies(
    timeline: Timeline,
    spans: Sequence[tuple[int, int]],
    audible: NDArray[np.bool_],
    acts: Sequence[Act],
    errands: Sequence[Errand],
    parts: Sequence[Script],
    rate: int,
) -> Iterator[PlannedReply]:
    """Yield the utterances of the agent, each with its words and what it is waited for from."""
    words = _of_utterances(timeline.agent, spans)
    intended = _intended_in(parts, words)
    controls = _controls_of(timeline.controls, timeline.agent, spans)
    gate = 0
    for number, (first, end) in enumerate(spans):
        onset = first * STEP
        asked = [act for act in acts if act.asks and act.start_sample < onset]
        cause = asked[-1] if asked else None
        text = " ".join(word.text for word in words[number])
        told = [n for n, errand in enumerate(errands) if _tells(errand, onset, text)]
        waits = cause is not None and cause.end_sample <= onset
        early = onset - round((0.6 if waits else 0.3) * rate)
        gate = max(early, cause.end_sample if cause is not None and waits else 0, gate + STEP)
        gate = min(gate, onset)
        before = np.flatnonzero(audible[gate // STEP : first]) if number else np.zeros(0, np.intp)
        heard = np.flatnonzero(audible[first:end])
        yield PlannedReply(
            number=number,
            onset=onset,
            end=end * STEP,
            cause=cause.number if cause is not None else -1,
            errand=told[-1] if told else -1,
            gate=gate,
            n_early=int(before[-1]) + 1 if len(before) else 0,
            longest_gap=int(np.diff(heard).max(initial=1) - 1) * STEP,
            words=tuple(words[number]),
            intended=tuple(intended[number]),
            controls=tuple(controls[number]),
        )


def _tells(errand: Errand, onset: int, text: str) -> bool:
    """Whether an utterance is what is said of a result."""
    expected = {e.expect.text for e in errand.events if e.expect is not None}
    return errand.text.sample <= onset and text in expected


def _intended_in(parts: Sequence[Script], words: Sequence[Sequence[Word]]) -> list[list[Word]]:
    """Return what would have been said in each utterance; what was cut off stands in no order."""
    number = {w.start_sample: n for n, some in enumerate(words) for w in some}
    found: list[list[Word]] = [[] for _ in words]
    last = 0
    for part in parts:
        for word in part.timeline.intended:
            last = number.get(word.start_sample, last)
            if found:
                found[last].append(word)
    return found


def _of_utterances(words: Sequence[Word], spans: Sequence[tuple[int, int]]) -> list[list[Word]]:
    """Return the words of each utterance: those nearest to it."""
    found: list[list[Word]] = [[] for _ in spans]
    for word in sorted(words, key=lambda item: item.start_sample):
        begun = [n for n, span in enumerate(spans) if span[0] * STEP < word.end_sample]
        if spans:
            found[begun[-1] if begun else 0].append(word)
    return found


def _controls_of(
    controls: Sequence[Control], words: Sequence[Word], spans: Sequence[tuple[int, int]]
) -> list[list[Control]]:
    """Return the control tokens of each utterance: those that open it, and those after it."""
    found: list[list[Control]] = [[] for _ in spans]
    starts = {word.start_sample for word in words}
    for control in controls:
        opens = control.sample in starts
        begun = [
            n for n, span in enumerate(spans) if span[0] * STEP <= control.sample + opens * 2 * STEP
        ]
        if spans:
            found[begun[-1] if begun else 0].append(control)
    return found
