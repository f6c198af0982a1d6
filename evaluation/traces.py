"""`traces/SET.jsonl`: every agent in every dialogue of a set, so that a run can resume.

A line per dialogue: of each agent the words, the times of its speech and its delegations, and facts
of a dialogue that nobody can look up elsewhere. Scores are computed from it anew each time. The
first line says what the traces depend on; traces of other inputs are not mixed in.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from microturn.configs.files import write_atomically
from microturn.configs.reading import lines_of
from microturn.evaluation.scoring.agent_output import Trace

FORMAT: Final = 6  # bump when the lines of a trace file mean something else


class TraceFile:
    """A header, then one line per dialogue."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self._path = path
        self._header = {"format": FORMAT, **header}
        self._lines: dict[str, dict[str, Any]] = {}
        self._open()

    def __contains__(self, key: str) -> bool:
        return key in self._lines

    def add(
        self, key: str, traces: Mapping[str, Trace], *, facts: Mapping[str, Any] | None = None
    ) -> None:
        """Keep a dialogue; `facts` are JSON."""
        agents = {name: trace.to_json() for name, trace in traces.items()}
        line = {"key": key, "agents": agents, **({"facts": facts} if facts else {})}
        self._lines[key] = line
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_text(line))

    def traces(self, key: str) -> dict[str, Trace]:
        """Return the trace of each agent in a dialogue."""
        agents = self._lines[key]["agents"]
        return {name: Trace.from_json(entry) for name, entry in agents.items()}

    def facts(self, key: str) -> Mapping[str, Any]:
        """Return the facts that were kept of a dialogue."""
        facts: Mapping[str, Any] = self._lines[key]["facts"]
        return facts

    def _open(self) -> None:
        rows = list(_complete_rows(self._path))
        if rows and rows[0] == self._header:
            self._lines = {row["key"]: row for row in rows[1:] if {"key", "agents"} <= row.keys()}
        elif rows:
            print(f"{self._path} belongs to other inputs: starting over", file=sys.stderr)
        # Written again as a whole: a killed run may have left half a line at the end.
        lines = [self._header, *self._lines.values()]
        write_atomically(self._path, "".join(_text(line) for line in lines))


def n_dialogues(path: Path) -> int:
    """Count the dialogues that a trace file keeps."""
    return max(0, sum(1 for _ in _complete_rows(path)) - 1)


def _text(line: Mapping[str, Any]) -> str:
    return json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n"


def _complete_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a trace file up to the first one that a killed run left half written."""
    if not path.is_file():
        return
    for line in lines_of(path.read_text(encoding="utf-8", errors="replace")):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            return
        if not isinstance(row, dict):
            return
        yield row
