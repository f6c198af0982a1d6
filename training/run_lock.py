"""A run folder has one training at a time."""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from microturn.configs.files import make_folder

NAME = ".lock"


@contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Hold a run folder, which is made; ValueError where another training holds it.

    The lock is the system's and ends with the process, however it ends. It holds across containers
    that share a disk, and between machines where the disk knows locks.
    """
    make_folder(out)
    with (out / NAME).open("a", encoding="utf-8") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise ValueError(
                    f"out={out}: another `microturn train` is running there; wait for it, stop it, "
                    "or give another out="
                ) from error
        yield  # without a lock where the disk knows none
