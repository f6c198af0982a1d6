"""Build a typed configuration: dataclass schema, then YAML files left to right, then `a.b=c`.

OmegaConf objects never leave this file: the program sees frozen dataclasses only.
"""

import dataclasses
import difflib
import operator
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast

from microturn.configs.files import write_atomically
from microturn.configs.reading import lines_of
from microturn.configs.renamed import RENAMED_FILES, renamed_key

CONFIG_DIR = Path(__file__).resolve().parent
REQUIRED = dataclasses.MISSING
T = TypeVar("T")


class ConfigError(ValueError):
    """A configuration file, a key or a value does not fit its schema: wrong usage."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Key:
    """One dotted key of a schema, as `--help` lists it."""

    name: str
    type: Any
    default: Any  # REQUIRED when there is none
    help: str


def load_config(
    schema: type[T],
    files: Sequence[str | Path] = (),
    overrides: Sequence[str] = (),
    *,
    beneath: Mapping[str, Any] | None = None,
) -> T:
    """Return an instance of `schema`; later layers win, and `beneath` lies below all files.

    File names are looked up in configs/, then as paths. Raises ConfigError that names the layer
    and the key when a key is unknown, a value has the wrong type, or a required value is missing.
    """
    from omegaconf import OmegaConf

    merged = merge_layers(schema, files, overrides, beneath=beneath)
    refuse_missing(schema, merged)
    try:
        config = cast(T, OmegaConf.to_object(merged))
    except ValueError as error:  # a check across fields, in __post_init__
        reason = lines_of(str(error))[0]
        raise ConfigError(_source_of(reason, schema, files, merged) + reason) from error
    _check_seeds(config)
    return config


def _check_seeds(config: Any) -> None:
    """Raise ConfigError for a seed that no generator of random numbers takes."""
    for key in keys_of(type(config)):
        if key.name.rsplit(".", 1)[-1] == "seed":
            value = operator.attrgetter(key.name)(config)
            if isinstance(value, int) and not 0 <= value < 2**63:
                raise ConfigError(f"{key.name}={value} must be at least 0 and below 2**63")


def refuse_missing(schema: type, merged: Any) -> None:
    """Raise ConfigError that names the required keys without a value of an OmegaConf tree."""
    from omegaconf import OmegaConf

    missing = sorted(OmegaConf.missing_keys(merged))
    if missing:
        helps = {key.name: key.help for key in keys_of(schema)}
        raise ConfigError("; ".join(missing_text(name, helps.get(name, "")) for name in missing))


def _source_of(reason: str, schema: type, files: Sequence[str | Path], merged: Any) -> str:
    """`FILE: ` of the file from which on a check fails for this reason; empty: no file alone."""
    from omegaconf import OmegaConf

    for n, file in enumerate(files, start=1):
        tree = merge_layers(schema, files[:n])
        OmegaConf.set_readonly(tree, False)  # that of a frozen schema is read-only
        for name in OmegaConf.missing_keys(tree):
            OmegaConf.update(tree, name, OmegaConf.select(merged, name))
        try:
            OmegaConf.to_object(tree)
        except ValueError as error:
            if lines_of(str(error))[0] == reason:
                return f"{file}: "
    return ""


def merge_layers(
    schema: type,
    files: Sequence[str | Path] = (),
    overrides: Sequence[str] = (),
    *,
    beneath: Mapping[str, Any] | None = None,
) -> Any:
    """The OmegaConf tree of all layers; required keys may still be missing."""
    from omegaconf import OmegaConf

    merged = OmegaConf.structured(schema)
    if beneath:
        merged = _merge(schema, merged, _literal(beneath), source="")
    for file in files:
        path = find_config(file)
        merged = _merge(schema, merged, _read_yaml(path), source=f"{file}: ")
    for override in overrides:
        layer = _literal(_parse_override(schema, override))
        merged = _merge(schema, merged, layer, source="")
    return merged


def save_config(path: str | Path, config: Any) -> None:
    """Write the resolved configuration, so that `load_config(type, [path])` gives it back."""
    from omegaconf import OmegaConf

    plain = _literal(dataclasses.asdict(config))
    for key in keys_of(type(config)):
        if typing.get_origin(key.type) is dict and (entries := _value_at(plain, key.name)):
            for entry in key.default:  # a map is merged entry by entry: null takes one out
                entries.setdefault(entry, None)
    write_atomically(Path(path), OmegaConf.to_yaml(OmegaConf.create(plain)))


def _literal(value: Any) -> Any:
    """Escape `${` in texts, which may be names of files; only YAML files refer to other keys."""
    if isinstance(value, dict):
        return {key: _literal(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_literal(item) for item in value]
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", r"\1\1\\${", value)
    return value


def find_config(file: str | Path) -> Path:
    """The path of a configuration file: in configs/, then as given."""
    for candidate in (CONFIG_DIR / file, Path(file)):
        if candidate.is_file():
            return candidate
    if str(file) in RENAMED_FILES:
        raise ConfigError(f"{file} was renamed to {RENAMED_FILES[str(file)]}")
    shipped = [path.relative_to(CONFIG_DIR).as_posix() for path in shipped_configs()]
    hint = suggestion(str(file), shipped, part="/")
    raise ConfigError(f"no configuration file {file} in configs/ nor here{hint}")


def shipped_configs(folder: str = "") -> list[Path]:
    """Every YAML file below configs/`folder`."""
    return sorted((CONFIG_DIR / folder).rglob("*.yaml"))


def suggestion(word: str, known: Sequence[str], *, part: str = ".") -> str:
    """`; did you mean 'x'?` for the known word nearest to a mistyped one, or nothing.

    part: what stands between the parts of a word; one with the same last part is near.
    """
    ends = [name for name in known if name.rsplit(part, 1)[-1] == word.rsplit(part, 1)[-1]]
    close = ends[:1] or difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def keys_of(schema: Any, prefix: str = "") -> Iterator[Key]:
    """Every dotted key of a dataclass, depth first in the order of declaration."""
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        name, kind = f"{prefix}{field.name}", hints[field.name]
        if dataclasses.is_dataclass(kind):
            yield from keys_of(kind, f"{name}.")
            continue
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        yield Key(name=name, type=kind, default=default, help=field.metadata.get("help", ""))


def type_name(kind: Any) -> str:
    """Format a type for a message: int, list of str, one of a|b, int or null."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return "|".join(str(arg) for arg in args)
    if origin in (Union, types.UnionType):
        return " or ".join("null" if arg is type(None) else type_name(arg) for arg in args)
    if origin in (list, tuple) and args:
        return f"list of {type_name(args[0])}"
    if origin is dict and args:
        return f"map to {type_name(args[1])}"
    if dataclasses.is_dataclass(kind):
        return "keys with values"
    return str(getattr(kind, "__name__", kind))


