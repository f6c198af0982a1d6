"""Ablations: fair by construction, made once, made again when what they were made from changes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from microturn.configs.load import load_config
from microturn.configs.main import main
from microturn.datagen.config import DatagenConfig
from microturn.evaluation import ablations
from microturn.evaluation.ablations import AblationConfig, AblationPlan, Step, Variant
from microturn.evaluation.stages import CommandStage
from microturn.model.model import InteractionModel
from microturn.training.config import TrainingConfig

TINY = load_config(AblationConfig, ["ablations/tiny.yaml"], ["out=ab"])
TRAINED = [name for name, variant in TINY.variants.items() if not variant.checkpoint_of]


def words_of(name: str, command: str) -> list[str]:
    steps = [s.stage for s in AblationPlan(config=TINY).steps(name)]
    return [word for s in steps if s.name == command for word in s.words[1:]]


def value(words: list[str], key: str) -> str:
    (found,) = [word.partition("=")[2] for word in words if word.startswith(f"{key}=")]
    return found


def test_all_variants_have_the_same_steps_seeds_and_dialogues() -> None:
    for name in TINY.variants:
        train, test = (s.stage.words for s in list(AblationPlan(config=TINY).steps(name))[:2])
        assert value(train, "n_dialogues") == str(TINY.n_train)
        assert (value(train, "seed"), value(test, "seed")) == ("0", "1")
        assert (value(train, "split"), value(test, "split")) == ("train", "test")
        assert value(words_of(name, "train"), "max_steps") == str(TINY.steps)
        assert value(words_of(name, "train"), "seed") == "0"


def test_a_row_may_have_fewer_dialogues_and_a_test_words_of_its_own() -> None:
    config = load_config(AblationConfig, ["ablations/people.yaml"], ["out=ab"])
    plan = AblationPlan(config=config)
    sets = {}
    for name in config.variants:
        train, test = (step.stage.words for step in list(plan.steps(name))[:2])
        sets[name] = value(train, "out"), value(train, "n_dialogues"), value(test, "n_dialogues")
        assert "voices.people=unseen" in test
        assert "voices.people=unseen" not in train
    n_test = str(config.n_test)
    assert sets["width-96"] == sets["base"] == (sets["base"][0], str(config.n_train), n_test)
    assert sets["hours-5"][1:] == ("1200", n_test)
    assert len({folder for folder, *_ in sets.values()}) == 4


def test_sets_and_checkpoints_are_shared_where_they_are_the_same() -> None:
    assert words_of("base", "simulate") == words_of("dense", "simulate")
    assert words_of("flow-1", "train") == words_of("base", "train")
    assert words_of("flow-1", "evaluate") != words_of("base", "evaluate")
    folders = {value(words_of(name, "train"), "data") for name in TINY.variants}
    assert len(folders) == len({tuple(v.simulate) for v in TINY.variants.values()})


@pytest.mark.parametrize("name", TRAINED)
def test_variants_differ_in_what_their_row_says(name: str) -> None:
    """Equal seconds of dialogue and reach in seconds; dense: equal active parameters."""
    sizes = {}
    for which in ("base", name):
        simulated = words_of(which, "simulate")[1:]  # those after the file, of both sets
        words = [word for word in simulated if "=" in word and not word.startswith("out=")]
        data = load_config(DatagenConfig, ["datagen/demo.yaml"], ["out=x", *words])
        trained = [word for word in words_of(which, "train")[1:] if "=" in word]
        cfg = load_config(TrainingConfig, ["training/tiny.yaml"], trained)
        with torch.device("meta"):
            model = InteractionModel(cfg.model, data.layout, 500)
        seconds = data.layout.micro_turn_s
        sizes[which] = (
            model.describe()["parameters_active"],
            data.n_micro_turns * seconds,
            cfg.model.window * seconds,
        )
    (active, *times), (base_active, *base_times) = sizes[name], sizes["base"]
    assert times == base_times
    if name == "dense":
        assert isinstance(active, int)
        assert isinstance(base_active, int)
        assert abs(active / base_active - 1) < 0.01


def step_of(folder: Path, word: str = "a") -> Step:
    stage = CommandStage(
        name="train", title="train", words=["train", word], result=folder / "result"
    )
    return Step(stage=stage, needs=(folder / "input",))


def test_a_step_is_done_until_its_words_its_input_or_its_result_change(tmp_path: Path) -> None:
    (tmp_path / "input").write_text("1")
    (tmp_path / "result").write_text("done")
    step = step_of(tmp_path)
    assert step.done() is None
    step.note.write_text(json.dumps({**step.mark, "seconds": 3.0}))
    note = step.done()
    assert note is not None
    assert note["seconds"] == 3.0
    assert step_of(tmp_path, "b").done() is None
    (tmp_path / "input").write_text("2")
    assert step.done() is None
    (tmp_path / "input").write_text("1")
    assert step.done() == note
    (tmp_path / "result").unlink()
    assert step.done() is None


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ({}, "no variants"),
        ({"a": Variant(checkpoint_of="b")}, "variants.a.checkpoint_of=b"),
        ({"a": Variant(), "b": Variant(checkpoint_of="a", train=["x=1"])}, "variants.b has a"),
        ({"a": Variant(model={"flow.steps": 1})}, "variants.a.model needs checkpoint_of"),
    ],
)
def test_wrong_variants_are_one_sentence(variants: dict[str, Variant], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AblationConfig(variants=variants)


def test_unknown_names_are_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablate", "ablations/tiny.yaml", "only=[dens]"]) == 2
    assert "only has 'dens'" in capsys.readouterr().err


def test_a_step_that_fails_ends_the_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["ablate", "ablations/smoke.yaml", f"out={tmp_path}", "simulate=[no-such-word]"]
    assert main(words) == 2
    assert "`simulate` ended with exit code 2" in capfd.readouterr().err
    assert not (tmp_path / "table.md").exists()


def test_table_shows_shares_with_intervals_and_how_many() -> None:
    metric = {"value": 0.875, "n": 16, "ci95": [0.7, 1.0]}
    nothing = {"value": None, "n": 0, "ci95": None}
    row = {
        "says": "base",
        "positions_per_second": 25.0,
        "parameters_total": 4_000_000,
        "parameters_active": 3_000_000,
        "training_cpu_seconds": 260.4,
        "test": "Shared with training: nothing.",
        "metrics": {f"{s}.{m}": metric for s, m, _ in ablations.COLUMNS[:-1]} | {"x.y": nothing},
    }
    base = Variant(says="base")
    config = replace(TINY, variants={"base": base, "too": base})
    lines = ablations.table({"base": row, "too": row}, config).splitlines()
    assert lines.count("Shared with training: nothing.") == 1
    last = lines[-1]
    assert "| 25 | 4.00 M | 3.00 M | 260 | 87.5 [70, 100] n=16 |" in last
    assert last.endswith("| - |")


@pytest.mark.slow
@pytest.mark.timeout(1200)  # processes of their own, on a machine that may be busy
def test_ablations_run_from_simulation_to_table(tmp_path: Path) -> None:
    """`pytest -m slow tests/evaluation/test_ablations.py`: a minute and a half of one core."""
    words = ["ablate", "ablations/smoke.yaml", f"out={tmp_path}"]
    assert main(words) == 0
    rows = json.loads((tmp_path / "table.json").read_text())
    assert list(rows) == ["base", "flow-1", "no-heard"]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
