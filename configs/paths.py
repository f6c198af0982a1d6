"""Folders of this machine, also of one where the user has no name, no home, or no right to it."""

import os
import tempfile
from pathlib import Path

# Where packages keep what they made once; each would look in the home by itself.
_CACHES_OF_PACKAGES = {
    "MPLCONFIGDIR": "matplotlib",
    "NUMBA_CACHE_DIR": "numba",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_HOME": "triton",
    "HF_HOME": "huggingface",
}


def cache_folder(configured: str) -> Path:
    """Return the folder of files that are made once: as configured or the user's cache."""
    return Path(configured) if configured else _caches() / "microturn"


def data_folder() -> Path | None:
    """Return the folder of the user's data; None without a home."""
    if named := os.environ.get("XDG_DATA_HOME"):
        return Path(named)
    home = _home()
    return home and home / ".local" / "share"


def prepare_environment() -> None:
    """Give other packages what they expect of a user: a name, and a place for their caches."""
    if not any(os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")):
        os.environ["USER"] = f"uid{os.getuid()}"  # else packages look it up, and fail if unnamed
    if not _is_usable(_home()):
        folder = _caches()
        for variable, name in _CACHES_OF_PACKAGES.items():
            os.environ.setdefault(variable, str(folder / name))


def _caches() -> Path:
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named)
    home = _home()
    return home / ".cache" if home and _is_usable(home) else _temporary()


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:  # HOME is not set and the user has no name
        return None


def _is_usable(home: Path | None) -> bool:
    """Whether a cache can be kept below a home."""
    if home is None or not home.is_dir():
        return False
    cache = home / ".cache"
    return os.access(cache if cache.is_dir() else home, os.W_OK | os.X_OK)


def _temporary() -> Path:
    """Return a folder of this user among the temporary files, the same for every process."""
    folder = Path(tempfile.gettempdir()) / f"microturn-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(
            f"{folder} belongs to somebody else and there is no home for caches; "
            "set XDG_CACHE_HOME to a folder of your own"
        )
    return folder
