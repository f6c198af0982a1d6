"""Tools of the offline agent: each finds a request in the user's words and answers it in words."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, Literal, Protocol

from microturn.inference.agent.numbers import LIMIT, number_words, read_number


class ToolError(ValueError):
    """A request without an answer; the message says why."""


@dataclass(frozen=True, kw_only=True)
class ToolRequest:
    """A request in the user's words; `end` is the index after its last word."""

    tool: str
    text: str
    end: int
    answer: Callable[[], str]


class Tool(Protocol):
    """One ability of the agent."""

    def find(self, words: Sequence[str]) -> ToolRequest | None:
        """Find the latest request for this tool."""


def latest_request(tools: Sequence[Tool], words: Sequence[str]) -> ToolRequest:
    """Return the request that ends last, as people ask and then wait."""
    requests = [request for tool in tools if (request := tool.find(words)) is not None]
    if not requests:
        raise ToolError("nothing in the conversation asks for a calculation or the time")
    return max(requests, key=lambda request: request.end)


# --- calculator ------------------------------------------------------------------------------
_OPERATORS: Final[dict[tuple[str, ...], str]] = {
    ("plus",): "+",
    ("and",): "+",
    ("minus",): "-",
    ("less",): "-",
    ("times",): "*",
    ("multiplied", "by"): "*",
    ("divided", "by"): "/",
    ("over",): "/",
}
_ARITHMETIC: Final[dict[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_MAX_TERMS: Final = 32


class Calculator:
    """A tool for spoken arithmetic, such as "eight plus three"."""

    def find(self, words: Sequence[str]) -> ToolRequest | None:
        best, index = None, 0
        while index < len(words):
            parsed = _expression(words, index)
            if parsed is None:
                index += 1
                continue
            expression, index = parsed
            answer = partial(_answer, expression)
            best = ToolRequest(tool="calculator", text=expression, end=index, answer=answer)
        return best


def _answer(expression: str) -> str:
    return number_words(calculate(expression))


def _expression(words: Sequence[str], start: int) -> tuple[str, int] | None:
    """Read the longest `number (operator number)+` at `start` as (expression, index after it)."""
    first = read_number(words, start)
    if first is None:
        return None
    terms, end = [str(first[0])], first[1]
    while len(terms) < 2 * _MAX_TERMS:
        sign, after = _operator(words, end)
        number = read_number(words, after) if sign else None
        if number is None:
            break
        terms += [sign, str(number[0])]
        end = number[1]
    return (" ".join(terms), end) if len(terms) > 1 else None


def _operator(words: Sequence[str], start: int) -> tuple[str, int]:
    for spoken, sign in _OPERATORS.items():
        if tuple(words[start : start + len(spoken)]) == spoken:
            return sign, start + len(spoken)
    return "", start


def calculate(expression: str) -> float:
    """Evaluate an arithmetic expression of numbers and + - * / only."""
    try:
        tree = ast.parse(expression, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ToolError(f"{expression[:40]!r} is not a calculation") from error
    value = _value(tree.body)
    if abs(value) >= LIMIT:
        raise ToolError(f"the result of {expression} is too large to say")
    return value


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            try:
                return _ARITHMETIC[type(op)](_value(left), _value(right))
            except ZeroDivisionError as error:
                raise ToolError("nothing can be divided by zero") from error
            except OverflowError as error:
                raise ToolError("the result is too large to say") from error
    raise ToolError(f"a calculation has only numbers and + - * /, not {type(node).__name__}")


# --- clock -----------------------------------------------------------------------------------
Precision = Literal["hour", "minute"]


class Clock:
    """A tool for the time of day, to the hour or to the minute."""

    def __init__(self, now: Callable[[], datetime], precision: Precision) -> None:
        self._now, self._precision = now, precision

    def find(self, words: Sequence[str]) -> ToolRequest | None:
        for index in range(len(words) - 1, -1, -1):
            if words[index] == "time":
                return ToolRequest(
                    tool="clock", text="time of day", end=index + 1, answer=self._answer
                )
        return None

    def _answer(self) -> str:
        return clock_words(self._now(), self._precision)


def clock_words(moment: datetime, precision: Precision) -> str:
    """Spell a time on a twelve-hour clock as it is read aloud; `hour` rounds to the nearest one."""
    hour, minute = moment.hour, moment.minute
    if precision == "hour":
        hour, minute = hour + (minute >= 30), 0
    hour_words = number_words(hour % 12 or 12)
    if minute == 0:
        return f"{hour_words} o'clock"
    return f"{hour_words} {'oh ' if minute < 10 else ''}{number_words(minute)}"
