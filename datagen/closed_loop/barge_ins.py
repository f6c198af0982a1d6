"""Who has the floor when the agent speaks into what a user says: the user goes on, or leaves it.

One chance for each time that the agent begins, drawn by the micro-turn in which it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from microturn.datagen.closed_loop.draws import Draws
from microturn.datagen.closed_loop.performed import PerformedAct
from microturn.datagen.closed_loop.plan import KEEPS_TALKING, STEP, Act, DialoguePlan
from microturn.datagen.closed_loop.replies import ReplyListener
from microturn.datagen.labels.event_types import SIDE_TALK, USER_BACKCHANNEL, VOCAL_TIC

PAUSE_S: Final = 0.25  # a longer silence between two words may be taken for the end
TOGETHER_S: Final = 0.4  # two who begin within this could not know of each other
WORD_S: Final = 1.0  # a word that lasts longer is not said to its end
LEFT_S: Final = 0.2  # nobody breaks off so shortly before the end
NOT_TO_AGENT: Final = (USER_BACKCHANNEL, SIDE_TALK, VOCAL_TIC)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """To say what was broken off, once the agent has been silent for `quiet` samples."""

    broken: PerformedAct
    since: int
    quiet: int
    goes_on: bool  # with the rest; else all again

    @property
    def reach(self) -> int:
        """Samples from where it begins to the end of all that is expected because of it."""
        act = self.broken.act
        if not self.goes_on:
            return act.reach
        said = act.clips[self.broken.next_clip()].start_sample - act.start_sample
        return act.reach - said


class BargeIns:
    """Decides for one user."""

    def __init__(self, plan: DialoguePlan, draws: Draws, listener: ReplyListener) -> None:
        self._plan, self._draws, self._listener = plan, draws, listener
        self._leaving = {act.number for act in plan.acts if self._may_be_broken_off(act)}
        self._decided: int | None = None  # onset of the agent that was decided about
        self._reacts: tuple[int, int] = (-1, 0)  # an onset, and when the user reacts to it

    def taken_in_pause(self, performance: PerformedAct, start: int) -> bool:
        """Whether the agent has spoken into the pause that ends now, and gets the floor.

        If so, the user's act ends before the pause.
        """
        act, number = performance.act, performance.n_begun
        if number <= performance.first or not self._may_be_paused(act):
            return False
        ended = act.clips[number - 1].end_sample
        following = act.clips[number].start_sample
        if following - ended < self._draws.samples(PAUSE_S):
            return False
        planned = self._plan.audible[ended // STEP : following // STEP]
        heard = self._listener.sounded_in(ended + performance.shift, start)
        if planned.any() or heard < self._draws.samples(self._draws.reactions.barge_in_s):
            return False
        if not self._leaves(act):
            return False
        performance.stopped_at = ended + performance.shift
        return True

    def taken_in_words(
        self, performed: Sequence[PerformedAct], now: int, until: int
    ) -> PerformedAct | None:
        """Return an act into whose words the agent speaks, and which the user breaks off now.

        It ends at the end of a word, of which nothing before sample `until` can change.
        """
        began = self._listener.began
        if began is None or began == self._decided:
            return None
        performance = next((p for p in performed if self._is_spoken_into(p, began)), None)
        if performance is None:
            self._decided = began
            return None
        if self._reacts[0] != began:
            self._reacts = (began, began + self._draws.reaction(began))
        if now < self._reacts[1]:
            return None
        self._decided = began
        least = self._draws.samples(self._draws.reactions.barge_in_s)
        ended = self._listener.quiet >= least  # a word or two, and no more
        if ended or self._listener.sounded_in(began, now) < least:
            return None
        stop = self._end_of_word(performance, until)
        if stop is None or not self._leaves(performance.act):
            return None
        performance.stopped_at, performance.in_words = stop, True
        return performance

    def attempt_after(self, broken: PerformedAct, now: int) -> Attempt:
        """Return how the user tries again."""
        draws, number = self._draws, broken.act.number
        begun = broken.next_clip() > 0 and number in self._leaving
        return Attempt(
            broken=broken,
            since=now,
            quiet=draws.free(now),
            goes_on=begun and draws.chance(f"rest/{number}", draws.reactions.rest_share, at=now),
        )

    def _leaves(self, act: Act) -> bool:
        began = self._listener.began or 0
        return self._draws.chance(
            f"yield/{act.number}", self._draws.reactions.yield_share, at=began
        )

    def _is_spoken_into(self, performance: PerformedAct, began: int) -> bool:
        if performance.stopped_at is not None or performance.act.number not in self._leaving:
            return False
        heard = performance.begins + self._draws.samples(TOGETHER_S)
        return heard <= began < performance.act.clips[-1].end_sample + performance.shift

    def _end_of_word(self, performance: PerformedAct, until: int) -> int | None:
        """Where the word ends that sounds at a sample; None where it is the last."""
        clips, shift = performance.act.clips, performance.shift
        if performance.n_begun <= performance.first:
            return None
        clip = clips[performance.n_begun - 1]
        end = clip.end_sample + shift
        if end >= until:
            words = (clip.start_sample + shift + word.end_sample for word in clip.unit.words)
            stop = min((at for at in words if at >= until), default=end)
            end = min(stop if stop - until <= self._draws.samples(WORD_S) else until, end)
        last = clips[-1].unit.words[-1:]
        said = clips[-1].start_sample + shift + (last[0].end_sample if last else 0)
        return end if end < said - self._draws.samples(LEFT_S) else None

    def _may_be_paused(self, act: Act) -> bool:
        """Whether it is said to the agent by somebody who listens meanwhile."""
        addressed = not act.events or any(e.type not in NOT_TO_AGENT for e in act.events)
        return act.lane == "user" and act.family not in KEEPS_TALKING and addressed

    def _may_be_broken_off(self, act: Act) -> bool:
        """Whether nobody else is to begin while it is said."""
        replies = self._plan.replies
        begins = any(act.start_sample < r.onset < act.end_sample for r in replies)
        return bool(act.clips) and self._may_be_paused(act) and not begins
