"""A tool that searches the text files of a folder, with the full-text index of SQLite."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from microturn.inference.agent.backend import NoAnswer, Reply, Work
from microturn.inference.agent.cards import ListCard
from microturn.inference.agent.tools.memory import last_of
from microturn.inference.agent.tools.tool import Arguments, ToolRequest, text_argument, text_schema

SUFFIXES: Final = (".txt", ".md", ".rst")
MAX_FILE_BYTES: Final = 4 << 20
MAX_FILES: Final = 100_000
_BATCH: Final = 20  # files between two reports of progress
_MAX_QUERY_WORDS: Final = 8
_MAX_FOUND: Final = 5
_STEM: Final = 4  # letters, enough for "opening" and "opens"
_PHRASES: Final = (("search", "for"), ("look", "up"), ("find", "out", "about"), ("search",))
_FILLERS: Final = frozenset(("a", "an", "the", "for", "of", "in", "please", "about", "my", "me"))
_SENTENCE: Final = re.compile(r"(?<=[.!?])\s+")
_Stamp = tuple[int, int]  # when a file was changed (ns), and its size


class FolderIndex:
    """The paragraphs of the text files of a folder, read when they are new or changed."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"agent.folder={folder}: there is no such folder")
        self._stamps: dict[str, _Stamp] = {}
        self._refreshing = asyncio.Lock()
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        self._db.execute(
            "CREATE VIRTUAL TABLE paragraphs USING fts5"
            "(text, path UNINDEXED, tokenize='porter unicode61')"
        )

    async def refresh(self, work: Work) -> None:
        """Read what is new, away from the event loop."""
        async with self._refreshing:
            now = await asyncio.to_thread(self._files)
            gone = [path for path in self._stamps if path not in now]
            changed = [path for path, stamp in now.items() if self._stamps.get(path) != stamp]
            await asyncio.to_thread(self._forget, [*gone, *changed])
            for start in range(0, len(changed), _BATCH):
                batch = changed[start : start + _BATCH]
                await asyncio.to_thread(self._read, batch)
                self._stamps |= {path: now[path] for path in batch}
                done = start + len(batch)
                if done < len(changed):
                    work.tell.progress(f"{done} of {len(changed)} files read")

    def find(self, words: Sequence[str]) -> list[tuple[str, str]]:
        """Return the best paragraphs as (path, text), by BM25."""
        query = " OR ".join('"' + word.replace('"', "") + '"' for word in words)
        rows = self._db.execute(
            "SELECT path, text FROM paragraphs WHERE paragraphs MATCH ? ORDER BY bm25(paragraphs) "
            "LIMIT ?",
            (query, _MAX_FOUND),
        )
        return [(str(path), str(text)) for path, text in rows]

    def close(self) -> None:
        self._db.close()

    def _files(self) -> dict[str, _Stamp]:
        """List text files below the folder; links out of it are not followed."""
        found: dict[str, _Stamp] = {}
        for place, folders, names in os.walk(self.folder):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                path = Path(place) / name
                if path.suffix.lower() not in SUFFIXES or path.is_symlink():
                    continue
                status = path.stat()
                if status.st_size <= MAX_FILE_BYTES and len(found) < MAX_FILES:
                    found[str(path)] = (status.st_mtime_ns, status.st_size)
        return found

    def _forget(self, paths: Sequence[str]) -> None:
        self._db.executemany("DELETE FROM paragraphs WHERE path = ?", [(p,) for p in paths])
        for path in paths:
            self._stamps.pop(path, None)

    def _read(self, paths: Sequence[str]) -> None:
        rows = [(text, path) for path in paths for text in _paragraphs(Path(path))]
        self._db.executemany("INSERT INTO paragraphs (text, path) VALUES (?, ?)", rows)


def _paragraphs(path: Path) -> Iterator[str]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # gone or closed to us since it was listed
        return
    for block in re.split(r"\n\s*\n", text):
        paragraph = " ".join(block.split())
        if paragraph:
            yield paragraph


class Search:
    """A tool for "search for opening hours" in the operator's own documents."""

    name = "search"
    meaning = "Searches the documents of this server and returns the best passages."
    parameters = text_schema(query="a few words to look for")

    def __init__(self, index: FolderIndex) -> None:
        self._index = index

    def find(self, words: Sequence[str]) -> ToolRequest | None:
        at = last_of(words, _PHRASES)
        query = [word for word in words[at or len(words) :] if word not in _FILLERS]
        if not query:
            return None
        text = " ".join(query[:_MAX_QUERY_WORDS])
        arguments = {"query": text}
        return ToolRequest(
            tool=self.name, text=f"search for {text}", end=len(words), arguments=arguments
        )

    async def call(self, arguments: Arguments, work: Work) -> Reply:
        words = text_argument(arguments, "query").lower().split()[:_MAX_QUERY_WORDS]
        await self._index.refresh(work)
        found = await asyncio.to_thread(self._index.find, words)
        if not found:
            raise NoAnswer(f"nothing was found about {' '.join(words)[:80]}")
        folder = self._index.folder
        items = tuple(f"{Path(path).relative_to(folder)}: {text}" for path, text in found)
        card = ListCard(title=" ".join(words), items=items)
        return Reply(text=best_sentence(found[0][1], words), cards=(card,))


def best_sentence(paragraph: str, words: Sequence[str]) -> str:
    """Return the sentence of a paragraph that has most of these words, by their beginnings."""
    stems = [word[:_STEM] for word in words]
    sentences = _SENTENCE.split(paragraph)
    return max(sentences, key=lambda s: sum(stem in s.lower() for stem in stems))
