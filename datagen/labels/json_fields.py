"""Frozen dataclasses to JSON and back: every field by its name, read with its type checked."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from dataclasses import Field, field, fields, is_dataclass
from functools import cache
from typing import Any, Final, TypeVar, Union, cast

from microturn.configs.load import suggestion, type_name

T = TypeVar("T")
_PLAIN: Final = frozenset({str, float, int, bool, type(None)})


def optional(default: T) -> T:
    """A field that is left out of the JSON where it has its default."""
    content: T = field(default=default, metadata={"optional": True})
    return content


def write_fields(value: Any) -> Any:
    """Return a dataclass as JSON values."""
    if isinstance(value, tuple):
        return [write_fields(item) for item in value]
    names = _names(cast(Any, type(value)))
    if names is None:
        return value
    content = {}
    for name, is_optional, default in names:
        item = getattr(value, name)
        if not (is_optional and item == default):
            content[name] = item if type(item) in _PLAIN else write_fields(item)
    return content


def read_fields(kind: type[T], value: object, *, where: str, path: str = "") -> T:
    """Build a dataclass from JSON values.

    Raises ValueError that begins with `where` and names the field that is missing, unknown or of
    another type.
    """
    if not isinstance(value, dict):
        raise _wrong(where, path, kind, value)
    hints, prefix = _hints(cast(Any, kind)), f"{path}." if path else ""
    for name in value:
        if name not in hints:
            raise ValueError(f"{where}: unknown field {prefix}{name}{suggestion(name, [*hints])}")
    content: dict[str, Any] = {}
    for item in _fields(cast(Any, kind)):
        full = prefix + item.name
        if item.name in value:
            content[item.name] = _value(hints[item.name], value[item.name], where, full)
        elif not _is_optional(item):
            raise ValueError(f"{where}: field {full} is missing")
    try:
        return kind(**content)
    except ValueError as error:
        raise ValueError(f"{where}: {path or 'labels'}: {error}") from error


def _value(kind: Any, value: object, where: str, path: str) -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        kind = next(arg for arg in args if arg is not type(None))
        origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return _items(args, value, where, path)
    if is_dataclass(kind):
        return read_fields(cast(type, kind), value, where=where, path=path)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise _wrong(where, path, kind, value)
    return value


def _items(kinds: Sequence[Any], value: object, where: str, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _wrong(where, path, list, value)
    if kinds[-1] is ...:
        kinds = [kinds[0]] * len(value)
    if len(kinds) != len(value):
        raise ValueError(f"{where}: {path} has {len(value)} values, not {len(kinds)}")
    return tuple(
        _value(kind, item, where, f"{path}[{i}]")
        for i, (kind, item) in enumerate(zip(kinds, value, strict=True))
    )


def _wrong(where: str, path: str, kind: Any, value: object) -> ValueError:
    shown = repr(value)
    shown = shown if len(shown) <= 40 else f"{shown[:37]}..."
    return ValueError(f"{where}: {path or 'labels'} must be {type_name(kind)}, not {shown}")


def _is_optional(item: Field[Any]) -> bool:
    return bool(item.metadata.get("optional"))


@cache
def _names(kind: type) -> tuple[tuple[str, bool, Any], ...] | None:
    """Names of the fields of a dataclass, whether they may be left out, and where: their defaults.

    A label has a thousand values, so this is looked up and not asked again; None for other types.
    """
    if not is_dataclass(kind):
        return None
    return tuple((item.name, _is_optional(item), item.default) for item in fields(kind))


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


@cache
def _fields(kind: type) -> tuple[Field[Any], ...]:
    return fields(cast(Any, kind))
