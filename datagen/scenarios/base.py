"""The scenario interface, its registry, and the builder with which a scenario places a segment.

A scenario is a class with a `name` and a `build(segment, start)` that places words and events of
one segment of a dialogue, beginning at or after sample `start`. `@register` makes it known by name,
so that a configuration can give it a weight; scenarios of other packages register in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeGuard, cast

import numpy as np

from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.index.phrases import Phrase
from microturn.datagen.dialogue.cast import Cast
from microturn.datagen.dialogue.human_timing import Pace
from microturn.datagen.dialogue.open.sources import OpenSources
from microturn.datagen.dialogue.rules import RESPOND_S, Rules
from microturn.datagen.dialogue.script import Clip, DoesNotFit, Script, Span, words_at
from microturn.datagen.dialogue.timeline import Control, Event, Expect, TextArrival, Timeline, Word
from microturn.datagen.dialogue.units import Unit, UnitBank
from microturn.datagen.dialogue.voice_mixture import VoiceMixture
from microturn.datagen.labels.event_types import PAUSE, TURN
from microturn.datagen.scenarios.vocabulary import Question, Questions
from microturn.model.streams import (
    CANCEL,
    CONTROL_TOKENS,
    DELEGATE,
    EOS,
    FAILED_RESULT,
    LaneText,
    Tokenizer,
    result_text,
)


@dataclass(frozen=True, kw_only=True)
class Words:
    """What a scenario needs recorded beyond the vocabulary, and texts in other voices."""

    agent: tuple[str, ...] = ()  # words and prompts in the agent's voice
    user: tuple[str, ...] = ()  # in the users' perturbed voices
    texts: tuple[str, ...] = ()  # said by others; every word shall be one token


def failure_words(config: DatagenConfig) -> Words:
    """What the agent says where the background agent fails, if it ever does."""
    return Words(agent=(FAILED_RESULT,) if config.scenarios.failed_share else ())


class Scenario(Protocol):
    """One family of situations.

    A scenario may also have `words(config, bank) -> Words`: what it needs to be recorded, so that a
    set for which something is missing is refused before it is begun; and `asks`, the kinds of
    questions that it draws from the vocabulary (by default all of `vocabulary.KINDS`). One of open
    speech has `agents(sources)`: the speakers that can be its agent, with their weights.
    """

    name: str

    def build(self, segment: SegmentBuilder, start: int) -> None:
        """Place one segment that begins at or after sample `start`."""


class OpenScenario(Scenario, Protocol):
    """A scenario of open speech: whole recordings, an agent of any voice."""

    needs: str  # of an agent and a corpus, for the sentence that says that nobody can play it

    def agents(self, sources: OpenSources) -> Mapping[str, float]:
        """Return who can be the agent, with the weight of each."""


def is_open(scenario: Scenario) -> TypeGuard[OpenScenario]:
    """Whether a scenario is one of open speech."""
    return hasattr(scenario, "agents")


REGISTRY: dict[str, Scenario] = {}


def register(scenario: type[Scenario]) -> type[Scenario]:
    """Class decorator: make a scenario known under its name."""
    known = REGISTRY.get(scenario.name)
    if known is not None and type(known) is not scenario:
        first, second = (
            f"{kind.__module__}.{kind.__qualname__}" for kind in (type(known), scenario)
        )
        raise ValueError(f"two scenarios are called {scenario.name!r}: {first} and {second}")
    if known is None:
        REGISTRY[scenario.name] = scenario()
    return scenario


@dataclass(kw_only=True)
class DialogueContext:
    """What all segments of a dialogue share."""

    config: DatagenConfig
    bank: UnitBank
    questions: Questions
    rules: Rules
    tokenizer: Tokenizer
    voice: str  # of the user
    mixture: VoiceMixture  # who says what is said into the agent's words
    pace: Pace  # how fast the two take turns, where people's timing is asked for
    script: Script | None = None  # what the segments before have placed
    sources: OpenSources | None = None  # of open speech
    cast: Cast | None = None  # who speaks in open speech


class SegmentBuilder:
    """Where one segment is put together; everything on it is checked to fit the dialogue."""

    def __init__(self, context: DialogueContext, rng: np.random.Generator) -> None:
        self.context = context
        self.rng = rng
        self.rules = context.rules
        self.bank = context.bank
        self.questions = context.questions
        self.timing = context.config.timing
        self.n_samples = context.config.n_samples
        self.script = Script(timeline=Timeline(n_samples=self.n_samples))
        self.end_sample = 0  # when everything placed so far is over

    @property
    def timeline(self) -> Timeline:
        return self.script.timeline

    # --- chance ------------------------------------------------------------------------------
    def draw(self, seconds: tuple[float, float]) -> int:
        """A uniformly drawn time, in samples."""
        return self.rules.samples(float(self.rng.uniform(*seconds)))

    def whole(self, bounds: tuple[int, int]) -> int:
        """A drawn whole number, both bounds included."""
        return int(self.rng.integers(bounds[0], bounds[1] + 1))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def chance_apart(self, probability: float) -> bool:
        """A chance by numbers of its own: what is drawn after it stays what it was without it."""
        numbers = cast(np.random.PCG64, self.rng.bit_generator).jumped()
        return bool(np.random.Generator(numbers).random() < probability)

    def choose(self, items: Sequence[object]) -> int:
        """Index of an item, all alike."""
        return int(self.rng.integers(len(items)))

    # --- the user ----------------------------------------------------------------------------
    def ask(self, question: Question, start: int, *, may_pause: bool = True) -> Span:
        """The user says the words of a question, perhaps hesitating once."""
        others = self.bank.phrases(question.words) if question.kind == "greeting" else ()
        if others and self.chance(self.context.config.voices.other_share):
            return self.utter(others[self.choose(others)], start)
        words, at, spans = question.words, start, []
        hesitates = may_pause and len(words) > 1 and self.chance(self.timing.pause_probability)
        pause_before = 1 + int(self.rng.integers(len(words) - 1)) if hesitates else 0
        for position, text in enumerate(words):
            unit = self.bank.user(text, self.context.voice)
            span = self.place(unit, at, lane="user")
            spans.append(span)
            pausing = position + 1 == pause_before
            gap = self.draw(self.timing.pause_s if pausing else self.timing.word_gap_s)
            at = span.end_sample + gap
            if pausing:
                self._pause(span.end_sample, at)
        return Span(start_sample=start, end_sample=spans[-1].end_sample, text=question.text)

    def recite(
        self, texts: Sequence[str], start: int, *, gap: tuple[float, float] | None = None
    ) -> list[Span]:
        """The user says words or phrases one after the other; where each of them sounds."""
        spans: list[Span] = []
        for text in texts:
            at = spans[-1].end_sample + self.draw(gap or self.timing.word_gap_s) if spans else start
            spans.append(self.place(self.bank.user(text, self.context.voice), at, lane="user"))
        return spans

    def _pause(self, start: int, end: int) -> None:
        expect = Expect(act="stay_silent", window_samples=(start, end))
        self.event(
            Event(type=PAUSE, start_sample=start, end_sample=end, speaker="user", expect=expect)
        )

    def utter(self, phrase: Phrase, start: int, *, lane: str = "user") -> Span:
        """Place a whole recorded phrase."""
        return self.place(self.bank.phrase(phrase, self.variant()), start, lane=lane)

    def speaker(self) -> str:
        """Draw who says a backchannel, an interruption or an aside; "" for the user."""
        return self.context.mixture.draw(self.rng)

    def backchannel(self, speaker: str, *, short: bool = False) -> Unit:
        """Draw a backchannel of a drawn speaker."""
        return self.context.mixture.backchannel(
            self.rng, speaker, voice=self.context.voice, short=short
        )

    def stop_phrase(self, speaker: str, *, max_samples: int | None = None) -> Unit | None:
        """Draw a phrase of a drawn speaker that stops the agent; None if none is recorded."""
        return self.context.mixture.stop(
            self.rng, speaker, voice=self.context.voice, max_samples=max_samples
        )

    def variant(self) -> str:
        """How a recording of another speaker is varied."""
        return self.bank.variants.of_other(self.rng)

    def place(
        self, unit: Unit, start: int, *, lane: str, gain_db: float = 0.0, place: str = ""
    ) -> Span:
        """Put a unit on the user's or the background's lane; `place` as in `Clip`."""
        end = start + unit.n_samples
        self.must_end_by(end)
        self.timeline.words(lane).extend(words_at(unit, start))
        clip = Clip(
            unit=unit,
            start_sample=start,
            n_samples=unit.n_samples,
            lane=lane,
            gain_db=gain_db,
            place=place,
        )
        self.script.clips.append(clip)
        self.end_sample = max(self.end_sample, end)
        return Span(start_sample=start, end_sample=end, text=unit.text)

    # --- the agent ---------------------------------------------------------------------------
    def plan(self, texts: Sequence[str], micro_turn: int) -> list[tuple[Unit, int]]:
        """When the agent would say each word or prompt if it begins in this micro-turn."""
        return self.plan_from(texts, self.rules.boundary(micro_turn))

    def plan_from(self, texts: Sequence[str], at: int) -> list[tuple[Unit, int]]:
        """The same from a sample on."""
        planned = []
        for text in texts:
            unit = self.bank.agent(text)
            planned.append((unit, at))
            at = self.rules.next_word(at + unit.n_samples)
        return planned

    def say(self, texts: Sequence[str], micro_turn: int, *, until: int | None = None) -> Span:
        """The agent speaks from a micro-turn on; at micro-turn `until` it falls silent."""
        stop = None if until is None else self.rules.boundary(until)
        return self.sound(self.plan(texts, micro_turn), stop=stop)

    def sound(self, planned: list[tuple[Unit, int]], *, stop: int | None = None) -> Span:
        """The agent says what was planned; at sample `stop` it falls silent."""
        first = end = planned[0][1]
        spoken: list[str] = []
        for unit, start in planned:
            full = words_at(unit, start)
            self.timeline.intended += full
            if stop is not None and start >= stop:
                continue
            end = start + unit.n_samples if stop is None else min(start + unit.n_samples, stop)
            self._sound(unit, start, end, full)
            spoken.append(unit.text)
        self.must_end_by(end)
        quiet = self.rules.boundary(self.rules.next_boundary(end))
        self.control(CONTROL_TOKENS[EOS], quiet)
        self.end_sample = max(self.end_sample, end)
        return Span(start_sample=first, end_sample=end, text=" ".join(spoken))

    def _sound(self, unit: Unit, start: int, end: int, words: list[Word]) -> None:
        clip = Clip(unit=unit, start_sample=start, n_samples=end - start, lane="agent")
        self.script.clips.append(clip)
        for word in words:
            if word.start_sample < end:
                self.timeline.agent.append(_cut_at(word, end))

    def give_way(self, onset: int) -> int:
        """First silent micro-turn of an agent that is interrupted at `onset`."""
        low, high = self.timing.yield_after_s
        after = low if low == high else float(self.rng.uniform(low, high))
        return self.rules.give_way(onset, after)

    def control(self, token: str, sample: int) -> None:
        if sample < self.n_samples:
            self.timeline.controls.append(Control(token=token, sample=sample))

    def delegate(self, micro_turn: int) -> None:
        self.control(CONTROL_TOKENS[DELEGATE], self.rules.boundary(micro_turn))

    def cancel(self, micro_turn: int) -> None:
        self.control(CONTROL_TOKENS[CANCEL], self.rules.boundary(micro_turn))

    # --- events ------------------------------------------------------------------------------
    def event(self, event: Event) -> None:
        if event.expect is not None:
            self.must_end_by(event.expect.window_samples[1])
        self.timeline.events.append(event)

    def answer(self, question: Question, asked: Span) -> Span:
        """The agent answers a question; a `turn` event says what is right."""
        return self.react(asked, question.answer, event=TURN)

    def react(
        self, asked: Span, answer: Sequence[str], *, event: str, act: str = "respond"
    ) -> Span:
        """The agent answers what was asked, as an event of this type expects of it."""
        spoken = self.say(answer, self.rules.reply(asked.end_sample))
        window = (asked.end_sample, asked.end_sample + self.rules.samples(RESPOND_S))
        self.user_event(event, asked, act, window, " ".join(answer))
        return spoken

    def user_event(
        self, kind: str, span: Span, act: str, window: tuple[int, int], text: str = ""
    ) -> None:
        """Something that the user said, and what it asks of the agent."""
        self.event(
            Event(
                type=kind,
                start_sample=span.start_sample,
                end_sample=span.end_sample,
                speaker="user",
                text=span.text,
                expect=Expect(act=act, text=text, window_samples=window) if act else None,
            )
        )

    def arrive(self, text: str, sample: int) -> int:
        """A background result reaches the agent; returns the first micro-turn that knows all."""
        self.tell(result_text(text), sample)
        return self.known_at(result_text(text), sample)

    def tell(self, text: LaneText, sample: int) -> None:
        """A text arrives on `text_in`."""
        self.timeline.text_in.append(TextArrival(text=text, sample=sample))

    def worked_out(self, task: Question) -> Question:
        """The task with the answer that the background agent comes to: a share of them fail."""
        if self.chance_apart(self.context.config.scenarios.failed_share):
            return replace(task, answer=(FAILED_RESULT,))
        return task

    def known_at(self, text: LaneText, sample: int) -> int:
        """The first micro-turn that knows all of a text that arrives at a sample."""
        layout = self.context.config.layout
        n_tokens = len(self.context.tokenizer.encode_lane_text(text))
        micro_turns = -(-n_tokens // max(layout.text_in_positions, 1))
        return layout.micro_turn_of(sample) + micro_turns

    def must_end_by(self, sample: int) -> None:
        if sample > self.n_samples:
            raise DoesNotFit


def _cut_at(word: Word, end: int) -> Word:
    if word.end_sample <= end:
        return word
    return Word(
        text=word.text,
        start_sample=word.start_sample,
        end_sample=end,
        source=word.source,
        voice=word.voice,
        cut=True,
        times=word.times,
    )
