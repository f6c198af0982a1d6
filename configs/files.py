"""Files and folders that appear whole or not at all.

A file is written as `.NAME.PROCESS_N.tmp` beside its place and renamed when it is complete: a
reader, a full disk or a killed process never leaves half of one under NAME. A killed process leaves
its temporary file, a draft. A folder is written as `.NAME.PROCESS_N.part`. Nothing waits for the
disk unless `durable` is set, which only files need that replace hours of work.
"""

import errno
import functools
import hashlib
import itertools
import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_COUNTER = itertools.count()
_DRAFT = re.compile(r"\.(?P<name>.+)\.(?P<machine>[A-Za-z0-9-]+)_(?P<pid>\d+)_\d+\.(tmp|part)")
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE = "/proc/self/ns/pid"


def make_folder(path: Path) -> None:
    """Make a folder and its parents unless they exist; of a link, the folder that it names.

    Raises OSError, one sentence, where a file is in its place or in that of a parent.
    """
    try:
        path.resolve().mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        inside = path.resolve()
        file = next((one for one in (inside, *inside.parents) if one.exists()), inside)
        raise NotADirectoryError(
            f"{path} cannot be a folder, because {file} is a file; give another folder"
        ) from error


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield the temporary path to write to; it becomes `path`, or is removed after an error.

    `durable` waits until the content and the name are on the disk, so that a power failure leaves
    the file that was there before or the new one. A link stays and its target is replaced; a device
    or pipe is written to.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path
        return
    path = path.resolve()
    make_folder(path.parent)
    temporary = draft_of(path)
    try:
        yield temporary
        if durable:
            _sync(temporary)
        put(temporary, path)
        if durable:
            _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path, *, over: bool = False) -> Iterator[Path]:
    """Yield an empty folder to write into; it becomes `path`, or is removed after an error.

    `path` does not exist, or is empty, or links to such a folder, or is to be replaced (over=True).
    Raises OSError, before anything is done, where a folder cannot take its place, as at the mount
    point of a container.
    """
    target = path.resolve()
    old = draft_of(target, suffix=".part")
    _check_replaceable(target, path, old=old if over else None)
    for abandoned in drafts(target.parent, target.name, suffix=".part"):
        shutil.rmtree(abandoned, ignore_errors=True)
    part = draft_of(target, suffix=".part")
    try:
        part.mkdir(parents=True)
    except OSError as error:
        raise OSError(f"{path} cannot be written to ({error.strerror})") from error
    try:
        yield part
        if over:
            target.replace(old)
        try:
            part.replace(target)
        except OSError as error:
            if over:
                old.replace(target)
            elif error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise OSError(
                    f"{path} was written by another process meanwhile; it stays as that one made it"
                ) from error
            raise
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def write_atomically(path: Path, text: str) -> None:
    """Write a whole text file in UTF-8 or nothing."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


# --- drafts --------------------------------------------------------------------------------------
def draft_of(path: Path, suffix: str = ".tmp") -> Path:
    """Name a draft of `path` that no other process and no other draft of this one has."""
    return path.with_name(f".{path.name}.{process_mark()}_{next(_COUNTER)}{suffix}")


def drafts(
    folder: Path, pattern: str = "*", *, suffix: str = ".tmp", only_dead: bool = True
) -> Iterator[Path]:
    """Yield drafts of files whose names match: of processes that died here, or of all."""
    for path in folder.glob(f".{pattern}.*{suffix}"):
        match = _DRAFT.fullmatch(path.name)
        if match and not (only_dead and _may_live(match["machine"], int(match["pid"]))):
            yield path


def process_mark() -> str:
    """Name this process among all that may share a disk.

    Its number is not enough: in each of several containers, a process of this number may run.
    """
    return f"{_machine()}_{os.getpid()}"


@functools.cache
def _machine() -> str:
    """Name this machine since it started, and the part of it in which process numbers hold."""
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:24] or "host"
    facts = host
    with suppress(OSError):  # no Linux
        facts += _BOOT.read_text(encoding="utf-8") + os.readlink(_PID_NAMESPACE)
    return f"{host}-{hashlib.sha256(facts.encode()).hexdigest()[:8]}"


def _may_live(machine: str, pid: int) -> bool:
    """Whether a process may be running: known only of this machine and container."""
    if machine != _machine():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


# --- places --------------------------------------------------------------------------------------
def _check_replaceable(target: Path, path: Path, *, old: Path | None) -> None:
    """Try to move or remove the folder: it fails where putting another in its place would."""
    if not target.is_dir():
        return
    try:
        if old:
            target.rename(old).rename(target)
        else:
            target.rmdir()
            target.mkdir()
    except OSError as error:
        raise OSError(
            f"{path} cannot be replaced by the finished folder ({error.strerror}); where it is a "
            f"mount point, give a folder in it, such as {path / 'result'}"
        ) from error


def put(temporary: Path, path: Path) -> None:
    """Rename; a file that is mounted by itself is written in place."""
    try:
        temporary.replace(path)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        shutil.copyfile(temporary, path)


def _sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
