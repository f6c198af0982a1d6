"""The demo: what it runs, what it skips the second time, how it stops, what it leaves."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from microturn.evaluation import demo, demo_report
from microturn.evaluation.demo import DemoConfig, DemoStep, Ledger, run_demo, stages_of
from microturn.evaluation.report.scores import (
    AgentScores,
    RunInfo,
    Scores,
    SetInfo,
    write_scores,
)
from microturn.evaluation.report.targets import TargetCheck
from microturn.evaluation.suites.score_suite import MetricScore, SuiteScore

SMALL = [
    "n_train=4",
    "n_test=2",
    "simulate=[datagen/demo.yaml,n_micro_turns=40,workers=1,rooms.n_rooms=1]",
    "train=[training/smoke.yaml,max_steps=2,streaming_validation.n_dialogues=1,streaming_validation.every_minutes=0]",
    "evaluate=[evaluation/demo_targets.yaml]",
]


def scores() -> Scores:
    def agent(recall: float, latency_s: float | None) -> AgentScores:
        values = {"onset_recall": recall, "turn_latency_s": latency_s}
        suite = SuiteScore(
            name="turn",
            set_name="data",
            asks="",
            note="",
            oracle_note="",
            headline_metric="onset_recall",
            meanings=dict.fromkeys(values, ""),
            metrics={
                metric: MetricScore(value=value, ci95=None, n=3, n_dialogues=3)
                for metric, value in values.items()
            },
        )
        return AgentScores(suites={"turn": suite}, events={}, timing={})

    played = SetInfo(sha256="", n_dialogues=3, dialogue_s=16.0, seed=None)
    info = RunInfo(
        data="d",
        checkpoint="c",
        checkpoint_sha256="",
        seed=0,
        words="say",
        through="engine",
        versions={},
        sets={"data": played},
    )
    recall = TargetCheck(suite="turn", metric="onset_recall", limit=0.97, at_least=True, value=0.98)
    latency = TargetCheck(
        suite="turn", metric="turn_latency_s", limit=0.45, at_least=False, value=0.5
    )
    agents = {"checkpoint": agent(0.98, 0.5), "silent": agent(0.0, None)}
    return Scores(info=info, agents=agents, targets=(recall, latency))


def finish(stage: DemoStep) -> int:
    """Stand where a stage's process would: leave its result."""
    stage.result.parent.mkdir(parents=True, exist_ok=True)
    stage.result.write_text(json.dumps(scores().to_json()))
    return 1 if stage.name == "scores" else 0


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []

    def run(stage: DemoStep) -> int:
        names.append(stage.name)
        return finish(stage)

    monkeypatch.setattr(demo, "run_stage", run)
    return names


def test_finished_stages_are_skipped_until_their_words_change(
    tmp_path: Path, ran: list[str]
) -> None:
    config = DemoConfig(out=str(tmp_path / "demo"))
    assert run_demo(config) == 1  # a target is off, and that is not a failed stage
    assert ran == ["train", "test", "checkpoint", "scores"]
    ran.clear()
    assert run_demo(config) == 1
    assert ran == []
    assert run_demo(DemoConfig(out=config.out, train=["training/tiny.yaml", "max_steps=9"])) == 1
    assert ran == ["checkpoint", "scores"]
    ran.clear()
    (tmp_path / "demo" / "data" / "test" / "index.json").unlink()
    run_demo(DemoConfig(out=config.out, train=["training/tiny.yaml", "max_steps=9"]))
    assert ran == ["test", "checkpoint", "scores"]


@pytest.mark.parametrize(
    ("code", "result", "exit_code", "text"),
    [
        (1, True, 1, "`simulate` ended with exit code 1"),
        (2, False, 2, "`simulate` ended with exit code 2"),
        (0, False, 1, "`simulate` left no result"),
        (-9, True, 1, "`simulate` was ended by SIGKILL"),
    ],
)
def test_a_failed_stage_stops_the_demo(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code: int,
    result: bool,
    exit_code: int,
    text: str,
) -> None:
    def run(stage: DemoStep) -> int:
        if result:
            finish(stage)
        return code

    monkeypatch.setattr(demo, "run_stage", run)
    assert run_demo(DemoConfig(out=str(tmp_path))) == exit_code
    said = capsys.readouterr().err
    assert text in said
    assert "the same command again continues" in said


