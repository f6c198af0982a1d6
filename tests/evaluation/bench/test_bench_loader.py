"""Reading lanes: the fast path gives what the slow one does, and the bench measures both."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.configs.main import main
from microturn.datagen.sets.shards import ShardReader
from microturn.datagen.sets.tar_members import tar_members
from microturn.evaluation.bench.loader import ROWS, _from_sound


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "set"
    words = ["simulate", "datagen/smoke.yaml", f"out={out}", "n_dialogues=3", "workers=1"]
    assert main([*words, "n_micro_turns=40"]) == 0
    return out


def test_lanes_are_those_of_the_whole_sample_and_of_the_sound(data: Path) -> None:
    reader = ShardReader(data)
    computed = _from_sound(reader)
    for position in range(len(reader)):
        lanes = reader.lanes(position)
        for other in (reader[position].lanes(), computed(position)):
            got, expected = lanes.named_arrays(), other.named_arrays()
            for name in expected:
                np.testing.assert_array_equal(got[name], expected[name], err_msg=name)
        assert lanes["audio_out"].flags.writeable


def test_a_damaged_member_is_named_and_others_still_read(data: Path, tmp_path: Path) -> None:
    for file in data.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    path, places = ShardReader(tmp_path).location(1)
    offset, size = places["features.npz"]
    damaged = bytearray(Path(str(path)).read_bytes())
    damaged[offset + size // 2] ^= 255
    Path(str(path)).write_bytes(damaged)
    reader = ShardReader(tmp_path)
    with pytest.raises(ValueError, match=r"00000001\.features\.npz cannot be read"):
        reader.lanes(1)
    assert reader.lanes(2).n_micro_turns == 40


def test_members_are_found_as_by_tarfile(data: Path, tmp_path: Path) -> None:
    """Plain headers and those that are left to tarfile, mixed in one tar."""
    path = tmp_path / "mixed.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("a.json", "b" * 150 + ".npz", "c.npz", "ü.npz"):
            info = tarfile.TarInfo(name)
            info.size = len(name)
            tar.addfile(info, io.BytesIO(name.encode()))
    for tar_path in (path, *data.glob("*.tar")):
        with tar_path.open("rb") as file, tarfile.open(tar_path) as tar:
            expected = [(m.name, m.offset_data, m.size) for m in tar]
            assert list(tar_members(file)) == expected


@given(place=st.integers(0, 511), value=st.integers(1, 255))
def test_a_damaged_header_is_found(place: int, value: int) -> None:
    info = tarfile.TarInfo("00000001.json")
    info.size = 3
    tar = bytearray(info.tobuf(tarfile.USTAR_FORMAT) + b"abc" + bytes(509 + 1024))
    tar[place] ^= value
    try:
        found = list(tar_members(io.BytesIO(tar)))
    except (tarfile.TarError, ValueError):
        return
    assert found in ([], [("00000001.json", 512, 3)])


@pytest.mark.filterwarnings("ignore")  # webdataset leaves its files open
def test_bench_measures_every_row(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "loader.json"
    words = ["bench", "loader", f"data={data}", "n_dialogues=3", "batch_size=2", "rounds=1"]
    assert main([*words, f"json={out}"]) in (0, 1)
    result = json.loads(out.read_text())
    rates = result["seconds_per_core_second"]
    assert list(rates) == list(ROWS)
    assert result["ratios"]["packed_vs_flac_lanes"] > 5
    assert result["reached"] == (rates["packed"] >= result["goals"]["packed"])
    # Members of 8 s: 80 bands of 160 dMel frames by half a byte, 640 fine ones by one, and tokens.
    assert 160 * 40 + 640 * 80 < result["bytes_per_second_of_dialogue"] * 8 < 80_000


def test_an_empty_folder_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "loader", f"data={tmp_path}"]) == 1
    assert "no index.json" in capsys.readouterr().err
    assert main(["bench", "loader", "rounds=0"]) == 2
    assert "rounds=0 must be at least 1" in capsys.readouterr().err
