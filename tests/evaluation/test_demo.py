"""The demo: what it runs, what it skips the second time, how it stops, what it leaves."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from microturn.configs.main import main
from microturn.evaluation import demo_estimate, demo_report, stages
from microturn.evaluation.demo import DemoConfig, run_demo, stages_of
from microturn.evaluation.report.scores import (
    AgentScores,
    RunInfo,
    Scores,
    SetInfo,
    write_scores,
)
from microturn.evaluation.report.targets import TargetCheck
from microturn.evaluation.stages import CommandStage
from microturn.evaluation.suites.score_suite import MetricScore, SuiteScore

SMALL = [
    "n_train=4",
    "n_test=2",
    "simulate=[datagen/demo.yaml,n_micro_turns=40,workers=1,rooms.n_rooms=1]",
    "train=[training/smoke.yaml,max_steps=2,streaming_validation.n_dialogues=1,streaming_validation.every_minutes=0]",
    "evaluate=[evaluation/demo_targets.yaml]",
]


def agent_of(name: str, values: dict[str, float | None]) -> AgentScores:
    suite = SuiteScore(
        name=name,
        set_name="data",
        asks="",
        note="",
        oracle_note="",
        is_twin=True,
        floor=0.1,
        headline_metric=next(iter(values)),
        meanings=dict.fromkeys(values, ""),
        metrics={
            metric: MetricScore(value=value, ci95=None, n=3, n_dialogues=3)
            for metric, value in values.items()
        },
    )
    return AgentScores(suites={name: suite}, events={}, timing={})


def people_scores(unseen: float = 0.04) -> Scores:
    """The model answers whom it knows, the baseline nobody."""
    agents = {
        "microturn": agent_of("people", {"seen_people": 0.9, "unseen_people": unseen}),
        "silent": agent_of("people", {"seen_people": 0.0, "unseen_people": 0.0}),
    }
    return replace(scores(), agents=agents, targets=())


def scores(recall: float = 0.98) -> Scores:
    def agent(recall: float, latency_s: float | None) -> AgentScores:
        return agent_of("turn", {"onset_recall": recall, "turn_latency_s": latency_s})

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
    high = check("onset_recall", limit=0.97, value=0.98, ci95=(0.95, 0.99))
    near = check("onset_recall", limit=0.985, value=0.98, ci95=(0.95, 0.99))
    latency = check("turn_latency_s", limit=0.45, value=0.5, ci95=(0.46, 0.56), at_least=False)
    agents = {"checkpoint": agent(recall, 0.5), "silent": agent(0.0, None)}
    return Scores(info=info, agents=agents, targets=(high, near, latency))


def check(
    metric: str,
    *,
    limit: float,
    value: float | None,
    ci95: tuple[float, float] | None,
    at_least: bool = True,
) -> TargetCheck:
    return TargetCheck(
        suite="turn", metric=metric, limit=limit, at_least=at_least, value=value, ci95=ci95
    )


def finish(stage: CommandStage) -> int:
    """Stand where a stage's process would: leave its result."""
    stage.result.parent.mkdir(parents=True, exist_ok=True)
    if stage.name == "speed":
        rows = [
            f"{step},{start + 0.5 * step}"
            for start, step in ((9, 1), *((0, s) for s in range(2, 7)))
        ]
        stage.result.write_text("\n".join(["step,seconds", *rows]))
        return 0
    left = people_scores() if stage.name.endswith("people") else scores()
    stage.result.write_text(json.dumps(left.to_json()))
    return 1 if stage.has_targets else 0


SCORED = ("examples", "scores", "people", "shipped", "shipped-people")


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []

    def run(stage: CommandStage) -> int:
        names.append(stage.name)
        return finish(stage)

    monkeypatch.setattr(stages, "run_stage", run)
    return names


def test_finished_stages_are_skipped_until_their_words_change(
    tmp_path: Path, ran: list[str]
) -> None:
    config = DemoConfig(out=str(tmp_path / "demo"))
    assert run_demo(config) == 0  # a target is off, and that is not a failed demo
    assert ran == ["strangers", "hear", "test", "speed", "train", "checkpoint", *SCORED]
    ran.clear()
    assert run_demo(config) == 0
    assert ran == []
    assert run_demo(DemoConfig(out=config.out, max_steps=9)) == 0
    assert ran == ["checkpoint", *SCORED]
    ran.clear()
    (tmp_path / "demo" / "data" / "train" / "index.json").unlink()
    run_demo(DemoConfig(out=config.out, max_steps=9))
    assert ran == ["train", "checkpoint", *SCORED]


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
    def run(stage: CommandStage) -> int:
        if result:
            finish(stage)
        return code

    monkeypatch.setattr(stages, "run_stage", run)
    assert run_demo(DemoConfig(out=str(tmp_path))) == exit_code
    said = capsys.readouterr().err
    assert text in said
    assert "the same command again continues" in said


