"""Which speech a dialogue asks of the agent: what, from when, until when.

An `Answer` is the common ground of all scores. Its content window says which words are judged
against it; its floor says when the agent may be talking because of it. Everything outside the
floors of all answers is time in which the agent should be silent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from microturn.datagen.dialogue.rules import RESPOND_S
from microturn.datagen.labels.dialogue import EventLabel
from microturn.datagen.labels.event_types import RESULT
from microturn.evaluation.config import WindowConfig
from microturn.evaluation.scoring.activity import Span
from microturn.evaluation.scoring.agent_output import Delivery, SpokenWord
from microturn.evaluation.scoring.dialogue import Dialogue
from microturn.evaluation.scoring.moments import FRAME_S, SAME_S, after, before

SPEAKING_ACTS = ("respond", "refuse", "say", "backchannel", "delegate")
WINDOW_ACTS = ("say", "backchannel")  # their windows say when, not the end of the event
DISTURBING_ACTS = ("resume", "stop")

_UNKNOWN_WORD_S = 0.6  # length of an answer without a recording, per word


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Speech that one event asks for."""

    event: EventLabel
    begins_s: float  # speech before this belongs to something earlier
    earliest_s: float  # it must not begin before
    latest_s: float  # it is in time until
    limit_s: float  # words from here on are judged elsewhere
    cut_s: float | None  # an interruption takes the floor away here
    quiet_s: float | None  # and the agent is silent from here on
    recorded: tuple[SpokenWord, ...]  # how the recorded agent answered, as far as it came

    @property
    def expected(self) -> tuple[str, ...]:
        return self.event.expected

    @property
    def is_open(self) -> bool:
        """Whether any words will do: nobody knows which are right."""
        return not self.event.expected and not self.event.is_placed

    @property
    def n_recorded(self) -> int:
        """Recorded words before the content limit."""
        return sum(before(word.start_s, self.limit_s) for word in self.recorded)

    @property
    def complete(self) -> bool:
        """Whether the whole answer lies before the content limit."""
        return self.n_recorded >= len(self.expected)

    @property
    def length_s(self) -> float:
        if not self.recorded:
            return _UNKNOWN_WORD_S * max(len(self.expected), 1)
        return self.recorded[-1].end_s - self.recorded[0].start_s

    def floor(self, windows: WindowConfig) -> Span:
        """When the agent may be heard because of this answer."""
        starts_s = max([self.latest_s] + [word.start_s for word in self.recorded[:1]])
        end_s = starts_s + self.length_s + windows.overrun_s
        if self.quiet_s is not None:
            end_s = min(end_s, self.quiet_s)
        return self.earliest_s, end_s


def answers_of(
    dialogue: Dialogue, deliveries: Sequence[Delivery], windows: WindowConfig
) -> list[Answer]:
    """Every answer that the dialogue asks for, by time.

    Results move with their delivery; a result that never arrived asks for nothing. One that has
    arrived may be said as soon as the user is silent, a little before the recorded agent says it.
    """
    drafts = []
    for event in dialogue.events:
        if event.act not in SPEAKING_ACTS:
            continue
        shift_s = 0.0
        if event.type == RESULT:
            delivery = delivery_of(event, deliveries)
            if delivery is None:
                continue
            shift_s = delivery.time_s - delivery.scripted_s
        draft = _draft(event, shift_s, windows, dialogue.duration_s)
        if event.type == RESULT:
            said_from_s = min(
                draft.earliest_s, _free_from(event.start_s + shift_s, draft, dialogue)
            )
            draft = replace(draft, begins_s=said_from_s, earliest_s=said_from_s)
        drafts.append(draft)
    drafts.sort(key=_recorded_from)
    return _with_limits(_with_recordings(drafts, dialogue), dialogue, windows)


def _free_from(arrival_s: float, result: Answer, dialogue: Dialogue) -> float:
    """When the user is silent after a result has arrived, before the recorded agent says it."""
    ends = [word.end_s for word in dialogue.user_words]
    return max([arrival_s, *(end for end in ends if before(end, result.earliest_s))])


def _recorded_from(answer: Answer) -> float:
    """When the recorded agent can have said it."""
    window_s = answer.event.window_s if answer.event.type == RESULT else None
    return answer.earliest_s if window_s is None else max(answer.earliest_s, window_s[0])


def _n_asked(answers: Sequence[Answer]) -> int:
    """How many words these answers come to; of one that is broken off, one more than recorded."""
    return sum(
        len(answer.expected)
        if len(answer.recorded) in (0, len(answer.expected))
        else len(answer.recorded) + 1
        for answer in answers
    )


