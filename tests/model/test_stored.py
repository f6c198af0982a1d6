"""Weights in files: bytes of the library, regions, parts with an index, draws without memory."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from microturn.model.checkpoint import random_checkpoint, save_checkpoint
from microturn.model.checkpoint_files import StoredCheckpoint
from microturn.model.model import InteractionModel
from microturn.model.stored import draws, weights
from microturn.model.stored.tensor_files import (
    PiecedTensor,
    PlannedFile,
    SomeRows,
    StoredTensor,
    read_header,
    write_file,
)
from microturn.model.stored.weights import INDEX, WEIGHTS, give_weights, write_weights
from microturn.model.vocoders.config import VocoderConfig

TENSORS = {
    "ü.wide": torch.randn(5, 6, 7),
    "number": torch.tensor(7),
    "half": torch.randn(4, 4).bfloat16(),
    "none": torch.zeros(0, 3),
    "mask": torch.tensor([True, False]),
    "bytes": torch.arange(5, dtype=torch.uint8),
}
REGIONS = [
    ((0, 0, 0), (5, 6, 7)),
    ((1, 2, 3), (3, 2, 4)),
    ((2, 0, 0), (2, 6, 7)),
    ((0, 3, 0), (5, 2, 7)),
    ((0, 0, 1), (5, 6, 2)),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_file(tmp_path / "a.safetensors", TENSORS, {"step": 3})
    return tmp_path / "a.safetensors"


def region(offsets: tuple[int, ...], size: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(o, o + n) for o, n in zip(offsets, size, strict=True))


def test_a_file_has_the_bytes_of_the_library(file: Path, tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "b", metadata={"microturn": '{"step": 3}'})
    assert file.read_bytes() == (tmp_path / "b").read_bytes()
    assert read_header(file)[1] == {"step": 3}


@pytest.mark.parametrize(("offsets", "size"), REGIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_region_is_read_and_written_in_place(
    offsets: tuple[int, ...], size: tuple[int, ...], dtype: torch.dtype, file: Path
) -> None:
    stored = read_header(file)[0]["ü.wide"]
    expected = TENSORS["ü.wide"][region(offsets, size)]
    for into in (torch.zeros(size, dtype=dtype), torch.zeros(size[::-1], dtype=dtype).mT.mT):
        if into.shape != size:
            into = into.permute(2, 1, 0)
        stored.read(into, offsets)
        assert torch.equal(into, expected.to(dtype))
    stored.write(-expected, offsets)
    changed = TENSORS["ü.wide"].clone()
    changed[region(offsets, size)] = -expected
    assert torch.equal(load_file(file)["ü.wide"], changed)


def test_pieces_and_rows_make_up_a_tensor(tmp_path: Path) -> None:
    whole = torch.randn(7, 4)
    pieces = []
    for i, (offsets, size) in enumerate((((0, 0), (3, 4)), ((3, 0), (4, 1)), ((3, 1), (4, 3)))):
        path = tmp_path / f"{i}.safetensors"
        write_file(path, {"x": whole[region(offsets, size)]}, {})
        pieces.append((read_header(path)[0]["x"], offsets))
    stored = PiecedTensor(torch.float32, (7, 4), tuple(pieces))
    for offsets, size in (((0, 0), (7, 4)), ((2, 1), (3, 2)), ((6, 0), (1, 4)), ((3, 3), (0, 1))):
        into = torch.zeros(size)
        stored.read(into, offsets)
        assert torch.equal(into, whole[region(offsets, size)])
    rows = SomeRows(stored, None, {0: 5, 1: 6, 3: 0, 9: 2}, torch.float32, (10, 4))
    into = torch.zeros(10, 4)
    rows.read(into)
    expected = torch.zeros(10, 4)
    expected[[0, 1, 3, 9]] = whole[[5, 6, 0, 2]]
    assert torch.equal(into, expected)
    part = torch.zeros(3, 2)
    rows.read(part, (1, 1))
    assert torch.equal(part, expected[1:4, 1:3])


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x08" + bytes(7) + b"{}      " + b"x"])
def test_a_damaged_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ValueError, match="SafetensorError"):
        read_header(tmp_path / "x")


# --- parts ---------------------------------------------------------------------------------------
def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint whose weights are in parts."""
    made = random_checkpoint(1)
    monkeypatch.setattr(weights, "PART_BYTES", 100_000)
    save_checkpoint(tmp_path / "c", made.model, made.tokenizer, saved="step 1")
    return tmp_path / "c"


