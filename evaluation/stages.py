"""Stages: commands that a user could type, run one after the other as processes of their own.

A process frees its memory when it ends. What is finished is recorded in a ledger and skipped the
next time; an interrupted stage resumes as its own command does. A signal that asks to end is passed
on to the stage that runs, which saves its state first.
"""

from __future__ import annotations

import ctypes
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from microturn.configs.command import Command, parse_words
from microturn.configs.files import write_atomically
from microturn.configs.load import (
    ConfigError,
    load_config,
    merge_layers,
    refuse_missing,
    suggestion,
)
from microturn.configs.main import COMMANDS
from microturn.configs.reading import naming_damage
from microturn.configs.signals import ENDING, Interrupted, code_of, number_of

LEDGER = "stages.json"
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True, kw_only=True)
class CommandStage:
    """One command of several."""

    name: str
    title: str
    words: list[str]
    result: Path  # exists when the stage has done its work
    has_targets: bool = False  # exit code 1 may mean a missed target
    inputs: Mapping[str, str] = field(default_factory=dict)  # digest of what it reads, by name


def check_words(words: Sequence[str]) -> None:
    """Raise ConfigError for a command, key, value or file that would be refused at its start."""
    two = " ".join(words[:2])
    name = two if two in COMMANDS else " ".join(words[:1])
    if name not in COMMANDS:
        hint = suggestion(name, list(COMMANDS)) or "; `microturn --help` lists them"
        raise ConfigError(f"unknown command {name!r}{hint}")
    module, attribute, _ = COMMANDS[name]
    command: Command = getattr(import_module(module), attribute)
    files, overrides = parse_words(command, words[len(name.split()) :])
    if command.beneath is None:
        load_config(command.schema, files, overrides)
    else:  # a layer of it comes from the result of an earlier stage
        refuse_missing(command.schema, merge_layers(command.schema, files, overrides))


class Ledger:
    """Stages that were begun or finished: their words, what they read, and their seconds.

    Raises ValueError where the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[str, dict[str, Any]] = {}
        if path.exists():
            with naming_damage(path, "delete it to run every stage again"):
                rows = json.loads(path.read_text(encoding="utf-8"))
                self._rows = {name: _checked(row) for name, row in rows.items()}

    def has(self, stage: CommandStage) -> bool:
        """Whether a stage is finished as it stands now."""
        row = self._rows.get(stage.name, {})
        finished = row.get("code") is not None and stage.result.exists()
        return finished and self.change(stage) == ""

    def change(self, stage: CommandStage) -> str:
        """Name what a stage was finished with and has no longer; else empty.

        One that is not finished may change: its own command knows what its folder holds.
        """
        row = self._rows.get(stage.name, {})
        if row.get("code") is None:
            return ""
        if row["words"] != stage.words:
            return "other words"
        inputs = row.get("inputs", {})
        changed = [
            name
            for name in {**inputs, **stage.inputs}
            if inputs.get(name) != stage.inputs.get(name)
        ]
        return f"another {changed[0]}" if changed else ""

    def begin(self, stage: CommandStage) -> None:
        """Record that a stage runs; the seconds of an interrupted one go on."""
        former = self._rows.get(stage.name, {})
        seconds = former.get("seconds", 0.0) if former.get("code") is None else 0.0
        row = {"words": stage.words, "inputs": dict(stage.inputs), "seconds": seconds, "code": None}
        self._rows[stage.name] = row
        self._write()

    def end(self, stage: CommandStage, *, seconds: float, code: int | None) -> None:
        """Add the seconds of a stage that ran; `code`: its exit code, None: it is not finished."""
        row = self._rows[stage.name]
        row |= {"seconds": round(row["seconds"] + seconds, 1), "code": code}
        self._write()

    def forget(self, names: Iterable[str]) -> None:
        """Let stages run again."""
        known = [name for name in names if self._rows.pop(name, None)]
        if known:
            self._write()

    def seconds(self, stages: Iterable[CommandStage]) -> dict[str, float]:
        """Seconds of finished stages, by title."""
        return {stage.title: float(self._rows[stage.name]["seconds"]) for stage in stages}

    def _write(self) -> None:
        write_atomically(self._path, json.dumps(self._rows, indent=2) + "\n")


def _checked(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of the file; KeyError, TypeError or ValueError where it is none."""
    return {
        "words": [str(word) for word in row["words"]],
        "inputs": {str(name): str(digest) for name, digest in row.get("inputs", {}).items()},
        "seconds": float(row["seconds"]),
        "code": None if row["code"] is None else int(row["code"]),
    }


def run_and_record(stage: CommandStage, ledger: Ledger, *, program: str) -> int:
    """Run a stage and record it; the exit code of the program where it failed, else 0."""
    if stage.has_targets:  # exit code 1 may mean a missed target: then there is a result
        stage.result.unlink(missing_ok=True)
    ledger.begin(stage)
    start, finished = time.monotonic(), None
    try:
        code = run_stage(stage)
        if code in (0, 1) and stage.result.exists() and (not code or stage.has_targets):
            finished = code
    finally:
        ledger.end(stage, seconds=time.monotonic() - start, code=finished)
    return 0 if finished is not None else _stopped(code, stage, program)


def _stopped(code: int, stage: CommandStage, program: str) -> int:
    raise_if_interrupted(code)
    print(
        f"microturn {program}: stopped, because `{stage.words[0]}` {ended(code, stage.result)}; "
        "what is finished stays, and the same command again continues from here",
        file=sys.stderr,
    )
    return 2 if code == 2 else 1


def raise_if_interrupted(code: int) -> None:
    """Raise the interrupt that the exit code of a stage stands for, if it does."""
    for number in ENDING:
        if code in (-number, code_of(number)):
            raise Interrupted(number)


def ended(code: int, result: Path) -> str:
    """Say how a stage ended, by its exit code."""
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}" if code else f"left no result {result}"


def run_stage(stage: CommandStage) -> int:
    """Run one command as a process, which ends and saves its state when this one is told to end."""
    command = [sys.executable, "-m", "microturn.configs.main", *stage.words]
    # Python forgets a signal that its hooks of a fork are interrupted by: it waits until after.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        process = subprocess.Popen(command, preexec_fn=partial(_begin_stage, before))
    except BaseException:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        raise
    with process:
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            return process.wait()
        except KeyboardInterrupt:
            process.terminate()  # a terminal or scheduler may have done so: twice saves once
            _wait_for_saving(process)
            raise


def _wait_for_saving(process: subprocess.Popen[bytes]) -> None:
    """Wait for a stage that saves its state; another Ctrl-C ends it at once."""
    while process.poll() is None:
        try:
            process.wait()
        except KeyboardInterrupt as interrupt:
            if number_of(interrupt) == signal.SIGINT:
                process.kill()


def _begin_stage(mask: set[int]) -> None:
    """In a new process: a signal that waits ends it; so does, on Linux, the death of its parent.

    Two trainings must not share a folder.
    """
    for number in ENDING:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
