"""Subcommands, and the typed configuration that the words of a command line give."""

import dataclasses
import json
import math
import operator
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

from microturn.configs.files import write_atomically
from microturn.configs.load import (
    CONFIG_DIR,
    REQUIRED,
    ConfigError,
    Key,
    keys_of,
    load_config,
    merge_layers,
    missing_text,
    shipped_configs,
    type_name,
)

T = TypeVar("T")


def starts_over(_: Any, line: str) -> str:
    """Say that an interrupted command keeps nothing; `line` is the command as it was typed."""
    return f"nothing is finished; start it again with: {line}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """One subcommand: the schema of its configuration, and the function that runs it.

    `run` imports its heavy modules inside itself, gets an instance of `schema` and returns the
    exit code (0 done, 1 failed or off target). It raises ValueError or OSError with one sentence
    for what a user can fix, ConfigError where the command was used wrongly, and lets
    KeyboardInterrupt pass, which stands for every signal that asks to end (signals.py).
    """

    schema: type
    run: Callable[[Any], int]
    help: str
    files: str = ""  # folder below configs/ of the YAML files that fit; empty: that of the schema
    positionals: tuple[str, ...] = ()  # keys that bare words fill, in order
    # Says what an interrupted run has kept, by the name of a file that is there, and what to type
    # next; gets the configuration and the line that was typed. None: it ends in no other way.
    on_interrupt: Callable[[Any, str], str] | None = starts_over
    # A key, and the layer that a value of it puts beneath all files.
    beneath: tuple[str, Callable[[str], dict[str, Any]]] | None = None

    @property
    def folder(self) -> str:
        """The folder below configs/ whose YAML files this command takes."""
        return self.files or self.schema.__module__.removeprefix("microturn.").split(".")[0]


@overload
def option(default: T, help: str) -> T: ...
@overload
def option(*, default_factory: Callable[[], T], help: str) -> T: ...
@overload
def option(*, help: str) -> Any: ...
def option(
    default: Any = dataclasses.MISSING,
    help: str = "",
    *,
    default_factory: Any = dataclasses.MISSING,
) -> Any:
    """A configuration field with the sentence that `--help` shows; no default: required."""
    metadata = {"help": help}
    if default_factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=default_factory, metadata=metadata)
    if default is not dataclasses.MISSING:
        return dataclasses.field(default=default, metadata=metadata)
    return dataclasses.field(metadata=metadata)


def require_at_least(config: object, section: str, **limits: float) -> None:
    """Raise ConfigError for a field below its limit; `section` is the dotted name before it."""
    for name, limit in limits.items():
        value = getattr(config, name)
        if not value >= limit:
            dotted = f"{section}.{name}" if section else name
            raise ConfigError(f"{dotted}={value} must be at least {limit:g}")


def typed(words: Sequence[str]) -> str:
    """A command as it is typed, with the program as it was called."""
    program = Path(sys.argv[0])
    if program.name != "microturn":
        program = Path("microturn")
    elif program.is_absolute() and program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())
    return shlex.join([str(program), *words])


def parse_words(command: Command, words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split command-line words into configuration files and `key=value` overrides."""
    files: list[str] = []
    overrides: list[str] = []
    free = list(command.positionals)
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            overrides.append(f"{name.replace('-', '_')}={value if equals else 'true'}")
        elif re.match(r"[A-Za-z_][\w.]*=", word):
            overrides.append(word)
        elif word.endswith((".yaml", ".yml")):
            files.append(word)
        elif free:
            overrides.append(f"{free.pop(0)}={word}")
        else:
            raise ConfigError(f"{word!r} is neither key=value, nor --flag, nor FILE.yaml")
    return files, overrides


def build_config(command: Command, words: Sequence[str]) -> Any:
    """Return the configuration that the words of a command line give; raises ConfigError."""
    from omegaconf import OmegaConf

    files, overrides = parse_words(command, words)
    layer: dict[str, Any] = {}
    if command.beneath is not None:
        key, layer_of = command.beneath
        value = OmegaConf.select(merge_layers(command.schema, files, overrides), key)
        layer = layer_of(value) if value else {}
    config: Any = load_config(command.schema, files, overrides, beneath=layer)
    _refuse_empty(config)
    return config


def _refuse_empty(config: Any) -> None:
    """Raise ConfigError for a required key, or a folder to write to, that is an empty text.

    A path below an empty one lies in the working folder or in that of the whole disk.
    """
    for key in keys_of(type(config)):
        needed = key.default is REQUIRED or (key.name == "out" and key.default)
        if needed and operator.attrgetter(key.name)(config) == "":
            raise ConfigError(missing_text(key.name, key.help))


def help_text(name: str, command: Command, words: Sequence[str] = ()) -> str:
    """Return the text of `microturn NAME [FILES] --help`: every key with type, value and meaning.

    The values are those after the files and overrides that stand beside `--help`.
    """
    from omegaconf import OmegaConf

    merged = merge_layers(command.schema, *parse_words(command, words))
    bare = "".join(f" [{positional.upper()}]" for positional in command.positionals)
    lines = [f"usage: microturn {name}{bare} [FILE.yaml ...] [key=value ...]", "", command.help, ""]
    for key in keys_of(command.schema):
        value = OmegaConf.select(merged, key.name, throw_on_missing=False)
        missing = key.default is REQUIRED and value is None
        lines += _key_lines(key, "required" if missing else _shown(value))
    files = [path.relative_to(CONFIG_DIR) for path in shipped_configs(command.folder)]
    if files:
        lines += ["", f"files in configs/: {' '.join(map(str, files))}"]
    lines += ["", "A true/false key can be given as --key. Later words win."]
    return "\n".join(lines) + "\n"


def write_json(result: dict[str, Any], target: str) -> None:
    """Write a machine-readable result to a file, to stdout (`-`), or nowhere (empty)."""
    if not target:
        return
    text = json.dumps(_plain(result), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if target == "-":
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        write_atomically(Path(target), text)


def _plain(value: Any) -> Any:
    """Convert arrays and numpy numbers to lists and numbers, and NaN to null."""
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _shown(value: Any) -> str:
    from omegaconf import OmegaConf

    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value)
    return json.dumps(value, ensure_ascii=False, default=str)


def _key_lines(key: Key, value: str) -> list[str]:
    head = f"  {key.name}  ({type_name(key.type)}, {value})"
    return [head, f"      {key.help}"] if key.help else [head]