def test_large_weights_are_parts_with_an_index(parts: Path) -> None:
    model = random_checkpoint(1).model
    assert same(InteractionModel.from_pretrained(parts).state_dict(), model.state_dict())
    names = sorted(path.name for path in parts.glob("*.safetensors"))
    assert names[0] == f"model-00001-of-{len(names):05d}.safetensors"
    assert len(names) > 3
    for path in parts.glob("*.safetensors"):
        held = load_file(path).values()
        assert sum(value.nbytes for value in held) <= 100_000 or len(held) == 1
    index = json.loads((parts / INDEX).read_text(encoding="utf-8"))
    stored = load_all(parts)
    assert index["weight_map"].keys() == stored.keys()
    assert index["metadata"]["total_size"] == sum(value.nbytes for value in stored.values())
    assert InteractionModel.from_pretrained(parts / names[0]).unembed.weight.any()


def load_all(folder: Path) -> dict[str, Tensor]:
    return {n: v for path in folder.glob("*.safetensors") for n, v in load_file(path).items()}


def test_one_file_and_parts_replace_each_other(
    parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = random_checkpoint(2)
    monkeypatch.setattr(weights, "PART_BYTES", 10**9)
    save_checkpoint(parts, other.model, other.tokenizer)
    assert [path.name for path in parts.glob("*model*")] == [WEIGHTS]
    monkeypatch.setattr(weights, "PART_BYTES", 100_000)
    save_checkpoint(parts, other.model, other.tokenizer)
    assert not (parts / WEIGHTS).exists()
    assert same(load_all(parts), {**other.model.state_dict()})


def test_parts_of_two_savings_are_refused(parts: Path, tmp_path: Path) -> None:
    """As a kill leaves them while weights are replaced."""
    other = random_checkpoint(2)
    save_checkpoint(tmp_path / "other", other.model, other.tokenizer, saved="step 2")
    name = sorted(path.name for path in parts.glob("*.safetensors"))[1]
    shutil.copy(tmp_path / "other" / name, parts / name)
    with pytest.raises(ValueError, match=rf"{name}: of other weights than .*{INDEX}"):
        InteractionModel.from_pretrained(parts)
    (parts / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name}: no such file"):
        InteractionModel.from_pretrained(parts)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("{", "damaged index"),
        ("[]", "damaged index"),
        ('{"weight_map": {"x": "../model.safetensors"}}', "which is no file beside it"),
        ('{"weight_map": {"x": "config.yaml"}}', "config.yaml: damaged weights file"),
    ],
)
def test_a_bad_index_is_refused(index: str, message: str, parts: Path) -> None:
    (parts / INDEX).write_text(index, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        InteractionModel.from_pretrained(parts)


def test_a_full_disk_leaves_the_parts_before(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in parts.iterdir()}

    def full(self: StoredTensor, *args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(StoredTensor, "write", full)
    other = random_checkpoint(2)
    with pytest.raises(
        OSError, match=r"model-00001-of-.* \(No space left on device\); the version"
    ):
        save_checkpoint(parts, other.model, other.tokenizer)
    assert before == {path.name: path.read_bytes() for path in parts.iterdir()}


def test_stored_weights_are_written_as_they_are(tmp_path: Path) -> None:
    """As a finished run writes its checkpoint again from its state, without a model."""
    made = random_checkpoint(3)
    save_checkpoint(tmp_path / "a", made.model, made.tokenizer)
    stored = StoredCheckpoint.read(tmp_path / "a").weights()
    write_weights(tmp_path / "b", stored, {"x": 1})
    assert same(load_file(tmp_path / "b" / WEIGHTS), load_file(tmp_path / "a" / WEIGHTS))


def test_a_plan_has_room_for_every_tensor(tmp_path: Path) -> None:
    plan = PlannedFile.of(tmp_path / "x", TENSORS, {})
    plan.create()
    assert (tmp_path / "x").stat().st_size == plan.n_bytes
    assert load_file(tmp_path / "x").keys() == TENSORS.keys()


# --- without memory ------------------------------------------------------------------------------
def test_weights_that_are_drawn_later_have_the_same_bits_in_any_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(draws, "_LARGE", 1500)
    monkeypatch.setattr(draws, "_PIECE", 160)
    made = random_checkpoint()
    cfg = made.model.cfg.__class__(
        **{**vars(made.model.cfg), "vocoder": VocoderConfig(kind="istft")}
    )
    models = []
    for _ in range(2):
        torch.manual_seed(3)
        with draws.without_memory() as found:
            models.append(InteractionModel(cfg, made.layout, 300))
        pending = draws.draws_of(models[-1], found)
        assert all(models[-1].get_parameter(name).is_meta for name in pending)
        after = torch.get_rng_state()
        give_weights(models[-1], pending)
        assert torch.equal(after, torch.get_rng_state())
    model, again = models
    assert same({**model.state_dict()}, {**again.state_dict()})
    assert len(pending) > 30
    for name, draw in pending.items():
        offsets = tuple(n // 3 for n in draw.shape)
        size = tuple(max(1, n // 2) for n in draw.shape)
        into = torch.empty(size)
        draw.read(into, offsets)
        assert torch.equal(into, model.get_parameter(name)[region(offsets, size)]), name


def drawn(seed: int, monkeypatch: pytest.MonkeyPatch) -> tuple[torch.nn.Linear, list[draws.Draw]]:
    """A layer of 100 x 300 numbers, its weights in pieces of 1,000, and their draw."""
    monkeypatch.setattr(draws, "_LARGE", 1000)
    monkeypatch.setattr(draws, "_PIECE", 1000)
    torch.manual_seed(seed)
    with draws.without_memory() as found:
        layer = torch.nn.Linear(300, 100)
        torch.nn.init.normal_(layer.weight, std=0.5)
    pending = draws.draws_of(layer, found)
    give_weights(layer, pending)
    return layer, [*pending.values()]


def test_pieces_of_a_draw_are_independent(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (drawn(seed, monkeypatch)[0].weight.detach() for seed in (3, 4))
    assert float(one.mean()) == pytest.approx(0, abs=0.01)
    assert float(one.std()) == pytest.approx(0.5, abs=0.01)
    pieces = torch.cat([one.view(30, 1000), other.view(30, 1000)])
    correlations = torch.corrcoef(pieces) - torch.eye(60)
    assert float(correlations.abs().max()) < 0.15  # 5 deviations of independent ones


def test_a_share_draws_its_own_pieces_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    _, [draw] = drawn(3, monkeypatch)
    read, piece = [], draws.Draw._piece

    def counted(self: draws.Draw, number: int) -> Tensor:
        read.append(number)
        return piece(self, number)

    monkeypatch.setattr(draws.Draw, "_piece", counted)
    draw.read(torch.empty(10, 300), (50, 0))  # from the 15,000th number on
    assert read == [15, 16, 17]


def test_a_large_parameter_that_no_init_fills_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draws, "_LARGE", 4)
    with draws.without_memory() as found:
        module = torch.nn.ParameterDict({"x": torch.nn.Parameter(torch.empty(8))})
    with pytest.raises(RuntimeError, match="x is filled by no"):
        draws.draws_of(module, found)
