"""Members of the panel that understand nothing: constants, noises and chance.

They may know a set by heart (its words, its answers, its delays) and hear perfectly when the user
speaks, but not what the user says in the dialogue at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from microturn.evaluation.agents.panel_speech import (
    REPLY_S,
    Habits,
    Timed,
    compose,
    exchanges,
    in_a_row,
    noise,
    turns_of,
)
from microturn.evaluation.scoring.activity import overlap
from microturn.evaluation.scoring.agent_output import AgentOutput
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue

Member = Callable[[HeldOutDialogue, Habits], AgentOutput]

_STEP_S: Final = 1.0  # of one word for ever
_CLICK_S: Final = 0.035  # just no click any more
_CLICK_STEP_S: Final = 0.2
_MURMUR_LEVEL: Final = 0.004  # -48 dBFS: below what counts as speech
_WORD_A_MICRO_TURN_S: Final = 0.05
_CHANCE_PER_S: Final = 0.33


def one_for_ever(sample: HeldOutDialogue, habits: Habits) -> AgentOutput:
    """Says the most frequent word every second."""
    times = np.arange(0.0, sample.dialogue.duration_s, _STEP_S)
    return compose(sample, habits, [(float(at), habits.words[0]) for at in times])


def two_constants(sample: HeldOutDialogue, habits: Habits) -> AgentOutput:
    """Says the most frequent answer after each turn, its first two words at constant delays."""
    phrase = max(habits.phrases[:3], key=len) if habits.delays_s[1] > 1 else habits.phrases[0]
    second = phrase[1:] or habits.phrases[1:2] and habits.phrases[1]
    said: list[Timed] = []
    for _, end_s in turns_of(sample.dialogue):
        said.append((end_s + habits.delays_s[0], phrase[0]))
        said += in_a_row(second or (), end_s + habits.delays_s[1], habits, sample.sample_rate)
    return compose(sample, habits, said)


def one_phrase(sample: HeldOutDialogue, habits: Habits) -> AgentOutput:
    """Says the most frequent answer at once after each turn."""
    said: list[Timed] = []
    for _, end_s in turns_of(sample.dialogue):
        said += in_a_row(habits.phrases[0], end_s + REPLY_S, habits, sample.sample_rate)
    return compose(sample, habits, said)


def one_phrase_waiting(sample: HeldOutDialogue, habits: Habits) -> AgentOutput:
    """Says the most frequent answer once, after the last turn of the user."""
    turns = turns_of(sample.dialogue)
    if not turns:
        return compose(sample, habits, ())
    words = in_a_row(habits.phrases[0], turns[-1][1] + REPLY_S, habits, sample.sample_rate)
    return compose(sample, habits, words)


def all_words(sample: HeldOutDialogue, habits: Habits) -> AgentOutput:
    """Says all words of the set again and again from the first turn on, twenty a second."""
    turns = turns_of(sample.dialogue)
    start_s = turns[0][1] if turns else 0.0
    times = np.arange(start_s, sample.dialogue.duration_s, _WORD_A_MICRO_TURN_S)
    said = [(float(at), habits.words[i % len(habits.words)]) for i, at in enumerate(times)]
    return compose(sample, habits, said)


def random_words(sample: HeldOutDialogue, habits: Habits) -> AgentOutput:
    """Says random words at random times, twenty a minute."""
    rng = np.random.default_rng(hash_of(sample.key))
    n = rng.poisson(_CHANCE_PER_S * sample.dialogue.duration_s)
    times = sorted(rng.uniform(0.0, sample.dialogue.duration_s, n))
    return compose(
        sample, habits, [(float(at), habits.words[rng.integers(len(habits.words))]) for at in times]
    )


def clicks(sample: HeldOutDialogue, habits: Habits) -> AgentOutput:
    """Clicks without a word, and stops at any voice."""
    output = compose(sample, habits, ())
    rate, audio = sample.sample_rate, output.audio
    burst = noise(round(_CLICK_S * rate))
    busy = [
        (word.start_s, word.end_s + 1.0)
        for word in (*sample.dialogue.user_words, *sample.dialogue.background_words)
    ]
    for at in np.arange(0.0, sample.dialogue.duration_s - _CLICK_S, _CLICK_STEP_S):
        if not any(overlap((at, at + _CLICK_S), span) for span in busy):
            audio[round(at * rate) :][: len(burst)] = burst
    return output


def murmur(sample: HeldOutDialogue, habits: Habits) -> AgentOutput:
    """Murmurs without a pause, below the level of speech."""
    output = compose(sample, habits, ())
    output.audio[:] = noise(len(output.audio), _MURMUR_LEVEL)
    return output


def deaf(sample: HeldOutDialogue, habits: Habits) -> AgentOutput:
    """Plays what was recorded for another dialogue; for the only one, half of it apart."""
    other = habits.other(sample.key).dialogue
    apart_s = other.duration_s / 2 if habits.is_alone else 0.0
    said = sorted(
        ((word.start_s + apart_s) % other.duration_s, word.text) for word in other.agent_words
    )
    output = compose(sample, habits, said)
    return AgentOutput(
        audio=output.audio,
        sample_rate=output.sample_rate,
        words=output.words,
        delegates_s=tuple(t for t in other.delegates_s if t < output.duration_s),
        heard=() if habits.is_alone else other.user_words,
    )


def another_answer(sample: HeldOutDialogue, habits: Habits) -> AgentOutput:
    """Answers each turn with words and delays of a turn of another dialogue, or far from it."""
    others = [one.replies for one in exchanges(habits.other(sample.key).dialogue)] or [()]
    first = len(others) // 2 if habits.is_alone else 0
    said = [
        (own.end_s + after_s, text)
        for number, own in enumerate(exchanges(sample.dialogue), start=first)
        for after_s, text in others[number % len(others)]
        if own.end_s + after_s < own.until_s
    ]
    return compose(sample, habits, said)


def last_answer(sample: HeldOutDialogue, habits: Habits) -> AgentOutput:
    """Answers each turn with the right words for the turn before it."""
    before: tuple[Timed, ...] = tuple((REPLY_S, text) for text in habits.phrases[0][:1])
    said: list[Timed] = []
    for own in exchanges(sample.dialogue):
        said += [
            (own.end_s + after, text) for after, text in before if own.end_s + after < own.until_s
        ]
        before = own.replies or before
    return compose(sample, habits, said)


def parrot(sample: HeldOutDialogue, habits: Habits) -> AgentOutput:
    """Repeats each turn of the user."""
    dialogue, said = sample.dialogue, []
    for start_s, end_s in turns_of(dialogue):
        shift_s = end_s - start_s + REPLY_S
        said += [
            (word.start_s + shift_s, word.text)
            for word in dialogue.user_words
            if start_s <= word.start_s < end_s
        ]
    return compose(sample, habits, said)


def shadow(sample: HeldOutDialogue, habits: Habits) -> AgentOutput:
    """Repeats each word of the user as soon as it is over, over the next one."""
    words = sample.dialogue.user_words
    return compose(sample, habits, [(word.end_s + 0.1, word.text) for word in words])


def nods(sample: HeldOutDialogue, habits: Habits) -> AgentOutput:
    """Says the shortest word of the set in each gap between words of the user."""
    text = min(habits.words, key=lambda text: (len(habits.sound(text, sample.sample_rate)), text))
    words = sample.dialogue.user_words
    ends = [
        w.end_s
        for w, after in zip(words, [*words[1:], None], strict=False)
        if after is None or after.start_s - w.end_s > 0.2
    ]
    return compose(sample, habits, [(end_s + 0.25, text) for end_s in ends])


def hash_of(key: str) -> int:
    """A number for a key, the same in every process."""
    return int.from_bytes(key.encode()[-8:], "little")
