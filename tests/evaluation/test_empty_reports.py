"""Plots and tables of nobody, nothing, one and all: each is written, whatever was measured."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from microturn.datagen.report.card_plots import card_plots
from microturn.evaluation.records import AgentRecord
from microturn.evaluation.report import markdown
from microturn.evaluation.report.plots import draw_plots
from microturn.evaluation.report.scores import AgentScores, RunInfo, Scores, SetInfo
from microturn.evaluation.scoring.timing import Timing
from microturn.evaluation.suites.event_suites import score_events
from microturn.evaluation.suites.score_suite import MetricScore, SuiteScore

ALL = ("silent", "always", "endpointing", "half_duplex", "oracle")


def info(n_dialogues: int) -> RunInfo:
    played = SetInfo(sha256="", n_dialogues=n_dialogues, dialogue_s=16.0, seed=None)
    return RunInfo(
        data="",
        checkpoint="",
        checkpoint_sha256="",
        seed=0,
        words="say",
        through="engine",
        versions={},
        sets={"turn": played} if n_dialogues else {},
    )


def suites(*, measured: bool) -> Mapping[str, SuiteScore]:
    nothing = score_events([[]], seed=0)
    if not measured:
        return nothing
    value = MetricScore(value=0.5, ci95=(0.4, 0.6), n=7, n_dialogues=3)
    return {
        name: replace(suite, metrics=dict.fromkeys(suite.metrics, value))
        for name, suite in nothing.items()
    }


@pytest.mark.parametrize("agents", [("silent",), ALL])
@pytest.mark.parametrize("kind", ["no suite", "no event", "no dialogue", "measured"])
def test_a_report_of_any_agents_is_written(
    agents: tuple[str, ...], kind: str, tmp_path: Path
) -> None:
    one = AgentScores(
        suites={} if kind == "no suite" else suites(measured=kind == "measured"),
        events=suites(measured=kind == "measured"),
        timing=Timing().to_json(None),
    )
    scores = Scores(info=info(0 if kind == "no dialogue" else 3), agents=dict.fromkeys(agents, one))
    records = {name: AgentRecord(observations={}, outcomes={}) for name in agents}
    draw_plots(tmp_path, scores, records=records)
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "scores.png",
        "scenarios.png",
        "latencies.png",
    }
    page = markdown.markdown(scores)
    assert all(name in page for name in agents)
    assert "nan" not in page
    assert agents[0] in markdown.summary(scores)


def test_plots_of_a_card_without_events_are_written() -> None:
    targets = [{"description": "pauses", "sound": None, "words": None, "target": 0.5}]
    card = {
        "turn_taking": {way: {"offsets_ms": {}, "pauses_ms": {}} for way in ("sound", "words")},
        "human": {"targets": targets, "tolerance": 0.1, "asked_for": False},
        "counts": {},
    }
    for empty in (card, {**card, "human": {**card["human"], "targets": [], "asked_for": True}}):
        assert all(png.startswith(b"\x89PNG") for png in card_plots(empty).values())
