"""Examples for the page: chosen from test dialogues, and served by the server."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from microturn.configs.main import main
from microturn.datagen.sets.shards import ShardReader
from microturn.evaluation.examples import MAX_TITLE, chosen, title_of
from microturn.inference.serve.about import about_checkpoint
from microturn.model.checkpoint import random_checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def test_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "test"
    words = ["n_dialogues=6", "n_micro_turns=40", "workers=1", "rooms.n_rooms=1", "split=test"]
    assert main(["simulate", "datagen/demo.yaml", f"out={folder}", *words]) == 0
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    made = random_checkpoint(0)
    save_checkpoint(tmp_path / "run" / "checkpoint", made.model, made.tokenizer)
    return tmp_path / "run" / "checkpoint"


def test_a_checkpoint_gets_examples_of_every_kind_that_its_page_can_play(
    test_set: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["examples", str(test_set), f"checkpoint={checkpoint}", "n=3"]) == 0
    assert "has 3 examples; `microturn serve checkpoint=" in capsys.readouterr().out
    examples = about_checkpoint(checkpoint).examples
    assert len(examples) == 3
    reader = ShardReader(test_set)
    by_name = {f"{dialogue.index:08d}.opus": dialogue for dialogue in reader}
    for example in examples:
        dialogue = by_name[example.file]
        sound, rate = soundfile.read(checkpoint / "examples" / example.file, dtype="float32")
        assert rate == reader.layout.sample_rate
        user = dialogue.user()
        assert len(sound) == len(user)
        error = np.square(sound - user).sum() / np.square(user).sum()
        assert error < 0.02, "Opus keeps the sound at its place"
        assert example.title == title_of(dialogue.labels) != ""
        assert example.seconds == pytest.approx(len(sound) / rate, abs=0.01)
    # Again, with fewer: those of before are gone.
    assert main(["examples", str(test_set), f"checkpoint={checkpoint.parent}", "n=1"]) == 0
    assert len(list((checkpoint / "examples").glob("*.opus"))) == 1


def test_each_example_adds_kinds_as_long_as_there_are_new_ones(test_set: Path) -> None:
    reader = ShardReader(test_set)
    seen: set[str] = set()
    news = []
    for dialogue in chosen(reader, len(reader)):
        kinds = {event.type for event in dialogue.labels.events}
        news.append(len(kinds - seen))
        seen |= kinds
    assert news[0] > 0
    assert news == sorted(news, reverse=True)


def test_a_long_title_is_cut(test_set: Path) -> None:
    labels = next(iter(chosen(ShardReader(test_set), 1))).labels
    event = next(e for e in labels.events if e.speaker == "user" and e.text)
    long = replace(labels, events=(replace(event, text="number five " * 20),))
    assert len(title_of(long)) == MAX_TITLE
    assert title_of(long).endswith("…")
    assert title_of(replace(labels, events=())) == ""


def test_dialogues_of_the_training_side_are_no_examples(
    test_set: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = tmp_path / "set"
    trained.mkdir()
    for path in test_set.iterdir():
        (trained / path.name).write_bytes(path.read_bytes())
    index = json.loads((trained / "index.json").read_text())
    (trained / "index.json").write_text(json.dumps({**index, "split": "train"}))
    assert main(["examples", str(trained), f"checkpoint={checkpoint}"]) == 1
    assert "examples have to be new to the model" in capsys.readouterr().err
    assert not (checkpoint / "examples").exists()
