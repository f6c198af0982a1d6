"""`microturn ship`: a checkpoint small, with card and digests; and `shipped` as a name of one."""

from __future__ import annotations

import json
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from microturn.configs.main import main
from microturn.configs.reading import lines_of
from microturn.evaluation.config import EvaluateConfig
from microturn.evaluation.evaluate import with_agent
from microturn.evaluation.scoring.dialogue_set import checkpoint_digest
from microturn.evaluation.ship import MAX_LISTED, MAX_WEIGHTS_BYTES, sampled
from microturn.inference.config import ServeConfig, TalkConfig
from microturn.inference.serve.about import about_checkpoint
from microturn.model import config as model_config
from microturn.model.card import CARD, _heard, digest_of
from microturn.model.checkpoint import load_checkpoint, random_checkpoint, save_checkpoint
from microturn.model.checkpoint_files import CONTENTS, DIGESTS, StoredCheckpoint
from microturn.model.checkpoint_place import find_checkpoint
from microturn.model.config import SHIPPED_FOLDER
from microturn.model.model import InteractionModel
from microturn.model.stored.weights import WEIGHTS, read_whole

HEARD = {
    "format": 1,
    "listed_to": "~",
    "speakers": {"joe": {"a": 3.0}},
    "sentences": {"c": 1},
    "rooms": {"d": 1},
    "credits": [
        {
            "licence": "LicenseRef-Flight-of-the-Amazon-Queen",
            "attribution": "Dialogue of the game",
            "language": "en",
            "speakers": ["joe"],
        }
    ],
}


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A checkpoint with contents and one example."""
    loaded = random_checkpoint()
    folder = tmp_path / "run" / "checkpoint"
    save_checkpoint(
        folder, loaded.model, loaded.tokenizer, notes={CONTENTS: json.dumps(HEARD) + "\n"}
    )
    (folder / "examples").mkdir()
    (folder / "examples" / "examples.json").write_text("[]\n", encoding="utf-8")
    return folder


@pytest.fixture
def shipped(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same as the one that comes with the package."""
    out = tmp_path / "shipped"
    assert main(["ship", str(trained.parent), f"out={out}", "recipe=microturn train it"]) == 0
    monkeypatch.setattr(model_config, "SHIPPED_FOLDER", out)
    return out


def test_a_folder_with_the_name_of_the_shipped_one_gets_its_own_card(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = (SHIPPED_FOLDER / "README.md").read_bytes()
    monkeypatch.chdir(tmp_path)
    assert main(["ship", str(trained), "out=shipped", "title=mine"]) == 0
    assert "# mine" in (tmp_path / "shipped" / "README.md").read_text(encoding="utf-8")
    assert (SHIPPED_FOLDER / "README.md").read_bytes() == packaged


def test_matrices_are_rounded_and_the_rest_is_the_same(trained: Path, shipped: Path) -> None:
    before, after = StoredCheckpoint.read(trained), StoredCheckpoint.read(shipped)
    assert (after.cfg, after.layout) == (before.cfg, before.layout)
    assert json.loads(after.notes[CONTENTS]) == json.loads(before.notes[CONTENTS])
    large, small = (read_whole(each.weights()) for each in (before, after))
    assert small.keys() == large.keys()
    for name, tensor in large.items():
        is_matrix = tensor.ndim > 1
        assert small[name].dtype == (torch.bfloat16 if is_matrix else tensor.dtype), name
        torch.testing.assert_close(small[name].to(tensor.dtype), tensor, rtol=2**-8, atol=0.0)
    model = load_checkpoint(shipped).model
    assert all(one.dtype == torch.float32 for one in model.parameters()), "and computes in float32"
    assert (shipped / WEIGHTS).stat().st_size < 0.6 * (trained / WEIGHTS).stat().st_size


def test_a_long_list_of_recordings_ships_as_a_sample_with_all_people() -> None:
    people = {f"{i:03d}": {f"{i:03d}{k:09d}": 1.0 for k in range(4)} for i in range(1_000)}
    heard = {**HEARD, "speakers": people}
    few = json.loads(sampled(json.dumps(heard), where="x"))
    kept = {digest for found in few["speakers"].values() for digest in found if digest}
    assert len(kept) == MAX_LISTED
    assert max(kept) == few["listed_to"]
    assert {name: sum(found.values()) for name, found in few["speakers"].items()} == dict.fromkeys(
        people, 4.0
    )
    asked = {sha256(str(i).encode()).hexdigest()[:12]: 1 for i in range(20_000)}
    some = json.loads(sampled(json.dumps({**HEARD, "sentences": asked}), where="x"))
    assert len(some["sentences"]) == MAX_LISTED
    (told,) = [line for line in _heard(some) if line.startswith("Heard as")]
    about = int(told.split(" speakers, about ")[1].split()[0].replace(",", ""))
    assert about == pytest.approx(20_000, rel=0.1)
    with pytest.raises(ValueError, match="of format 0"):
        sampled(json.dumps({**heard, "format": 0}), where="x")


def test_the_list_is_that_of_sha256sum_and_the_card_has_terms_and_recipe(shipped: Path) -> None:
    done = subprocess.run(["sha256sum", "--check", "--strict", DIGESTS], cwd=shipped)
    assert done.returncode == 0
    listed = (shipped / DIGESTS).read_text(encoding="utf-8")
    assert "  README.md\n" in listed
    assert "  examples/examples.json\n" in listed
    card = (shipped / "README.md").read_text(encoding="utf-8")
    assert "Trained by `microturn train it`." in card
    assert "are not sold as a separate item; the same holds for these weights" in card
    assert "## Intended use" in card


def test_its_name_stands_for_it_wherever_a_checkpoint_is_read(shipped: Path) -> None:
    named, given = load_checkpoint("shipped").model, load_checkpoint(shipped).model
    for name, tensor in given.state_dict().items():
        torch.testing.assert_close(named.state_dict()[name], tensor, rtol=0, atol=0)


def test_the_same_checkpoint_gives_the_same_bytes(trained: Path, shipped: Path) -> None:
    before = {path.name: path.read_bytes() for path in shipped.iterdir() if path.is_file()}
    digest = checkpoint_digest(str(shipped))
    assert main(["ship", str(trained), f"out={shipped}", "recipe=microturn train it"]) == 0
    assert {path.name: path.read_bytes() for path in shipped.iterdir() if path.is_file()} == before
    assert main(["ship", str(trained), f"out={shipped}", "title=Another"]) == 0
    assert checkpoint_digest(str(shipped)) == digest, "scores of it stay scores of it"


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "contents.json"])
def test_a_damaged_file_is_one_sentence(shipped: Path, name: str) -> None:
    path = shipped / name
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"{name} is damaged or was changed: .*install microturn"):
        InteractionModel.from_pretrained(shipped)