def missing_text(name: str, meaning: str) -> str:
    """Say that a key has no value, and how to give it one."""
    return f"{name} is missing; give {name}=VALUE" + (f" ({meaning})" if meaning else "")


def _read_yaml(path: Path) -> Any:
    import yaml
    from omegaconf import OmegaConf

    try:
        layer = OmegaConf.load(path)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise ConfigError(f"{path}: line {line}: {error.problem}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a text file in YAML") from error
    if not OmegaConf.is_dict(layer):
        raise ConfigError(f"{path}: expected keys with values, found a {type(layer).__name__}")
    return layer


def _parse_override(schema: type, override: str) -> dict[str, Any]:
    """`a.b=c` as a nested mapping; the type of the key decides how its text is read."""
    import yaml

    name, equals, text = override.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*", name):
        raise ConfigError(f"{override!r} is not of the form key=value")
    value: Any = text
    kind = _type_at(schema, name)
    nothing = type(None) in typing.get_args(kind) or _is_entry(schema, name)
    if not _is_text(kind) or (text == "null" and nothing):
        if typing.get_origin(kind) in (list, tuple) and not text.lstrip().startswith("["):
            text = f"[{text}]"  # suites=a,b is suites=[a,b]
        try:
            value = _yaml_value(text)
        except yaml.YAMLError as error:
            raise ConfigError(
                f"{name} must be {type_name(kind)}, and {text!r} cannot be read"
            ) from error
    for part in reversed(name.split(".")):
        value = {part: value}
    return cast(dict[str, Any], value)


def _yaml_value(text: str) -> Any:
    """One value as OmegaConf reads it from a file (1e-4 is a number there)."""
    from omegaconf import OmegaConf

    tree = OmegaConf.create(f"value: {text}")
    return OmegaConf.to_container(tree, resolve=False)["value"]  # type: ignore[index,call-overload]


def _is_text(kind: Any) -> bool:
    """Whether a value of this type is the text as typed: `out=010`, `words=off` stay as is."""
    args = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        return all(isinstance(arg, str) for arg in args)
    if typing.get_origin(kind) in (Union, types.UnionType):
        return all(_is_text(arg) for arg in args if arg is not type(None))
    return kind is str


def _type_at(schema: Any, name: str) -> Any:
    """The declared type of a dotted key; Any below a list, and where none is declared."""
    kind: Any = schema
    for part in name.split("."):
        if not dataclasses.is_dataclass(kind):
            if typing.get_origin(kind) is not dict:
                return Any
            kind = typing.get_args(kind)[-1]
            continue
        hints = typing.get_type_hints(kind)
        if part not in hints:
            _unknown(schema, name)
        kind = hints[part]
    return kind


def _is_entry(schema: Any, name: str) -> bool:
    """Whether a dotted key is an entry of a map."""
    owner = name.rpartition(".")[0]
    return bool(owner) and typing.get_origin(_type_at(schema, owner)) is dict


