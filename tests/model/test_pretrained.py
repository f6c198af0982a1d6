"""`from_pretrained`, `save_pretrained` and `push_to_hub`: checkpoint folders, here and on a hub."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from microturn.model.checkpoint import load_checkpoint, random_checkpoint
from microturn.model.checkpoint_place import find_checkpoint
from microturn.model.config import ModelConfig
from microturn.model.model import InteractionModel
from support.servers.fake_hub import FakeHub, serving

FILES = ["config.yaml", "layout.json", "model.safetensors", "tokenizer.json"]
CARD = "README.md"
CONTENTS = {
    "format": 1,
    "listed_to": "~",
    "speakers": {"ann": {"a": 3.0}, "ben": {"b": 1.0}},
    "sentences": {"c": 1},
    "rooms": {"d": 1},
    "credits": [
        {
            "licence": "CC-BY-4.0",
            "attribution": "Ann Example, Hundred Words",
            "language": "en",
            "speakers": ["ann"],
        },
        {"licence": "CC0-1.0", "attribution": "", "language": "fr", "speakers": ["ben"]},
    ],
}


@pytest.fixture
def model() -> InteractionModel:
    made = random_checkpoint(3)
    made.model.tokenizer = made.tokenizer
    made.model.notes = {"contents.json": json.dumps(CONTENTS)}
    return made.model


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with serving(monkeypatch, str(tmp_path / "cache")) as hub:
        yield hub


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_model_goes_to_a_folder_and_back_bit_for_bit(
    model: InteractionModel, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path / "a")
    assert sorted(bytes_of(tmp_path / "a")) == [CARD, *FILES[:1], "contents.json", *FILES[1:]]
    back = InteractionModel.from_pretrained(tmp_path / "a")
    assert not back.training
    assert (back.cfg, back.layout) == (model.cfg, model.layout)
    assert model.tokenizer is not None
    assert back.tokenizer is not None
    assert back.tokenizer.pieces == model.tokenizer.pieces
    for name, value in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], value), name
    back.save_pretrained(tmp_path / "b")
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")
    loaded = load_checkpoint(tmp_path / "b")
    assert all(torch.equal(loaded.model.state_dict()[n], v) for n, v in model.state_dict().items())


def test_a_model_goes_to_the_hub_and_back_bit_for_bit(
    model: InteractionModel, hub: FakeHub, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path / "a")
    url = model.push_to_hub("someone/small-talk", private=True)
    assert str(url).startswith(f"{hub.url}/someone/small-talk")
    assert hub.repositories["someone/small-talk"]["main"] == bytes_of(tmp_path / "a")
    back = InteractionModel.from_pretrained("someone/small-talk")
    assert all(torch.equal(back.state_dict()[n], v) for n, v in model.state_dict().items())
    # `init=` asks in the same way, and finds the download in the cache.
    assert bytes_of(find_checkpoint("someone/small-talk")) == bytes_of(tmp_path / "a")


def test_a_revision_is_asked_for_in_two_ways(
    model: InteractionModel, hub: FakeHub, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path / "first")
    hub.put("someone/small-talk", "v1", bytes_of(tmp_path / "first"))
    with torch.no_grad():
        model.unembed.weight.zero_()
    model.push_to_hub("someone/small-talk")
    one = InteractionModel.from_pretrained("someone/small-talk", revision="v1")
    other = InteractionModel.from_pretrained("someone/small-talk@v1")
    assert torch.equal(one.unembed.weight, other.unembed.weight)
    assert one.unembed.weight.any()
    assert not InteractionModel.from_pretrained("someone/small-talk").unembed.weight.any()


def test_what_the_hub_does_not_have_is_one_sentence(hub: FakeHub) -> None:
    hub.create("someone/empty")
    for name in ("someone/nothing", "someone/empty@v9", "someone/empty"):
        with pytest.raises(OSError, match=r"someone/(nothing|empty)") as caught:
            InteractionModel.from_pretrained(name)
        assert "\n" not in str(caught.value), name


def test_what_is_no_checkpoint_is_one_sentence(model: InteractionModel, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint folder, no file of one, and no id"):
        InteractionModel.from_pretrained(tmp_path / "nowhere")
    model.save_pretrained(tmp_path / "whole")
    for name, content, said in (
        ("model.safetensors", b"garbage", r"model\.safetensors: damaged weights file"),
        ("layout.json", b"{", r"layout\.json: not a layout file"),
        ("tokenizer.json", b"{", r"tokenizer\.json: not a tokenizer file"),
        ("config.yaml", b"width: 3", r"config\.yaml.*'width'"),
        ("config.yaml", b"n_heads: 5", r"does not fit .*config\.yaml: "),
    ):
        folder = shutil.copytree(tmp_path / "whole", tmp_path / "damaged", dirs_exist_ok=True)
        (folder / name).write_bytes(content)
        with pytest.raises(ValueError, match=said) as caught:
            InteractionModel.from_pretrained(folder)
        assert "\n" not in str(caught.value), name
    (folder / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no tokenizer\.json, so this is no checkpoint"):
        InteractionModel.from_pretrained(folder)
    with pytest.raises(TypeError, match="takes no d_model: sizes are the checkpoint's"):
        InteractionModel.from_pretrained(tmp_path / "whole", d_model=24)


def test_a_model_without_a_tokenizer_is_not_saved(tmp_path: Path) -> None:
    made = random_checkpoint()
    plain = InteractionModel(made.model.cfg, made.layout, len(made.tokenizer))
    with pytest.raises(ValueError, match="set model.tokenizer"):
        plain.save_pretrained(tmp_path / "a")


# --- the card ------------------------------------------------------------------------------------
def test_the_card_names_recordings_their_authors_and_licences(
    model: InteractionModel, tmp_path: Path
) -> None:
    from huggingface_hub import ModelCard

    model.save_pretrained(tmp_path)
    card = ModelCard.load(tmp_path / CARD)
    assert card.data.library_name == "microturn"
    assert card.data.license == "other"
    assert card.data.language == ["en", "fr"]
    text = card.text
    assert "| ann | 75.0% |" in text
    assert "| Ann Example, Hundred Words | en | 1 | CC-BY-4.0 |" in text
    assert "| ben (authors not stated) | fr | 1 | CC0-1.0 |" in text
    assert f"{sum(p.numel() for p in model.parameters()):,} parameters" in text
    assert "None are recorded for these weights." in text


def test_a_card_says_what_is_not_recorded(model: InteractionModel, tmp_path: Path) -> None:
    model.notes = None
    model.save_pretrained(tmp_path / "a")
    text = (tmp_path / "a" / CARD).read_text(encoding="utf-8")
    assert "Not recorded: the training sets had no `contents.json`." in text
    old = {name: value for name, value in CONTENTS.items() if name != "credits"}
    model.notes = {"contents.json": json.dumps(old)}
    model.save_pretrained(tmp_path / "b")
    text = (tmp_path / "b" / CARD).read_text(encoding="utf-8")
    assert "Licences of the recordings: not recorded in these sets" in text


def test_a_card_goes_with_its_weights(model: InteractionModel, tmp_path: Path) -> None:
    """Other weights get another card; a page of one's own stays."""
    model.save_pretrained(tmp_path)
    model.write_card(tmp_path, scores=["All of it right."], licence="apache-2.0", title="Mine")
    back = InteractionModel.from_pretrained(tmp_path)
    back.save_pretrained(tmp_path / "same")
    card = (tmp_path / "same" / CARD).read_text(encoding="utf-8")
    assert all(part in card for part in ("All of it right.", '"apache-2.0"', "# Mine"))
    with torch.no_grad():
        back.unembed.weight.zero_()
    back.save_pretrained(tmp_path / "other")
    assert "All of it right." not in (tmp_path / "other" / CARD).read_text(encoding="utf-8")
    (tmp_path / CARD).write_text("My own page.", encoding="utf-8")
    back.save_pretrained(tmp_path)
    assert (tmp_path / CARD).read_text(encoding="utf-8") == "My own page."


def test_a_card_of_a_model_without_experts_has_equal_sizes(tmp_path: Path) -> None:
    from microturn.model.config import MoEConfig

    small = ModelConfig(d_model=24, n_heads=2, n_layers=1, d_ff=32, moe=MoEConfig(n_experts=0))
    made = random_checkpoint(config=small)
    made.model.tokenizer = made.tokenizer
    made.model.save_pretrained(tmp_path)
    n = f"{sum(p.numel() for p in made.model.parameters()):,}"
    card = (tmp_path / CARD).read_text(encoding="utf-8")
    assert f"{n} parameters, {n} of them active" in card
