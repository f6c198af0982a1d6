"""tau-voice's eight on real dialogues: agents without a model get what the definitions say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from microturn.configs import main as cli
from microturn.evaluation.suites.registry import load_suite
from microturn.evaluation.suites.score_suite import score_suite
from microturn.evaluation.suites.suite import Measured, Observations
from microturn.evaluation.suites.tau_voice import SUITE, measure

Numbers = dict[str, Measured]
SELECTIVITY = ("selectivity_backchannel", "selectivity_vocal_tic", "selectivity_non_directed")


def observed(**kinds: list[tuple[bool, float | None]]) -> Observations:
    empty: Observations = {
        name: [] for name in ("response", "yields", "backchannel", "vocal_tic", "non_directed")
    }
    rows = {
        name: [{"good": good, "latency_s": latency_s, "counts": True} for good, latency_s in found]
        for name, found in kinds.items()
    }
    return {**empty, **rows, "n_agent_interrupts": 0}


def test_rates_and_mean_latencies_are_over_all_events() -> None:
    first = observed(response=[(True, 0.2), (False, None)], yields=[(True, 1.0)])
    second = observed(response=[(True, 0.8)], vocal_tic=[(False, None)])
    second["n_agent_interrupts"] = 4
    got = measure([first, second])
    assert got["response_rate"] == pytest.approx(2 / 3)
    assert got["response_latency_s"] == pytest.approx(0.5)
    assert got["yield_rate"] == 1.0
    assert got["yield_latency_s"] == 1.0
    assert got["agent_interrupts_per_turn"] == pytest.approx(4 / 3)
    assert got["selectivity_vocal_tic"] == 0.0
    assert got["selectivity_backchannel"] is None
    assert got["credit"] == 0.0  # the tic was answered


def test_metrics_have_intervals() -> None:
    rows = [observed(response=[(i % 4 > 0, 0.2 + 0.1 * (i % 3))]) for i in range(12)]
    scores = score_suite(SUITE, rows, seed=0).metrics
    rate, latency = scores["response_rate"], scores["response_latency_s"]
    assert rate.value == 0.75
    assert rate.ci95 is not None
    assert rate.ci95[0] < 0.5 < 0.9 < rate.ci95[1]
    assert latency.ci95 is not None
    assert latency.ci95[0] < 0.3 < latency.ci95[1]


def test_baselines_get_what_the_definitions_say(numbers_of: Callable[[str, int], Numbers]) -> None:
    got = numbers_of("tau_voice", 16)
    oracle, silent, always = got["oracle"], got["silent"], got["always"]
    for name in ("credit", "response_rate", "yield_rate", *SELECTIVITY):
        assert oracle[name] == 1.0, name
        assert getattr(oracle[name], "n_events", 0) >= 3, name
    assert oracle["response_latency_s"] == pytest.approx(0.2, abs=0.05)  # answers in m + 2
    assert oracle["yield_latency_s"] == pytest.approx(0.6, abs=0.05)  # the border after 0.4 s
    assert oracle["agent_interrupts_per_turn"] == 0.0

    assert silent["response_rate"] == silent["credit"] == 0.0
    assert silent["yield_rate"] is silent["selectivity_backchannel"] is None
    assert silent["selectivity_vocal_tic"] == silent["selectivity_non_directed"] == 1.0

    assert always["response_rate"] is None
    assert always["yield_rate"] == always["credit"] == 0.0
    assert [always[name] for name in SELECTIVITY] == [1.0, 1.0, 1.0]


def test_the_panel_stays_below_the_line(below_the_line: Callable[[str, int], None]) -> None:
    below_the_line("tau_voice", 16)


def test_it_can_be_asked_for_on_any_set(
    held_out: Callable[[str, int], object], suite_cache: Path, tmp_path: Path
) -> None:
    held_out("tau_voice", 16)
    assert load_suite("tau_voice").headline == "credit"
    folder = next(suite_cache.rglob("index.json")).parent
    out = tmp_path / "scores"
    argv = ["evaluate", f"data={folder}", f"out={out}", "baseline=oracle", "suites=[tau_voice]"]
    assert cli.main([*argv, "n_pictures=0", "workers=1", "n_dialogues=4"]) == 0
    assert "response_rate" in (out / "scores.md").read_text(encoding="utf-8")
