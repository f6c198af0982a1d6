"""The index of a file of lines: made once, shared, and made again when anything changed."""

from __future__ import annotations

import json
import multiprocessing
import re
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

from microturn.datagen.corpora.index import lines, strings
from microturn.datagen.corpora.index.lines import Columns, LineIndex, open_index
from microturn.datagen.corpora.index.packed_lines import content_of, lines_file, write_packed
from microturn.datagen.corpora.index.strings import StringColumn, Strings
from microturn.datagen.corpora.manifest import MANIFEST_NAME
from microturn.datagen.sets.storage import place
from support.shipped_lines import shipped_lines

CODE = (strings,)


def speakers(read: Iterator[bytes]) -> Columns:
    column = StringColumn()
    for line in read:
        column.append(json.loads(line)["speaker"])
    return column.arrays("speaker")


def never(read: Iterator[bytes]) -> Columns:
    raise AssertionError("the index is made again")


def opened(file: Path) -> LineIndex:
    return open_index(file, columns=speakers, code=CODE)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The first lines of the manifest that ships, in a folder of their own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "corpus"
    folder.mkdir()
    text = "".join(f"{line}\n" for line in shipped_lines()[:300])
    (folder / MANIFEST_NAME).write_text(text, encoding="utf-8")
    return folder / MANIFEST_NAME


def beside(file: Path) -> Path:
    return file.with_name(f".{file.name}.index.npz")


def said_by(index: LineIndex) -> list[str]:
    table = Strings.of(index.columns, "speaker")
    return [table[code] for code in index.columns["speaker"]]


def check(index: LineIndex, file: Path) -> None:
    stored = re.findall(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", file.read_bytes())
    assert len(index) == len(stored)
    assert [index.line(row) for row in range(len(index))] == stored
    assert said_by(index) == [json.loads(line)["speaker"] for line in stored]


def test_lines_and_columns_are_those_of_the_file(file: Path) -> None:
    check(opened(file), file)
    check(open_index(file, columns=never, code=CODE), file)


def test_lines_end_as_those_of_text_files_do(file: Path) -> None:
    first, second, third = file.read_bytes().splitlines()[:3]
    odd = json.dumps({"speaker": "a\u2028b\x85c\x1cd"}, ensure_ascii=False).encode()
    file.write_bytes(first + b"\r\n" + second + b"\r" + odd + b"\n" + third)
    check(opened(file), file)
    assert said_by(opened(file))[2] == "a\u2028b\x85c\x1cd"


def test_another_content_or_other_code_makes_it_again(file: Path) -> None:
    opened(file)
    stored = file.read_bytes()
    file.write_bytes(stored.replace(b'"asterisk-en"', b'"asterisk-xx"'))  # of the same size
    assert set(said_by(opened(file))) == {"asterisk-xx"}
    with pytest.raises(AssertionError, match="made again"):
        open_index(file, columns=never, code=(*CODE, lines))


@pytest.mark.parametrize("fault", ["empty", "short", "garbled", "other"])
def test_a_damaged_index_is_made_again(file: Path, fault: str) -> None:
    whole = beside(opened(file).file)
    data = whole.read_bytes()
    damaged = {
        "empty": b"",
        "short": data[:-100],
        "garbled": data[: len(data) // 2] + b"?" + data[len(data) // 2 + 1 :],
        "other": b"no index",
    }
    whole.write_bytes(damaged[fault])
    check(opened(file), file)
    assert whole.read_bytes() == data


def test_an_error_leaves_no_index(file: Path) -> None:
    with pytest.raises(AssertionError):
        open_index(file, columns=never, code=CODE)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_folder_that_cannot_be_written_to_has_its_index_in_the_cache(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside(file).mkdir()  # in its place nothing can be put, for root neither
    check(opened(file), file)
    (kept,) = (tmp_path / "cache" / "microturn" / "indices").iterdir()
    check(open_index(file, columns=never, code=CODE), file)
    kept.unlink()
    kept.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(file))  # is no folder
    check(opened(file), file)


def test_a_file_at_a_url_is_read_from_a_copy(file: Path, tmp_path: Path) -> None:
    stored = fsspec.filesystem("memory")
    stored.pipe_file("/lines/manifest.jsonl", file.read_bytes())
    remote = place("memory://lines/manifest.jsonl")
    check(open_index(remote, columns=speakers, code=CODE), file)
    check(open_index(remote, columns=never, code=CODE), file)
    changed = file.read_bytes() * 2
    stored.pipe_file("/lines/manifest.jsonl", changed)
    file.write_bytes(changed)
    check(open_index(remote, columns=speakers, code=CODE), file)


def test_a_gzipped_file_is_read_as_the_plain_one(file: Path) -> None:
    plain = opened(file)
    write_packed(file, file.read_bytes())
    assert lines_file(file.parent, MANIFEST_NAME) == file, "both are there"
    gzipped = file.with_name(f"{file.name}.gz")
    found = opened(gzipped)
    assert [found.line(row) for row in range(len(found))] == [plain.line(r) for r in range(300)]
    assert said_by(found) == said_by(plain)
    assert b"".join(content_of(gzipped)) == file.read_bytes()
    file.unlink()
    assert lines_file(file.parent, MANIFEST_NAME) == gzipped
    open_index(gzipped, columns=never, code=CODE)
    gzipped.write_bytes(gzipped.read_bytes()[:-100])
    with pytest.raises(ValueError, match="manifest.jsonl.gz is damaged"):
        opened(gzipped)


def test_processes_that_make_it_at_once_write_the_same(file: Path) -> None:
    context = multiprocessing.get_context("fork")
    racing = [context.Process(target=opened, args=(file,)) for _ in range(3)]
    for process in racing:
        process.start()
    for process in racing:
        process.join()
    assert [process.exitcode for process in racing] == [0, 0, 0]
    data = beside(file).read_bytes()
    assert sorted(path.name for path in file.parent.iterdir()) == [beside(file).name, file.name]
    beside(file).unlink()
    opened(file)
    assert beside(file).read_bytes() == data


def test_texts_have_the_order_of_code_points() -> None:
    texts = ["b", "", "\U0001f600", "\uffff", "é", "a", "\ud800", "b"]
    column = StringColumn()
    for text in texts:
        column.append(text)
    arrays = column.arrays("text")
    table = Strings.of(arrays, "text")
    assert list(table) == sorted(set(texts))
    assert [table[code] for code in arrays["text"]] == texts
    assert [table.code(text) for text in (*table, "c")] == [*range(len(table)), -1]
    assert table.codes(["é", "nothing", "a", "a"]) == sorted([table.code("a"), table.code("é")])
    with pytest.raises(IndexError, match="there are 7 texts, none of number 7"):
        table[7]
    assert arrays["text"].dtype == np.int32
    assert list(Strings.of(StringColumn().arrays("none"), "none")) == []
