"""A tool that converts units of length, weight, volume, speed, time and temperature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from microturn.inference.agent.backend import NoAnswer, Reply, Work
from microturn.inference.agent.numbers import LIMIT, number_words, read_number
from microturn.inference.agent.tools.tool import Arguments, ToolRequest, text_argument

_SIZES: Final[dict[str, dict[str, float]]] = {  # in the first unit of each kind
    "length": {
        **{"meter": 1.0, "kilometer": 1e3, "centimeter": 1e-2, "millimeter": 1e-3},
        **{"mile": 1609.344, "yard": 0.9144, "foot": 0.3048, "inch": 0.0254},
    },
    "weight": {
        **{"kilogram": 1.0, "gram": 1e-3, "ton": 1e3, "kilo": 1.0},
        **{"pound": 0.45359237, "ounce": 0.028349523125, "stone": 6.35029318},
    },
    "volume": {
        **{"liter": 1.0, "milliliter": 1e-3, "gallon": 3.785411784, "pint": 0.473176473},
        **{"quart": 0.946352946, "cup": 0.2365882365},
    },
    "time": {
        **{"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0, "week": 604800.0},
    },
}
_SCALES: Final = {"celsius": (1.0, 0.0), "fahrenheit": (9 / 5, 32.0), "kelvin": (1.0, 273.15)}
_IRREGULAR: Final = {"feet": "foot", "inches": "inch"}
_BRITISH: Final = {"metre": "meter", "litre": "liter", "tonne": "ton"}
_BETWEEN: Final = ("in", "to", "into", "are", "as", "is", "how", "many", "convert", "degrees")


class Units:
    """A tool for "ten miles in kilometers" and "how many feet are two meters"."""

    name = "units"
    meaning = "Converts a number of one unit to another: length, weight, volume, time, temperature."
    parameters: Final = {
        "type": "object",
        "properties": {
            "value": {"type": "number", "description": "how many"},
            "unit": {"type": "string", "description": "of which unit, such as mile"},
            "to": {"type": "string", "description": "the unit wanted, such as kilometer"},
        },
        "required": ["value", "unit", "to"],
        "additionalProperties": False,
    }

    def find(self, words: Sequence[str]) -> ToolRequest | None:
        for index in range(len(words) - 1, -1, -1):
            found = read_number(words, index)
            if found is None or (index and read_number(words, index - 1) not in (None, found)):
                continue
            value, at = found
            unit, end = _unit(words, at)
            if not unit:
                continue
            to, end = _unit(words, end)
            if not to:
                to, end = _asked_before(words, index), end
            if to and _kind(to) == _kind(unit):
                arguments = {"value": value, "unit": unit, "to": to}
                text = f"{value} {unit} to {to}"
                return ToolRequest(tool=self.name, text=text, end=end, arguments=arguments)
        return None

    async def call(self, arguments: Arguments, work: Work) -> Reply:
        value = arguments.get("value")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise NoAnswer("units needs a number as value")
        unit, to = (singular(text_argument(arguments, name)) for name in ("unit", "to"))
        result = convert(float(value), unit, to)
        if abs(result) >= LIMIT:
            raise NoAnswer("the result is too large to say")
        digits = 1 if abs(result) >= 10 else 2
        rounded = round(result, digits)
        return Reply(text=f"{number_words(rounded)} {_plural(to, rounded)}")


def convert(value: float, unit: str, to: str) -> float:
    """Convert between two units of one kind; raises NoAnswer for others."""
    if unit in _SCALES and to in _SCALES:
        (factor, zero), (factor_to, zero_to) = _SCALES[unit], _SCALES[to]
        return (value - zero) / factor * factor_to + zero_to
    for sizes in _SIZES.values():
        if unit in sizes and to in sizes:
            return value * sizes[unit] / sizes[to]
    raise NoAnswer(f"{unit[:20]} cannot be converted to {to[:20]}")


def singular(word: str) -> str:
    """Return the unit that a word names, in the singular and in American spelling."""
    word = _IRREGULAR.get(word.lower(), word.lower())
    if not _kind(word):
        word = word.removesuffix("s")
        for british, american in _BRITISH.items():
            word = word.removesuffix(british) + american if word.endswith(british) else word
    return word


def _kind(unit: str) -> str:
    if unit in _SCALES:
        return "temperature"
    return next((kind for kind, sizes in _SIZES.items() if unit in sizes), "")


def _unit(words: Sequence[str], start: int) -> tuple[str, int]:
    """Read a unit after words that may stand before one."""
    at = start
    while at < len(words) and words[at] in _BETWEEN:
        at += 1
    if at < len(words) and _kind(unit := singular(words[at])):
        return unit, at + 1
    return "", start


def _asked_before(words: Sequence[str], index: int) -> str:
    """Read the unit of "how many feet are" before a number."""
    at = index - 1
    while at >= 0 and words[at] in ("are", "is", "in"):
        at -= 1
    unit = singular(words[at]) if at >= 0 else ""
    return unit if at >= 2 and words[at - 2 : at] == ["how", "many"] and _kind(unit) else ""


def _plural(unit: str, value: float) -> str:
    if _kind(unit) == "temperature":
        return f"degrees {unit}" if unit != "kelvin" else unit
    if value == 1:
        return unit
    return {"foot": "feet", "inch": "inches", "stone": "stone"}.get(unit, f"{unit}s")
