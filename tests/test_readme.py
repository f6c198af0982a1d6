"""Every shell command in the README does what it says, at smoke size and in the README's order."""

import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
# What makes a command of the README small enough for a test.
SMOKE = {
    "simulate": ["n_dialogues=3", "n_micro_turns=40", "workers=1", "rooms.n_rooms=1"],
    "inspect": [],
    "train": ["training/smoke.yaml", "max_steps=2"],
    "evaluate": ["quick=true", "n_pictures=0"],
    "examples": ["n=1"],
    "talk": ["threads=1"],
    "serve": ["port=0", "threads=1"],
    "bench session": [
        *("sessions=[1]", "micro_turns=3", "warm_up=1", "threads=1"),
        *("hour=0", "lengths=[]"),
    ],
}


def shell_lines() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def test_make_targets_of_the_readme_exist() -> None:
    targets = [line.split()[1] for line in shell_lines() if line.startswith("make ")]
    assert {"demo", "test"} <= set(targets)
    for target in targets:
        done = subprocess.run(
            ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert ".venv" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_every_line_is_a_known_kind_of_command() -> None:
    for line in shell_lines():
        known = line.startswith(("make ", "microturn ")) or line == "source .venv/bin/activate"
        assert known, f"nothing tests this line of the README: {line}"


def test_files_that_the_readme_names_exist() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    names = re.findall(r"`((?:[a-z_]+/)+[\w.]*)`", README)
    for name in links + [name for name in names if not name.startswith("runs/")]:
        assert (ROOT / name).exists(), f"README names {name}"
    tree = re.search(r"## Where things are\n\n```\n(.*?)```", README, flags=re.DOTALL)
    assert tree
    parent = Path()
    for line in tree[1].splitlines():
        folder, text = line.split(maxsplit=1)
        parent = parent if line.startswith(" ") else Path()
        path = ROOT / parent / folder
        assert path.is_dir(), line
        parent = parent if line.startswith(" ") else Path(folder)
        start = re.search(r"start at (\S+)$", text)
        assert not start or (path / start[1]).is_file(), line


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readme")


def words_of(line: str) -> list[str]:
    words = shlex.split(line)[1:]
    name = " ".join(words[:2]) if words[0] == "bench" else words[0]
    small = {word.split("=")[0] for word in SMOKE[name]}
    return [word for word in words if word.split("=")[0] not in small] + SMOKE[name]


COMMANDS = [line for line in shell_lines() if line.startswith("microturn ")]


@pytest.mark.parametrize("line", COMMANDS)
def test_command_runs(line: str, folder: Path) -> None:
    command = [sys.executable, "-m", "microturn.configs.main", *words_of(line)]
    if "serve" in line:
        assert_serves(command, folder)
        return
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    for word in shlex.split(line):
        if word.startswith("out="):
            assert any((folder / word[4:]).iterdir()), f"{line} left nothing"


def assert_serves(command: list[str], folder: Path) -> None:
    """The server says where it is, and Ctrl-C ends it."""
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        said = ""
        for said in process.stderr:
            if "http://" in said:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert "http://" in said, said + rest
        assert process.wait(20) in (0, 130), rest
