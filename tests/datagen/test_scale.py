"""One set of bytes, whoever makes it: serial, processes, Ray, parts, behind a URL, after kills."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from microturn.configs.main import main
from microturn.datagen import simulate as module
from microturn.datagen.config import DatagenConfig, part_of
from microturn.datagen.sets.shards import ShardReader, read_index
from microturn.datagen.sets.storage import names, place
from microturn.datagen.simulate import simulate

SMALL = ("rooms.n_rooms=2", "rooms.method=tail", "n_micro_turns=50", "seed=3")
SHAPE = ("n_dialogues=6", "dialogues_per_shard=1")
COMMAND = [sys.executable, "-m", "microturn.configs.main"]


def words(out: object, cache: Path, *more: str) -> list[str]:
    return ["simulate", f"out={out}", f"cache={cache}", *SMALL, *SHAPE, *more]


def digests(out: str | Path) -> list[tuple[str, str]]:
    return [(shard["name"], shard["sha256"]) for shard in read_index(place(out))["shards"]]


def files(out: Path) -> dict[str, bytes]:
    """Everything in a set but its configuration, which names the folder and the workers."""
    return {p.name: p.read_bytes() for p in sorted(out.iterdir()) if p.name != "config.yaml"}


@pytest.fixture(scope="module")
def straight(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes in one go."""
    out = tmp_path_factory.mktemp("straight") / "set"
    assert main(words(out, cache, "executor=serial")) == 0
    return out


def test_four_processes_make_the_same(straight: Path, cache: Path, tmp_path: Path) -> None:
    assert main(words(tmp_path / "set", cache, "workers=4")) == 0
    assert files(tmp_path / "set") == files(straight)


@pytest.mark.slow
def test_ray_makes_the_same(straight: Path, cache: Path, tmp_path: Path) -> None:
    """In a process of its own: Ray leaves open what our tests do not tolerate."""
    pytest.importorskip("ray")
    variables = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONWARNINGS": ""}
    variables.pop("RAY_ADDRESS", None)
    argv = words("set", cache, "executor=ray", "workers=2")  # workers stand in another folder
    done = subprocess.run(
        [*COMMAND, *argv], cwd=tmp_path, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "set") == files(straight)
    missing = words(tmp_path / "b", cache, "executor=ray", "ray_address=127.0.0.1:1")
    done = subprocess.run([*COMMAND, *missing], env=variables, capture_output=True, text=True)
    assert done.returncode == 1
    assert "ray_address=127.0.0.1:1: no cluster answers" in done.stderr.splitlines()[-1]


def test_parts_make_the_same_and_the_last_one_finishes(
    straight: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "set"
    assert main(words(out, cache, "executor=serial", "part=3/3")) == 0
    assert "2 of 6 shards are, and the last part" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match="an unfinished one"):
        ShardReader(out)
    assert main(words(out, cache, "executor=serial", "part=1/3")) == 0
    assert main(words(out, cache, "executor=serial", "part=2/3")) == 0
    assert files(out) == files(straight)
    assert main(words(out, cache, "part=2/3")) == 0
    assert "nothing to do" in capsys.readouterr().err


