"""Members of the panel that know every right answer and have one fault."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from microturn.evaluation.agents.baselines import Oracle
from microturn.evaluation.agents.panel_speech import Habits, Timed, add, exchanges, in_a_row, noise
from microturn.evaluation.agents.panel_trivial import hash_of
from microturn.evaluation.scoring.activity import Span, merge, overlap, subtract
from microturn.evaluation.scoring.agent_output import AgentOutput, SpokenWord
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue

LATE_S: Final = 4.0
_CHATTER_GAP_S: Final = 1.6  # silence that a chatterer cannot bear
_REACTS_S: Final = 0.4


def oracle(sample: HeldOutDialogue) -> AgentOutput:
    """What was recorded."""
    return next(Oracle().perform([sample]))


def chatterer(sample: HeldOutDialogue, habits: Habits) -> AgentOutput:
    """Right, and says a word of its own in every silence of 1.6 s."""
    played, dialogue = oracle(sample), sample.dialogue
    spoken = [(word.start_s, word.end_s) for word in played.words]
    rng = np.random.default_rng(hash_of(sample.key))
    said: list[Timed] = []
    for start, end in subtract([(0.0, dialogue.duration_s)], merge(spoken, _CHATTER_GAP_S)):
        for at in np.arange(start + 0.6, end - 0.8, 1.0):
            said.append((float(at), habits.words[rng.integers(len(habits.words))]))
    return add(played, habits, said)


def delegator(sample: HeldOutDialogue, habits: Habits) -> AgentOutput:
    """Right, and asks the background agent in every micro-turn."""
    step_s = sample.dialogue.micro_turn_s
    times = [k * step_s for k in range(1, round(sample.dialogue.duration_s / step_s))]
    return replace(oracle(sample), delegates_s=tuple(times))


def late(sample: HeldOutDialogue, habits: Habits) -> AgentOutput:
    """Right, but everything comes four seconds late."""
    played = oracle(sample)
    n = round(LATE_S * played.sample_rate)
    audio = np.concatenate([np.zeros(n, np.float32), played.audio])[: len(played.audio)]
    words = [
        replace(word, start_s=word.start_s + LATE_S, end_s=word.end_s + LATE_S)
        for word in played.words
    ]
    return replace(
        played,
        audio=audio,
        words=tuple(word for word in words if word.start_s < played.duration_s),
        delegates_s=tuple(t + LATE_S for t in played.delegates_s),
        deliveries=tuple(replace(d, time_s=d.time_s + LATE_S) for d in played.deliveries),
    )


def stutterer(sample: HeldOutDialogue, habits: Habits) -> AgentOutput:
    """Right, but says every answer twice."""
    played, said = oracle(sample), []
    words = list(played.words)
    groups = merge([(word.start_s, word.end_s) for word in words], 1.0)
    nexts = [start for start, _ in groups[1:]] + [played.duration_s] * bool(groups)
    for (start, end), next_s in zip(groups, nexts, strict=True):
        texts = [word.text for word in words if start <= word.start_s < end]
        again = in_a_row(texts, end + 0.05, habits, played.sample_rate)
        said += [(at, text) for at, text in again if at < next_s - 0.05]
    return add(played, habits, said)


def babbler(sample: HeldOutDialogue, habits: Habits) -> AgentOutput:
    """Right, and talks over everything else without a pause."""
    played = oracle(sample)
    spoken = merge([(word.start_s - 0.05, word.end_s) for word in played.words], 0.2)
    said: list[Timed] = []
    for start, end in subtract([(0.0, played.duration_s)], spoken):
        said += [(float(at), habits.words[0]) for at in np.arange(start, end - 0.3, 0.4)]
    return add(played, habits, said)


def never_stops(sample: HeldOutDialogue, habits: Habits) -> AgentOutput:
    """Right, but finishes whatever it has begun, whoever speaks."""
    played = oracle(sample)
    recorded = {(word.text, word.start_s) for word in sample.dialogue.agent_words}
    rest = [
        word for word in sample.dialogue.intended_words if (word.text, word.start_s) not in recorded
    ]
    quiet = without(played, [(word.start_s, word.end_s) for word in rest])
    return add(quiet, habits, [(word.start_s, word.text) for word in rest])


def stops_at_any_sound(sample: HeldOutDialogue, habits: Habits) -> AgentOutput:
    """Right, but breaks off its answer at any voice or noise."""
    dialogue = sample.dialogue
    cuts: list[Span] = []
    for event in dialogue.events:
        if event.act == "resume":
            ends = [e.start_s for e in dialogue.events if e.act and e.start_s > event.end_s]
            cuts.append((event.start_s + _REACTS_S, min([*ends, dialogue.duration_s])))
    return without(oracle(sample), cuts)


def hisser(sample: HeldOutDialogue, habits: Habits) -> AgentOutput:
    """Writes the right words while its sound is noise."""
    played = oracle(sample)
    audio, rate = np.zeros_like(played.audio), played.sample_rate
    for word in played.words:
        piece = audio[round(word.start_s * rate) : round(word.end_s * rate)]
        piece[:] = noise(len(piece))
    return replace(played, audio=audio)


def mute(sample: HeldOutDialogue, habits: Habits) -> AgentOutput:
    """Writes the right words and says nothing."""
    played = oracle(sample)
    return replace(played, audio=np.zeros_like(played.audio))


def constant_delay(sample: HeldOutDialogue, habits: Habits) -> AgentOutput:
    """Says the right words, each reply at the median delay of the set."""
    played, said = oracle(sample), []
    for own in exchanges(sample.dialogue):
        gaps = [own.end_s + habits.delays_s[0]]
        for (before, _), (after, _) in zip(own.replies, own.replies[1:], strict=False):
            together = after - before < 1.0
            step = after - before if together else habits.delays_s[1] - habits.delays_s[0]
            gaps.append(gaps[-1] + max(step, 0.2))
        said += [(at, text) for at, (_, text) in zip(gaps, own.replies, strict=False)]
    return add(without(played, [(0.0, played.duration_s)]), habits, said)


def without(played: AgentOutput, spans: list[Span]) -> AgentOutput:
    """Return the output without what it says in these spans."""
    audio, rate = played.audio.copy(), played.sample_rate
    for start, end in spans:
        audio[max(round(start * rate), 0) : round(end * rate)] = 0.0
    kept: list[SpokenWord] = [
        word
        for word in played.words
        if not any(
            a <= word.start_s < b or overlap((word.start_s, word.end_s), (a, b)) > 0.1
            for a, b in spans
        )
    ]
    return replace(played, audio=audio, words=tuple(kept))
