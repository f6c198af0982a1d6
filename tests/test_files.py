"""Files appear whole or not at all, and leave nothing beside them."""

from pathlib import Path

import pytest

from microturn.configs.files import replacing, replacing_folder, write_atomically


def test_a_file_is_written_below_folders_that_do_not_exist(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    write_atomically(path, "ü")
    assert path.read_text(encoding="utf-8") == "ü"
    assert [item.name for item in path.parent.iterdir()] == ["b.txt"]


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
    (tmp_path / ".set.part").mkdir()
    (tmp_path / ".set.part" / "old").touch()
    with replacing_folder(tmp_path / "set") as part:
        (part / "new").touch()
        assert not (tmp_path / "set").exists()
    assert [item.name for item in tmp_path.iterdir()] == ["set"]
    assert [item.name for item in (tmp_path / "set").iterdir()] == ["new"]


def test_a_failure_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), replacing_folder(tmp_path / "set"):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
