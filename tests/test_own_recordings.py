"""Every command of docs/own_recordings.md, in its order, at small size."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from microturn.configs.main import main
from tests.support.own_recordings import SPEAKERS, write_recordings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "own_recordings.md"
SMALL = {
    "corpus": ["workers=1"],
    "simulate": ["n_dialogues=3", "n_micro_turns=40", "workers=1", "rooms.n_rooms=1"],
    "inspect": [],
    "train": [
        *("training/smoke.yaml", "max_steps=3", "threads=1", "accelerator=cpu"),
        *("validate.every_steps=2", "validate.n_dialogues=2"),
    ],
    "evaluate": ["quick=true", "n_pictures=0"],
}


def commands() -> list[list[str]]:
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S)
    return [shlex.split(line)[1:] for block in blocks for line in block.splitlines()]


def small(words: list[str]) -> list[str]:
    return [word for word in words if word != "training/tiny.yaml"] + SMALL[words[0]]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_page_runs_from_recordings_to_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert write_recordings(tmp_path / "recordings", 4) > 0.2
    demo = ["simulate", "datagen/demo.yaml", "out=runs/demo/data/train"]
    assert main(small(demo)) == 0
    assert main(small(["train", "data=runs/demo/data/train", "out=runs/demo"])) == 0
    for words in commands():
        assert main(small(words)) == 0, words
    corpus = json.loads((tmp_path / "corpora/mine/corpus.json").read_text())
    assert corpus["recordings"] == 4 * len(SPEAKERS)
    assert (tmp_path / "runs/own/states/step00000003.safetensors").is_file()
    lines = (tmp_path / "runs/own/validation.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["step"] for row in rows] == [2, 3]
    assert all(row["validate/own_heard/loss"] > 0 for row in rows)
    assert (tmp_path / "runs/own/best/model.safetensors").is_file()
    assert (tmp_path / "runs/own/streaming_validation/scores.jsonl").is_file()
    assert (tmp_path / "runs/own-scores/scores.json").is_file()