def test_two_parts_that_finish_at_once(
    straight: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both see all reports before either has written the index."""
    out = tmp_path / "set"
    barrier = threading.Barrier(2, timeout=120)
    finish = module._finish

    def together(*arguments: object, **named: object) -> dict[str, object]:
        barrier.wait()
        return finish(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_finish", together)
    codes: dict[int, int] = {}

    def part(k: int) -> None:
        codes[k] = main(words(out, cache, "workers=1", f"part={k}/2"))

    threads = [threading.Thread(target=part, args=(k,)) for k in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == {1: 0, 2: 0}
    assert files(out) == files(straight)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/2/3", "-1/2"])
def test_what_is_no_part(text: str) -> None:
    with pytest.raises(ValueError, match=f"part={text} must be k/n"):
        part_of(text)


def test_every_shard_belongs_to_one_part() -> None:
    made = [s for k in range(1, 6) for s in range(part_of(f"{k}/5")[0], 17, 5)]
    assert sorted(made) == list(range(17))


def test_a_set_behind_a_url(straight: Path, cache: Path, tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/set"
    assert main(words(url, cache, "executor=serial", "part=1/2")) == 0
    assert main(words(url, cache, "executor=serial", "part=2/2")) == 0
    assert digests(url) == digests(straight)
    assert set(names(place(url), "*")) == set(os.listdir(straight))
    assert names(place(url), ".*") == []
    reader, local = ShardReader(url), ShardReader(straight)
    assert reader[5].members == local[5].members
    assert [sample.key for sample in reader] == [sample.key for sample in local]
    assert reader.tokenizer.encode("one") == local.tokenizer.encode("one")
    assert main(["inspect", url, "--check"]) == main(["inspect", str(straight), "--check"])


def test_a_set_in_memory_needs_one_process(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words("memory://lost/set", cache)) == 1
    assert "visible to one process only; give executor=serial" in capsys.readouterr().err


def test_a_corpus_behind_a_url(config: DatagenConfig, cache: Path, tmp_path: Path) -> None:
    import fsspec

    from microturn.datagen.corpora.manifest import DEFAULT_FOLDER

    fs = fsspec.filesystem("memory")
    for path in DEFAULT_FOLDER.iterdir():
        if path.is_file():
            fs.pipe_file(f"/corpus/{path.name}", path.read_bytes())
    one = replace(config, n_dialogues=1, executor="serial")
    simulate(replace(one, out=str(tmp_path / "a"), corpus="memory://corpus"), cache=cache)
    simulate(replace(one, out=str(tmp_path / "b")), cache=cache)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_kills_at_random_moments_change_nothing(
    straight: Path, cache: Path, tmp_path: Path, kills: int
) -> None:
    out, done = tmp_path / "set", 0
    rng = random.Random(kills)
    while done < kills:
        process = subprocess.Popen(
            [*COMMAND, *words(out, cache, "workers=2")], stderr=subprocess.DEVNULL
        )
        # Later and later, so that every phase is met: start, preparation, shards, index.
        time.sleep(rng.uniform(0.2, 2.0 + 0.5 * (done % 8)))
        if process.poll() is not None:  # this one got through: begin again
            assert process.returncode == 0
            assert files(out) == files(straight)
            out = tmp_path / f"set{done}"
        process.send_signal(signal.SIGKILL)
        process.wait()
        done += 1
        _finished_shards_are_whole(out)
    time.sleep(0.5)  # workers leave with their parent
    assert main(words(out, cache, "workers=1")) == 0
    assert files(out) == files(straight)


def _finished_shards_are_whole(out: Path) -> None:
    """Every report speaks of a shard that is there, with its digest; nothing has a half name."""
    for report in out.glob(".progress/shard-*.json"):
        shard = json.loads(report.read_text())["shard"]
        tar = out / shard["name"]
        assert hashlib.sha256(tar.read_bytes()).hexdigest() == shard["sha256"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_one_sentence_and_leaves_whole_shards(
    number: int, straight: Path, cache: Path, tmp_path: Path
) -> None:
    out = tmp_path / "set"
    process = subprocess.Popen(
        [*COMMAND, *words(out, cache, "workers=2", "n_dialogues=400")],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not list(out.glob(".progress/shard-*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, number)  # as a terminal or scheduler does: to the workers too
    _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    said = re.fullmatch(
        rf"microturn simulate: stopped by {signal.Signals(number).name}; (\d+) of (\d+) shards are "
        rf"finished in {out}; continue with: microturn simulate .*n_dialogues=400",
        error.splitlines()[-1],
    )
    assert said, error
    assert 0 < int(said[1]) < int(said[2])
    assert "Traceback" not in error
    _finished_shards_are_whole(out)
    for name, sha256 in digests(straight):  # a dialogue does not depend on how many there are
        if (out / ".progress" / f"{name}.json").is_file():
            assert hashlib.sha256((out / name).read_bytes()).hexdigest() == sha256


def test_a_full_disk_is_one_sentence(cache: Path, tmp_path: Path) -> None:
    """No file may grow beyond 400 kB: writing a shard fails as it does on a full disk."""
    out = tmp_path / "set"
    shape = ("n_dialogues=4", "dialogues_per_shard=4", "workers=1")

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

    command = [*COMMAND, *words(out, cache, *shape)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=small_files)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert re.fullmatch(
        r"microturn simulate: .*shard-000000.tar cannot be written \(File too large\); "
        r"finished files stay valid, and the same command continues from there",
        last,
    ), done.stderr
    assert "Traceback" not in done.stderr
    assert not list(out.glob("shard-*"))
    assert not list(out.glob(".shard-*"))
    assert main(words(out, cache, *shape)) == 0
    assert len(ShardReader(out)) == 4


@pytest.mark.parametrize(
    ("argv", "code", "sentence"),
    [
        (["executor=spark"], 2, "executor='spark' is not one of processes, serial, ray"),
        (["part=5/4"], 2, "part=5/4 must be k/n with 1 <= k <= n"),
        (["worker=2"], 2, "unknown key 'worker'; did you mean 'workers'?"),
        (["workers=two"], 2, "workers must be int, not 'two'"),
        (["channel.snr_db=loud"], 2, "channel.snr_db must be list of float, not ['loud']"),
        (["out=nowhere://x/set"], 1, "nowhere://x/set cannot be opened (Protocol not known"),
        (["corpus=/nowhere"], 1, "/nowhere"),
    ],
)
def test_what_cannot_be_run_is_one_sentence(
    argv: list[str],
    code: int,
    sentence: str,
    cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*words(tmp_path / "set", cache), *argv]) == code
    error = capsys.readouterr().err.splitlines()
    assert sentence in error[0]
    assert len(error) == (2 if code == 2 else 1)  # wrong usage also points to --help


def test_a_broken_recording_is_named(config: DatagenConfig, cache: Path, tmp_path: Path) -> None:
    """Bytes that are no sound, found in the middle of the work."""
    import shutil

    from microturn.datagen.corpora.manifest import DEFAULT_FOLDER

    corpus = Path(shutil.copytree(DEFAULT_FOLDER, tmp_path / "corpus"))
    for tar in corpus.glob("*.tar"):
        tar.write_bytes(b"\0" * tar.stat().st_size)
    bad = replace(config, out=str(tmp_path / "set"), corpus=str(corpus), workers=1)
    with pytest.raises(ValueError, match="cannot be decoded"):
        simulate(bad, cache=cache)
    assert not list((tmp_path / "set").glob("shard-*"))
