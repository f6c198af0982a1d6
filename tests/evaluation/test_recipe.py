"""Recipes: what runs, what is skipped, refused and done again, and how one stops and goes on."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path

import pytest

from microturn.configs.load import CONFIG_DIR, ConfigError, load_config, shipped_configs
from microturn.configs.main import main
from microturn.configs.signals import Interrupted
from microturn.evaluation import stages as stages_module
from microturn.evaluation.recipe import RecipeConfig, run_recipe, stages_of
from microturn.evaluation.stages import CommandStage

STAGES = """
stages:
  a: {command: "ship x out={out}/a", result: "{out}/a/index.json"}
  b: {command: "ship y out={out}/b", result: "{out}/b/index.json", after: []}
  c:
    says: train on both
    command: demo FILE train=[{out}/a,{out}/b] out={out}/c
    result: "{out}/c/checkpoint/model.safetensors"
  d: {command: "ship z out={out}/d", result: "{out}/d/scores.json", after: [b]}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "c.yaml").write_text("max_steps: 3\n")
    path = tmp_path / "own.yaml"
    path.write_text(STAGES.replace("FILE", str(tmp_path / "c.yaml")))
    return path


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stages that ran, in order, each of which leaves its result."""
    names: list[str] = []

    def run(stage: CommandStage) -> int:
        names.append(stage.name)
        stage.result.parent.mkdir(parents=True, exist_ok=True)
        stage.result.write_text("done")
        return 0

    monkeypatch.setattr(stages_module, "run_stage", run)
    return names


def run(file: Path, *words: str) -> int:
    out = file.parent / "out"
    return run_recipe(load_config(RecipeConfig, [file], [f"out={out}", *words]))


def test_finished_stages_are_skipped_and_their_minutes_shown(
    file: Path, ran: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(file) == 0
    assert ran == ["a", "b", "c", "d"]
    said = capsys.readouterr().out
    assert f"[3/4] c: train on both\n$ microturn demo {file.parent / 'c.yaml'} 'train=[" in said
    assert re.findall(r"^\| (.*?) *\| +([\d.]+) \|$", said, re.M) == [
        *(("a", "0.0"), ("b", "0.0"), ("c: train on both", "0.0"), ("d", "0.0"), ("all", "0.0")),
    ]
    ran.clear()
    assert run(file) == 0
    assert ran == []
    (file.parent / "out" / "b" / "index.json").unlink()
    assert run(file) == 0
    assert ran == ["b"]


@pytest.mark.parametrize(
    ("word", "refusal", "again"),
    [
        ("stages.a.command=ship w out={out}/a", "'a' was finished with other words", "ac"),
        ("stages.b.command=ship w out={out}/b", "'b' was finished with other", "bcd"),
        ("stages.b=null", "'c' was finished with another stage b than it has now; redo=c", ""),
        ("stages.c.after=[b]", "'c' was finished with another stage a than it has now", "c"),
        ("max_steps: 4", "'c' was finished with another .*c.yaml than it has now; redo=c", "c"),
    ],
)
def test_a_changed_stage_is_refused_or_redone(
    file: Path, ran: list[str], word: str, refusal: str, again: str
) -> None:
    run(file)
    ran.clear()
    words = [word]
    if word.startswith("max_steps"):
        (file.parent / "c.yaml").write_text(word)
        words = []
    if word == "stages.b=null":
        words.append("stages.d.after=[]")
    with pytest.raises(ConfigError, match=refusal):
        run(file, *words)
    assert ran == []
    if again:
        assert run(file, *words, f"redo={again[0]}") == 0
        assert ran == list(again)
        assert run(file, *words) == 0
        assert ran == list(again)


def test_comments_of_a_file_change_nothing(file: Path, ran: list[str]) -> None:
    run(file)
    (file.parent / "c.yaml").write_text("# three\nmax_steps:   3\n")
    assert run(file) == 0
    assert ran == ["a", "b", "c", "d"]


def test_redoing_removes_folders_of_the_recipe_and_no_other(file: Path, ran: list[str]) -> None:
    run(file)
    out = file.parent / "out"
    kept, state = out / "a" / "index.json", out / "c" / "states" / "step1"
    state.parent.mkdir()
    state.touch()
    outside = file.parent / "outside" / "index.json"
    outside.parent.mkdir()
    (outside.parent / "own").touch()
    words = [f"stages.b.command=ship y out={outside.parent}", f"stages.b.result={outside}"]
    # One that writes into the folder of a stage that stays loses its result alone.
    words += ["stages.d.command=ship z out={out}/a", "stages.d.result={out}/a/scores.json"]
    (out / "a" / "scores.json").touch()
    assert run(file, *words, "redo=b") == 0
    assert ran[4:] == ["b", "c", "d"]
    assert not state.exists()
    assert (outside.parent / "own").exists()
    assert kept.exists()
    assert (out / "a" / "scores.json").read_text() == "done"


@pytest.mark.parametrize(
    ("code", "exit_code", "text"),
    [
        (1, 1, "`ship` ended with exit code 1"),
        (2, 2, "`ship` ended with exit code 2"),
        (0, 1, r"`ship` left no result \S*index.json"),
        (-9, 1, "`ship` was ended by SIGKILL"),
    ],
)
def test_a_failed_stage_stops_the_recipe_and_may_change(
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code: int,
    exit_code: int,
    text: str,
) -> None:
    monkeypatch.setattr(stages_module, "run_stage", lambda stage: code)
    assert run(file) == exit_code
    said = capsys.readouterr().err
    assert re.search(f"microturn recipe: stopped, because {text}; what is finished stays", said)
    # The words of a stage that failed were wrong, maybe: others need no redo.
    assert run(file, "stages.a.command=ship w out={out}/a") == exit_code


def test_seconds_of_an_interrupted_stage_go_on(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 60.0, 100.0, 130.0, *([200.0] * 20)])
    monkeypatch.setattr(stages_module.time, "monotonic", lambda: next(clock))

    def stop(stage: CommandStage) -> int:
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(stages_module, "run_stage", stop)
    with pytest.raises(KeyboardInterrupt):
        run(file)
    ledger = file.parent / "out" / "stages.json"
    row = json.loads(ledger.read_text())["a"]
    assert (row["seconds"], row["code"]) == (60.0, None)

    def finish(stage: CommandStage) -> int:
        stage.result.parent.mkdir(parents=True, exist_ok=True)
        stage.result.touch()
        return 0

    monkeypatch.setattr(stages_module, "run_stage", finish)
    assert run(file) == 0
    row = json.loads(ledger.read_text())["a"]
    assert (row["seconds"], row["code"]) == (90.0, 0)


def test_the_line_that_continues_redoes_nothing(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(stage: CommandStage) -> int:
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(stages_module, "run_stage", stop)
    out = file.parent / "out"
    assert main(["recipe", str(file), f"out={out}", "redo=b"]) == 128 + signal.SIGTERM
    said = capsys.readouterr().err
    assert "stopped by SIGTERM; 0 of 4 stages are finished in" in said
    assert said.rstrip().endswith(f"continue with: microturn recipe {file} out={out}")


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("out: x", "no stages are given; take a file such as recipes/ship.yaml"),
        ("stages: {a: {comand: x}}", "unknown key 'stages.a.comand'; did you mean"),
        ("stages: {a: x}", "stages.a must be keys with values, not 'x'"),
        (
            "stages: {a: {command: trian x, result: y}}",
            "stages.a.command: unknown command 'trian'; did you mean 'train'?",
        ),
        (
            "stages: {a: {command: demo max_step=2, result: y}}",
            "stages.a.command: unknown key 'max_step'; did you mean 'max_steps'?",
        ),
        (
            "stages: {a: {command: demo n_test=0, result: y}}",
            "stages.a.command: n_test=0 must be at least 1",
        ),
        (
            "stages: {a: {command: train out=x, result: y}}",
            "stages.a.command: data is missing; give data=VALUE",
        ),
        (
            "stages: {a: {command: simulate demo.yaml out=x, result: y}}",
            "stages.a.command: no configuration file demo.yaml in configs/ nor here; did you mean "
            "'datagen/demo.yaml'?",
        ),
        (
            "stages: {a: {command: 'demo out=\"x', result: y}}",
            "stages.a.command cannot be read (No closing quotation)",
        ),
        (
            "stages: {a: {command: demo}}",
            "stages.a.result is missing; name a file that the command leaves, such as "
            "'{out}/a/index.json'",
        ),
        (
            "stages: {a: {command: demo, result: y}, b: {command: demo, result: z, after: [c]}}",
            "stages.b.after has 'c', which is no stage before it; there are a",
        ),
        (
            "stages:\n  a: {command: demo, result: y}\n  a: {command: demo, result: y}",
            "line 3: found duplicate key a",
        ),
        ("{stages: {a: {command: demo, result: y}}, redo: [b]}", "redo has 'b'; the stages are a"),
    ],
)
def test_a_wrong_file_is_refused_by_file_stage_and_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, refusal: str
) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    assert main(["recipe", str(file), f"out={tmp_path / 'out'}"]) == 2
    assert f"microturn recipe: {file}: {refusal}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", shipped_configs("recipes"), ids=lambda path: path.name)
def test_stages_that_ship_read_only_what_they_say(path: Path) -> None:
    """A stage that names another's folder but does not come after it would miss its changes."""
    config = load_config(RecipeConfig, [path.relative_to(CONFIG_DIR)], ["out=runs/OUT"])
    stages = {stage.name: stage for stage in stages_of(config)}
    for stage in stages.values():
        assert str(stage.result).startswith("runs/")
        for other in takewhile(stage.__ne__, stages.values()):
            folder = next((w[4:] for w in other.words if w.startswith("out=")), None)
            read = [w for w in stage.words if not w.startswith("out=")]
            if folder and any(re.search(rf"{folder}(?![\w-])", word) for word in read):
                assert f"stage {other.name}" in stage.inputs, f"{stage.name}: after {other.name}"


