"""Tars without an index: files, object stores, pipes, and servers with and without ranges."""

from __future__ import annotations

import io
import re
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import numpy as np
import pytest
import webdataset

from microturn.model.streams import Lanes
from microturn.training.sources import open_source

Train = Callable[..., int]


def same(a: Lanes, b: Lanes) -> bool:
    others = b.named_arrays()
    return all(np.array_equal(array, others[name]) for name, array in a.named_arrays().items())


class Ranges(SimpleHTTPRequestHandler):
    """A server that answers range requests, which `http.server` does not."""

    def log_message(self, *args: object) -> None:
        pass

    def send_head(self) -> io.BytesIO | None:  # type: ignore[override]
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if asked is None or not path.is_file():
            return super().send_head()  # type: ignore[return-value]
        content = path.read_bytes()
        start, end = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{end}/{len(content)}")
        self.send_header("Content-Length", str(end + 1 - start))
        self.end_headers()
        return io.BytesIO(content[start : end + 1])


class NoRanges(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def bare(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set of `data` in tars that WebDataset itself wrote, with other keys and no index."""
    out = tmp_path_factory.mktemp("bare")
    for name in ("layout.json", "tokenizer.json"):
        shutil.copy(data / name, out / name)
    for number, tar in enumerate(sorted(data.glob("*.tar"))):
        samples: dict[str, dict[str, object]] = {}
        with tarfile.open(tar) as file:
            for member in file:
                key, _, part = member.name.partition(".")
                content = file.extractfile(member)
                assert content is not None
                sample = samples.setdefault(key, {"__key__": f"night/{key}-a"})
                sample[part] = content.read()
        with webdataset.TarWriter(str(out / f"x-{number}.tar")) as writer:
            for sample in samples.values():
                writer.write(sample)
    return out


@pytest.fixture(params=[Ranges, NoRanges])
def server(request: pytest.FixtureRequest, bare: Path, data: Path) -> Iterator[str]:
    """The address of a server of the folder above the tars."""
    handler = partial(request.param, directory="/")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def test_tars_of_webdataset_are_read_without_an_index(bare: Path, data: Path) -> None:
    whole, source = open_source(str(data)), open_source(f"{bare}/x-{{0..1}}.tar")
    assert len(source) == 8
    for i in (0, 3, 4, 7):
        assert same(source.lanes(i), whole.lanes(i))
        assert np.array_equal(source.agent(i), whole.agent(i))
    assert source.length(5) == source.n_micro_turns == 20
    assert source.name(5) == f"{bare}/x-1.tar dialogue night/00000005-a"


def test_servers_with_and_without_ranges_give_the_same(server: str, bare: Path, data: Path) -> None:
    whole = open_source(str(data))
    for source in (open_source(f"{server}{bare}/x-{{0..1}}.tar"), open_source(f"{server}{data}")):
        assert len(source) == 8
        for i in (1, 6):
            assert same(source.lanes(i), whole.lanes(i))
            assert source.name(i).startswith(server)


def test_pipes_and_object_stores_are_read(bare: Path, data: Path) -> None:
    whole = open_source(str(data))
    piped = open_source(f"pipe:cat {bare}/x-{{0..1}}.tar", layout_from=str(data))
    memory = fsspec.filesystem("memory")
    for path in bare.iterdir():
        memory.pipe_file(f"/bucket/{path.name}", path.read_bytes())
    stored = open_source("memory://bucket/x-{0..1}.tar")
    for source in (piped, stored):
        assert len(source) == 8
        assert same(source.lanes(6), whole.lanes(6))
    mixed = open_source(f"pipe:cat {bare}/x-0.tar:1,{data}:3", layout_from=str(data))
    assert len(mixed) == 12


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pipe:cat {bare}/x-0.tar", "layout_from=FOLDER"),
        ("{bare}/x-7.tar", "there is no tar"),
        ("{bare}/torn.tar", "torn.*copy or download it again"),
        ("{bare}/other.tar", "its samples hold txt, but training reads features.npz and"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(
    name: str,
    message: str,
    bare: Path,
    tmp_path: Path,
    train: Train,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(bare, tmp_path / "x")
    whole = (tmp_path / "x/x-0.tar").read_bytes()
    (tmp_path / "x/torn.tar").write_bytes(whole[: len(whole) * 2 // 3])
    with webdataset.TarWriter(str(tmp_path / "x/other.tar")) as writer:
        writer.write({"__key__": "a", "txt": "hello"})
    assert train(name.format(bare=tmp_path / "x"), tmp_path / "run") == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert re.search(message, said[0])


def test_a_pipe_that_fails_is_said(data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OSError, match="pipe:exit 3 ended with exit code 3"):
        open_source("pipe:exit 3", layout_from=str(data))


def test_a_run_over_a_pipe_equals_one_over_the_set(
    bare: Path, data: Path, tmp_path: Path, train: Train
) -> None:
    weights = []
    for name in (str(data), f"pipe:cat {bare}/x-{{0..1}}.tar"):
        run = tmp_path / str(len(weights))
        assert train(name, run, "max_steps=3", "loader_workers=1", f"layout_from={data}") == 0
        weights.append((run / "checkpoint/model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_a_tar_with_long_names_is_read(bare: Path, data: Path, tmp_path: Path) -> None:
    for name in ("layout.json", "tokenizer.json"):
        shutil.copy(data / name, tmp_path / name)
    with tarfile.open(bare / "x-0.tar") as old, tarfile.open(tmp_path / "y.tar", "w") as new:
        for member in old:
            file = old.extractfile(member)
            member.name = f"./{'long' * 40}/{member.name}"
            new.addfile(member, file)
    assert same(open_source(str(tmp_path / "y.tar")).lanes(2), open_source(str(data)).lanes(2))
