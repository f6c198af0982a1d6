"""What data= may name, in which order it is read, and that bad dialogues are refused by name."""

from __future__ import annotations

import re
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.configs.main import main
from microturn.datagen.sets.shards import ShardReader
from microturn.model.losses import weight_sums
from microturn.model.streams import Lanes, StreamLayout, Tokenizer
from microturn.training.data import DeviceBatchDataset, DialogueData, StepDraw, StepSampler
from microturn.training.reading.order import Endless, Shuffled
from microturn.training.sources import expand_braces, open_source

Train = Callable[..., int]


def same(a: Lanes, b: Lanes) -> bool:
    others = b.named_arrays()
    return all(np.array_equal(array, others[name]) for name, array in a.named_arrays().items())


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("runs/a", ["runs/a"]),
        ("runs/{a,b}", ["runs/a", "runs/b"]),
        ("{a,b}/{08..10}.tar", [f"{f}/{n}.tar" for f in "ab" for n in ("08", "09", "10")]),
        ("s3://x/{0..2}", ["s3://x/0", "s3://x/1", "s3://x/2"]),
        ("x{a{1,2},b}", ["xa1", "xa2", "xb", "xb"]),
    ],
)
def test_braces_are_written_out(pattern: str, names: list[str]) -> None:
    assert sorted(set(expand_braces(pattern))) == sorted(set(names))


@pytest.mark.parametrize("pattern", ["a{b", "a}b", "a{3..1}", "a{x..z}"])
def test_a_pattern_that_means_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="brace|range"):
        list(expand_braces(pattern))


def test_folder_tars_and_url_hold_the_same_dialogues(data: Path, tmp_path: Path) -> None:
    whole = open_source(str(data))
    tars = sorted(path.name for path in data.glob("*.tar"))
    assert len(tars) == 2
    odd = tmp_path / "${x} {a,b}"  # a folder of this name is no pattern
    odd.symlink_to(data)
    braces = f"{data}/{{{','.join(tars)}}}"
    for name in (braces, f"{data}/{tars[0]}", f"local://{data}", str(odd)):
        source = open_source(name)
        assert len(source) == (4 if name.endswith(".tar") else 8)
        for i in (0, len(source) - 1):
            assert same(source.lanes(i), whole.lanes(i))
    last = open_source(f"{data}/{tars[1]}")
    assert same(last.lanes(0), whole.lanes(4))
    assert last.name(0) == f"{data / tars[1]} dialogue 4"


