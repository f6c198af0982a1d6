"""The dialogues that a run left out because they are damaged: their names, and their limit."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from microturn.configs.reading import lines_of, naming_damage


class DamagedDialogues:
    """Names and reasons in a file of the run folder, one JSON object per line.

    limit: as many may be left out in the whole run, resumed or not.
    """

    def __init__(self, limit: int, file: Path, *, writes: bool) -> None:
        self.limit, self.file, self.writes = limit, file, writes
        self.reasons: dict[str, str] = {}
        if file.is_file():
            with naming_damage(file, "delete it, or its wrong lines"):
                rows = map(json.loads, lines_of(file.read_text(encoding="utf-8")))
                self.reasons = {row["dialogue"]: row["reason"] for row in rows}

    def new(self, skipped: Mapping[str, str]) -> dict[str, str]:
        """Return those that the file does not have yet."""
        return {name: why for name, why in skipped.items() if name not in self.reasons}

    def add(self, found: Mapping[str, str]) -> None:
        """Name new ones on stderr and in the file; ValueError beyond the limit."""
        for name, reason in self.new(found).items():
            self.reasons[name] = reason
            if len(self.reasons) > self.limit:
                raise ValueError(
                    f"{len(self.reasons)} dialogues are damaged, more than skip_damaged="
                    f"{self.limit} allows; the last one: {reason}; the others are in {self.file}"
                )
            if self.writes:
                print(
                    f"training: skipped dialogue {len(self.reasons)} of at most {self.limit}: "
                    f"{reason}",
                    file=sys.stderr,
                )
                self.file.parent.mkdir(parents=True, exist_ok=True)
                with self.file.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"dialogue": name, "reason": reason}) + "\n")