def test_an_interrupted_stage_interrupts_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "run_stage", lambda stage: 130)
    with pytest.raises(KeyboardInterrupt):
        run_demo(DemoConfig(out=str(tmp_path)))


def test_stages_share_data_and_checkpoint() -> None:
    strangers, hear, test, speed, train, checkpoint, _, score, people, *shipped = stages_of(
        DemoConfig(out="d", seed=5, n_train=7, n_test=3)
    )
    assert {"datagen/demo.yaml", "voices.people=unseen", "out=d/data/strangers"} <= set(
        strangers.words
    ), "the layout is that of the other sets"
    assert {"data=d/data/strangers", "out=d/hear"} <= set(hear.words)
    assert {"out=d/data/train", "split=train", "n_dialogues=7", "seed=5"} <= set(train.words)
    assert {"out=d/data/test", "split=test", "n_dialogues=3", "seed=6"} <= set(test.words)
    assert {"data=d/data/test", "out=d/speed", "training/tiny.yaml"} <= set(speed.words)
    trained = {"max_steps=1400", "streaming_validation.data=d/data/test"}
    assert {"data=d/data/train", "out=d", *trained} <= set(checkpoint.words)
    assert {"data=d/data/test", "checkpoint=d/checkpoint", "out=d/scores"} <= set(score.words)
    assert {"suites=[people]", "checkpoint=d/checkpoint", "out=d/people"} <= set(people.words)
    assert {"data=d/data/test", "out=d/shipped"} <= set(shipped[0].words)
    assert {"suites=[people]", "out=d/shipped-people"} <= set(shipped[1].words)
    of_the_package = (hear, *shipped)
    assert not any(w.startswith("checkpoint=") for stage in of_the_package for w in stage.words)


def test_the_first_dialogue_is_there_to_hear_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(stage: CommandStage) -> int:
        if stage.name == "test":
            return 1  # ends here
        finish(stage)
        if stage.name == "hear":
            pictures = stage.result.parent / "pictures"
            pictures.mkdir()
            for kind in ("png", "wav"):
                (pictures / f"data-00000000.{kind}").write_text(kind)
        return 0

    monkeypatch.setattr(stages, "run_stage", run)
    assert run_demo(DemoConfig(out=str(tmp_path))) == 1
    said = capsys.readouterr().out
    assert f"Listen  {tmp_path / 'hear.wav'}" in said
    assert f"Look    {tmp_path / 'hear.png'}" in said
    assert "microturn serve   and open http://127.0.0.1:8765" in said
    assert (tmp_path / "hear.wav").read_text() == "wav"


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("simulate=[seeds=1]", "words for `microturn simulate`: unknown key 'seeds'; did you"),
        ("train=[training/tiny.yaml,max_step=3]", "`microturn train`: unknown key 'max_step'; did"),
        ("evaluate=[nofile.yaml]", "`microturn evaluate`: no configuration file nofile.yaml"),
    ],
)
def test_words_of_later_stages_are_refused_before_the_first_runs(
    tmp_path: Path, ran: list[str], capsys: pytest.CaptureFixture[str], word: str, text: str
) -> None:
    assert main(["demo", word, f"out={tmp_path / 'demo'}"]) == 2
    assert text in capsys.readouterr().err
    assert not ran
    assert not (tmp_path / "demo").exists()
    assert main(["demo", "seed=-1"]) == 2
    assert "seed=-1 must be at least 0 and below 2**63" in capsys.readouterr().err


@pytest.mark.parametrize("rows", ["", "1,1\n1,1\n1,1\n", "1,x\n2,3\n3,4\n"])
def test_a_log_without_times_is_named(tmp_path: Path, rows: str) -> None:
    log = tmp_path / "metrics.csv"
    log.write_text(f"step,seconds\n{rows}")
    with pytest.raises(ValueError, match=r"metrics\.csv.*; delete it$"):
        demo_estimate.measured_step_s(log)


def test_no_dialogues_are_refused() -> None:
    with pytest.raises(ValueError, match="n_test=0 must be at least 1"):
        DemoConfig(n_test=0)


