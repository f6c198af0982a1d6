"""Agents with one fault each: the suite whose business it is catches them, and no other does.

All are the oracle but for their fault, on small simulated sets. Replies a second late are also the
business of suites that ask for answers in time under a difficulty of their own (network), which are
therefore not in the panel.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from microturn.evaluation.agents.baselines import Oracle
from microturn.evaluation.agents.performance import RecordedWords
from microturn.evaluation.config import WindowConfig
from microturn.evaluation.scoring.agent_output import AgentOutput, SpokenWord
from microturn.evaluation.scoring.answers import answers_of
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.evaluation.suites.held_out import held_out_set
from microturn.evaluation.suites.registry import load_suite

PANEL = ("fdb_v1", "fdb_v1_5", "rep_count", "time_speak")
N_DIALOGUES = {"fdb_v1": 8, "fdb_v1_5": 8, "rep_count": 4, "time_speak": 4}
SCARCE = 0.02  # what another suite may move by
CAUGHT = 0.15

Fault = Callable[[HeldOutDialogue, AgentOutput, RecordedWords], AgentOutput]


def cut_out(
    sample: HeldOutDialogue, played: AgentOutput, words: Sequence[SpokenWord]
) -> tuple[np.ndarray, np.ndarray]:
    """The sound without some words, and the sound of these words."""
    rate = played.sample_rate
    first, last = round(words[0].start_s * rate), round(words[-1].end_s * rate)
    piece = played.audio[first:last].copy()
    rest = played.audio.copy()
    rest[first:last] = 0.0
    return rest, piece


def put(audio: np.ndarray, piece: np.ndarray, at_s: float, until_s: float, rate: int) -> None:
    first = round(at_s * rate)
    n = min(len(piece), round(until_s * rate) - first, len(audio) - first)
    if n > 0:
        audio[first : first + n] = piece[:n]


def one_second_late(
    sample: HeldOutDialogue, played: AgentOutput, voice: RecordedWords
) -> AgentOutput:
    """Every reply to a turn comes a second later; what is cut off is cut off when it was."""
    for answer in answers_of(sample.dialogue, (), WindowConfig()):
        if answer.event.act != "respond" or not answer.recorded:
            continue
        rest, piece = cut_out(sample, played, answer.recorded)
        cut_s = sample.dialogue.duration_s
        if answer.cut_s is not None:
            cut_s = answer.recorded[-1].end_s
        put(rest, piece, answer.recorded[0].start_s + 1.0, cut_s, played.sample_rate)
        moved = [
            replace(word, start_s=word.start_s + 1.0, end_s=min(word.end_s + 1.0, cut_s))
            for word in answer.recorded
            if word.start_s + 1.0 < cut_s
        ]
        kept = [word for word in played.words if word not in answer.recorded]
        words = tuple(sorted([*kept, *moved], key=lambda word: word.start_s))
        played = replace(played, audio=rest, words=words)
    return played


def answers_backchannels(
    sample: HeldOutDialogue, played: AgentOutput, voice: RecordedWords
) -> AgentOutput:
    """Whatever it says, it breaks off at a backchannel and says something about it."""
    rate = played.sample_rate
    for event in sample.dialogue.of_type("user_backchannel"):
        audio, stop_s = played.audio.copy(), event.start_s + 0.4
        later = [a.start_s for a in sample.dialogue.events if a.start_s > event.end_s + 2.0]
        until_s = min([*later, sample.dialogue.duration_s])
        audio[round(stop_s * rate) : round(until_s * rate)] = 0.0
        text, sound = sorted(voice.words.items())[0]
        put(audio, sound, event.end_s + 0.4, until_s, rate)
        said = SpokenWord(text=text, start_s=event.end_s + 0.4, end_s=event.end_s + 0.9)
        kept = [w for w in played.words if not stop_s <= w.start_s < until_s]
        words = tuple(sorted([*kept, said], key=lambda word: word.start_s))
        played = replace(played, audio=audio, words=words)
    return played


def counts_one_too_many(
    sample: HeldOutDialogue, played: AgentOutput, voice: RecordedWords
) -> AgentOutput:
    """After the last repetition it says one number more."""
    numbers = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    counted = [e for e in sample.dialogue.of_type("visual_count") if e.act == "say"]
    rate = played.sample_rate
    for event, after in zip(counted, [*counted[1:], None], strict=False):
        n = numbers.index(event.expected[0])
        if (after is not None and after.expected[0] != numbers[0]) or n + 1 == len(numbers):
            continue
        spoken = next(w for w in played.words if w.start_s > event.end_s - 0.3)
        sound = voice.words.get(numbers[n + 1])
        if sound is None:
            continue
        audio, at_s = played.audio.copy(), spoken.end_s + 0.25
        put(audio, sound, at_s, sample.dialogue.duration_s, rate)
        more = SpokenWord(text=numbers[n + 1], start_s=at_s, end_s=at_s + len(sound) / rate)
        words = tuple(sorted([*played.words, more], key=lambda word: word.start_s))
        played = replace(played, audio=audio, words=words)
    return played


class Broken:
    """The oracle with a fault."""

    def __init__(self, fault: Fault, voice: RecordedWords) -> None:
        self._fault, self._voice = fault, voice

    def perform(self, samples: Sequence[HeldOutDialogue]) -> Iterator[AgentOutput]:
        for sample, played in zip(samples, Oracle().perform(samples), strict=True):
            yield self._fault(sample, played, self._voice)


@pytest.fixture(scope="module")
def sets(cache: Path) -> dict[str, list[HeldOutDialogue]]:
    return {
        name: list(
            held_out_set(load_suite(name), cache, n_dialogues=N_DIALOGUES[name], workers=1).read()
        )
        for name in PANEL
    }


def headlines_of(
    sets: dict[str, list[HeldOutDialogue]], fault: Fault, measure_suite: Any
) -> dict[str, float]:
    found = {}
    for name, samples in sets.items():
        suite = load_suite(name)
        agent = Broken(fault, RecordedWords.of(lambda s=samples: iter(s)))  # type: ignore[misc]
        value = measure_suite(suite, agent, samples)[suite.headline]
        assert value is not None, name
        found[name] = value
    return found


@pytest.mark.parametrize(
    ("fault", "catcher"),
    [
        (one_second_late, "fdb_v1"),
        (answers_backchannels, "fdb_v1_5"),
        (counts_one_too_many, "rep_count"),
    ],
)
def test_a_fault_is_caught_by_its_own_suite_and_no_other(
    sets: dict[str, list[HeldOutDialogue]], fault: Fault, catcher: str, measure_suite: Any
) -> None:
    found = headlines_of(sets, fault, measure_suite)
    assert found[catcher] < 1.0 - CAUGHT, found
    for name in PANEL:
        if name != catcher:
            assert found[name] >= 1.0 - SCARCE, (name, found)


def test_without_a_fault_nothing_is_caught(
    sets: dict[str, list[HeldOutDialogue]], measure_suite: Any
) -> None:
    headlines = headlines_of(sets, lambda sample, played, voice: played, measure_suite)
    assert min(headlines.values()) >= 1.0 - 1e-9
