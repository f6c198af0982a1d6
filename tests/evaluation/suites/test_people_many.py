"""Many people: who asks, what each kind of request counts, and what the set needs."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from microturn.configs.main import main
from microturn.datagen.config import VoicesConfig
from microturn.datagen.corpora.home import corpora_home
from microturn.datagen.simulate import simulate
from microturn.evaluation.agents.panel import of_concern
from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.evaluation.scoring.dialogue_set import DialogueSet, HeldOutDialogue
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.conditions.needed_people import listed_people, require_people
from microturn.evaluation.suites.conditions.people_many import SUITE, kind_of, measure, observe
from microturn.evaluation.suites.held_out import held_out_config, held_out_set
from microturn.evaluation.suites.registry import MODULES, known_suites, load_suite
from support.hand_made import HandMadeDialogue
from support.panel import played_by_all


def turns(*kinds_and_good: tuple[str, bool]) -> dict[str, Any]:
    rows = [
        {"kind": kind, "right": good, "timely": good, "clean": good}
        for kind, good in kinds_and_good
    ]
    return {"turns": rows, "said": 0, "errors": 0}


def test_kinds_are_told_by_the_word() -> None:
    words = ("zero", "ten", "h", "w", "hello", "goodbye")
    assert [kind_of(word) for word in words] == [
        *["digits"] * 2,
        *["letters"] * 2,
        *["greetings"] * 2,
    ]


def test_each_kind_has_a_row_and_saying_everything_again_no_credit() -> None:
    got = measure(
        [
            turns(("digits", True), ("digits", True), ("letters", False)),
            turns(("digits", False), ("greetings", True)),
        ]
    )
    assert got["many_people"] == pytest.approx(3 / 5)
    assert got["many_people_digits"] == pytest.approx(2 / 3)
    assert got["many_people_letters"] == 0.0
    assert got["many_people_greetings"] == 1.0
    assert got["credit"] == 0.0  # nothing of letters, 3 of 4 others
    both = measure([turns(("digits", True), ("letters", True), ("letters", False))])
    assert both["credit"] == pytest.approx(0.5)
    assert measure([turns(("digits", True))])["credit"] is None


@pytest.mark.parametrize(
    ("heard", "rate"), [(("hello",), 0.0), (("hello", "hello"), 1.0), ((), 1.0), (None, None)]
)
def test_what_it_heard_counts_by_words(
    script: HandMadeDialogue, heard: Sequence[str] | None, rate: float | None
) -> None:
    script.user.append(SpokenWord(text="hello", start_s=1.0, end_s=1.7))
    script.turn(1.0, 1.7, "hello")
    scene: ScoredDialogue = script.scene(script.perform())
    words = (
        None
        if heard is None
        else tuple(SpokenWord(text=text, start_s=1.7, end_s=1.9) for text in heard)
    )
    scene = ScoredDialogue(scene.dialogue, replace(scene.trace, heard=words), scene.windows)
    assert measure([observe(scene)])["heard_word_error_rate"] == rate


@pytest.fixture(scope="module")
def of_the_package(tmp_path_factory: pytest.TempPathFactory) -> list[HeldOutDialogue]:
    """Dialogues of its configuration with the people of the corpus that ships alone."""
    cache = tmp_path_factory.mktemp("many")
    config = held_out_config(SUITE, n_dialogues=20)
    config = replace(config, corpus="", out=str(cache / "set"), workers=1, executor="serial")
    simulate(config, cache=cache)
    return list(DialogueSet.open(config.out).read())


def test_only_unseen_people_ask(of_the_package: list[HeldOutDialogue]) -> None:
    users = [sample.dialogue.users for sample in of_the_package]
    assert all(len(one) == 1 for one in users)
    assert set().union(*users) <= set(VoicesConfig().unseen) & set(listed_people(SUITE))
    kinds = {
        kind_of(event.text) for one in of_the_package for event in one.dialogue.of_type("turn")
    }
    assert kinds == {"digits", "letters", "greetings"}


def test_the_panel_stays_below_the_line(of_the_package: list[HeldOutDialogue]) -> None:
    found = {}
    for member, scenes in played_by_all(of_the_package):
        got = measure([observe(scene) for scene in scenes])
        if member == "oracle":
            assert got["credit"] == got["many_people"] == 1.0
        elif of_concern(member, SUITE.name) and (got["credit"] or 0.0) >= SUITE.floor:
            found[member] = got["credit"]
    assert not found


def test_it_is_played_only_when_it_is_named() -> None:
    assert SUITE.name in known_suites()
    assert SUITE.name not in MODULES
    assert load_suite(SUITE.name).people == SUITE.people


def test_a_corpus_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "nothing"))
    words = ["suites=[people_many]", "baseline=silent", f"out={tmp_path / 'out'}"]
    assert main(["evaluate", *words, f"cache={tmp_path / 'cache'}"]) == 1
    assert (
        "suite people_many needs the corpus 'commands', which is not on this machine; add it with "
        "`microturn corpus add FOLDER_OR_TAR name=commands` (docs/suites.md)"
    ) in capsys.readouterr().err


def test_a_corpus_with_other_people_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for name in ("commands", "an4", "speechocean762", "dspspeech20", "wuw2"):
        add_corpus(tmp_path / name, name)
    assert corpora_home().is_dir()
    with pytest.raises(
        ValueError,
        match=r"the corpus 'commands' of this machine holds out other "
        r"people than configs/evaluation/suites/people_many.txt lists, without commands-0fa1e7a9, "
        r"commands-2aa787cf, commands-37dca74f and 12 more and also with commands-ann; add the "
        r"version that docs/suites.md names with `microturn corpus add FOLDER_OR_TAR name=comm",
    ):
        held_out_set(SUITE, tmp_path / "cache", n_dialogues=4, workers=1)


def test_a_list_that_fits_is_accepted(tmp_path: Path) -> None:
    shipped = [name for name in listed_people(SUITE) if "-" not in name]
    config = replace(held_out_config(SUITE), corpus="default")
    with pytest.raises(ValueError, match="the corpus 'default' of this machine .* without an4-"):
        require_people(SUITE, config)
    path = tmp_path / "own.txt"
    path.write_text("# those of the package\n" + "\n".join(shipped) + "\n")
    require_people(replace(SUITE, people=str(path)), config)


def add_corpus(folder: Path, name: str) -> None:
    """Add a corpus of one held-out person, who says "seven"."""
    folder.mkdir()
    tone = 0.3 * np.sin(np.arange(8000) * 0.3)
    buffer = io.BytesIO()
    sf.write(buffer, tone, 16_000, format="FLAC")
    (folder / "clip.flac").write_bytes(buffer.getvalue())
    row = {
        **{"file": "clip.flac", "speaker": "ann", "text": "seven", "licence": "CC0-1.0"},
        **{"words": [["seven", 0.1, 0.4]], "split": "test"},
    }
    (folder / "manifest.jsonl").write_text(json.dumps(row) + "\n")
    assert main(["corpus", "add", str(folder), f"name={name}"]) == 0