def test_the_report_shows_targets_beside_baselines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = tmp_path / "scores" / "pictures"
    pictures.mkdir(parents=True)
    write_scores(tmp_path / "scores", scores())
    for name, left in (
        ("people", people_scores()),
        ("shipped", scores(recall=0.96)),
        ("shipped-people", people_scores(unseen=0.5)),
    ):
        (tmp_path / name).mkdir()
        write_scores(tmp_path / name, left)
    for name in ("00000000.png", "00000001.png", "00000001.wav"):
        (pictures / name).write_text(name)
    demo_report.write_report(tmp_path, {"train": 90.0}, steps=1200)
    page = (tmp_path / "report.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| turn")]
    assert [cell.strip() for cell in rows[0].split("|")[1:-1]] == [
        *("turn: onset recall", "≥ 97.0 %", "98.0 %", "95.0 % to 99.0 %", "96.0 %", "0.0 %", ""),
    ]
    assert rows[1].split("|")[-2].strip() == "within interval"
    (unseen,) = (line for line in page.splitlines() if line.startswith("| unseen people"))
    assert [cell.strip() for cell in unseen.split("|")[1:-1]] == [
        *("unseen people: answered", "", "4.0 %", "-", "50.0 %", "0.0 %", ""),
    ]
    assert [cell.strip() for cell in rows[2].split("|")[1:-1]] == [
        *("turn latency", "≤ 0.45 s", "0.50 s", "0.46 s to 0.56 s", "0.50 s", "-", "off target"),
    ]
    verdict = (
        "After 1,200 steps the model reached 1 of 3 targets; off target, but within the interval: "
        "turn: onset recall 98.0 % (≥ 98.5 %); off target beyond the interval: turn latency 0.50 s "
        "(≤ 0.45 s)."
    )
    assert verdict in page
    assert "| train | 1.5 |" in page
    assert (tmp_path / "timeline.png").read_text() == "00000001.png"
    assert (tmp_path / "timeline.wav").read_text() == "00000001.wav"
    said = capsys.readouterr()
    assert "microturn serve" in said.out
    assert verdict in said.out
    assert said.err == ""


@pytest.mark.parametrize(
    ("value", "ci95", "met", "missed"),
    [
        (0.85, (0.80, 0.90), True, False),
        (0.84, (0.79, 0.85), False, False),
        (0.84, (0.79, 0.849), False, True),
        (0.84, None, False, True),  # without an interval the value decides
        (1.0, (0.9, 0.95), True, False),  # a value beyond its own interval
        (None, None, False, True),
    ],
)
def test_a_target_is_missed_only_beyond_its_interval(
    value: float | None, ci95: tuple[float, float] | None, met: bool, missed: bool
) -> None:
    mirrored = None if ci95 is None else (1.7 - ci95[1], 1.7 - ci95[0])
    at_least = check("answered", limit=0.85, value=value, ci95=ci95)
    at_most = check(
        "answered",
        limit=0.85,
        value=None if value is None else 1.7 - value,
        ci95=mirrored,
        at_least=False,
    )
    for one in (at_least, at_most):
        assert (one.met, one.missed) == (met, missed)
        assert TargetCheck.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_the_estimate_counts_what_is_left(
    tmp_path: Path, ran: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Half a second a step; the log's first step, which warms up, took nine more."""
    config = DemoConfig(out=str(tmp_path))
    run_demo(config)
    said = capsys.readouterr().out
    assert said.startswith("First you hear the checkpoint that ships.")
    assert "about 17 minutes on two idle cores of an AMD EPYC" in said
    assert "A step of training takes 0.50 s here: about 15 min from now" in said
    assert said.index("from now") < said.index("[5/11] simulate dialogues to train on")
    left = demo_estimate.expected_s(0.5, n_train=5000, n_test=160, steps=1400, trained=0)
    assert left == pytest.approx(
        {
            **{"train": 40.0, "checkpoint": 734.58, "scores": 48.0, "people": 14.4},
            **{"shipped": 48.0, "shipped-people": 14.4},
        },
        abs=0.01,
    )
    (tmp_path / "states").mkdir()
    (tmp_path / "states" / "step00001000.safetensors").touch()
    (tmp_path / "data" / "train" / "index.json").unlink()  # as after Ctrl-C
    (tmp_path / "checkpoint" / "model.safetensors").unlink()
    run_demo(config)
    assert "about 6 min from now" in capsys.readouterr().out
    run_demo(config)
    assert "from now" not in capsys.readouterr().out


def demo_command(out: Path) -> list[str]:
    return [sys.executable, "-m", "microturn.configs.main", "demo", f"out={out}", *SMALL]


@pytest.mark.slow
@pytest.mark.timeout(900)
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
    assert re.search(r"stopped by SIGINT; .*: .*microturn demo out=", said)
    assert "Traceback" not in said

    done = subprocess.run(command, capture_output=True, text=True, timeout=780)
    assert "stopped, because" not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr  # though two steps of training reach no target
    assert "After 2 steps the model reached" in done.stdout
    assert "off target beyond the interval: " in done.stdout
    assert "A step of training takes" in done.stdout
    for name in (
        *("report.md", "timeline.png", "timeline.wav", "checkpoint/model.safetensors"),
        *("hear.png", "hear.wav", "shipped/scores.json", "shipped-people/scores.json"),
        "streaming_validation/scores.jsonl",
    ):
        assert (tmp_path / "demo" / name).stat().st_size > 0, name
    again = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert again.stdout.count(": done") == 11
    assert again.returncode == done.returncode
