"""Sets are pure functions of their configuration: workers, kills and reruns change no byte."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from microturn.configs.main import main
from microturn.datagen.acoustics.rooms import ensure_bank
from microturn.datagen.config import DatagenConfig, VocabularyConfig, VoicesConfig
from microturn.datagen.sets.shards import ShardReader, read_index
from microturn.datagen.simulate import simulate

SMALL = ("rooms.n_rooms=2", "rooms.method=tail", "n_micro_turns=50", "seed=3")


def words(out: Path, cache: Path, *more: str) -> list[str]:
    return ["simulate", f"out={out}", f"cache={cache}", *SMALL, *more]


def digests(out: Path) -> list[tuple[str, str]]:
    return [(shard["name"], shard["sha256"]) for shard in read_index(out)["shards"]]


def files(out: Path) -> dict[str, bytes]:
    """Everything in a set but its configuration, which names the folder and the workers."""
    return {p.name: p.read_bytes() for p in sorted(out.iterdir()) if p.name != "config.yaml"}


def test_one_worker_makes_what_two_make(
    config: DatagenConfig, cache: Path, finished_set: ShardReader, tmp_path: Path
) -> None:
    out = tmp_path / "set"
    simulate(replace(config, out=str(out), stems=True, workers=1), cache=cache)
    assert digests(out) == digests(finished_set.folder)
    assert files(out) == files(finished_set.folder)


def test_a_killed_run_is_finished_by_the_next(cache: Path, tmp_path: Path) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    shape = ("n_dialogues=12", "dialogues_per_shard=1")
    ensure = words(straight, cache, *shape, "workers=1")
    assert main(ensure) == 0
    command = [sys.executable, "-m", "microturn.configs.main"]
    process = subprocess.Popen(
        [*command, *words(killed, cache, *shape, "workers=2")], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not list(killed.glob("shard-*.tar")):
        assert time.monotonic() < deadline, "no shard within a minute"
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "index.json").exists()
    _wait_until_quiet(killed)
    assert main(words(killed, cache, *shape, "workers=2")) == 0
    assert files(killed) == files(straight)


def _wait_until_quiet(folder: Path) -> None:
    """Workers of a killed parent leave by themselves: nothing is written any more."""
    before: set[str] = set()
    for _ in range(100):
        time.sleep(0.1)
        now = set(os.listdir(folder)) | set(os.listdir(folder / ".progress"))
        if now == before:
            return
        before = now
    pytest.fail("workers of a killed run go on writing")


def test_a_finished_set_is_left_alone(
    config: DatagenConfig,
    cache: Path,
    finished_set: ShardReader,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished_set.folder.iterdir()}
    card = simulate(replace(config, out=str(finished_set.folder), stems=True), cache=cache)
    assert "is finished (6 dialogues); nothing to do" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in finished_set.folder.iterdir()} == before
    assert card["n_dialogues"] == 6


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seed": 6}, r"holds a set with seed=5, not 6; give another out=FOLDER"),
        ({"timing": {"gap_s": (0.0, 9.0)}}, r"holds a set with timing.gap_s=\[0.4, 1.5\], not"),
        ({"families": {"turn": 1.0}}, r"holds a set with families=\{'turn': 0.22.*, not"),
    ],
)
def test_another_configuration_is_refused(
    config: DatagenConfig,
    cache: Path,
    finished_set: ShardReader,
    change: dict[str, object],
    sentence: str,
) -> None:
    if "timing" in change:
        change = {"timing": replace(config.timing, **change["timing"])}  # type: ignore[arg-type]
    other = replace(config, out=str(finished_set.folder), stems=True, **change)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=sentence):
        simulate(other, cache=cache)


def test_bad_input_is_one_sentence(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    cases = {
        "out=FOLDER|cannot be written to": words(blocked / "set", cache),
        "no corpus folder": words(tmp_path / "a", cache, f"corpus={tmp_path / 'none'}"),
        "'xylophone' by voices.agent": words(
            tmp_path / "b", cache, "vocabulary.numbers=[one,two,three,four,five,xylophone]"
        ),
        "families.quarrel is no scenario": words(tmp_path / "c", cache, "families.quarrel=1"),
        "nobody in corpus=default is voices.agent='nobody'": words(
            tmp_path / "d", cache, "voices.agent=nobody"
        ),
    }
    for sentence, argv in cases.items():
        assert main(argv) == 1, argv
        error = capsys.readouterr().err.strip()
        assert re.search(sentence, error), error
        assert len(error.splitlines()) == 1, error


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["split=dev"], "split='dev' is not one of train, test"),
        (["n_dialogues=0"], "n_dialogues=0 must be at least 1"),
        (["familys.turn=1"], "unknown key 'familys.turn'"),
        (["voices.test_factors=[0.8]"], "speeds of the test must not be trained on"),
    ],
)
def test_wrong_usage_is_named(
    argv: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", f"out={tmp_path}", *argv]) == 2
    assert sentence in capsys.readouterr().err


def test_configurations_check_themselves() -> None:
    with pytest.raises(ValueError, match="vocabulary.cue_delay_s"):
        VocabularyConfig(cue_delay_s=(0, 3))
    with pytest.raises(ValueError, match=r"voices.test_factors has 1.25"):
        VoicesConfig(train_factors=(1.25,), test_factors=(1.25,))
    with pytest.raises(ValueError, match="no positive weight"):
        DatagenConfig(out="x", families={"turn": 0.0})
    with pytest.raises(ValueError, match="families.turn=-1"):
        DatagenConfig(out="x", families={"turn": -1.0, "background": 1.0})


def test_a_set_begun_with_another_corpus_is_not_mixed(
    config: DatagenConfig, cache: Path, tmp_path: Path
) -> None:
    out = tmp_path / "set"
    (out / ".progress").mkdir(parents=True)
    (out / ".progress" / "identity.json").write_text('{"format": 1, "corpus_sha256": "0"}')
    with pytest.raises(ValueError, match="started with another"):
        simulate(replace(config, out=str(out)), cache=cache)


def test_an_unwritable_cache_is_no_obstacle(config: DatagenConfig, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    one = replace(config, out=str(tmp_path / "set"), n_dialogues=1)
    simulate(one, cache=blocked / "cache")
    assert len(ShardReader(tmp_path / "set")) == 1


def test_rooms_do_not_depend_on_the_cache(config: DatagenConfig, tmp_path: Path) -> None:
    banks = [ensure_bank(config.rooms, 16_000, folders=[tmp_path / name]) for name in ("a", "b")]
    assert banks[0].read_bytes() == banks[1].read_bytes()