def test_a_recipe_stops_on_sigterm_and_goes_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The real thing: stopped between the two shards of its set, then finished, then skipped."""
    out = tmp_path / "out"
    words = ["recipe", "recipes/smoke.yaml", f"out={out}", "stages.scores=null"]
    command = [sys.executable, "-m", "microturn.configs.main", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: process.poll() is not None or has_shard(out / "set"))
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "Traceback" not in said
    assert "microturn simulate: stopped by SIGTERM" in said
    assert "microturn recipe: stopped by SIGTERM; 0 of 2 stages are finished" in said
    assert said.rstrip().endswith(f"recipes/smoke.yaml out={out} stages.scores=null")

    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "| train: train on them" in done.stdout
    assert (out / "train" / "checkpoint" / "model.safetensors").is_file()
    assert len(json.loads((out / "set" / "index.json").read_text())["shards"]) == 2
    rows = json.loads((out / "stages.json").read_text())
    assert [row["code"] for row in rows.values()] == [0, 0]
    assert main(words) == 0
    assert capfd.readouterr().out.count(": done") == 2


def test_a_stage_ends_with_its_recipe(tmp_path: Path) -> None:
    """One that is killed can pass nothing on, and two trainings must not share a folder."""
    out, errors = tmp_path / "out", tmp_path / "errors"
    simulate = "simulate datagen/smoke.yaml workers=1 rooms.n_rooms=1 n_dialogues=100000"
    words = [f"out={out}", f"stages.set.command={simulate} out={{out}}/set"]
    command = [sys.executable, "-m", "microturn.configs.main", "recipe", "recipes/smoke.yaml"]
    with errors.open("w") as file, subprocess.Popen([*command, *words], stderr=file) as process:
        wait_for(lambda: process.poll() is not None or has_shard(out / "set"))
        process.kill()
    wait_for(lambda: "microturn simulate: stopped by SIGTERM" in errors.read_text())
    assert re.search(r"shards are finished in .*; continue with: ", errors.read_text())
    assert "Traceback" not in errors.read_text()


def has_shard(folder: Path) -> bool:
    return any((folder / ".progress").glob("shard-*.json"))


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)
