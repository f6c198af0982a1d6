"""Where a checkpoint lies: a folder of one, a run that holds one, its weights file, or a hub id."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from microturn.model.checkpoint import CONFIG, LAYOUT, TOKENIZER, WEIGHTS, check_complete

IN_RUN: Final = "checkpoint"  # the folder of a run that holds its checkpoint
_HUB_ID = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
_NOTES = "contents.json"


def find_checkpoint(name: str) -> Path:
    """Return the folder of a complete checkpoint, downloaded where `name` is one of the hub.

    name: a checkpoint folder, a run folder of `microturn train`, a `model.safetensors` in a
    checkpoint folder, or `OWNER/NAME` or `OWNER/NAME@REVISION` of the Hugging Face hub; what lies
    on this machine comes first. Raises OSError where there is none, or where it is incomplete.
    """
    path = Path(name)
    if path.is_file():
        path = path.parent
    elif not path.exists():
        path = _download(name)
    elif not (path / WEIGHTS).is_file() and (path / IN_RUN).is_dir():
        path = path / IN_RUN
    check_complete(path)
    return path


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    hub = _HUB_ID.fullmatch(name)
    if hub is None:
        raise FileNotFoundError(
            f"{name}: no checkpoint folder, no file of one, and no id of the hub (OWNER/NAME)"
        )
    files = [WEIGHTS, CONFIG, LAYOUT, TOKENIZER, _NOTES]
    try:
        folder = snapshot_download(hub["id"], revision=hub["revision"], allow_patterns=files)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"{name}: no such folder here, and the hub gives no such model "
            f"({type(error).__name__}); write the path of a checkpoint, or log in to the hub"
        ) from error
    return Path(folder)