def test_an_interrupted_stage_interrupts_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "run_stage", lambda stage: 130)
    with pytest.raises(KeyboardInterrupt):
        run_demo(DemoConfig(out=str(tmp_path)))


def test_stages_share_data_and_checkpoint() -> None:
    train, test, checkpoint, score = stages_of(DemoConfig(out="d", seed=5, n_train=7, n_test=3))
    assert {"out=d/data/train", "split=train", "n_dialogues=7", "seed=5"} <= set(train.words)
    assert {"out=d/data/test", "split=test", "n_dialogues=3", "seed=6"} <= set(test.words)
    assert {"data=d/data/train", "out=d", "streaming_validation.data=d/data/test"} <= set(
        checkpoint.words
    )
    assert {"data=d/data/test", "checkpoint=d/checkpoint", "out=d/scores"} <= set(score.words)


def test_a_broken_ledger_is_named(tmp_path: Path) -> None:
    (tmp_path / "stages.json").write_text("{")
    with pytest.raises(ValueError, match=r"stages\.json: not JSON; delete it"):
        Ledger(tmp_path / "stages.json")


def test_no_dialogues_are_refused() -> None:
    with pytest.raises(ValueError, match="n_test=0 must be at least 1"):
        DemoConfig(n_test=0)


def test_the_report_shows_targets_beside_baselines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = tmp_path / "scores" / "pictures"
    pictures.mkdir(parents=True)
    write_scores(tmp_path / "scores", scores())
    for name in ("00000000.png", "00000001.png", "00000001.wav"):
        (pictures / name).write_text(name)
    assert demo_report.write_report(tmp_path, {"train": 90.0}) == 1
    page = (tmp_path / "report.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| turn")]
    assert [cell.strip() for cell in rows[0].split("|")[1:-1]] == [
        *("turn: onset recall", "≥ 97.0 %", "98.0 %", "0.0 %", ""),
    ]
    assert [cell.strip() for cell in rows[1].split("|")[1:-1]] == [
        *("turn latency", "≤ 0.45 s", "0.50 s", "-", "off target"),
    ]
    assert "| train | 1.5 |" in page
    assert (tmp_path / "timeline.png").read_text() == "00000001.png"
    assert (tmp_path / "timeline.wav").read_text() == "00000001.wav"
    said = capsys.readouterr()
    assert "microturn serve" in said.out
    assert "off target: turn.turn_latency_s: 0.500" in said.err


def demo_command(out: Path) -> list[str]:
    return [sys.executable, "-m", "microturn.configs.main", "demo", f"out={out}", *SMALL]


def test_ctrl_c_ends_the_demo_and_the_next_run_finishes_it(tmp_path: Path) -> None:
    """The real thing at smoke size: interrupted once, then finished, then nothing left to do."""
    command = demo_command(tmp_path / "demo")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout
        assert process.stderr
        for line in process.stdout:
            if line.startswith("$ microturn simulate"):
                break
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        said = process.stderr.read()
        assert process.wait(60) == 130, said
    assert "the same command again continues from here" in said
    assert "Traceback" not in said

    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert "stopped, because" not in done.stderr, done.stderr
    assert done.returncode in (0, 1), done.stderr  # two steps of training reach no target
    for name in (
        *("report.md", "timeline.png", "timeline.wav", "checkpoint/model.safetensors"),
        "streaming_validation/scores.jsonl",
    ):
        assert (tmp_path / "demo" / name).stat().st_size > 0, name
    again = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert again.stdout.count(": done") == 4
    assert again.returncode == done.returncode
