"""Agents that know what is right and play a trick on a user who reacts earn less by it.

Each would earn more in a careless reward: by having a request said twice, by never giving anybody
an occasion, by saying everything that might be right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pytest
from numpy.typing import NDArray

from microturn.datagen.closed_loop.environment import Environment
from microturn.datagen.closed_loop.micro_turn import MicroTurn, Played
from microturn.datagen.dialogue.timeline import Word
from microturn.datagen.live import LiveSource
from microturn.evaluation.agents.closed_loop import play, scored
from microturn.model.streams import CONTROL_TOKENS, DELEGATE
from microturn.training.reinforce.config import RewardConfig
from microturn.training.reinforce.rewards import rewards_of

FAMILIES = "only=[turn,interruption,user_backchannel,background,timed_cue,delegation]"
N_DIALOGUES = 8
Sound = NDArray[np.float32]
NOISE = 0.1 * np.random.default_rng(0).standard_normal(3_200).astype(np.float32)


@pytest.fixture(scope="module")
def source() -> LiveSource:
    return LiveSource.open(f"live:datagen/smoke.yaml split=test {FAMILIES}")


@dataclass(kw_only=True)
class Knowing:
    """Says what is right, when it is due, to the user as it behaves; tricks are built on it.

    It reads the timeline, which no agent can.
    """

    environment: Environment
    k: int = -1  # micro-turn that was heard last; what is made of it sounds in the next
    said: list[Word] = field(default_factory=list)
    loud: int = 0  # micro-turns in which the user has just been heard

    def __call__(self, heard: MicroTurn) -> Played:
        self.k += 1
        self.loud = self.loud + 1 if float(np.sqrt(np.mean(heard.audio**2))) > 0.02 else 0
        return self.answer(heard)

    def answer(self, heard: MicroTurn) -> Played:
        return self.speak(self.due())

    # --- what is right -----------------------------------------------------------------------
    @property
    def block(self) -> int:
        return self.environment.layout.samples_per_micro_turn

    @cached_property
    def recordings(self) -> dict[str, Sound]:
        """How its voice says each word."""
        return recorded_words(self.environment)

    def right(self) -> list[Word]:
        return self.environment.timeline().agent

    def due(self) -> list[Word]:
        """Words that begin in the micro-turn that is made."""
        known = {(word.text, word.start_sample) for word in self.said}
        first, last = (self.k + 1) * self.block, (self.k + 2) * self.block
        words = [
            word
            for word in self.right()
            if first <= word.start_sample < last and (word.text, word.start_sample) not in known
        ]
        self.said += words
        return words

    def delegates(self) -> bool:
        controls = self.environment.timeline().controls
        token = CONTROL_TOKENS[DELEGATE]
        return any(c.token == token and c.sample // self.block == self.k + 1 for c in controls)

    # --- sound -------------------------------------------------------------------------------
    def speak(self, words: list[Word], *, sound: Sound | None = None) -> Played:
        """Let words begin, and go on with those that have."""
        first = (self.k + 1) * self.block
        audio = np.zeros(self.block, np.float32) if sound is None else sound.copy()
        for word in self.said:
            spoken = self.recordings.get(word.text, NOISE)[: word.end_sample - word.start_sample]
            piece = spoken[max(first - word.start_sample, 0) :]
            offset = max(word.start_sample - first, 0)
            n = min(len(piece), self.block - offset)
            if n > 0:
                audio[offset : offset + n] += piece[:n]
        tokens = [t for word in words for t in self.environment.source.tokenizer.encode(word.text)]
        if self.delegates():
            tokens.append(DELEGATE)
        return Played(audio=audio, say=tokens)


def recorded_words(environment: Environment) -> dict[str, Sound]:
    sound = np.concatenate([one.audio for one in environment.recorded()])
    block = environment.layout.samples_per_micro_turn  # nothing is heard in the first
    return {
        word.text: sound[word.start_sample - block : word.end_sample - block]
        for reply in environment.plan.replies
        for word in (*reply.intended, *reply.words)
        if not word.cut
    }


def rewarded(environment: Environment, agent: Callable[[MicroTurn], Played]) -> float:
    episode = play(environment, agent)
    return rewards_of(scored(episode, environment.source), RewardConfig()).total


def worth(source: LiveSource, kind: type[Knowing]) -> float:
    totals = []
    for index in range(N_DIALOGUES):
        environment = Environment(source, index)
        totals.append(rewarded(environment, kind(environment=environment)))
    return float(np.mean(totals))


# --- tricks ---------------------------------------------------------------------------------------
class Half(Knowing):
    """Every second utterance is missing: a poor supervised start."""

    def due(self) -> list[Word]:
        return [word for word in super().due() if self._utterance(word) % 2 == 0]

    def _utterance(self, word: Word) -> int:
        replies = self.environment.plan.replies
        return next((r.number for r in replies if word.text in [w.text for w in r.words]), 0)


class Once(Knowing):
    """Answers the first time, and is silent for ever."""

    def due(self) -> list[Word]:
        words = super().due()
        first = self.said[0].start_sample if self.said else 0
        self.said = [w for w in self.said if w.start_sample < first + 16_000]
        return [word for word in words if word in self.said]


class BargesIn(Knowing):
    """Speaks into every request, so that it is said again, and then answers it."""

    def answer(self, heard: MicroTurn) -> Played:
        return self.speak(self.due(), sound=NOISE if 2 <= self.loud <= 5 else None)


class TalksOver(Knowing):
    """Speaks whenever the user does, so that nobody gets a word in."""

    def answer(self, heard: MicroTurn) -> Played:
        return self.speak(self.due(), sound=NOISE if self.loud >= 1 else None)


class WaitsToBeAskedAgain(Knowing):
    """Answers only what is said a second time."""

    def right(self) -> list[Word]:
        again = [o.sample for o in self.environment.occurrences if o.kind == "asked_again"]
        return [w for w in super().right() if any(w.start_sample > at for at in again)]


class Early(Knowing):
    """Answers half a second before it is due."""

    def right(self) -> list[Word]:
        by = 8_000
        return [
            replace(w, start_sample=w.start_sample - by, end_sample=w.end_sample - by)
            for w in super().right()
        ]


class Endless(Knowing):
    """Answers, and goes on talking, so that nothing can come after it."""

    def answer(self, heard: MicroTurn) -> Played:
        return self.speak(self.due(), sound=NOISE if self.said else None)


class NodsInPauses(Knowing):
    """Right, and a word whenever the user has just fallen silent."""

    was: int = 0

    def answer(self, heard: MicroTurn) -> Played:
        paused = self.was > 0 and self.loud == 0
        self.was = self.loud
        return self.speak(self.due(), sound=NOISE if paused else None)


class Delegates(Knowing):
    """Right, and asks the background agent each time that the user has fallen silent."""

    was: int = 0

    def delegates(self) -> bool:
        paused = self.was > 0 and self.loud == 0
        self.was = self.loud
        return paused or super().delegates()


class Stutters(Knowing):
    """Says every word twice."""

    def right(self) -> list[Word]:
        words = super().right()
        again = [
            replace(w, start_sample=w.end_sample, end_sample=2 * w.end_sample - w.start_sample)
            for w in words
        ]
        return [*words, *again]


class SaysEverything(Knowing):
    """The right answer, and after it every other word that it knows."""

    def speak(self, words: list[Word], *, sound: Sound | None = None) -> Played:
        played = super().speak(words, sound=sound)
        encode = self.environment.source.tokenizer.encode
        more = [token for text in self.recordings for token in encode(text)]
        return Played(audio=played.audio, say=[*played.say, *more] if words else played.say)


class Curt(Knowing):
    """Says the first word of each answer alone, so that nobody can speak into it."""

    def right(self) -> list[Word]:
        kept: list[Word] = []
        end = -(10**6)
        for word in super().right():
            if word.start_sample - end > 8_000:
                kept.append(word)
            end = word.end_sample
        return kept


class Mumbles(Knowing):
    """Clicks before each answer, which is too short to be noticed behind it: ask me again."""

    @cached_property
    def recordings(self) -> dict[str, Sound]:
        return {text: sound[:2_400] for text, sound in recorded_words(self.environment).items()}

    def answer(self, heard: MicroTurn) -> Played:
        words = self.due()
        known = {(word.text, word.start_sample) for word in self.said}
        ends = (self.k + 2) * self.block
        coming = [w.start_sample for w in self.right() if (w.text, w.start_sample) not in known]
        click = np.concatenate([np.zeros(self.block - 720, np.float32), NOISE[:720]])
        soon = any(0 <= at - ends <= self.block for at in coming)
        return self.speak(words, sound=click if soon else None)


TRICKS = (
    *(Once, BargesIn, TalksOver, WaitsToBeAskedAgain, Early, Endless, NodsInPauses, Delegates),
    *(Stutters, SaysEverything, Curt),
)


def test_no_trick_on_a_user_who_reacts_is_worth_more_than_a_poor_start(source: LiveSource) -> None:
    honest, start = worth(source, Knowing), worth(source, Half)
    assert honest > 3.0
    assert 2.0 < start < honest
    assert len(TRICKS) > 10
    earned = {one.__name__: worth(source, one) for one in TRICKS}
    assert {name: value for name, value in earned.items() if value >= start} == {}


def test_nobody_is_asked_again_who_has_answered(source: LiveSource) -> None:
    """Else one request would be worth as much as two."""
    for kind in (Knowing, Mumbles, SaysEverything):
        for index in range(N_DIALOGUES):
            environment = Environment(source, index)
            rewarded(environment, kind(environment=environment))
            assert "asked_again" not in {one.kind for one in environment.occurrences}
    assert worth(source, Mumbles) < worth(source, Knowing)


if __name__ == "__main__":  # the table of docs/reinforce.md
    users = LiveSource.open(f"live:datagen/smoke.yaml split=test {FAMILIES}")
    for kind in (Knowing, Half, *TRICKS, Mumbles):
        print(f"| {kind.__name__} | {worth(users, kind):.2f} |")
