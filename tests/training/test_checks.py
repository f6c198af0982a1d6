"""What a shard of another program may hold is refused in one sentence that names the dialogue."""

from __future__ import annotations

import io
import json
import re
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from microturn.datagen.sets.shards import ShardReader
from microturn.model.streams import Lanes
from microturn.training.reading.checks import check_lanes
from microturn.training.sources import Source, open_source

Train = Callable[..., int]
Members = dict[str, bytes]


def spoil(lanes: Lanes, **arrays: np.ndarray) -> Lanes:
    """Lanes with other arrays, by their stored names."""
    lane = {n: a for n, a in arrays.items() if not n.endswith("_weight")}
    weight = {n.removesuffix("_weight"): a for n, a in arrays.items() if n.endswith("_weight")}
    return replace(lanes, arrays={**lanes.arrays, **lane}, weights={**lanes.weights, **weight})


def zeros(lanes: Lanes) -> dict[str, np.ndarray]:
    return {f"{lane}_weight": np.zeros_like(weight) for lane, weight in lanes.weights.items()}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda x: {"say_weight": -x.weights["say"]}, "say_weight is negative (-0.4)"),
        (lambda x: {"say": x["say"][:17]}, "lane say is int32 (17, 1), but 20 micro-turns"),
        (
            lambda x: {"say": x["say"][:17], "say_weight": x.weights["say"][:17]},
            "lane say is int32 (17, 1), but 20 micro-turns",
        ),
        (lambda x: {"say_weight": x.weights["say"][:17]}, "say_weight is float32 (17, 1), but"),
        (lambda x: {"heard": x["heard"][:, None]}, "lane heard is int32 (20, 1, 1)"),
        (lambda x: {"heard": x["heard"].astype(np.int16)}, "lane heard is int16 (20, 1)"),
        (lambda x: {"audio_in": x["audio_in"][1:]}, "lane audio_in is uint8 (19, "),
        (zeros, "every weight is 0"),
    ],
)
def test_lanes_that_nothing_of_ours_writes_are_refused(
    changed: Callable[[Lanes], dict[str, np.ndarray]], message: str, data: Path
) -> None:
    lanes = ShardReader(data).lanes(0)
    check_lanes(lanes, "SET dialogue 0", vocab_size=10**4)
    with pytest.raises(ValueError, match="^SET dialogue 0") as error:
        check_lanes(spoil(lanes, **changed(lanes)), "SET dialogue 0", vocab_size=10**4)
    assert message in str(error.value)
    assert "simulate" not in str(error.value)


def refusal(source: Source) -> str:
    """What reading the first dialogue says; any other error than ValueError passes."""
    try:
        source.lanes(0)
        source.agent(0)
    except ValueError as error:
        return str(error)
    return ""


def rewrite(data: Path, out: Path, change: Callable[[str, Members], Members]) -> Path:
    """A copy of a set with other members, signed in its index as a writer would sign it."""
    shutil.copytree(data, out)
    index = json.loads((out / "index.json").read_text())
    for shard in index["shards"]:
        dialogues: dict[str, Members] = {}
        with tarfile.open(out / shard["name"]) as tar:
            for member in tar:
                key, _, name = member.name.partition(".")
                file = tar.extractfile(member)
                assert file is not None
                dialogues.setdefault(key, {})[name] = file.read()
        with tarfile.open(out / shard["name"], "w") as tar:
            for key, members in dialogues.items():
                for name, content in change(key, members).items():
                    info = tarfile.TarInfo(f"{key}.{name}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
        shard["bytes"] = (out / shard["name"]).stat().st_size
    (out / "index.json").write_text(json.dumps(index))
    return out


def with_arrays(content: bytes, change: Callable[[str, np.ndarray], np.ndarray]) -> bytes:
    with np.load(io.BytesIO(content)) as file:
        arrays = {name: change(name, file[name]) for name in file.files}
    written = io.BytesIO()
    np.savez(written, **arrays)
    return written.getvalue()


def test_negative_weights_end_the_run_in_one_sentence(
    data: Path, tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    def negative(key: str, members: Members) -> Members:
        streams = with_arrays(
            members["streams.npz"], lambda name, a: -a if name == "say_weight" else a
        )
        return members | {"streams.npz": streams}

    bad = rewrite(data, tmp_path / "set", negative)
    assert train(bad, tmp_path / "run", "max_steps=2", "loader_workers=0") == 1
    said = [line for line in capsys.readouterr().err.splitlines() if "microturn train:" in line]
    assert len(said) == 1
    assert "dialogue" in said[0]
    assert "say_weight is negative" in said[0]
    assert not list((tmp_path / "run").rglob("*.safetensors"))


def test_an_agent_that_never_speaks_is_refused(
    data: Path, tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    def silent(key: str, members: Members) -> Members:
        features = with_arrays(
            members["features.npz"], lambda name, a: a if name == "audio_in" else a * 0
        )
        return members | {"features.npz": features}

    bad = rewrite(data, tmp_path / "set", silent)
    assert train(bad, tmp_path / "run", "max_steps=2") == 1
    said = capsys.readouterr().err
    assert "dialogue 0 to" in said
    assert "the agent never speaks" in said


def test_damage_of_any_member_is_a_sentence(data: Path, tmp_path: Path) -> None:
    """Single bits: a damaged name is another name, and damaged sound is no FLAC."""
    random, said = np.random.default_rng(0), []
    for flips in range(40):
        part = "agent.flac" if flips % 2 else "streams.npz"
        shutil.rmtree(tmp_path / "set", ignore_errors=True)
        shutil.copytree(data, tmp_path / "set")
        tar = sorted((tmp_path / "set").glob("*.tar"))[0]
        with tarfile.open(tar) as file:
            member = file.getmember(f"00000000.{part}")
        content = bytearray(tar.read_bytes())
        content[member.offset_data + int(random.integers(member.size))] ^= 1 << (flips % 8)
        tar.write_bytes(content)
        source = open_source(str(tmp_path / "set"))
        said.append(f"00000000.{part}: " + refusal(source))
    refused = [line for line in said if not line.endswith(": ")]
    assert len(refused) > 20  # 20 of 20 in the sound, half of those in the lanes
    assert all(re.match(r"(00000000\.\S+): \S+\.tar:(\1|00000000 is damaged)", s) for s in refused)


def test_a_torn_tar_is_to_be_copied_again(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "set")
    tar = sorted((tmp_path / "set").glob("*.tar"))[0]
    with tarfile.open(tar) as file:
        last = file.getmembers()[-1]
    tar.write_bytes(tar.read_bytes()[: last.offset_data + 100])
    index = json.loads((tmp_path / "set/index.json").read_text())
    index["shards"][0]["bytes"] = tar.stat().st_size
    (tmp_path / "set/index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"torn.*copy or download it again"):
        open_source(str(tmp_path / "set")).lanes(0)


def test_a_missing_member_is_not_taken_for_a_set_without_features(
    data: Path, tmp_path: Path
) -> None:
    lost = rewrite(
        data,
        tmp_path / "set",
        lambda key, m: {n: c for n, c in m.items() if (key, n) != ("00000001", "streams.npz")},
    )
    with pytest.raises(ValueError, match=r"00000001 has no streams.npz; its tar is torn"):
        open_source(str(lost)).lanes(1)
    fewer = rewrite(data, tmp_path / "fewer", lambda key, m: {} if key == "00000003" else m)
    with pytest.raises(ValueError, match="holds 3 dialogues but index.json says 4"):
        open_source(str(fewer)).lanes(3)