def test_weights_that_are_written_over_a_list_are_not_compared_with_it(shipped: Path) -> None:
    model = InteractionModel.from_pretrained(shipped)
    with torch.no_grad():
        model.unembed.weight.zero_()
    model.save_pretrained(shipped)
    assert not InteractionModel.from_pretrained(shipped).unembed.weight.any()


def test_the_checkpoint_itself_is_not_overwritten(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ship", str(trained), f"out={trained}"]) == 1
    assert "is the checkpoint itself; give another folder" in capsys.readouterr().err


def test_files_that_it_did_not_write_are_not_overwritten(
    trained: Path, shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    before = (other / WEIGHTS).read_bytes()
    assert main(["ship", str(trained), f"out={other}"]) == 1
    assert "holds config.yaml, which sha256sums.txt there does not list" in capsys.readouterr().err
    assert (other / WEIGHTS).read_bytes() == before
    (shipped / "examples" / "mine.txt").touch()
    assert main(["ship", str(trained), f"out={shipped}"]) == 1
    assert "holds examples/mine.txt, which" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["ship", str(trained), f"out={tmp_path / 'file'}"]) == 1
    assert "is a file; give a folder" in capsys.readouterr().err


def test_one_that_cannot_ship_leaves_the_folder_as_it_was(
    trained: Path, shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in shipped.rglob("*") if path.is_file()}
    assert main(["ship", str(trained), f"out={shipped}", f"scores=[{tmp_path / 'none'}]"]) == 1
    assert "none holds no scores.json; give a folder of `micro" in capsys.readouterr().err
    config = (trained / "config.yaml").read_text(encoding="utf-8")
    (trained / "config.yaml").write_text(config.replace("n_layers: 2", "n_layers: 3"))
    assert main(["ship", str(trained), f"out={shipped}"]) == 1
    assert f"{trained / WEIGHTS}: does not fit {trained / 'config.yaml'}" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in shipped.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "shipped"]


def test_commands_take_the_one_that_ships(
    shipped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert find_checkpoint("shipped") == shipped
    assert InteractionModel.from_pretrained().notes
    assert ServeConfig().checkpoint == TalkConfig(input="a", out="b").checkpoint == "shipped"
    assert with_agent(EvaluateConfig(out="x", checkpoint="shipped")).checkpoint == str(shipped)
    assert with_agent(EvaluateConfig(out="x", checkpoint="mine")).checkpoint == "mine"
    assert with_agent(EvaluateConfig(out="x", baseline="oracle")).checkpoint == ""
    assert not capsys.readouterr().err
    assert with_agent(EvaluateConfig(out="x")).checkpoint == str(shipped)
    assert str(shipped) in capsys.readouterr().err


def test_what_comes_with_the_package_is_whole() -> None:
    listed = dict(
        reversed(line.split("  "))
        for line in lines_of((SHIPPED_FOLDER / DIGESTS).read_text(encoding="utf-8"))
    )
    files = {path for path in SHIPPED_FOLDER.rglob("*") if path.is_file() and path.name != DIGESTS}
    assert listed == {
        path.relative_to(SHIPPED_FOLDER).as_posix(): digest_of(path) for path in files
    }
    assert (SHIPPED_FOLDER / WEIGHTS).stat().st_size <= MAX_WEIGHTS_BYTES
    card = (SHIPPED_FOLDER / CARD).read_text(encoding="utf-8")
    assert f'weights_sha256: "{listed[WEIGHTS]}"' in card
    assert "The recordings of *Flight of the Amazon Queen* are free of charge" in card
    about = about_checkpoint(SHIPPED_FOLDER)
    assert about.examples
    assert about.voices
    model = InteractionModel.from_pretrained()
    assert model.notes is not None
    assert CONTENTS in model.notes
