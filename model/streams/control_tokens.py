"""Control tokens, and the only places where they stand beside words on a text lane.

A control token is one id with a meaning of its own. `Tokenizer.encode` makes none, whatever stands
in a text: `<bg>` there is the word bg. Whoever needs control tokens writes a `LaneText` with the
functions of this file, and words from outside go into its `words`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

CONTROL_TOKENS: Final = (
    "<idle>",
    "<eos>",
    "<delegate>",
    "<cancel>",
    "<bg>",
    "</bg>",
    "<user>",
    "<system>",
    "<late>",
    "<unk>",
)
IDLE, EOS, DELEGATE, CANCEL, BG, BG_END, USER, SYSTEM, LATE, UNK = range(len(CONTROL_TOKENS))

# How a label begins that holds the progress of background work; `<bg> <system>` could be a result
# that begins with the word system.
_PROGRESS: Final = "<progress>"
# The result that stands for one that will not come: the background agent failed, or took too long.
FAILED_RESULT: Final = "i'm sorry"


@dataclass(frozen=True, kw_only=True)
class LaneText:
    """What stands on a text lane: words, and ids of control tokens before and after them."""

    words: str = ""
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()

    def __str__(self) -> str:
        """Write it as labels hold it, such as `<bg> eleven </bg>`; `read_text` reads it again."""
        if self.before == (BG, SYSTEM):
            return f"{_PROGRESS} {self.words}"
        before, after = ((CONTROL_TOKENS[i] for i in ids) for ids in (self.before, self.after))
        return " ".join((*before, self.words, *after))

    @property
    def is_result(self) -> bool:
        """Whether it is a result of the background agent."""
        return self.before == (BG,)

    @property
    def is_typed(self) -> bool:
        """Whether a user typed it."""
        return self.before == (USER,)


def result_text(words: str) -> LaneText:
    """Return a result of the background agent as it stands on `text_in`."""
    return LaneText(words=words, before=(BG,), after=(BG_END,))


def progress_text(words: str) -> LaneText:
    """Return how far the background agent is as it stands on `text_in`."""
    return LaneText(words=words, before=(BG, SYSTEM), after=(BG_END,))


def typed_text(words: str) -> LaneText:
    """Return what the user typed as it stands on `text_in`."""
    return LaneText(words=words, before=(USER,))


def instructions_text(words: str) -> LaneText:
    """Return instructions as they stand on `text_in`."""
    return LaneText(words=words, before=(SYSTEM,))


def note_text(words: str, *, of_user: bool) -> LaneText:
    """Return earlier words of the user, or of the agent, as they stand on `text_in` again."""
    return LaneText(words=words, before=(SYSTEM, USER) if of_user else (SYSTEM,))


def read_text(text: str) -> LaneText:
    """Read a text of `text_in` from a label: the outer control tokens count, all else is words.

    Raises ValueError for a text that is none of those below.
    """
    first, _, words = text.partition(" ")
    end = CONTROL_TOKENS[BG_END]
    if first == CONTROL_TOKENS[BG] and words.endswith(end):
        return result_text(words.removesuffix(end).removesuffix(" "))
    if first == _PROGRESS:
        return progress_text(words)
    if first == CONTROL_TOKENS[USER]:
        return typed_text(words)
    if first == CONTROL_TOKENS[SYSTEM]:
        return instructions_text(words)
    raise ValueError(
        f"the text {text[:40]!r} must be `<bg> WORDS </bg>`, `{_PROGRESS} WORDS`, `<user> WORDS` "
        "or `<system> WORDS`"
    )


def control_id(token: str) -> int:
    """Return the id of a control token by its name; raises ValueError for any other text."""
    if token not in CONTROL_TOKENS:
        raise ValueError(
            f"{token[:40]!r} is no control token; it is one of {' '.join(CONTROL_TOKENS)}"
        )
    return CONTROL_TOKENS.index(token)
