"""A tool for spoken arithmetic."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Sequence
from typing import Final

from microturn.inference.agent.backend import NoAnswer, Reply, Work
from microturn.inference.agent.numbers import LIMIT, number_words, read_number
from microturn.inference.agent.tools.tool import Arguments, ToolRequest, text_argument, text_schema

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

    name = "calculator"
    meaning = "Evaluates arithmetic of numbers with + - * / and says the result."
    parameters = text_schema(expression="the arithmetic, such as 8 + 3 * 2")

    def find(self, words: Sequence[str]) -> ToolRequest | None:
        best, index = None, 0
        while index < len(words):
            parsed = _expression(words, index)
            if parsed is None:
                index += 1
                continue
            expression, index = parsed
            arguments = {"expression": expression}
            best = ToolRequest(tool=self.name, text=expression, end=index, arguments=arguments)
        return best

    async def call(self, arguments: Arguments, work: Work) -> Reply:
        return Reply(text=number_words(calculate(text_argument(arguments, "expression"))))


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
        raise NoAnswer(f"{expression[:40]!r} is not a calculation") from error
    value = _value(tree.body)
    if abs(value) >= LIMIT:
        raise NoAnswer(f"the result of {expression} is too large to say")
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
                raise NoAnswer("nothing can be divided by zero") from error
            except OverflowError as error:
                raise NoAnswer("the result is too large to say") from error
    raise NoAnswer(f"a calculation has only numbers and + - * /, not {type(node).__name__}")
