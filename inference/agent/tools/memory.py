"""Tools that answer from the conversation itself: notes, recall, and how far other work is.

They keep nothing: a note is a place in the conversation, so it lives as long as that does, is in
nobody else's, and is gone after a rewind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from microturn.inference.agent.backend import NoAnswer, Reply, Work
from microturn.inference.agent.cards import ListCard
from microturn.inference.agent.package import ContextPackage
from microturn.inference.agent.tools.tool import Arguments, ToolRequest, text_argument, text_schema

PAUSE_S: Final = 1.5  # a pause longer than this ends what is said
_MAX_NOTE_WORDS: Final = 20
_READ_NOTES: Final = (("my", "notes"), ("read", "notes"), ("the", "notes"))
_RECALL: Final = (("say", "about"), ("said", "about"), ("talk", "about"), ("mention", "about"))
_HOW_FAR: Final = (
    *(("how", "far"), ("how", "long"), ("are", "you", "done"), ("are", "you", "ready")),
    *(("still", "searching"), ("still", "working"), ("any", "progress")),
)
_NOTHING: Final[dict[str, object]] = {
    "type": "object",
    "properties": {},
    "additionalProperties": False,
}
_FILLERS: Final = frozenset(("a", "an", "the", "to", "of", "that", "please", "me", "my", "we"))


def last_of(words: Sequence[str], phrases: Sequence[tuple[str, ...]]) -> int | None:
    """Return the index after the last occurrence of any of these phrases."""
    for end in range(len(words), 0, -1):
        for phrase in phrases:
            if tuple(words[max(end - len(phrase), 0) : end]) == phrase:
                return end
    return None


class NoteTool:
    """A tool that keeps "note buy milk" and reads it out at "read my notes"."""

    name = "notes"
    meaning = 'Reads the notes of this conversation, or keeps one: the user said "note ...".'
    parameters = text_schema(asked='"read", or the words to be kept')

    def find(self, words: Sequence[str]) -> ToolRequest | None:
        read, note = last_of(words, _READ_NOTES) or 0, last_of(words, [("note",)]) or 0
        if read > note:
            text = "read the notes"
            return ToolRequest(tool=self.name, text=text, end=read, arguments={"asked": "read"})
        kept = " ".join(words[note : note + _MAX_NOTE_WORDS])
        if not note or not kept:
            return None
        end = min(note + _MAX_NOTE_WORDS, len(words))
        return ToolRequest(tool=self.name, text=f"note {kept}", end=end, arguments={"asked": kept})

    async def call(self, arguments: Arguments, work: Work) -> Reply:
        asked = text_argument(arguments, "asked")
        if asked != "read":
            return Reply(text="noted", cards=(ListCard(title="Noted", items=(asked,)),))
        notes = list(notes_of(work.package))
        if not notes:
            raise NoAnswer("there are no notes in this conversation")
        return Reply(text=". ".join(notes), cards=(ListCard(title="Notes", items=tuple(notes)),))


def notes_of(package: ContextPackage) -> Iterator[str]:
    """Find the notes of a conversation: the words after "note", up to a pause."""
    note: list[str] | None = None
    last = 0
    for word, micro_turn in package.asked:
        pause_s = package.seconds(micro_turn - last)
        if note and (pause_s > PAUSE_S or word == "note" or len(note) == _MAX_NOTE_WORDS):
            yield " ".join(note)
            note = None
        if word == "note":
            note = []
        elif note is not None:
            note.append(word)
        last = micro_turn
    if note:
        yield " ".join(note)


class RecallTool:
    """A tool that finds what was said in this conversation."""

    name = "recall"
    meaning = "Finds what was said earlier in this conversation about something, by either side."
    parameters = text_schema(about="a word or a few that were said")

    def find(self, words: Sequence[str]) -> ToolRequest | None:
        at = last_of(words, _RECALL)
        about = [word for word in words[at or len(words) :] if word not in _FILLERS][:4]
        if not about:
            return None
        text = " ".join(about)
        arguments = {"about": text}
        return ToolRequest(
            tool=self.name, text=f"recall {text}", end=len(words), arguments=arguments
        )

    async def call(self, arguments: Arguments, work: Work) -> Reply:
        wanted = text_argument(arguments, "about").lower().split()
        package = work.package
        lines = list(_lines(package))
        if lines and lines[-1][0] == "user":  # the question itself
            lines.pop()
        best = max(lines, key=lambda line: _hits(line, wanted), default=None)
        if best is None or not _hits(best, wanted):
            raise NoAnswer(f"nothing was said about {' '.join(wanted)[:80]}")
        items = [_dated(line, package) for line in lines if _hits(line, wanted)]
        card = ListCard(title=" ".join(wanted), items=tuple(items))
        return Reply(text=f"{_who(best)} said {' '.join(best[2][-12:])}", cards=(card,))


_Said = tuple[str, int, list[str]]  # side, boundary of its first word, words


def _lines(package: ContextPackage) -> Iterator[_Said]:
    """Words that were heard and played as lines: one side, without a long pause."""
    line: _Said | None = None
    last = 0
    typed = [("user", word, t.micro_turn) for t in package.typed for word in t.text.lower().split()]
    said = [(word.side, word.text, word.micro_turn) for word in package.words if word.played]
    for side, text, micro_turn in sorted([*said, *typed], key=lambda word: word[2]):
        if line and (line[0] != side or package.seconds(micro_turn - last) > PAUSE_S):
            yield line
            line = None
        line = line or (side, micro_turn, [])
        line[2].append(text)
        last = micro_turn
    if line:
        yield line


def _who(line: _Said) -> str:
    return "you" if line[0] == "user" else "i"


def _dated(line: _Said, package: ContextPackage) -> str:
    minutes, seconds = divmod(int(package.seconds(line[1])), 60)
    return f"{minutes}:{seconds:02d} {_who(line)}: {' '.join(line[2])}"


def _hits(line: _Said, wanted: Sequence[str]) -> int:
    return len(set(wanted) & set(line[2]))


class ProgressTool:
    """A tool that says how far other delegations are."""

    name = "progress"
    meaning = "Says how far the other work is that is still going on for this user."
    parameters = _NOTHING

    def find(self, words: Sequence[str]) -> ToolRequest | None:
        end = last_of(words, _HOW_FAR)
        return None if end is None else ToolRequest(tool=self.name, text="how far", end=end)

    async def call(self, arguments: Arguments, work: Work) -> Reply:
        pending = work.package.pending
        if not pending:
            raise NoAnswer("no other work is going on")
        steps = [p.progress or p.about or "working" for p in pending]
        items = tuple(f"{p.about}: {p.progress}" for p in pending)
        return Reply(text=". ".join(steps), cards=(ListCard(title="Under way", items=items),))