def too_much_said(said: Sequence[str], answers: Sequence[Answer]) -> bool:
    """Whether these are more words than were asked for: two more, or one of them too often."""
    if any(answer.is_open for answer in answers):
        return False
    asked = Counter(word for answer in answers for word in answer.expected)
    return len(said) > _n_asked(answers) + 1 or any(
        n > asked[word] > 0 for word, n in Counter(said).items()
    )


def delivery_of(event: EventLabel, deliveries: Sequence[Delivery]) -> Delivery | None:
    """The delivery of a `result` event: scripted inside or just before it."""
    near = [d for d in deliveries if abs(d.scripted_s - event.start_s) < 0.5]
    return min(near, key=lambda d: abs(d.scripted_s - event.start_s), default=None)


def _draft(event: EventLabel, shift_s: float, windows: WindowConfig, duration_s: float) -> Answer:
    if event.act in WINDOW_ACTS or event.type == RESULT:
        window_s = event.window_s or (event.start_s, event.start_s + windows.result_s)
        # A result that comes later may be said later; what else holds it back stays as it was.
        earliest, latest = window_s[0] + min(shift_s, 0.0), window_s[1] + max(shift_s, 0.0)
        begins = earliest if event.type == RESULT else min(event.end_s, earliest)
    else:
        earliest, begins = event.end_s, event.start_s
        latest = earliest + (windows.delegate_s if event.act == "delegate" else windows.onset_s)
        if event.window_s is not None:
            if before(event.window_s[0], earliest):  # people answer into last words
                earliest = event.window_s[0] - FRAME_S
            if not event.is_placed or after(event.window_s[1], event.end_s + RESPOND_S):
                latest = max(latest, event.window_s[1])  # around the recorded answer
    return Answer(
        event=event,
        begins_s=begins,
        earliest_s=earliest,
        latest_s=latest,
        limit_s=duration_s,
        cut_s=None,
        quiet_s=None,
        recorded=(),
    )


def _with_recordings(drafts: list[Answer], dialogue: Dialogue) -> list[Answer]:
    """Find each answer in what the recorded agent said: the first free run of its words.

    An open answer is all that the recorded agent says until the next one may begin.
    """
    words = dialogue.agent_words
    taken: set[int] = set()
    answers = []
    for number, draft in enumerate(drafts):
        run: list[int] = []
        if draft.is_open:
            later = (other.earliest_s for other in drafts[number + 1 :])
            until_s = next(later, dialogue.duration_s)
            run = _free_between(words, draft.earliest_s, until_s, taken)
        for i, word in enumerate(() if draft.is_open else words):
            if before(word.start_s, _recorded_from(draft)) or i in taken:
                continue
            run = _match(draft.expected, words, i, taken)
            if run:
                break
        taken.update(run)
        answers.append(replace(draft, recorded=tuple(words[i] for i in run)))
    return answers


def _free_between(
    words: Sequence[SpokenWord], start_s: float, end_s: float, taken: set[int]
) -> list[int]:
    """Indices of words that begin in a span and belong to no other answer."""
    return [
        i
        for i, word in enumerate(words)
        if i not in taken and not before(word.start_s, start_s) and before(word.start_s, end_s)
    ]


def stopped_by(event: EventLabel, windows: WindowConfig) -> float:
    """When an interrupted agent has to be silent; a recorded one may have taken longer."""
    limit_s = event.start_s + windows.stop_s
    if event.is_placed or event.window_s is None:
        return limit_s
    return max(limit_s, event.window_s[1])


def _match(
    expected: Sequence[str], words: Sequence[SpokenWord], first: int, taken: set[int]
) -> list[int]:
    """Indices of the longest prefix of `expected` that begins at word `first`."""
    run: list[int] = []
    for offset, text in enumerate(expected):
        i = first + offset
        if i >= len(words) or i in taken or words[i].text != text:
            break
        run.append(i)
    return run


def _with_limits(answers: list[Answer], dialogue: Dialogue, windows: WindowConfig) -> list[Answer]:
    """Close each answer's content window where the next one begins or a disturbance begins."""
    limited = []
    for answer in answers:
        next_begins_s = min(
            [
                other.begins_s
                for other in answers
                if other is not answer and other.begins_s > answer.earliest_s - SAME_S
            ],
            default=dialogue.duration_s,
        )
        disturbing = [
            event
            for event in dialogue.events
            if event.act in DISTURBING_ACTS and after(event.start_s, answer.earliest_s)
        ]
        limit_s = min([next_begins_s, *(event.start_s for event in disturbing)])
        stops = [event for event in disturbing if event.act == "stop"]
        stop = min(stops, key=lambda event: event.start_s, default=None)
        if stop is None or after(stop.start_s, next_begins_s):
            limited.append(replace(answer, limit_s=limit_s))
            continue
        quiet_s = stopped_by(stop, windows)
        limited.append(replace(answer, limit_s=limit_s, cut_s=stop.start_s, quiet_s=quiet_s))
    return limited
