"""`microturn simulate` with a corpus that is damaged: one sentence, and what is finished stays.

Other faults (a full disk, Ctrl-C, wrong usage, kills) are in test_scale.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from microturn.configs.main import main
from microturn.datagen.corpora.manifest import DEFAULT_FOLDER, MANIFEST_NAME
from microturn.datagen.sets.shards import ShardReader, sha256_of
from support.shipped_lines import shipped_manifest

SMALL = ("rooms.n_rooms=2", "rooms.method=tail", "n_micro_turns=50", "seed=3")
COMMAND = [sys.executable, "-m", "microturn.configs.main"]


def words(out: Path, cache: Path, *more: str) -> list[str]:
    return ["simulate", f"out={out}", f"cache={cache}", *SMALL, *more]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """The corpus that ships, in a folder of its own; its tars are links until they are spoilt."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for path in DEFAULT_FOLDER.iterdir():
        if path.suffix == ".tar":
            (folder / path.name).symlink_to(path)
        elif path.is_file() and path.suffix != ".gz":
            (folder / path.name).write_bytes(path.read_bytes())
    (folder / MANIFEST_NAME).write_bytes(shipped_manifest())
    return folder


def _lines(corpus: Path, change: Callable[[dict[str, object]], object], line: int) -> None:
    path = corpus / MANIFEST_NAME
    lines = path.read_text(encoding="utf-8").splitlines()
    entry = json.loads(lines[line])
    change(entry)
    lines[line] = json.dumps(entry)
    path.write_text("\n".join(lines), encoding="utf-8")


def _half_a_line(corpus: Path) -> None:
    path = corpus / MANIFEST_NAME
    path.write_text(path.read_text(encoding="utf-8")[:-300], encoding="utf-8")


def _no_transcript(corpus: Path) -> None:
    _lines(corpus, lambda entry: entry.pop("text"), 5)


def _transcript_of_a_number(corpus: Path) -> None:
    _lines(corpus, lambda entry: entry.update(text=7), 0)


def _words_beyond_the_end(corpus: Path) -> None:
    _lines(corpus, lambda entry: entry.update(words=[["one", 0.0, 99.0]]), 2)


def _no_text(corpus: Path) -> None:
    (corpus / MANIFEST_NAME).write_bytes(bytes(range(256)))


def _no_manifest(corpus: Path) -> None:
    (corpus / MANIFEST_NAME).unlink()


def _no_tar(corpus: Path) -> None:
    (corpus / "asterisk-en.tar").unlink()


def _half_a_tar(corpus: Path) -> None:
    path = corpus / "asterisk-en.tar"
    half = path.read_bytes()[:1000]
    path.unlink()
    path.write_bytes(half)


def _no_sound(corpus: Path, name: str = "asterisk-en.tar") -> None:
    """A file of the right size with nothing in it, as a broken download leaves."""
    path = corpus / name
    size = path.stat().st_size
    path.unlink()
    path.touch()
    os.truncate(path, size)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_half_a_line, "manifest.jsonl, line "),
        (_no_transcript, "manifest.jsonl, line 6: field 'text' is missing"),
        (_transcript_of_a_number, "manifest.jsonl, line 1: field 'text' is 7, not str"),
        (_words_beyond_the_end, "line 3: times 0.0 to 99.0 s are not inside the recording"),
        (_no_text, "manifest.jsonl, line 1: it is not text"),
        (_no_manifest, "holds no manifest.jsonl"),
        (_no_tar, "lacks asterisk-en.tar, named in its manifest"),
        (_half_a_tar, "asterisk-en.tar is shorter than its manifest says"),
        (_no_sound, "cannot be decoded (none of the known formats"),
    ],
)
def test_a_damaged_corpus_is_one_sentence(
    spoil: Callable[[Path], None],
    sentence: str,
    corpus: Path,
    cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(corpus)
    out = tmp_path / "set"
    argv = words(out, cache, f"corpus={corpus}", "n_dialogues=1", "executor=serial")
    assert main(argv) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if "microturn" in line]
    assert len(said) == 1, said
    assert sentence in said[0], said[0]
    assert not list(out.glob("shard-*"))


def test_shards_made_before_the_fault_are_valid_and_kept(
    corpus: Path, cache: Path, tmp_path: Path
) -> None:
    """Some dialogues need recordings that cannot be read, others do not."""
    _no_sound(corpus, "amazon-queen.tar")
    out, straight = tmp_path / "set", tmp_path / "straight"
    shape = (f"corpus={corpus}", "n_dialogues=8", "dialogues_per_shard=1", "executor=serial")
    done = subprocess.run([*COMMAND, *words(out, cache, *shape)], capture_output=True, text=True)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("microturn simulate: ")
    assert "amazon-queen.tar: " in last
    assert "cannot be decoded" in last
    assert "Traceback" not in done.stderr
    made = {path.name: sha256_of(path) for path in out.glob("shard-*.tar")}
    assert made, "no dialogue does without these recordings"
    assert not (out / "index.json").exists()

    (corpus / "amazon-queen.tar").unlink()
    (corpus / "amazon-queen.tar").symlink_to(DEFAULT_FOLDER / "amazon-queen.tar")
    assert main(words(out, cache, *shape)) == 0
    assert main(words(straight, cache, *shape)) == 0
    digests = {shard.name: shard.sha256 for shard in ShardReader(straight).shards}
    assert {shard.name: shard.sha256 for shard in ShardReader(out).shards} == digests
    assert made.items() <= digests.items()
