"""The baseline that knows only speech and silence, on simulated dialogues of open speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from microturn.datagen.labels.dialogue import EventLabel
from microturn.evaluation.agents.baselines import baseline
from microturn.evaluation.config import ActivityConfig, WindowConfig
from microturn.evaluation.scoring.agent_output import AgentOutput, Trace
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.speech.silero import speech_spans
from microturn.evaluation.suites.held_out import held_out_set
from microturn.evaluation.suites.registry import load_suite
from microturn.evaluation.suites.suite import Measured

SILENCE_S = 0.5


@pytest.fixture(scope="module")
def samples(cache: Path) -> list[HeldOutDialogue]:
    return list(held_out_set(load_suite("open_turns"), cache, n_dialogues=8, workers=1).read())


def play(
    samples: list[HeldOutDialogue], silence_ms: int = 500, name: str = "endpointing"
) -> list[AgentOutput]:
    config = ActivityConfig()
    agent = baseline(name, lambda: iter(samples), config=config, silence_ms=silence_ms)
    return list(agent.perform(samples))


def scenes(samples: list[HeldOutDialogue], played: list[AgentOutput]) -> list[ScoredDialogue]:
    return [
        ScoredDialogue(sample.dialogue, trace_of(one), WindowConfig())
        for sample, one in zip(samples, played, strict=True)
    ]


def trace_of(output: AgentOutput) -> Trace:
    speech = speech_spans(output.audio, output.sample_rate)
    return Trace.of(output, ActivityConfig(), speech=speech)


def measured(samples: list[HeldOutDialogue], played: list[AgentOutput]) -> Measured:
    suite = load_suite("open_turns")
    return suite.measure([suite.observe(scene) for scene in scenes(samples, played)])


@pytest.fixture(scope="module")
def played(samples: list[HeldOutDialogue]) -> list[AgentOutput]:
    return play(samples)


def test_it_answers_after_half_a_second_and_starts_into_pauses(
    samples: list[HeldOutDialogue], played: list[AgentOutput]
) -> None:
    got = measured(samples, played)
    assert (got["taken_in_time"] or 0.0) > 0.8
    assert SILENCE_S <= (got["turn_latency_s"] or 0.0) < SILENCE_S + 0.2
    assert (got["false_starts"] or 0.0) > 0.2
    told = measured(samples, play(samples, name="half_duplex"))
    assert told["false_starts"] == 0.0


def test_no_pause_is_interrupted_before_the_silence_is_over(
    samples: list[HeldOutDialogue], played: list[AgentOutput]
) -> None:
    begun = []
    for scene in scenes(samples, played):
        for pause in scene.dialogue.of_type("pause"):
            onsets = [t for t, _ in scene.utterances if pause.start_s <= t < pause.end_s]
            begun += [onset - pause.start_s for onset in onsets]
    assert begun
    # Silero takes a tenth of a second of a faint ending for silence, or of a room for speech.
    assert min(begun) > SILENCE_S - 0.2


def test_speech_breaks_it_off_be_it_an_interruption_or_a_backchannel(
    samples: list[HeldOutDialogue], played: list[AgentOutput]
) -> None:
    got = measured(samples, played)
    assert (got["stopped_in_time"] or 0.0) > 0.8
    assert (got["stop_latency_s"] or 1.0) < 0.4
    assert (got["went_on"] or 0.0) < 0.5


def test_a_longer_silence_gives_fewer_false_starts_and_later_answers(
    samples: list[HeldOutDialogue], played: list[AgentOutput]
) -> None:
    soon, late = measured(samples, played), measured(samples, play(samples, 1000))
    assert (late["false_starts"] or 0.0) < (soon["false_starts"] or 0.0) / 2
    assert (late["taken_in_time"] or 0.0) < 0.1


def test_after_a_phrase_that_stops_it_it_is_silent_until_it_is_asked_again(
    samples: list[HeldOutDialogue], played: list[AgentOutput]
) -> None:
    n_silent = 0
    for scene in scenes(samples, played):
        for stop in scene.dialogue.of_type("interruption"):
            if _next_sound(scene, stop) > stop.end_s + SILENCE_S + 0.3:  # nobody spoke meanwhile
                n_silent += not scene.activity.seconds_in(
                    stop.end_s + 0.1, stop.end_s + SILENCE_S + 0.25
                )
    assert n_silent >= 2


def _next_sound(scene: ScoredDialogue, event: EventLabel) -> float:
    words = (*scene.dialogue.user_words, *scene.dialogue.background_words)
    return min((w.start_s for w in words if w.start_s >= event.end_s), default=np.inf)


def test_an_answer_that_was_broken_off_is_said_to_its_end(
    samples: list[HeldOutDialogue], played: list[AgentOutput]
) -> None:
    """After a backchannel it goes on with the word in which it was broken off."""
    found = 0
    for sample, one in zip(samples, played, strict=True):
        dialogue = sample.dialogue
        for event in dialogue.of_type("user_backchannel"):
            said = [w.text for w in one.words if w.start_s < event.start_s]
            more = [w.text for w in one.words if w.start_s >= event.end_s]
            if said and more and said[-1] == more[0] and len(said[-1]) > 3:
                found += 1
    assert found >= 1


def test_the_same_dialogue_is_played_the_same_in_any_company(
    samples: list[HeldOutDialogue], played: list[AgentOutput]
) -> None:
    config = ActivityConfig()
    agent = baseline("endpointing", lambda: iter(samples), config=config)
    alone = next(agent.perform([samples[1]]))
    assert alone.words == played[1].words
    assert np.array_equal(alone.audio, played[1].audio)


def test_a_text_that_arrives_is_read_at_once(cache: Path) -> None:
    texts = list(held_out_set(load_suite("read_aloud"), cache, n_dialogues=3, workers=1).read())
    suite = load_suite("read_aloud")
    for name in ("endpointing", "half_duplex"):
        found = [suite.observe(scene) for scene in scenes(texts, play(texts, name=name))]
        got = suite.measure(found)
        assert (got["begun_in_time"] or 0.0) > 0.8, name
        assert (got["latency_s"] or 1.0) < 0.1, name
