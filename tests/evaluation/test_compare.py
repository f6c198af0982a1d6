"""Paired comparison of two evaluations."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from microturn.configs.main import main
from microturn.evaluation.compare import differences, holm
from microturn.evaluation.suites.suite import Measured, Observations, Suite
from support.hand_made import HandMadeDialogue, WriteSet


def measure(dialogues: Sequence[Observations]) -> Measured:
    values = [facts["hit"] for facts in dialogues if facts["hit"] is not None]
    return {"share": sum(values) / len(values) if values else None, "never": None}


SUITE = Suite(
    name="made_up",
    asks="",
    headline="share",
    title_note="",
    observe=lambda scene: {},
    measure=measure,
    n_dialogues=8,
    meanings={"share": "hits", "never": "nothing"},
)


def observations(hits: Sequence[float | None]) -> dict[str, Observations]:
    return {f"{i:08d}": {"hit": hit} for i, hit in enumerate(hits)}


def compared(first: Sequence[float | None], second: Sequence[float | None]) -> Any:
    return holm(differences(SUITE, observations(first), observations(second), seed=0, n=500))[0]


def test_a_constant_difference_in_every_dialogue_is_significant() -> None:
    # Dialogues differ much from one another, both agents little: only pairing can tell.
    hard = [i / 40 for i in range(40)]
    found = compared(hard, [value + 0.01 for value in hard])
    assert found.difference == pytest.approx(0.01)
    assert found.significant
    assert found.ci95 == pytest.approx((0.01, 0.01), abs=0.002)


def test_the_same_is_no_difference() -> None:
    found = compared([0.0, 1.0] * 10, [0.0, 1.0] * 10)
    assert found.difference == 0
    assert found.p == 1.0
    assert not found.significant


def test_chance_is_not_significant() -> None:
    found = compared([0.0, 1.0, 1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 1.0, 0.0, 0.0, 1.0])
    assert not found.significant


def test_few_dialogues_and_unmeasured_metrics_have_no_p_value() -> None:
    found = differences(SUITE, observations([0.0, 0.0]), observations([1.0, 1.0]), seed=0, n=200)
    assert [one.p for one in found] == [None, None]
    assert found[1].difference is None


def test_many_comparisons_need_more() -> None:
    from dataclasses import replace

    lone = replace(compared([0.0] * 5, [0.0] * 5), p=0.03)
    assert holm([lone])[0].significant
    crowd = [lone, *(replace(lone, p=0.5) for _ in range(9))]
    assert not any(one.significant for one in holm(crowd))


def test_folders_without_an_evaluation_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(tmp_path), str(tmp_path)]) == 1
    assert f"{tmp_path} holds no observations.jsonl" in capsys.readouterr().err


def test_other_dialogues_are_refused(
    tmp_path: Path,
    families: list[HandMadeDialogue],
    write_set: WriteSet,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, scripts in (("a", families[:1]), ("b", families[1:2])):
        folder = write_set(tmp_path / f"set-{name}", scripts)
        words = [f"data={folder}", f"out={tmp_path / name}", "baseline=oracle", "n_pictures=0"]
        assert main(["evaluate", *words]) == 0
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    assert "played other dialogues of turn" in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "a"), "agent=loud"]) == 1
    assert "agent='loud' is not in" in capsys.readouterr().err
