"""Files appear whole or not at all, and leave nothing beside them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from microturn.configs.files import (
    draft_of,
    drafts,
    make_folder,
    process_mark,
    replacing,
    replacing_folder,
    write_atomically,
)


def test_a_file_is_written_below_folders_that_do_not_exist(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    write_atomically(path, "ü")
    assert path.read_text(encoding="utf-8") == "ü"
    assert [item.name for item in path.parent.iterdir()] == ["b.txt"]


@pytest.mark.parametrize("below", ["", "x", "x/y"])
def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(
        OSError, match=f"cannot be a folder, because {tmp_path / 'a'} is a file; give"
    ):
        make_folder(tmp_path / "a" / below)


@pytest.mark.parametrize("durable", [False, True])
def test_a_failure_leaves_the_file_that_was_there_before(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "b.txt"
    write_atomically(path, "old")

    def fail_half_way() -> None:
        with replacing(path, durable=durable) as temporary, temporary.open("w") as file:
            file.write("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_half_way()
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["b.txt"]


def test_a_durable_file_is_complete(tmp_path: Path) -> None:
    with replacing(tmp_path / "b.bin", durable=True) as temporary:
        temporary.write_bytes(b"whole")
    assert (tmp_path / "b.bin").read_bytes() == b"whole"


def test_a_folder_appears_whole_and_takes_the_place_of_a_killed_run(tmp_path: Path) -> None:
    machine = process_mark().rpartition("_")[0]
    killed = tmp_path / f".set.{machine}_999999999_0.part"  # no process has such a number
    killed.mkdir()
    (killed / "old").touch()
    with replacing_folder(tmp_path / "set") as part:
        (part / "new").touch()
        assert not (tmp_path / "set").exists()
    assert [item.name for item in tmp_path.iterdir()] == ["set"]
    assert [item.name for item in (tmp_path / "set").iterdir()] == ["new"]


def test_the_first_of_two_processes_that_write_one_folder_wins(tmp_path: Path) -> None:
    meant = pytest.raises(OSError, match="out was written by another process meanwhile; it stays")
    with meant, replacing_folder(tmp_path / "out") as second:
        (second / "a").write_text("second", encoding="utf-8")
        with replacing_folder(tmp_path / "out") as first:
            (first / "a").write_text("first", encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "a").read_text() == "first"


def test_a_failure_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), replacing_folder(tmp_path / "set"):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


# --- links, devices and mount points -------------------------------------------------------------
def test_links_stay_and_their_targets_are_written(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    for name in ("file", "folder", "made"):
        (tmp_path / name).symlink_to(disk / name)
    write_atomically(tmp_path / "file", "text")
    with replacing_folder(tmp_path / "folder") as part:
        (part / "new").touch()
    make_folder(tmp_path / "made")
    assert (disk / "file").read_text() == "text"
    assert (disk / "folder" / "new").exists()
    assert (disk / "made").is_dir()
    assert all((tmp_path / name).is_symlink() for name in ("file", "folder", "made"))
    assert len(list(disk.iterdir())) == 3
    (tmp_path / "again").symlink_to(disk / "made")
    with replacing_folder(tmp_path / "again") as part:  # a link to an empty folder
        (part / "new").touch()
    assert (disk / "made" / "new").exists()


def test_a_device_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(pipe, "text")
    assert os.read(reader, 99) == b"text"
    os.close(reader)
    assert [item.name for item in tmp_path.iterdir()] == ["pipe"]


def in_container(script: str, folder: Path, *flags: str) -> str:
    """Run a script in namespaces of its own, with `folder` as its working directory."""
    command = ["unshare", "--map-root-user", *flags, "sh", "-c", script]
    environment = os.environ | {"PYTHON": sys.executable}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if "unshare" in done.stderr:
        pytest.skip(f"this machine allows no namespaces ({done.stderr.strip()})")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_mount_point_is_refused_before_the_work(tmp_path: Path) -> None:
    """As `docker run -v corpus:/out` has it; a file that is mounted is written in place."""
    (tmp_path / "out").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "write.py").write_text(
        "from pathlib import Path\n"
        "from microturn.configs.files import replacing_folder, write_atomically\n"
        "write_atomically(Path('file'), 'text')\n"
        "try:\n"
        "    with replacing_folder(Path('out')):\n"
        "        print('working')\n"
        "except OSError as error:\n"
        "    print(error)\n"
    )
    script = "mount --bind out out && mount --bind file file && $PYTHON write.py"
    said = in_container(script, tmp_path, "--mount")
    assert said.startswith("out cannot be replaced by the finished folder (Device or resource busy")
    assert "give a folder in it, such as out/result" in said
    assert (tmp_path / "file").read_text() == "text"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["file", "out", "write.py"]


# --- drafts --------------------------------------------------------------------------------------
def test_drafts_of_another_container_are_not_taken_for_dead(tmp_path: Path) -> None:
    """There, this process has no number that could be asked for."""
    draft = draft_of(tmp_path / "shard-000000.tar")
    draft.touch()
    (tmp_path / "look.py").write_text(
        "from pathlib import Path\n"
        "from microturn.configs.files import drafts\n"
        "print(*drafts(Path('.')))\n"
    )
    script = "$PYTHON look.py"
    assert in_container(script, tmp_path, "--pid", "--fork", "--mount-proc") == ""
    assert list(drafts(tmp_path)) == []
    assert list(drafts(tmp_path, only_dead=False)) == [draft]
    assert draft_of(tmp_path / "a") != draft_of(tmp_path / "a")
