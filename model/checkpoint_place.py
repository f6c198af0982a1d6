"""Where a checkpoint lies: a folder of one, a run that holds one, its weights file, or a hub id."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from huggingface_hub import snapshot_download

from microturn.model.checkpoint_files import (
    CONFIG,
    LAYOUT,
    NOTES,
    TOKENIZER,
    check_complete,
)
from microturn.model.config import folder_of
from microturn.model.stored.weights import INDEX, PARTS, WEIGHTS, has_weights

IN_RUN: Final = "checkpoint"  # the folder of a run that holds its checkpoint
_HUB_ID = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


def find_checkpoint(name: str, **download: Any) -> Path:
    """Return the folder of a complete checkpoint, downloaded where `name` is one of the hub.

    name: `shipped` for the one that comes with the package, a checkpoint folder, a run folder of
    `microturn train`, a weights file in a checkpoint folder, or `OWNER/NAME` or
    `OWNER/NAME@REVISION` of the Hugging Face hub; what lies on this machine comes first.
    download: more arguments of `huggingface_hub.snapshot_download`.
    Raises OSError where there is none, or where it is incomplete.
    """
    path = Path(folder_of(name))
    if path.is_file():
        path = path.parent
    elif not path.exists():
        path = _download(name, download)
    elif not has_weights(path) and (path / IN_RUN).is_dir():
        path = path / IN_RUN
    check_complete(path)
    return path


def _download(name: str, arguments: dict[str, Any]) -> Path:
    hub = _HUB_ID.fullmatch(name)
    if hub is None:
        raise FileNotFoundError(
            f"{name}: no checkpoint folder, no file of one, and no id of the hub (OWNER/NAME)"
        )
    arguments = {"revision": hub["revision"]} | arguments
    files = [WEIGHTS, INDEX, PARTS, CONFIG, LAYOUT, TOKENIZER, *NOTES]
    try:
        folder = Path(snapshot_download(hub["id"], allow_patterns=files, **arguments))
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"{name}: no such folder here, and the hub gives no such model "
            f"({type(error).__name__}); write the path of a checkpoint, or log in to the hub"
        ) from error
    lacking = [one for one in (CONFIG, LAYOUT, TOKENIZER) if not (folder / one).is_file()]
    if not has_weights(folder):
        lacking.insert(0, WEIGHTS)
    if lacking:
        raise FileNotFoundError(
            f"{name} of the hub has no {', '.join(lacking)}, so it is no checkpoint of microturn"
        )
    return folder
