"""Formulas of Full-Duplex-Bench v3 (arXiv 2604.04847): tools, arguments, pass rate.

Restated from the benchmark's published scripts as they run without a language model as judge.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

DYNAMIC: Final = "$"  # an argument that stands for an earlier result; any value will do


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call of a tool."""

    function: str
    args: Mapping[str, Any] = field(default_factory=dict)


def tool_f1(expected: Sequence[Call], actual: Sequence[Call]) -> float:
    """F1 of the names of the tools, each as often as it was called."""
    matched = (_names(expected) & _names(actual)).total()
    recall = matched / len(expected) if expected else 1.0
    precision = matched / len(actual) if actual else 1.0
    return 2 * recall * precision / (recall + precision) if recall + precision else 0.0


def argument_accuracy(expected: Sequence[Call], actual: Sequence[Call]) -> float:
    """Share of expected calls that were made with the right arguments.

    Calls of one tool are compared in the order in which they were made.
    """
    if not expected:
        return 1.0
    waiting: dict[str, list[Call]] = {}
    for call in actual:
        waiting.setdefault(call.function, []).append(call)
    right = 0
    for call in expected:
        made = waiting.get(call.function)
        right += bool(made) and same_arguments(call.args, waiting[call.function].pop(0).args)
    return right / len(expected)


def passed(expected: Sequence[Call], actual: Sequence[Call]) -> bool:
    """Pass@1: the expected tools, each as often as expected, and every argument right."""
    return _names(expected) == _names(actual) and argument_accuracy(expected, actual) == 1.0


def same_arguments(expected: Mapping[str, Any], actual: Mapping[str, Any]) -> bool:
    """Whether every expected argument is present and equal; further ones are ignored."""
    return all(
        key in actual and (_is_dynamic(value) or _plain(value) == _plain(actual[key]))
        for key, value in expected.items()
    )


def _names(calls: Sequence[Call]) -> Counter[str]:
    return Counter(call.function for call in calls)


def _is_dynamic(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(DYNAMIC)


def _plain(value: Any) -> Any:
    return value.lower().strip().replace("_", " ") if isinstance(value, str) else value
