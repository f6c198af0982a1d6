"""Sets in shares and stages: exact counts, an order that nothing but seed and step decides."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.training.data import StepSampler
from microturn.training.reading.digest import data_digest
from microturn.training.reading.mixture import MixedSource, examples_of, order_of, split_mix
from microturn.training.reading.order import Shuffled, drawn, whole_shares
from microturn.training.sources import open_source, simulated_on_cluster

Train = Callable[..., int]


@pytest.fixture(scope="module")
def sets(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sets a (8 dialogues) and b (8, of which a mix may read one tar)."""
    folder = tmp_path_factory.mktemp("sets")
    for name in "ab":
        shutil.copytree(data, folder / name)
    return folder


@pytest.mark.parametrize(
    ("data", "mix"),
    [
        ("a:0.7,b:0.3", {"a": 0.7, "b": 0.3}),
        ("runs/{a,b}:2, s3://x/c:1e-1", {"runs/{a,b}": 2, "s3://x/c": 0.1}),
        (
            "live:x.yaml voices=[a,b]:1,http://h:80/a:.5",
            {"live:x.yaml voices=[a,b]": 1, "http://h:80/a": 0.5},
        ),
        ("runs/{a,b}", None),
        ("http://host:8000", None),
        ("a,b", None),
    ],
)
def test_a_mix_is_names_with_weights(data: str, mix: dict[str, float] | None) -> None:
    assert split_mix(data) == mix


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("a:0.7,b", "b has no weight"),
        ("a:0,b:1", "the weight of a must be above 0"),
        ("a:1,a:2", "a is named twice"),
    ],
)
def test_half_a_mix_is_refused(data: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_mix(data)


def test_a_set_that_teaches_hearing_has_no_weight_elsewhere(sets: Path) -> None:
    source = open_source(f"heard:{sets}/a:0.5,{sets}/b:0.5")
    whole = open_source(f"{sets}/a")
    for index in range(len(whole)):
        taught, lanes = source.lanes(index), whole.lanes(index)
        for lane in ("say", "audio_out"):
            assert lanes.weights[lane].any()
            assert not taught.weights[lane].any()
        assert np.array_equal(taught.weights["heard"], lanes.weights["heard"])
        assert all(np.array_equal(taught.arrays[n], lanes.arrays[n]) for n in lanes.arrays)
        other = source.lanes(len(whole) + index)
        assert other.weights["say"].any()
    plain = open_source(f"{sets}/a:0.5,{sets}/b:0.5")
    assert data_digest(source) != data_digest(plain)


def test_hearing_alone_is_not_taught_from_a_cluster() -> None:
    source = open_source("heard:live:datagen/demo.yaml executor=ray ray_address=ray://nowhere:1")
    with pytest.raises(ValueError, match="heard: takes no live dialogues of executor=ray"):
        simulated_on_cluster(source)


@given(
    weights=st.lists(st.floats(0.01, 100), min_size=1, max_size=5),
    n=st.integers(0, 10**12),
)
def test_shares_are_exact_at_every_draw(weights: list[float], n: int) -> None:
    shares = whole_shares(weights)
    before, after = drawn(shares, n), drawn(shares, n + 1)
    assert sum(before) == n
    assert sorted(b - a for a, b in zip(before, after, strict=True)) == [0] * (len(shares) - 1) + [
        1
    ]
    for count, weight in zip(before, weights, strict=True):
        assert abs(count - n * weight / sum(weights)) < len(weights) + n * 1e-8


def test_each_part_is_read_in_whole_epochs_of_its_own(sets: Path) -> None:
    source = open_source(
        f"{sets}/a:0.75,{sets}/b/000000.tar:0.25".replace("000000", first_tar(sets))
    )
    assert len(source) == 12
    draws = order_of(source, seed=3, batch_size=4).dialogues(0, 96)
    counts = Counter(draws)
    assert [counts[i] for i in range(8)] == [9] * 8
    assert [counts[i] for i in range(8, 12)] == [6] * 4
    assert sorted(draw for draw in draws[:32] if draw < 8) == sorted([*range(8)] * 3)
    assert draws != order_of(source, seed=4, batch_size=4).dialogues(0, 96)
    assert {source.name(i).split("/")[-2] for i in range(8, 12)} == {"b"}


def first_tar(sets: Path) -> str:
    return sorted((sets / "b").glob("*.tar"))[0].stem


def test_devices_and_a_resumed_run_read_the_same(sets: Path) -> None:
    order = order_of(open_source(f"{sets}/a:2,{sets}/b:1"), seed=1, batch_size=6)

    def read(first: int, rank: int, world_size: int) -> list[list[int]]:
        sampler = StepSampler(
            order, 6, first_step=first, steps=20, rank=rank, world_size=world_size
        )
        return [draw.dialogues for draw in sampler]

    whole = read(0, 0, 1)
    assert read(13, 0, 1) == whole[13:]
    halves = [a + b for a, b in zip(read(7, 0, 2), read(7, 1, 2), strict=True)]
    assert halves == whole[7:]


def test_a_curriculum_goes_on_where_the_last_stage_left_a_set(sets: Path, tmp_path: Path) -> None:
    file = tmp_path / "easy_first.yaml"
    file.write_text(
        f"stages:\n- {{data: '{sets}/a', steps: 1}}\n"
        f"- {{data: '{sets}/a:1,{sets}/b:1', epochs: 0.5}}\n- {{data: '{sets}/b'}}\n"
    )
    source = open_source(str(file))
    draws = order_of(source, seed=0, batch_size=4).dialogues(0, 24)
    assert all(draw < 8 for draw in draws[:4])
    assert sum(draw < 8 for draw in draws[4:12]) == 4  # half an epoch of 16 in steps of 4
    assert all(draw >= 8 for draw in draws[12:])
    assert sorted(draw for draw in draws if draw < 8) == list(range(8))
    assert isinstance(source, MixedSource)
    assert len(examples_of(source, 6)) == 6


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ("stages: []", "has no stages"),
        ("stages:\n- {data: a}\n- {data: b}", "stage a needs steps or epochs"),
        ("stages:\n- {data: a, steps: 3}", "the last stage goes on"),
        ("stages:\n- {data: a, steps: 3, epochs: 1}\n- {data: b}", "steps or of epochs"),
        ("stages:\n- {datas: a}", "datas"),
    ],
)
def test_a_curriculum_that_means_nothing_is_refused(
    stages: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "x.yaml").write_text(stages)
    with pytest.raises(ValueError, match=message):
        open_source(str(tmp_path / "x.yaml"))


def test_a_single_set_keeps_its_order() -> None:
    epochs = [np.random.default_rng([7, epoch]).permutation(5).tolist() for epoch in range(2)]
    assert Shuffled(5, (7,)).dialogues(3, 4) == epochs[0][3:] + epochs[1][:2]


def test_a_mix_trains_for_epochs_and_resumes(sets: Path, tmp_path: Path, train: Train) -> None:
    mix, words = f"{sets}/a:0.7,{sets}/b:0.3", ["batch_size=4", "max_epochs=1.5"]
    assert train(mix, tmp_path / "whole", *words) == 0
    assert (tmp_path / "whole/states/step00000006.safetensors").is_file()
    assert train(mix, tmp_path / "parts", "batch_size=4", "max_epochs=0.75") == 0
    assert train(mix, tmp_path / "parts", *words) == 0
