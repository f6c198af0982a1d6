"""Suites: oracle, silent and always as theory says; each fault is caught where it belongs."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from microturn.evaluation.agents.baselines import AlwaysTalking, Oracle, Silent, baseline
from microturn.evaluation.config import ActivityConfig
from microturn.evaluation.scoring.agent_output import AgentOutput, SpokenWord
from microturn.evaluation.scoring.events import score
from microturn.evaluation.scoring.outcomes import CueOutcome, Outcome, TurnOutcome
from microturn.evaluation.suites.event_suites import event_metrics, event_suites, score_events
from microturn.evaluation.suites.score_suite import SuiteScore, draw_dialogues, resampled
from support.hand_made import HandMadeDialogue

# Metrics in which less is better or whose size is no quality; shares of the others are 1 at best.
LOWER = {
    "early_replies",
    "word_error_rate",
    "spurious_share",
    "spurious_onsets_per_min",
    "unasked_per_min",
    "false_delegates_per_min",
    "heard_word_error_rate",
    "unsure_events",
}


def is_share(metric: str) -> bool:
    return not metric.endswith("_s") and metric not in LOWER


Scores = dict[str, SuiteScore]  # by suite


def scores_of(outcomes: list[list[Outcome]], *, seed: int = 0) -> Scores:
    return score_events(outcomes, seed=seed)


def values(scores: Scores) -> dict[str, float | None]:
    return {
        f"{suite}.{name}": metric.value
        for suite, entry in scores.items()
        for name, metric in entry.metrics.items()
    }


def score_baseline(families: list[HandMadeDialogue], name: str) -> Scores:
    samples = [script.sample(f"{i:08d}") for i, script in enumerate(families)]
    agent = baseline(name, lambda: iter(samples), config=ActivityConfig())
    return scores_of(
        [
            score(script.scene(performance))
            for script, performance in zip(families, agent.perform(samples), strict=True)
        ]
    )


# --- baselines ---------------------------------------------------------------------------------
def test_the_oracle_is_perfect_in_everything(
    families: list[HandMadeDialogue], rare: HandMadeDialogue
) -> None:
    scores = score_baseline([*families, rare], "oracle")
    for suite, entry in scores.items():
        for name, metric in entry.metrics.items():
            if name.endswith("_s"):
                continue
            if name in ("heard_word_error_rate", "sounds_as_written", "unsure_events"):
                assert metric.n == 0  # no words of the user, no voice, no derived event
                continue
            assert metric.value == pytest.approx(0.0 if name in LOWER else 1.0), (suite, name)
            assert metric.n > 0, (suite, name)
    assert scores["turn"].metrics["turn_latency_s"].value == pytest.approx(0.3, abs=0.02)
    assert scores["interruption"].metrics["stop_latency_s"].value == pytest.approx(0.5, abs=0.05)


def test_silence_is_right_exactly_where_silence_is_asked_for(
    families: list[HandMadeDialogue],
) -> None:
    found = values(score_baseline(families, "silent"))
    right = {"turn.silent_in_pauses", "background.silent", "background.undisturbed"}
    for name, value in found.items():
        suite, _, metric = name.partition(".")
        if name in right or suite == "overall" or metric in LOWER or metric.endswith("_s"):
            continue
        assert not value, name  # None: no event of its kind here
    assert found["background.silent"] == found["turn.silent_in_pauses"] == 1.0
    assert found["overall.spurious_share"] == 0.0
    assert found["turn.turn_latency_s"] is None
    assert found["interruption.stop_latency_s"] is None


def test_talking_always_is_right_nowhere(families: list[HandMadeDialogue]) -> None:
    found = values(score_baseline(families, "always"))
    speaking = {
        "interruption.speaking_when_interrupted",
        "user_backchannel.speaking_at_backchannel",
    }
    for name, value in found.items():
        _, _, metric = name.partition(".")
        if metric in LOWER or metric.endswith("_s") or value is None:
            continue
        assert value == (1.0 if name in speaking else 0.0), name
    assert found["overall.spurious_share"] == 1.0
    assert found["interruption.stop_latency_s"] is None


def test_always_talking_leaves_no_gap(families: list[HandMadeDialogue]) -> None:
    samples = [families[0].sample()]
    agent = AlwaysTalking.from_dialogues(lambda: iter(samples), ActivityConfig())
    (performance,) = agent.perform(samples)
    (run,) = families[0].scene(performance).runs
    assert run[0] == 0.0
    assert run[1] == pytest.approx(families[0].duration_s, abs=0.02)
    assert {word.text for word in performance.words} <= {"five", "tuesday", "alpha"}


def test_always_talking_makes_noise_where_nobody_talks(script: HandMadeDialogue) -> None:
    sample = script.sample()
    agent = baseline("always", lambda: iter([sample]), config=ActivityConfig())
    (run,) = script.scene(next(agent.perform([sample]))).runs
    assert run == pytest.approx((0.0, script.duration_s), abs=0.02)
    with pytest.raises(ValueError, match="there are no dialogues in this set"):
        baseline("always", lambda: iter([]), config=ActivityConfig())


def test_an_unknown_baseline_is_refused(script: HandMadeDialogue) -> None:
    names = "silent, always, endpointing, half_duplex, oracle"
    with pytest.raises(ValueError, match=f"baseline='loud' is not one of {names}"):
        baseline("loud", lambda: iter([script.sample()]), config=ActivityConfig())


# --- broken agents -----------------------------------------------------------------------------
Break = Callable[[Any, AgentOutput], list[SpokenWord]]


def shifted(word: SpokenWord, by_s: float) -> SpokenWord:
    return replace(word, start_s=word.start_s + by_s, end_s=word.end_s + by_s)


def said_after(end_s: float, words: tuple[SpokenWord, ...]) -> list[SpokenWord]:
    return [word for word in words if end_s <= word.start_s < end_s + 1.0]


def one_second_late(script: HandMadeDialogue, recorded: AgentOutput) -> list[SpokenWord]:
    """Short answers come a second later."""
    late = [
        word
        for event in script.events
        if event.act == "respond" and len(event.expected) == 1
        for word in said_after(event.end_s, recorded.words)
    ]
    return [shifted(word, 1.0) if word in late else word for word in recorded.words]


def wrong_words(script: HandMadeDialogue, recorded: AgentOutput) -> list[SpokenWord]:
    """Short answers are of another word."""
    return [
        replace(word, text="sunday")
        if any(event.act == "respond" and event.expected == (word.text,) for event in script.events)
        else word
        for word in recorded.words
    ]


def stops_on_backchannels(script: HandMadeDialogue, recorded: AgentOutput) -> list[SpokenWord]:
    at = [event.start_s for event in script.events if event.type == "user_backchannel"]
    return [
        word
        for word in recorded.words
        if not any(start + 0.1 < word.start_s < start + 6 for start in at)
    ]


def stops_on_voices(script: HandMadeDialogue, recorded: AgentOutput) -> list[SpokenWord]:
    at = [
        event.start_s
        for event in script.events
        if event.type == "background_speech" and event.act == "resume"
    ]
    return [
        word
        for word in recorded.words
        if not any(start + 0.1 < word.start_s < start + 4 for start in at)
    ]


def talks_over_background(script: HandMadeDialogue, recorded: AgentOutput) -> list[SpokenWord]:
    over = [
        SpokenWord(text="hello", start_s=event.start_s + 0.4, end_s=event.start_s + 0.8)
        for event in script.events
        if event.act == "stay_silent" and event.type != "pause"
    ]
    return [*recorded.words, *over]


def replies_in_pauses(script: HandMadeDialogue, recorded: AgentOutput) -> list[SpokenWord]:
    said = [
        SpokenWord(text="yes", start_s=event.start_s + 0.1, end_s=event.start_s + 0.4)
        for event in script.events
        if event.type == "pause"
    ]
    return [*recorded.words, *said]


def stops_late(script: HandMadeDialogue, recorded: AgentOutput) -> list[SpokenWord]:
    """Is cut 0.4 s later than the window allows, still before the user has finished."""
    more = [
        SpokenWord(text="eight", start_s=event.start_s + 0.5, end_s=event.start_s + 0.95)
        for event in script.events
        if event.type == "interruption"
    ]
    return [*recorded.words, *more]


def early_cues(script: HandMadeDialogue, recorded: AgentOutput) -> list[SpokenWord]:
    cues = {event.expected[0] for event in script.events if event.type == "timed_cue"}
    return [shifted(w, -0.5) if w.text in cues else w for w in recorded.words]


def no_results(script: HandMadeDialogue, recorded: AgentOutput) -> list[SpokenWord]:
    return [word for word in recorded.words if word.text != "eleven"]


# What each fault makes worse, headlines and what follows from it included.
FAULTS: list[tuple[Break, set[str]]] = [
    (
        one_second_late,
        {
            "turn.onset_recall",
            "turn.answered",
            "interruption.answered_after",
            "turn.turn_latency_s",
        },
    ),
    (
        wrong_words,
        {
            "turn.right_word",
            "turn.answered",
            "turn.word_error_rate",
            "interruption.answered_after",
        },
    ),
    (stops_on_backchannels, {"user_backchannel.went_on", "user_backchannel.words_right"}),
    (stops_on_voices, {"background.went_on", "background.undisturbed"}),
    (
        talks_over_background,
        {
            "background.silent",
            "background.undisturbed",
            "overall.spurious_share",
            "overall.spurious_onsets_per_min",
        },
    ),
    (
        replies_in_pauses,
        {
            "turn.silent_in_pauses",
            "turn.early_replies",
            "overall.spurious_share",
            "overall.spurious_onsets_per_min",
        },
    ),
    (stops_late, {"interruption.stopped_in_time", "interruption.stop_latency_s"}),
    (
        early_cues,
        {
            "timed_cue.in_window",
            "timed_cue.onset_from_earliest_s",
            "overall.spurious_share",
            "overall.spurious_onsets_per_min",
        },
    ),
    (
        no_results,
        {"delegation.result_spoken", "delegation.result_right", "delegation.result_latency_s"},
    ),
]


@pytest.mark.parametrize(("fault", "caught_by"), FAULTS, ids=lambda x: getattr(x, "__name__", ""))
def test_a_fault_is_caught_by_its_own_metrics_and_no_other(
    families: list[HandMadeDialogue], fault: Break, caught_by: set[str]
) -> None:
    good, bad = [], []
    for script in families:
        recorded = script.recorded()
        words = sorted(fault(script, recorded), key=lambda word: word.start_s)
        broken = script.perform(
            *words, delegates_s=recorded.delegates_s, deliveries=recorded.deliveries
        )
        good.append(score_of(script, recorded))
        bad.append(score_of(script, broken))
    before, after = values(scores_of(good)), values(scores_of(bad))
    changed = {name for name in before if before[name] != pytest.approx(after[name], abs=1e-3)}
    # Headlines, and what stands beside every one of them, follow from these metrics.
    follows = ("credit", "mean_headline", "unasked_per_min", "false_delegates_per_min")
    assert {name for name in changed if not name.endswith(follows)} == caught_by
    assert any(after[name] < before[name] for name in changed if name.endswith(".credit"))


def score_of(script: HandMadeDialogue, performance: AgentOutput) -> list[Outcome]:
    return score(script.scene(performance))


# --- numbers -----------------------------------------------------------------------------------
def turn(**more: Any) -> TurnOutcome:
    facts: dict[str, Any] = {
        "latency_s": 0.3,
        "in_window": True,
        "early": False,
        "right": True,
        "n_errors": 0,
        "n_expected": 1,
        "after_interruption": False,
        "said": "",
    }
    return TurnOutcome(**{**facts, **more})


def test_nothing_measured_is_none_and_no_crash() -> None:
    for outcomes in ([], [[]], [[], []], [[]] * 8):
        scores = scores_of(outcomes)
        assert all(
            (metric.value, metric.n, metric.ci95) == (None, 0, None)
            for entry in scores.values()
            for metric in entry.metrics.values()
        )
        assert list(scores) == list(event_suites())


def test_shares_medians_and_counts() -> None:
    outcomes: list[list[Outcome]] = [
        [turn(latency_s=0.2), turn(latency_s=0.4, right=False, n_errors=2)],
        [turn(latency_s=None, in_window=False, right=None, n_expected=0)],
        [turn(latency_s=-0.3, in_window=False, early=True), turn(latency_s=0.9, in_window=False)],
    ]
    metrics = scores_of(outcomes)["turn"].metrics
    assert (metrics["onset_recall"].value, metrics["onset_recall"].n) == (2 / 5, 5)
    assert (metrics["right_word"].value, metrics["right_word"].n) == (3 / 4, 4)
    assert metrics["word_error_rate"].value == 2 / 4
    # Replies before the end say nothing about how fast the agent is.
    assert (metrics["turn_latency_s"].value, metrics["turn_latency_s"].n) == (0.4, 3)
    assert metrics["early_replies"].value == 1 / 5


def test_intervals_hold_the_value_and_are_repeatable() -> None:
    outcomes: list[list[Outcome]] = [[turn(in_window=i % 4 > 0)] for i in range(100)]
    first = scores_of(outcomes, seed=3)["turn"].metrics["onset_recall"]
    assert first.value == 0.75
    assert first.ci95 is not None
    low, high = first.ci95
    assert 0.64 < low < 0.72 < 0.78 < high < 0.86  # 0.75 +- 1.96 * 0.043
    assert scores_of(outcomes, seed=3)["turn"].metrics["onset_recall"] == first


def test_intervals_resample_dialogues_not_events() -> None:
    together: list[list[Outcome]] = [[turn(in_window=i % 2 > 0)] * 10 for i in range(10)]
    apart: list[list[Outcome]] = [[o] for outcomes in together for o in outcomes]
    wide = scores_of(together)["turn"].metrics["onset_recall"].ci95
    narrow = scores_of(apart)["turn"].metrics["onset_recall"].ci95
    assert wide is not None
    assert narrow is not None
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])


def test_the_overall_headline_is_the_mean_of_what_was_measured() -> None:
    cue = CueOutcome(onset_s=None, right=False, in_window=False)
    headline = scores_of([[turn(), turn(), cue]])["overall"].headline
    assert (headline.value, headline.n) == (0.5, 3)


def test_the_json_has_what_others_read() -> None:
    entry = scores_of([[turn(), turn()]] * 4)["turn"].to_json()
    assert entry["headline"] == 1.0
    assert (entry["n"], entry["n_dialogues"]) == (8, 4)
    low, high = entry["ci95"]
    assert 0.4 < low < 0.7
    assert high == 1.0
    assert set(entry["metrics"]) == set(entry["meanings"])
    latency = {"value": 0.3, "n": 8, "n_dialogues": 4, "ci95": (0.3, 0.3)}
    assert entry["details"]["turn_latency_s"] == latency


def test_resamples_are_those_of_measure() -> None:
    """The fast way of an event suite gives the numbers of the plain one."""
    outcomes: list[list[Outcome]] = [
        [turn(in_window=i % 3 > 0, latency_s=i / 10)] * (i % 2 + 1) for i in range(9)
    ]
    for name in ("turn", "overall"):
        suite, metrics = event_suites()[name], event_metrics()[name]
        dialogues = [metrics.observation(one) for one in outcomes]
        draws = draw_dialogues(len(dialogues), 50, seed=0)
        plain = replace(suite, resample=None)
        np.testing.assert_allclose(
            resampled(suite, dialogues, draws), resampled(plain, dialogues, draws), rtol=1e-12
        )


def test_baselines_play_what_they_promise(script: HandMadeDialogue) -> None:
    script.turn(1.0, 1.7, "five")
    sample = script.sample()
    (silent,) = Silent().perform([sample])
    (oracle,) = Oracle().perform([sample])
    assert not silent.audio.any()
    assert silent.duration_s == oracle.duration_s == script.duration_s
    assert oracle.words == script.dialogue().agent_words
