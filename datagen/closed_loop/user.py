"""The simulated user: does what was planned when what it hears of the agent gives the reason.

Whatever is not in the plan is drawn by name: how long it waits for an answer, whether it asks
again, whether it leaves the floor to an agent that speaks into its pause or its words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from microturn.datagen.closed_loop.barge_ins import Attempt, BargeIns
from microturn.datagen.closed_loop.draws import Draws
from microturn.datagen.closed_loop.micro_turn import Kind, Occurrence
from microturn.datagen.closed_loop.performed import (
    ErrandState,
    PerformedAct,
    Sound,
    needs_agent,
)
from microturn.datagen.closed_loop.plan import STEP, Act, DialoguePlan
from microturn.datagen.closed_loop.replies import HeardReply, ReplyListener
from microturn.datagen.dialogue.expectations import SAME_UTTERANCE_S
from microturn.datagen.dialogue.timeline import Event, TextArrival


class SimulatedUser:
    """Everything around the agent that speaks, in steps of `STEP` samples."""

    def __init__(self, plan: DialoguePlan, draws: Draws) -> None:
        self.plan = plan
        self._draws, self._takes = draws, draws.reactions
        self.listener = ReplyListener(
            plan.replies,
            rate=plan.rate,
            silence=round(SAME_UTTERANCE_S * plan.rate),
            patience=self._patience,
        )
        self.performed: list[PerformedAct] = []
        self.never: list[Act] = []
        self.errands = [ErrandState(errand=errand) for errand in plan.errands]
        self.occurrences: list[Occurrence] = []  # since they were last taken
        self._pending = 0  # number of the next act
        self._attempts: dict[int, int] = {}
        self._skipped_at: int | None = None  # when the act before was given up
        self._floor = BargeIns(plan, draws, self.listener)
        self._retry: Attempt | None = None  # what an agent has broken off
        self._expect(-1, 0)

    # --- one step ----------------------------------------------------------------------------
    def speak(self) -> list[Sound]:
        """Return the clips that begin or break off in the next step."""
        now = len(self.listener.heard) * STEP
        until = now + STEP + self.plan.ahead
        begun = list(self._overlays(until))
        self._fail_errands(now)
        broken = self._floor.taken_in_words(self.performed, now, until)
        if broken is not None:
            begun += self._break_off(broken, now)
        while True:
            begun += self._go_on(until)
            if not self._begin_next(now, until):
                return begun

    def hear(self, sounds: bool) -> None:
        """Hear the agent in this step."""
        missed = self.listener.listen(sounds)
        if missed is not None:
            self._unanswered(missed, len(self.listener.heard) * STEP)

    def delegated(self, sample: int) -> None:
        """The agent passes a request on at a sample; without an open one nothing happens."""
        for state in self.errands:
            asked = self._whole(state.errand.act)
            if asked and state.arrives is None and not state.failed:
                state.arrives = sample + state.errand.delay
                shift = state.arrives - state.errand.text.sample
                number = self.errands.index(state)
                self.listener.expect(self._told(number), shift)
                return

    @property
    def arrivals(self) -> list[TextArrival]:
        """Texts that have arrived or are on their way."""
        typed = [replace(p.act.text, sample=p.start_sample) for p in self.performed if p.act.text]
        return [*self.plan.texts, *typed, *self.results]

    @property
    def results(self) -> list[TextArrival]:
        """Those of the background agent."""
        return [
            replace(state.errand.text, sample=state.arrives)
            for state in self.errands
            if state.arrives is not None
        ]

    def close(self) -> None:
        """The dialogue is over: what has not begun or was broken off never comes."""
        for performance in self.performed:
            if performance.stopped_at is None:
                self._tell(performance, self.plan.n_samples)
        if self._retry is not None:
            self._leave_off(self._retry, self.plan.n_samples)
        for act in self.plan.acts[self._pending :]:
            self._skip(act, self.plan.n_samples)

    # --- acts --------------------------------------------------------------------------------
    def _begin_next(self, now: int, until: int) -> bool:
        """Begin or skip the next act if it is time; returns whether there may be another."""
        if self._retry is not None:
            return self._try_again(now)
        if self._pending >= len(self.plan.acts):
            return False
        act = self.plan.acts[self._pending]
        due = self._due(act, now)
        if due is None:
            self._skip(act, now)
            return True
        if due >= until:
            return False
        start = max(due, self._soonest(now))
        if start + act.reach > self.plan.n_samples:
            self._skip(act, now)
            return True
        self._pending += 1
        self._perform(act, start)
        return True

    def _due(self, act: Act, now: int) -> int | None:
        """When an act begins as far as is known; None: it has lost its reason."""
        trigger, far = act.trigger, self.plan.n_samples
        if trigger.kind == "begin":
            return trigger.delay
        if trigger.kind == "act":
            if self._skipped_at is not None:
                return self._skipped_at + min(act.gap, self._samples(self._takes.go_on_s))
            return self.performed[-1].start_sample + trigger.delay
        reply = self.listener.replies[trigger.reply]
        if trigger.kind == "into":
            if reply.absent_since is not None or reply.over:
                return None
            return far if reply.onset is None else reply.onset + trigger.delay
        if reply.absent_since is not None:
            due = reply.absent_since + min(trigger.delay, self._samples(self._takes.go_on_s))
            return self._after_own(act, due)
        if reply.onset is None:
            return far
        planned = reply.planned
        overtime = self._samples(self._takes.overtime_s)
        if not reply.over and now >= reply.onset + 2 * (planned.end - planned.onset) + overtime:
            return self._after_own(act, now)
        silence = self._samples(self._takes.ended_s)
        ended = reply.end(trigger.delay, trigger.n_heard, silence=silence)
        return far if ended is None else self._after_own(act, ended)

    def _after_own(self, act: Act, due: int) -> int:
        """Not before the same voice has ended what it says."""
        own = [p.end_sample for p in self.performed if p.act.lane == act.lane]
        return max([due, *(end + min(act.gap, self._samples(0.3)) for end in own[-1:])])

    def _perform(self, act: Act, start: int, earlier: PerformedAct | None = None) -> None:
        """Begin an act, or the rest of one that was broken off, or say it again."""
        again = any(p.act is act for p in self.performed)
        if earlier is None:
            performance = PerformedAct(act=act, start_sample=start, again=again)
        else:
            performance = earlier.rest(start)
        self.performed.append(performance)
        self._skipped_at = None
        if act.asks:
            self._expect(act.number, performance.shift)
        if act.text is not None:
            self._tell(performance, start)

    def _expect(self, cause: int, shift: int) -> None:
        """What is said because of an act is waited for."""
        self.listener.expect(self._caused(cause), shift)

    def _caused(self, cause: int) -> Iterator[HeardReply]:
        return (
            reply
            for reply in self.listener.replies
            if reply.planned.cause == cause and reply.planned.errand < 0
        )

    def _told(self, number: int) -> Iterator[HeardReply]:
        return (r for r in self.listener.replies if r.planned.errand == number)

    def _skip(self, act: Act, now: int) -> None:
        """An act never comes, and nothing that it would have brought."""
        self._pending = act.number + 1
        self._skipped_at = now
        self.never.append(act)
        self.listener.give_up(self._caused(act.number), now)
        for number, state in enumerate(self.errands):
            if state.errand.act == act.number:
                state.failed = True
                self.listener.give_up(self._told(number), now)
        for event in act.events or (None,):
            self._note("never", now, event, act)

    # --- while somebody speaks ---------------------------------------------------------------
    def _go_on(self, until: int) -> Iterator[Sound]:
        """Yield the clips of acts that have begun, as their time comes."""
        for performance in self.performed:
            clips = performance.act.clips
            while performance.stopped_at is None and performance.n_begun < len(clips):
                clip = clips[performance.n_begun]
                start = clip.start_sample + performance.shift
                if start >= until:
                    break
                if self._floor.taken_in_pause(performance, start):
                    self._break_off(performance, start)
                    break
                performance.n_begun += 1
                yield Sound(clip=clip, start=start)
            if performance.stopped_at is None and performance.end_sample <= until:
                self._tell(performance, until)

    def _tell(self, performance: PerformedAct, sample: int) -> None:
        """Note the events that came of what has been said, once."""
        if not performance.told:
            performance.told = True
            for event in performance.events():
                self._note("came", sample, event, performance.act)

    def _break_off(self, performance: PerformedAct, now: int) -> list[Sound]:
        """The user has stopped, and wants to say it again, or the rest."""
        act = performance.act
        self._tell(performance, now)
        self._note("yielded", now, None, act)
        self.listener.forget(self._caused(act.number))
        self._retry = self._floor.attempt_after(performance, now)
        for event in performance.unsaid():
            if needs_agent(event) and not self._retry.goes_on:
                self._note("never", now, event, act)
        return performance.broken_clips()

    def _try_again(self, now: int) -> bool:
        """Say again what an agent broke off, once it is silent."""
        retry = self._retry
        assert retry is not None
        overtime = self._samples(self._takes.overtime_s)
        if self.listener.quiet < retry.quiet and now < retry.since + overtime:
            return False
        self._retry = None
        start, act = self._soonest(now), retry.broken.act
        if start + retry.reach > self.plan.n_samples:
            self._leave_off(retry, now)
            return True
        self._end_pause(retry.broken, start)
        self._note("asked_again", start, None, act)
        self._perform(act, start, retry.broken if retry.goes_on else None)
        return True

    def _leave_off(self, retry: Attempt, now: int) -> None:
        """What was broken off is not said any more."""
        act = retry.broken.act
        self._end_pause(retry.broken, now)
        self.listener.give_up(self._caused(act.number), now)
        self._note("gave_up", now, None, act)
        for event in retry.broken.unsaid():
            if retry.goes_on or not needs_agent(event):
                self._note("never", now, event, act)

    def _end_pause(self, broken: PerformedAct, sample: int) -> None:
        broken.resumed_at = sample
        if broken.pause is not None:
            self._note("came", sample, broken.pause, broken.act)

    def _whole(self, number: int) -> bool:
        """Whether all of an act was said, or is being said."""
        return any(p.act.number == number and p.stopped_at is None for p in self.performed)

    # --- in vain -----------------------------------------------------------------------------
    def _unanswered(self, missed: HeardReply, now: int) -> None:
        """A reply has not come: the user asks again, or goes on without it."""
        if missed.planned.cause < 0 or self._retry is not None:
            return
        act = self.plan.acts[missed.planned.cause]
        first = next(self._caused(act.number), None) is missed
        waits = missed.planned.onset >= act.end_sample
        start = self._soonest(now)
        fits = start + act.reach <= self.plan.n_samples
        n = self._attempts.get(act.number, 0)
        if first and waits and fits and not n and self._asks_again(act, now):
            self._attempts[act.number] = n + 1
            self._note("asked_again", start, None, act)
            self._perform(act, start)
        elif first and waits:
            self._note("gave_up", now, None, act)

    def _asks_again(self, act: Act, now: int) -> bool:
        share = self._takes.ask_again_share
        return self._draws.chance(f"ask again/{act.number}", share, at=now)

    def _fail_errands(self, now: int) -> None:
        """Requests that the agent has not passed on in time come to nothing."""
        for number, state in enumerate(self.errands):
            if state.arrives is not None or state.failed:
                continue
            ended = [
                p.end_sample
                for p in self.performed
                if p.act.number == state.errand.act and p.stopped_at is None
            ]
            if ended and now > ended[-1] + self._samples(self._takes.delegate_s):
                state.failed = True
                self.listener.give_up(self._told(number), now)
                for event in state.errand.events:
                    self._note("never", now, event, None)

    # --- the rest ----------------------------------------------------------------------------
    def _overlays(self, until: int) -> Iterator[Sound]:
        """Yield voices over the dialogue, which come at their time."""
        for clip in (overlay.clip for overlay in self.plan.overlays):
            begins = until - STEP <= clip.start_sample < until
            if begins or (not self.listener.heard and clip.start_sample < until):
                yield Sound(clip=clip, start=clip.start_sample)

    def _soonest(self, now: int) -> int:
        """The first sample of which nothing has been heard yet."""
        return now + self.plan.ahead if now else 0

    def _note(self, kind: Kind, sample: int, event: Event | None, act: Act | None) -> None:
        family = "" if act is None else act.family
        self.occurrences.append(Occurrence(kind=kind, sample=sample, event=event, family=family))

    def _samples(self, seconds: float) -> int:
        return self._draws.samples(seconds)

    def _patience(self, reply: int) -> int:
        attempt = self._attempts.get(self.plan.replies[reply].cause, 0)
        return self._draws.patience(reply, attempt)
