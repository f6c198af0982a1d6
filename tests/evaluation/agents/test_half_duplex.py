"""The half-duplex baseline wins and loses where taking turns does, on simulated dialogues."""

from pathlib import Path

import pytest

from microturn.evaluation.agents.baselines import baseline
from microturn.evaluation.config import SILENCE_MS, ActivityConfig, WindowConfig
from microturn.evaluation.scoring.agent_output import Trace
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.evaluation.scoring.events import score
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.event_suites import score_events
from microturn.evaluation.suites.held_out import held_out_set
from microturn.evaluation.suites.registry import load_suite
from microturn.evaluation.suites.score_suite import SuiteScore

Scores = dict[str, SuiteScore]  # by suite
SILENCE_S = SILENCE_MS / 1000


@pytest.fixture(scope="module")
def samples(cache: Path) -> list[HeldOutDialogue]:
    return list(held_out_set(load_suite("turn"), cache, workers=1).read(24))


@pytest.fixture(scope="module")
def scores(samples: list[HeldOutDialogue]) -> Scores:
    agent = baseline("half_duplex", lambda: iter(samples), config=ActivityConfig())
    played = zip(samples, agent.perform(samples), strict=True)
    scenes = [
        ScoredDialogue(sample.dialogue, Trace.of(one, ActivityConfig()), WindowConfig())
        for sample, one in played
    ]
    return score_events([score(scene) for scene in scenes], seed=0)


def value(scores: Scores, suite: str, metric: str) -> float:
    measured = scores[suite].metrics[metric].value
    assert measured is not None, (suite, metric)
    return measured


def test_it_answers_turns_no_sooner_than_its_endpointing(scores: Scores) -> None:
    assert value(scores, "turn", "right_word") > 0.6
    assert SILENCE_S <= value(scores, "turn", "turn_latency_s") < SILENCE_S + 0.3


def test_it_cannot_be_interrupted(scores: Scores) -> None:
    assert value(scores, "interruption", "stopped_in_time") < 0.3


def test_it_talks_through_backchannels_because_it_is_deaf(scores: Scores) -> None:
    """It goes on wherever it speaks by then; it may have begun too late."""
    speaking = value(scores, "user_backchannel", "speaking_at_backchannel")
    assert value(scores, "user_backchannel", "went_on") == speaking > 0.5


def test_it_speaks_at_no_time_of_its_own(scores: Scores) -> None:
    assert value(scores, "timed_cue", "in_window") == 0.0


def test_it_answers_into_hesitations(scores: Scores) -> None:
    assert value(scores, "turn", "silent_in_pauses") < 1.0
    assert value(scores, "turn", "early_replies") > 0.0


def test_the_same_dialogue_is_played_the_same_in_any_company(
    samples: list[HeldOutDialogue],
) -> None:
    agent = baseline("half_duplex", lambda: iter(samples), config=ActivityConfig())
    together = [one.words for one in agent.perform(samples[:3])]
    assert together == [next(agent.perform([sample])).words for sample in samples[:3]]


def test_what_is_there_is_not_simulated_again(tmp_path: Path) -> None:
    suite = load_suite("turn")
    first = held_out_set(suite, tmp_path, n_dialogues=1, workers=1)
    made = {path: path.stat().st_mtime_ns for path in Path(str(first.reader.folder)).iterdir()}
    again = held_out_set(suite, tmp_path, n_dialogues=1, workers=1)
    assert again.digest == first.digest
    assert made == {path: path.stat().st_mtime_ns for path in made}
    assert held_out_set(suite, tmp_path, n_dialogues=2, workers=1).count() == 2
