"""What the agent is asked to watch for: it speaks when it happens, and not before.

`record number`: count the repetitions of what the figure does. `playback pause`: say the one when
an action begins and the other when it ends. `new number`, `new uppercase`: say which number or
letter appears. Something that happens at a sample is in the frame of its micro-turn and is
answered like a turn that ends there; that something begins or ends to move takes two frames.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.camera_acts import BoardAct, BoardItem, FigureAct
from microturn.datagen.dialogue.script import DoesNotFit, Span
from microturn.datagen.dialogue.timeline import Event, Expect
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.scenarios.base import SegmentBuilder, Words, register
from microturn.datagen.scenarios.vocabulary import Question
from microturn.datagen.video.config import VideoConfig
from microturn.datagen.video.figures import CONTINUED, REPEATED
from microturn.datagen.video.glyphs import GLYPHS

COUNT_LATE_S: Final = Fraction(1)  # a count belongs to its repetition this long
SEEN_LATE_S: Final = Fraction(3, 2)  # for an action or an answer, as for a spoken cue
TAIL_S: Final = Fraction(1)  # the agent adds nothing for this long
SPEAKER: Final = "scene"

TAKE_UP_S = (0.5, 0.9)  # the figure takes up the position of an action, and leaves it
REST_S = (0.15, 0.4)  # between two repetitions
RISE_SHARE = (0.4, 0.6)  # of a repetition
PERIOD_SPREAD = (0.85, 1.15)  # of one repetition to the pace of the set
HOLD_S = (0.4, 1.0)
FALSE_HALF_S = (0.25, 0.45)  # there, and back
FALSE_REST_S = (0.3, 0.6)
CYCLE_S = (0.55, 1.1)  # of an action that goes on
ONSET_S = (0.15, 0.3)
COMES_S = (0.05, 0.5)  # how long a sign takes to be there
STAYS_S = (1.2, 2.5)
WAYS = ("fade", "grow", "slide", "write")


def _needs_video(config: DatagenConfig, name: str) -> VideoConfig:
    if not config.layout.lane("video").positions:
        raise ValueError(
            f"families.{name} needs a layout with video; set layout.video_rows and "
            f"layout.video_cols, or families.{name}=0"
        )
    return config.video


def _asked(segment: SegmentBuilder, kind: str, words: tuple[str, ...], start: int) -> Span:
    return segment.ask(Question(kind=kind, words=words, answer=()), start)


def _seen(
    segment: SegmentBuilder,
    kind: str,
    span: tuple[int, int],
    what: str,
    *,
    act: str,
    window: tuple[int, int],
    text: str = "",
) -> None:
    """Something that happens in front of the camera, and what it asks of the agent."""
    if window[0] >= window[1]:
        return
    expect = Expect(act=act, text=text, window_samples=window)
    end = min(span[1], segment.n_samples)
    segment.event(
        Event(
            type=kind,
            start_sample=span[0],
            end_sample=end,
            speaker=SPEAKER,
            text=what,
            expect=expect,
        )
    )


def _quiet_after(segment: SegmentBuilder, kind: str, start: int, asked: Span) -> None:
    """Nothing more is said once all is over; closes the segment."""
    end = start + segment.rules.samples(TAIL_S)
    _seen(segment, kind, (start, end), "over", act="stay_silent", window=(start, end))
    segment.end_sample = max(segment.end_sample, end)
    segment.script.acts.asked.append((asked.start_sample, segment.end_sample))


@dataclass(kw_only=True)
class _Repetitions:
    """Phase keys that are written one movement after the other."""

    at: int
    keys: list[tuple[int, float]] = field(default_factory=list)

    def move(self, n_samples: int, value: float) -> int:
        """Go on to a value within `n_samples`; returns when it is reached."""
        if not self.keys:
            self.keys.append((self.at, 0.0))
        self.at += max(n_samples, 1)
        self.keys.append((self.at, value))
        return self.at

    def stay(self, n_samples: int) -> None:
        self.move(n_samples, self.keys[-1][1] if self.keys else 0.0)


@register
class VisualCountScenario:
    name = "visual_count"
    asks = ("number",)

    def words(self, config: DatagenConfig, bank: UnitBank) -> Words:
        return Words(user=_needs_video(config, self.name).count_words)

    def build(self, segment: SegmentBuilder, start: int) -> None:
        video, rules = segment.context.config.video, segment.rules
        asked = _asked(segment, self.name, video.count_words, start)
        begin = asked.end_sample + segment.draw(video.delay_s)
        ready = begin + segment.draw(TAKE_UP_S)
        segment.user_event(self.name, asked, "stay_silent", (asked.end_sample, ready))
        numbers = segment.questions.vocabulary.numbers
        period = float(segment.rng.uniform(*video.period_s))
        left = segment.n_samples - ready - rules.samples(COUNT_LATE_S + TAIL_S)
        fits = int(left / rules.samples(period * 1.25))
        if fits < 1:
            raise DoesNotFit
        action = tuple(REPEATED)[segment.choose(tuple(REPEATED))]
        script = _Repetitions(at=ready)
        said_end = asked.end_sample
        for number in numbers[: 1 + int(segment.rng.integers(min(len(numbers), fits)))]:
            said_end = self._one(segment, script, action, number, period, said_end)
        last = script.at
        end = last + segment.draw(TAKE_UP_S)
        blend = ((begin, 0.0), (ready, 1.0), (last, 1.0), (end, 0.0))
        segment.script.acts.figure.append(
            FigureAct(action=action, phase=tuple(script.keys), blend=blend)
        )
        _quiet_after(segment, self.name, max(said_end, end), asked)

    def _one(
        self,
        segment: SegmentBuilder,
        script: _Repetitions,
        action: str,
        number: str,
        period: float,
        said_end: int,
    ) -> int:
        """One repetition, what comes before it, and its count; returns when that is said."""
        video, rules = segment.context.config.video, segment.rules
        if segment.chance(video.pause_probability):
            script.stay(segment.draw(video.pause_s))
        if segment.chance(video.false_start_probability):
            self._false_start(segment, script, action, said_end)
        begin = script.at
        length = rules.samples(period * float(segment.rng.uniform(*PERIOD_SPREAD)))
        rest = segment.draw(REST_S)
        rise = round((length - rest) * float(segment.rng.uniform(*RISE_SHARE)))
        script.move(rise, 1.0)
        if segment.chance(video.hold_probability):
            script.stay(segment.draw(HOLD_S))
        done = script.move(length - rest - rise, 0.0)
        at = max(rules.reply(done), rules.next_boundary(rules.next_word(said_end)))
        if rules.boundary(at) >= done + rules.samples(COUNT_LATE_S):
            raise DoesNotFit  # counts that take longer than the repetitions
        speech = segment.say((number,), at)
        window = (done, done + rules.samples(COUNT_LATE_S))
        _seen(segment, self.name, (begin, done), action, act="say", window=window, text=number)
        script.stay(rest)
        return speech.end_sample

    def _false_start(
        self, segment: SegmentBuilder, script: _Repetitions, action: str, said_end: int
    ) -> None:
        begin = script.at
        depth = float(segment.rng.uniform(*segment.context.config.video.false_start_depth))
        script.move(segment.draw(FALSE_HALF_S), depth)
        done = script.move(segment.draw(FALSE_HALF_S), 0.0)
        script.stay(segment.draw(FALSE_REST_S))
        window = (max(begin, said_end), script.at)
        what = f"{action} given up"
        _seen(segment, self.name, (begin, done), what, act="stay_silent", window=window)


@register
class VisualSpanScenario:
    name = "visual_span"
    asks = ()

    def words(self, config: DatagenConfig, bank: UnitBank) -> Words:
        video = _needs_video(config, self.name)
        return Words(user=video.span_words, agent=video.span_answers)

    def build(self, segment: SegmentBuilder, start: int) -> None:
        video, rules = segment.context.config.video, segment.rules
        asked = _asked(segment, self.name, video.span_words, start)
        begin = asked.end_sample + segment.draw(video.delay_s)
        segment.user_event(self.name, asked, "stay_silent", (asked.end_sample, begin))
        end = begin + segment.draw(video.span_s)
        action = tuple(CONTINUED)[segment.choose(tuple(CONTINUED))]
        script = _Repetitions(at=begin)
        half = segment.draw(CYCLE_S) // 2
        while script.at + half < end:
            script.move(half, 0.0 if script.keys and script.keys[-1][1] else 1.0)
        stop = script.at if script.keys else end
        onset = segment.draw(ONSET_S)
        away = stop + segment.draw(STAYS_S)  # it stays as it is for a while
        back = away + segment.draw(TAKE_UP_S)
        blend = ((begin, 0.0), (begin + onset, 1.0), (away, 1.0), (back, 0.0))
        phase = tuple(script.keys) or ((begin, 0.0), (end, 1.0))
        segment.script.acts.figure.append(FigureAct(action=action, phase=phase, blend=blend))
        said_end = asked.end_sample
        for at, text in zip((begin, stop), video.span_answers, strict=True):
            seen = at + rules.step  # whether something moves shows in two frames
            micro_turn = max(rules.reply(seen), rules.next_boundary(rules.next_word(said_end)))
            said_end = segment.say((text,), micro_turn).end_sample
            window = (at, at + rules.samples(SEEN_LATE_S))
            _seen(segment, self.name, (begin, stop), action, act="say", window=window, text=text)
        _quiet_after(segment, self.name, said_end, asked)


@register
class VisualQuestionScenario:
    name = "visual_question"
    asks = ("number", "letter")

    def words(self, config: DatagenConfig, bank: UnitBank) -> Words:
        video, vocabulary = _needs_video(config, self.name), config.vocabulary
        user = (*video.number_words, *(video.letter_words if vocabulary.letters else ()))
        for letter in vocabulary.letters:
            if letter.upper() not in GLYPHS:
                raise ValueError(
                    f"vocabulary.letters has {letter!r}, which visual_question cannot draw; it "
                    "draws a to z"
                )
        return Words(user=tuple(dict.fromkeys(user)))

    def build(self, segment: SegmentBuilder, start: int) -> None:
        video, rules, vocabulary = (
            segment.context.config.video,
            segment.rules,
            segment.questions.vocabulary,
        )
        numbers, letters = vocabulary.numbers, tuple(vocabulary.letters)
        wants_letter = bool(letters) and (not numbers or segment.chance(0.5))
        words = video.letter_words if wants_letter else video.number_words
        asked = _asked(segment, self.name, words, start)
        ready = asked.end_sample + segment.draw(video.appears_s)
        comes = min(segment.draw(COMES_S), ready - asked.end_sample)
        number, letter = segment.choose(numbers or ("",)), segment.choose(letters or ("",))
        signs = {True: letters[letter].upper() if letters else "", False: str(number + 1)}
        answer = vocabulary.letters[letters[letter]] if wants_letter else numbers[number]
        items = []
        first = ready - comes
        if signs[not wants_letter] and segment.chance(video.decoy_probability):
            items = self._decoy(segment, signs[not wants_letter], asked.end_sample, first)
        if not items:
            segment.user_event(self.name, asked, "stay_silent", (asked.end_sample, first))
        end = ready + segment.draw(STAYS_S)
        sign = signs[wants_letter]
        way = WAYS[segment.choose(WAYS)]
        items.append(
            BoardItem(text=sign, start_sample=first, ready_sample=ready, end_sample=end, how=way)
        )
        segment.script.acts.board.append(BoardAct(items=tuple(items)))
        speech = segment.say((answer,), rules.reply(ready))
        window = (ready, ready + rules.samples(SEEN_LATE_S))
        _seen(segment, self.name, (first, end), sign, act="say", window=window, text=answer)
        _quiet_after(segment, self.name, speech.end_sample, asked)

    def _decoy(
        self, segment: SegmentBuilder, sign: str, earliest: int, latest: int
    ) -> list[BoardItem]:
        """A sign of the other kind, which does not answer the question."""
        start = int(segment.rng.integers(earliest, latest)) if earliest < latest else latest
        if latest - start < segment.rules.samples(Fraction(2, 5)):
            return []
        ready = min(start + segment.draw(COMES_S), latest)
        window = (earliest, latest)
        _seen(segment, self.name, (start, latest), sign, act="stay_silent", window=window)
        return [
            BoardItem(
                text=sign, start_sample=start, ready_sample=ready, end_sample=latest, how=WAYS[0]
            )
        ]
