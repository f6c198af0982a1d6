"""One dialogue and one performance of it, with everything that the scores of its events share."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

from microturn.datagen.labels.dialogue import EventLabel, word_list
from microturn.evaluation.config import WindowConfig
from microturn.evaluation.scoring.activity import (
    Activity,
    Span,
    longest_gap,
    merge,
    overlap,
    subtract,
)
from microturn.evaluation.scoring.agent_output import SpokenWord, Trace
from microturn.evaluation.scoring.answers import Answer, answers_of, too_much_said
from microturn.evaluation.scoring.dialogue import Dialogue
from microturn.evaluation.scoring.moments import SAME_S, after, before, begins_in, lead
from microturn.evaluation.scoring.restraint import (
    false_delegates,
    unasked_talk,
    without_credit,
)
from microturn.evaluation.scoring.saying import Saying

_AUDIBLE_S = 0.03  # less sound than this is no word
_SAME_ONSET_S = 0.15  # a word may sound so much after the onset that is found by energy


@dataclass(frozen=True)
class ScoredDialogue:
    """Lookups over one performance; computes each of them once."""

    dialogue: Dialogue
    trace: Trace
    windows: WindowConfig

    @property
    def activity(self) -> Activity:
        return self.trace.activity

    @cached_property
    def runs(self) -> list[Span]:
        return self.activity.runs

    @cached_property
    def utterances(self) -> list[Span]:
        return self.activity.utterances

    @cached_property
    def written(self) -> list[SpokenWord]:
        """Single words of the `say` lane."""
        return [
            SpokenWord(text=text, start_s=word.start_s, end_s=word.end_s)
            for word in self.trace.words
            for text in word_list(word.text)
        ]

    @cached_property
    def saying(self) -> Saying | None:
        """What the sound says of the written words; None: nobody listened to it."""
        if self.trace.sounds is None:
            return None
        breaks_s = [event.start_s for event in self.dialogue.events if event.act == "stop"]
        breaks_s.append(self.dialogue.duration_s)
        return Saying.of(
            self.written, self.trace.sounds, lead_s=self.windows.text_lead_s, breaks_s=breaks_s
        )

    @cached_property
    def words(self) -> list[SpokenWord]:
        """Written words that the sound says, and in brackets what it says without text.

        Where nobody listened, written words with any sound at all.
        """
        if self.saying is not None:
            return self.saying.words
        return [
            word
            for word in self.written
            if self.activity.seconds_in(word.start_s, word.start_s + self.windows.text_lead_s)
            >= _AUDIBLE_S
        ]

    @cached_property
    def said_utterances(self) -> list[Span]:
        """Utterances in which the sound says a written word."""
        if self.saying is None:
            return self.utterances
        spans = self.saying.spans
        return [one for one in self.utterances if any(overlap(one, span) > 0 for span in spans)]

    @cached_property
    def answers(self) -> list[Answer]:
        return answers_of(self.dialogue, self.trace.deliveries, self.windows)

    @cached_property
    def floors(self) -> list[Span]:
        """When the agent may speak: the floors of all answers, and of answers that came late."""
        floors = [answer.floor(self.windows) for answer in self.answers]
        late = [self._late_floor(answer) for answer in self.answers]
        return merge([*floors, *(floor for floor in late if floor)], SAME_S)

    @cached_property
    def unasked(self) -> list[tuple[Span, ...]]:
        """Utterances that no answer explains, each as its unasked parts."""
        least_s = self.windows.spurious_ms / 1000
        return unasked_talk(self.activity, self.floors, least_s=least_s)

    @cached_property
    def due_silences(self) -> dict[int, bool]:
        """Micro-turns that no answer explains, each with whether there is speech in it."""
        micro_turn_s = self.dialogue.micro_turn_s
        found = {}
        for k in range(round(self.dialogue.duration_s / micro_turn_s)):
            start_s, end_s = k * micro_turn_s, (k + 1) * micro_turn_s
            if not any(before(a, end_s) and after(b, start_s) for a, b in self.floors):
                spoken_s = self.activity.seconds_in(start_s, end_s)
                found[k] = spoken_s * 1000 > self.windows.spurious_ms
        return found

    @cached_property
    def false_delegates(self) -> list[float]:
        """`<delegate>` tokens that no request explains."""
        return false_delegates(
            self.dialogue, self.trace.delegates_s, reach_s=self.windows.late_reply_s
        )

    @cached_property
    def _without_credit(self) -> frozenset[float]:
        talk = [span for utterance in self.unasked for span in utterance]
        delegates = [(time_s, time_s) for time_s in self.false_delegates]
        lost = without_credit(self.dialogue, [*talk, *delegates])
        for floor, answers in self._stretches:
            starts = {answer.event.start_s for answer in answers}
            said = self.words_between(lead(floor[0]), floor[1])
            if starts & lost or too_much_said([word.text for word in said], answers):
                lost |= starts
        return lost

    @cached_property
    def _stretches(self) -> list[tuple[Span, list[Answer]]]:
        """Floors, each with the answers that it is for."""
        begins = [floor[0] for floor in self.floors]
        stretches: list[tuple[Span, list[Answer]]] = [(floor, []) for floor in self.floors]
        for answer in self.answers:
            at = bisect_right(begins, answer.floor(self.windows)[0] + SAME_S) - 1
            stretches[at][1].append(answer)
        return stretches

    def clean(self, *events: EventLabel) -> bool:
        """Whether nothing unasked was said or delegated next to these events."""
        return not any(event.start_s in self._without_credit for event in events)

    def answer_to(self, event: EventLabel) -> Answer | None:
        return next((answer for answer in self.answers if answer.event is event), None)

    def answer_during(self, moment_s: float) -> Answer | None:
        """The answer that the recorded agent is giving at a moment."""
        for answer in reversed(self.answers):
            if answer.recorded and not after(answer.recorded[0].start_s, moment_s):
                return answer
        return None

    def words_between(self, start_s: float, end_s: float) -> list[SpokenWord]:
        return [w for w in self.words if begins_in(w.start_s, start_s, end_s)]

    def words_of(self, answer: Answer, *, from_s: float | None = None) -> list[SpokenWord]:
        """Return the words of the answer: from its first word to the first long silence."""
        start_s = answer.earliest_s if from_s is None else from_s
        spoken: list[SpokenWord] = []
        for word in self.words_between(start_s, answer.limit_s):
            if spoken and self._silence(spoken[-1], word) > self.windows.pause_in_answer_s:
                break
            spoken.append(word)
        return spoken

    def onset_of(self, word: SpokenWord) -> float:
        """When the word begins to sound; its token may come earlier."""
        until_s = word.start_s + self.windows.text_lead_s
        onset = self.activity.onset_in(word.start_s, until_s)
        sound = None if self.saying is None else self.saying.sounds.get(word)
        if sound is not None and onset is not None and sound.start_s - onset > _SAME_ONSET_S:
            onset = self.activity.onset_in(sound.start_s, until_s)  # other sound came before it
        return word.start_s if onset is None else onset

    def speaking_near(self, moment_s: float, *, before_s: float, after_s: float) -> bool:
        """Whether the agent says something around a moment; sound without words is no saying."""
        span = (moment_s - before_s, moment_s + after_s)
        if self.activity.seconds_in(*span) <= 0:
            return False
        return self.saying is None or any(overlap(span, said) > 0 for said in self.saying.spans)

    def outside_floors(self, start_s: float, end_s: float) -> list[Span]:
        """Speech in a span that no answer explains."""
        inside = [(max(a, start_s), min(b, end_s)) for a, b in self.runs]
        return subtract([span for span in inside if span[1] > span[0]], self.floors)

    def _silence(self, first: SpokenWord, second: SpokenWord) -> float:
        return longest_gap(self.runs, self.onset_of(first), self.onset_of(second))

    def _late_floor(self, answer: Answer) -> Span | None:
        """The floor of an answer that began too late: how late is the business of latency."""
        if self.activity.onset_in(answer.earliest_s, answer.latest_s) is not None:
            return None
        until_s = answer.earliest_s + self.windows.late_reply_s
        if answer.cut_s is not None:
            until_s = min(until_s, answer.cut_s)
        for start, _ in self.utterances:
            if answer.latest_s < start <= until_s:
                end_s = start + answer.length_s + self.windows.overrun_s
                if answer.quiet_s is not None:
                    end_s = min(end_s, answer.quiet_s)
                return start, end_s
        return None
