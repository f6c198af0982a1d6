"""Lightning's callbacks and loggers by name: `callbacks=` and `logger=` of `microturn train`."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

_CALLBACKS: Final = "lightning.pytorch.callbacks"
_LOGGERS: Final = {
    "csv": "lightning.pytorch.loggers.CSVLogger",
    "tensorboard": "lightning.pytorch.loggers.TensorBoardLogger",
    "wandb": "lightning.pytorch.loggers.WandbLogger",
}


def make_callbacks(written: Sequence[str]) -> list[Callback]:
    """Make callbacks from class paths, with arguments in brackets where they need some.

    A name without a module is Lightning's own: `EarlyStopping(monitor='validate/loss')`. Raises
    ValueError, one sentence, for what cannot be made.
    """
    made = []
    for text in written:
        name, arguments = _call(f"callbacks={text}", text)
        path = name if "." in name else f"{_CALLBACKS}.{name}"
        made.append(_make(f"callbacks={text}", path, Callback, arguments))
    return made


def make_logger(written: str, folder: Path) -> Logger | None:
    """Make the logger csv, tensorboard or wandb, or one from its class path; '': none.

    It writes in `folder` if it takes a `save_dir`. Raises ValueError, one sentence.
    """
    if not written:
        return None
    name, arguments = _call(f"logger={written}", written)
    path = _LOGGERS.get(name, name)
    if "." not in path:
        raise ValueError(
            f"logger={written} is none of {', '.join(_LOGGERS)} and no path of a class"
        )
    kind = _class(f"logger={written}", path, Logger)
    if "save_dir" in inspect.signature(kind.__init__).parameters:
        arguments = {"save_dir": str(folder), **arguments}
    return _make(f"logger={written}", path, Logger, arguments)


def _call(key: str, text: str) -> tuple[str, dict[str, Any]]:
    """Read a dotted name, or a call of one with literal keyword arguments."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        if not isinstance(tree, ast.Call):
            return ast.unparse(tree), {}
        if tree.args:
            raise ValueError("arguments need names")
        arguments = {str(one.arg): ast.literal_eval(one.value) for one in tree.keywords}
        return ast.unparse(tree.func), arguments
    except (SyntaxError, ValueError) as error:
        raise ValueError(
            f"{key} is no class: write package.module.Class or Class(name='value', n=3) ({error})"
        ) from error


def _class(key: str, path: str, base: type) -> type[Any]:
    module, _, name = path.rpartition(".")
    try:
        kind = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{key}: there is no class {path} ({error})") from error
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise ValueError(f"{key}: {path} is no {base.__name__} of Lightning")
    return kind


def _make(key: str, path: str, base: type, arguments: dict[str, Any]) -> Any:
    try:
        return _class(key, path, base)(**arguments)
    except Exception as error:  # a class of others may raise anything
        reason = " ".join(str(error).split())
        raise ValueError(f"{key} cannot be made: {reason}") from error
