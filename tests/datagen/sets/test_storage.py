"""Objects appear whole or not at all, on this machine and behind URLs."""

from __future__ import annotations

import pickle
from pathlib import Path

import fsspec
import pytest

from microturn.datagen.sets import storage
from microturn.datagen.sets.storage import Draft, Place, RemotePath, place


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return place(str(tmp_path / "x") if request.param == "local" else f"memory://{tmp_path.name}/x")


def test_what_is_written_is_read(folder: Place) -> None:
    item = folder / "a.bin"
    assert not item.is_file()
    storage.write_whole(item, b"0123456789")
    storage.write_whole(folder / "b.txt", "größer")
    assert item.is_file()
    assert folder.is_dir()
    assert storage.size_of(item) == 10
    assert item.read_bytes() == b"0123456789"
    assert storage.read_range(item, start=3, size=4) == b"3456"
    assert (folder / "b.txt").read_text(encoding="utf-8") == "größer"
    assert storage.names(folder, "*.bin") == ["a.bin"]
    with item.open("rb") as file, storage.local_copy(item) as copy:
        assert file.read() == copy.read_bytes()
    storage.remove(item)
    storage.remove(item)
    assert storage.names(folder, "*") == ["b.txt"]
    storage.remove_folder(folder)
    assert storage.names(folder, "*") == []
    with pytest.raises(FileNotFoundError):
        storage.size_of(item)


def test_a_draft_is_seen_by_nobody(folder: Place) -> None:
    item = folder / "a.bin"
    storage.write_whole(item, b"before")
    draft = Draft(item)
    draft.write(b"half of ")
    assert item.read_bytes() == b"before"
    draft.abandon()
    assert item.read_bytes() == b"before"
    draft = Draft(item)
    draft.write(b"whole")
    draft.commit()
    assert item.read_bytes() == b"whole"
    assert storage.names(folder, "*") + storage.names(folder, ".*") == ["a.bin"]


def test_drafts_of_dead_processes_are_found(tmp_path: Path) -> None:
    living = Draft(tmp_path / "a.tar")
    (own,) = tmp_path.iterdir()
    host = own.name.split(".")[-2].rpartition("_")[0].rpartition("_")[0]
    dead = tmp_path / f".b.tar.{host}_999999999_0.tmp"  # no process has such a number
    elsewhere = tmp_path / ".c.tar.another-host_1_0.tmp"
    for path in (dead, elsewhere):
        path.touch()
    assert list(storage.stale_drafts(tmp_path)) == [dead]
    assert set(storage.stale_drafts(tmp_path, only_dead=False)) == {own, dead, elsewhere}
    living.abandon()


def test_places() -> None:
    assert place("runs/x") == Path("runs/x")
    assert place("file:///tmp/a%20b") == Path("/tmp/a b")
    assert place(Path("x")) == Path("x")
    url = place("s3://bucket/some/set/")
    assert isinstance(url, RemotePath)
    assert (str(url / "a.tar"), url.name, url.protocol) == (
        "s3://bucket/some/set/a.tar",
        "set",
        "s3",
    )
    assert str(url.parent) == "s3://bucket/some"
    assert pickle.loads(pickle.dumps(url)) == url


def test_an_unknown_protocol_is_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"ftpx://host/x cannot be opened \(Protocol not known"):
        place("ftpx://host/x").is_dir()


def test_remote_objects_are_sent_in_one_put(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory shows files while they are written, so nothing may be written to it piece by piece."""
    item = place("memory://one-put/a.bin")
    assert isinstance(item, RemotePath)
    fs = fsspec.filesystem("memory")
    puts: list[bytes] = []
    send = type(fs).pipe_file

    def watched(self: object, path: str, value: bytes, **more: object) -> None:
        puts.append(value)
        send(self, path, value, **more)

    monkeypatch.setattr(type(fs), "pipe_file", watched)
    draft = Draft(item)
    for piece in (b"ab", b"cd"):
        draft.write(piece)
        assert not item.is_file()
    draft.commit()
    assert puts == [b"abcd"]


def test_what_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"a.tar cannot be written \(.+\); finished files stay"):
        storage.write_whole(tmp_path / "file" / "a.tar", b"")
