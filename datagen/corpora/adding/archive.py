"""A corpus that is one tar, compressed or not: unpacked for as long as it is read."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path, PurePosixPath

from microturn.configs.files import write_atomically


def is_archive(source: str) -> bool:
    """Whether a source is a tar: a file that is one, whatever its name."""
    path = Path(source)
    return path.is_file() and tarfile.is_tarfile(path)


def unpack(source: str, folder: Path) -> Path:
    """Unpack a tar into a folder; returns the folder with its content.

    Raises ValueError for a member that is neither a file nor a folder, or would lie elsewhere.
    """
    folder.mkdir(parents=True)
    try:
        with tarfile.open(source, "r:*") as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                if member.isdir():
                    continue
                if not member.isfile() or path.is_absolute() or ".." in path.parts:
                    raise ValueError(
                        f"{source} holds {member.name!r}, which is no file below its folder; "
                        "unpack it yourself and give the folder"
                    )
                target, content = folder / path, tar.extractfile(member)
                assert content is not None  # it is a file
                target.parent.mkdir(parents=True, exist_ok=True)
                with content, target.open("wb") as file:
                    shutil.copyfileobj(content, file)
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"{source} is a torn tar ({error})") from error
    inside = list(folder.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def archive_signatures(source: str) -> dict[str, str]:
    """Return the size and date of a tar, by its name: all of it is new, or nothing is."""
    found = Path(source).stat()
    return {Path(source).name: f"{found.st_size} {found.st_mtime_ns}"}


def name_archive(file: Path, folder: Path, source: str) -> None:
    """Name the tar in a list of places in place of the folder that it was unpacked into."""
    if file.is_file():
        old, new = (json.dumps(str(name), ensure_ascii=False)[1:-1] for name in (folder, source))
        write_atomically(file, file.read_text(encoding="utf-8").replace(old, new))