def test_sets_are_joined(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "b")
    (tmp_path / "a").symlink_to(data)
    source = open_source(f"{tmp_path}/{{a,b}}")
    assert len(source) == 16
    assert same(source.lanes(3), source.lanes(11))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{data}/{{nothing,no}}.tar", "has no nothing.tar"),
        ("{data}x{{1..3}}", "there is no shard set in"),
        ("{data}/{{000000..000009}}.tar", "write the pattern so that all of it exists"),
        ("memory://nowhere/{{a,b}}", "there is no shard set"),
        ("nosuchthing://x", "cannot be opened"),
    ],
)
def test_a_pattern_without_match_is_one_sentence(
    name: str,
    message: str,
    data: Path,
    tmp_path: Path,
    train: Train,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train(name.format(data=data), tmp_path / "run") == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert message in said[0]


def other_set(data: Path, out: Path, *, layout: bool) -> Path:
    """A copy of a set with another layout, or with another tokenizer."""
    shutil.copytree(data, out)
    if layout:
        replace(StreamLayout.load(out / "layout.json"), say_positions=3).save(out / "layout.json")
    else:
        Tokenizer.train(["some other words"] * 9, vocab_size=64).save(out / "tokenizer.json")
    return out


@pytest.mark.parametrize(("layout", "message"), [(True, "say_positions"), (False, "tokenizers")])
def test_sets_that_do_not_fit_each_other_are_refused(
    layout: bool, message: str, data: Path, tmp_path: Path
) -> None:
    other_set(data, tmp_path / "b", layout=layout)
    shutil.copytree(data, tmp_path / "a")
    with pytest.raises(ValueError, match=message):
        open_source(f"{tmp_path}/{{a,b}}")


@pytest.mark.parametrize("layout", [True, False])
def test_a_run_does_not_go_on_with_shards_of_another_layout(
    layout: bool, data: Path, tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path / "run", "max_steps=2") == 0
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*.safetensors")}
    other = other_set(data, tmp_path / "other", layout=layout)
    capsys.readouterr()
    assert train(other, tmp_path / "run", "max_steps=4") == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "stream layout" in said[0] if layout else "tokenizer" in said[0]
    assert before == {p: p.read_bytes() for p in (tmp_path / "run").rglob("*.safetensors")}


@given(
    n=st.integers(1, 20),
    world_size=st.integers(1, 4),
    size=st.integers(1, 3),
    steps=st.integers(1, 12),
    first=st.integers(0, 12),
    endless=st.booleans(),
)
def test_devices_share_what_one_would_read(
    n: int, world_size: int, size: int, steps: int, first: int, endless: bool
) -> None:
    def order(rank: int, world_size: int, batch_size: int) -> list[list[int]]:
        sampler = StepSampler(
            Endless() if endless else Shuffled(n, (5,)),
            batch_size,
            first_step=first,
            steps=steps,
            rank=rank,
            world_size=world_size,
        )
        return [draw.dialogues for draw in sampler]

    batch = size * world_size
    alone = order(0, 1, batch)
    shares = [order(rank, world_size, batch) for rank in range(world_size)]
    joined = [sum(device_batches, []) for device_batches in zip(*shares, strict=True)]
    assert joined == alone
    if endless:
        assert sum(alone, []) == list(range(first * batch, steps * batch))


def test_micro_batches_do_not_depend_on_processes_and_add_up(data: Path) -> None:
    source = open_source(str(data))

    def read(workers: int, n: int) -> list[tuple[int, int, tuple[int, ...], float]]:
        loaded = DialogueData(
            source, batch_size=4, seed=1, steps=3, workers=workers, n_micro_batches=n
        )
        return [
            (batch.step, batch.first_row, batch.dialogues, float(batch.lanes["say"].double().sum()))
            for batch in loaded.train_dataloader()
        ]

    assert read(0, 2) == read(2, 2)
    whole, halves = read(0, 1), read(0, 2)
    assert [step for step, *_ in halves] == [0, 0, 1, 1, 2, 2]
    assert [row for _, row, *_ in halves] == [0, 2] * 3
    for k, (_, _, dialogues, total) in enumerate(whole):
        assert dialogues == halves[2 * k][2] + halves[2 * k + 1][2]
        assert total == halves[2 * k][3] + halves[2 * k + 1][3]
    data_of_a_step = DialogueData(source, batch_size=4, seed=1, steps=1, n_micro_batches=2)
    a, b = list(data_of_a_step.train_dataloader())
    assert a.weight_sums == b.weight_sums
    sums = [weight_sums(batch.lanes) for batch in (a, b)]
    assert a.weight_sums == {name: sums[0][name] + sums[1][name] for name in sums[0]}


class Spoilt:
    """A source whose lanes are changed on their way."""

    def __init__(self, data: Path, name: str, value: float) -> None:
        self.reader, self.lane, self.value = open_source(str(data)), name, value
        self.layout, self.tokenizer = self.reader.layout, self.reader.tokenizer
        self.n_micro_turns, self.endless = self.reader.n_micro_turns, False

    def __len__(self) -> int:
        return len(self.reader)

    def name(self, index: int) -> str:
        return self.reader.name(index)

    def lanes(self, index: int) -> Lanes:
        lanes = self.reader.lanes(index)
        array = np.array(lanes.named_arrays()[self.lane])
        array.flat[3] = self.value
        lane = self.lane.removesuffix("_weight")
        if lane != self.lane:
            return replace(lanes, weights={**lanes.weights, lane: array})
        return replace(lanes, arrays={**lanes.arrays, lane: array})


@pytest.mark.parametrize(
    ("lane", "value", "message"),
    [
        ("say_weight", float("nan"), "say_weight is not finite"),
        ("say_weight", -0.4, "say_weight is negative"),
        ("say", 10**6, "has token 1000000"),
        ("heard", -1, "has token -1"),
    ],
)
def test_lanes_that_would_spoil_a_step_are_named(
    lane: str, value: float, message: str, data: Path
) -> None:
    batch = DeviceBatchDataset(Spoilt(data, lane, value), 1)[StepDraw(0, [5])]
    assert batch.error.startswith(f"{ShardReader(data).folder}")
    assert "dialogue 5" in batch.error
    assert message in batch.error


def test_another_size_in_the_tar_is_named_before_training(
    data: Path, tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(data, tmp_path / "set")
    tar = sorted((tmp_path / "set").glob("*.tar"))[1]
    tar.write_bytes(tar.read_bytes()[:-20000])
    assert train(tmp_path / "set", tmp_path / "run") == 1
    said = capsys.readouterr().err
    assert f"{tar} has" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_damage_inside_a_tar_is_named_and_leaves_the_states(
    workers: int, data: Path, tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(data, tmp_path / "set")
    run = tmp_path / "run"
    assert train(tmp_path / "set", run, "max_steps=2") == 0
    states = {p: p.read_bytes() for p in run.rglob("*.safetensors")}
    for tar in (tmp_path / "set").glob("*.tar"):
        content = bytearray(tar.read_bytes())
        with tarfile.open(tar) as file:
            members = [m for m in file if m.name.endswith(".npz")]
        for member in members:
            middle = member.offset_data + member.size // 2
            content[middle : middle + 64] = bytes(range(64))
        tar.write_bytes(content[: tar.stat().st_size])
    capsys.readouterr()
    assert train(tmp_path / "set", run, "max_steps=9", f"loader_workers={workers}") == 1
    said = [line for line in capsys.readouterr().err.splitlines() if "microturn train:" in line]
    assert len(said) == 1
    assert re.search(r"\.tar.*\d{8}.*(cannot be read|damaged)", said[0])
    assert states == {p: p.read_bytes() for p in run.rglob("*.safetensors")}


def test_live_dialogues_are_a_source(tmp_path: Path) -> None:
    rooms = "rooms.n_rooms=2 rooms.method=tail"
    source = open_source(f"live:datagen/smoke.yaml n_micro_turns=20 {rooms} cache={tmp_path}")
    assert source.endless
    assert source.lanes(10**6).n_micro_turns == source.n_micro_turns == 20
    assert main(["train", "data=live:nowhere.yaml", "out=x"]) == 2
