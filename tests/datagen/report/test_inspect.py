"""`microturn inspect` shows a set, draws a dialogue and finds what does not belong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from microturn.configs.main import main
from microturn.datagen.sets.shards import ShardReader


def test_the_card_is_shown(
    finished_set: ShardReader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "card.json"
    assert main(["inspect", str(finished_set.folder), f"json={target}"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("# 6 simulated dialogues, 1.6 minutes (train)")
    card = json.loads(target.read_text())
    assert card["sums"]["dialogues"] == 6
    latency = card["times_s"]["reply_latency"]
    assert latency["p10"] >= 0.2
    assert latency["max"] <= 0.4
    assert "CC-BY-SA-3.0" in card["counts"]["licences"]


def test_a_dialogue_becomes_a_picture_and_sound(
    finished_set: ShardReader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(finished_set.folder), "index=1", f"out={tmp_path}"]) == 0
    listed = capsys.readouterr().out.split()
    assert {Path(name).suffix for name in listed} == {".html", ".png", ".wav", ".json"}
    assert all(Path(name).is_file() for name in listed)
    with Image.open(tmp_path / "dialogue-00000001.png") as picture:
        assert picture.width > 1500
        assert np.asarray(picture.convert("L")).std() > 10
    sample = finished_set[1]
    user, _ = soundfile.read(tmp_path / "dialogue-00000001.user.wav", dtype="float32")
    both, _ = soundfile.read(tmp_path / "dialogue-00000001.mix.wav", dtype="float32")
    np.testing.assert_array_equal(user, sample.user())
    np.testing.assert_array_equal(both[:, 1], sample.agent())
    echo, _ = soundfile.read(tmp_path / "dialogue-00000001.stem_echo.wav", dtype="float32")
    np.testing.assert_array_equal(echo, sample.stem("echo"))


def test_a_dialogue_that_is_not_there_is_named(
    finished_set: ShardReader, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(finished_set.folder), "index=77"]) == 1
    assert "has 6 dialogues, 0 to 5" in capsys.readouterr().err


def test_a_good_set_passes_the_check(
    finished_set: ShardReader, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(finished_set.folder), "--check"]) == 0
    out = capsys.readouterr().out
    assert "6 dialogues, nothing wrong; human timing is disabled" in out
    assert "Human timing is disabled" in (finished_set.folder / "card.md").read_text()
    for name in ("card-timing.png", "card-channel.png"):
        with Image.open(finished_set.folder / name) as picture:
            assert np.asarray(picture.convert("L")).std() > 10


def test_a_changed_label_is_found(
    finished_set: ShardReader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(finished_set.folder, tmp_path / "set"))
    shard = copy / "shard-000000.tar"
    stored = shard.read_bytes()
    assert b'"act":"respond"' in stored
    shard.write_bytes(_swap_first_answer(stored))
    assert main(["inspect", str(copy), "--check"]) == 1
    out = capsys.readouterr().out
    assert "the digest is not that of index.json" in out
    assert "the agent says" in out


def _swap_first_answer(stored: bytes) -> bytes:
    """The expected text of the first answer spelt backwards: same length, wrong content."""
    marker = b'"act":"respond","text":"'
    start = stored.index(marker) + len(marker)
    end = stored.index(b'"', start)
    return stored[:start] + stored[start:end][::-1] + stored[end:]
