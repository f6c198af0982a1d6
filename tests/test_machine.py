"""Machines of other people: no home, a home that cannot be written to, no name, other locales."""

from __future__ import annotations

import getpass
import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import soundfile

from microturn.configs.main import main
from microturn.configs.paths import cache_folder, data_folder, prepare_environment
from microturn.datagen.corpora.manifest import Corpus

NAMES = ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "LOGNAME", "USER", "LNAME", "USERNAME")


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who is in no list of users; returns the folder of temporary files."""
    for name in (*NAMES, "MPLCONFIGDIR", "TRITON_HOME", "TORCHINDUCTOR_CACHE_DIR"):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    for name in ("NUMBA_CACHE_DIR", "HF_HOME"):
        monkeypatch.setenv(name, "set already")

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_without_a_home_caches_are_temporary_and_corpora_need_a_folder(
    nobody: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    caches = nobody / f"microturn-{os.getuid()}"
    assert cache_folder("") == caches / "microturn"
    assert caches.stat().st_mode & 0o777 == 0o700
    assert data_folder() is None
    assert main(["corpus", "list"]) == 0
    assert "default" in capsys.readouterr().out
    assert main(["corpus", "add", str(nobody)]) == 1
    assert "there is no home for corpora; give a folder (out=" in capsys.readouterr().err
    assert main(["simulate", f"out={nobody / 'set'}", "corpus=of_mine", "n_dialogues=1"]) == 1
    assert "There is no corpus folder" in capsys.readouterr().err


def test_other_packages_get_a_name_of_the_user_and_places_for_their_caches(nobody: Path) -> None:
    with pytest.raises((KeyError, OSError)):
        getpass.getuser()
    prepare_environment()
    assert getpass.getuser() == f"uid{os.getuid()}"
    assert Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).parent == nobody / f"microturn-{os.getuid()}"
    assert os.environ["HF_HOME"] == "set already"


@pytest.mark.parametrize("home", ["/proc", "/nowhere/at/all"])
def test_a_home_that_holds_nothing_is_not_used_for_caches(
    home: str, nobody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", home)
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).startswith("/proc"))
    assert cache_folder("").is_relative_to(nobody)
    monkeypatch.setenv("HOME", str(nobody))
    assert cache_folder("") == nobody / ".cache" / "microturn"
    assert cache_folder("mine") == Path("mine")


def test_a_folder_of_caches_of_somebody_else_is_refused(
    nobody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache_folder("")
    real = os.getuid()
    (nobody / f"microturn-{real}").rename(nobody / f"microturn-{real + 1}")
    monkeypatch.setattr(os, "getuid", lambda: real + 1)
    with pytest.raises(PermissionError, match="belongs to somebody else .*set XDG_CACHE_HOME"):
        cache_folder("")


def test_a_corpus_is_the_same_in_every_locale(tmp_path: Path) -> None:
    shipped = Corpus.open()
    line = next(u for u in shipped.filter(speaker="asterisk-en") if len(u.words) == 4)
    folder = tmp_path / "in" / "josé"
    folder.mkdir(parents=True)
    soundfile.write(str(folder / "a.wav"), shipped.load(line), shipped.sample_rate)
    (folder / "a.txt").write_text("हिन्दी “mañana”", encoding="utf-8")
    manifests = []
    for name, settings in (("utf8", {"PYTHONUTF8": "1"}), ("c", {"PYTHONUTF8": "0"})):
        out = tmp_path / name
        words = ["corpus", "add", str(tmp_path / "in"), f"out={out}", "workers=1"]
        subprocess.run(
            [sys.executable, "-m", "microturn.configs.main", *words, f"cache={tmp_path / 'cache'}"],
            env={**os.environ, **settings, "LC_ALL": "C"},
            check=True,
            capture_output=True,
        )
        manifests.append((out / "manifest.jsonl").read_bytes())
    assert manifests[0] == manifests[1]
    assert "in-josé" in manifests[0].decode("utf-8")