def _unknown(schema: Any, name: str, source: str = "") -> typing.NoReturn:
    new = _new_name(schema, name)
    if new is not None:
        raise ConfigError(f"{source}{name} was renamed to {new}")
    known = [key.name for key in keys_of(schema)] + _keys_of_entry(schema, name)
    sections = sorted({key.rsplit(".", 1)[0] for key in known if "." in key})
    raise ConfigError(f"{source}unknown key {name!r}{suggestion(name, known + sections)}")


def _keys_of_entry(schema: Any, name: str) -> list[str]:
    """Dotted keys of the entry of a map in which a dotted name is; none where it is in no map."""
    kind, parts = schema, name.split(".")
    for depth, part in enumerate(parts, start=1):
        if dataclasses.is_dataclass(kind):
            kind = typing.get_type_hints(kind).get(part)
        elif typing.get_origin(kind) is dict:
            kind = typing.get_args(kind)[-1]
            if dataclasses.is_dataclass(kind):
                return [key.name for key in keys_of(kind, f"{'.'.join(parts[:depth])}.")]
    return []


def _new_name(schema: Any, name: str) -> str | None:
    """The new name of a dotted key that a section on its way lists as renamed, or None."""
    kind, parts = schema, name.split(".")
    for depth in range(len(parts)):
        if not dataclasses.is_dataclass(kind):
            return None
        new = renamed_key(cast(type, kind).__name__, ".".join(parts[depth:]))
        if new is not None:
            return ".".join([*parts[:depth], new])
        kind = typing.get_type_hints(kind).get(parts[depth])
    return None


def _check_shape(schema: Any, tree: Any, source: str) -> None:
    """Raise for the first key of a layer that the schema does not have, or has in another shape."""

    def walk(kind: Any, layer: Any, name: str) -> None:
        container: type | None = typing.get_origin(kind)
        if dataclasses.is_dataclass(kind):
            container = dict
        if container not in (dict, list, tuple):
            return
        if not isinstance(layer, dict if container is dict else list):
            raise ConfigError(f"{source}{name} must be {type_name(kind)}, not {layer!r}")
        if dataclasses.is_dataclass(kind):
            hints = typing.get_type_hints(kind)
            for part, value in cast(dict[str, Any], layer).items():
                full = f"{name}.{part}" if name else str(part)
                if part not in hints:
                    _unknown(schema, full, source)
                walk(hints[part], value, full)
        elif container is dict:
            for part, value in cast(dict[str, Any], layer).items():
                if value is not None:  # takes the entry out
                    walk(typing.get_args(kind)[-1], value, f"{name}.{part}")

    walk(schema, tree, "")


def _take_out(kind: Any, base: Any, layer: Any) -> None:
    """Empty the maps that a layer gives as `{}`, and remove the entries that it gives as null.

    Merging alone adds and changes entries; it could never take one out.
    """
    from omegaconf import read_write

    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        for part, value in layer.items():
            if isinstance(value, dict) and base.get(part) is not None:
                _take_out(hints[part], base[part], value)
    elif typing.get_origin(kind) is dict:
        out = [entry for entry in layer if layer[entry] is None]
        replaced = not layer or (out and set(layer) >= set(base))  # saved: it keeps its order
        for entry in [*base] if replaced else out:
            with read_write(base):
                base.pop(entry, None)
        for entry in out:
            del layer[entry]
        for entry, value in layer.items():
            if isinstance(value, dict) and entry in base:
                _take_out(typing.get_args(kind)[1], base[entry], value)


def _merge(schema: type, base: Any, layer: Any, source: str) -> Any:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    plain = OmegaConf.to_container(OmegaConf.create(layer), resolve=False)
    _check_shape(schema, plain, source)
    _take_out(schema, base, plain)
    try:
        return OmegaConf.merge(base, plain)
    except OmegaConfBaseException as error:
        # A list of the wrong length is refused without saying where it is.
        name = error.full_key or ("" if error.key is None else str(error.key)) or _only_path(plain)
        reason = lines_of(str(error))[0]
        if not name:
            raise ConfigError(f"{source}{reason}") from error
        given = _value_at(plain, name)
        expected = _type_at(schema, re.sub(r"\[\d+\]", "", name))
        if expected is not Any and given is not None:
            reason = f"must be {type_name(expected)}, not {given!r}"
        raise ConfigError(f"{source}{name} {reason}") from error


def _only_path(tree: Any) -> str:
    """The dotted key of a layer that sets one value, as an override does; else empty."""
    parts = []
    while isinstance(tree, Mapping) and len(tree) == 1:
        ((part, tree),) = tree.items()
        parts.append(str(part))
    return "" if isinstance(tree, Mapping) else ".".join(parts)


def _value_at(tree: Any, name: str) -> Any:
    for part in re.findall(r"[^.\[\]]+", name):
        if isinstance(tree, Mapping):
            tree = tree.get(part)
        elif isinstance(tree, list) and part.isdigit() and int(part) < len(tree):
            tree = tree[int(part)]
        else:
            return None
    return tree
