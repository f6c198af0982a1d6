"""Lists the corpora: those that ship, those that were added, and packages to add."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from microturn.configs.paths import data_folder
from microturn.configs.reading import naming_damage
from microturn.datagen.corpora.adding.summary import SUMMARY_NAME, count
from microturn.datagen.corpora.conversations.reader import Conversations
from microturn.datagen.corpora.home import SHIPPED, corpora_home, is_corpus
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.corpora.packages import PACKAGES


def list_corpora(folder: str = "") -> list[dict[str, Any]]:
    """Return one row per corpus: those that ship, and the one that is a folder, or those in it."""
    if folder and not Path(folder).is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    rows = [_row(name, shipped) for name, shipped in SHIPPED.items()]
    if not folder and data_folder() is None:  # nothing can have been added without out=
        return rows
    home = Path(folder) if folder else corpora_home()
    inside = [home] if is_corpus(home) else sorted(home.glob("[!.]*"))  # others are being added
    return rows + [_row(path.name, path) for path in inside if is_corpus(path)]


def _row(name: str, folder: Path) -> dict[str, Any]:
    path = folder / SUMMARY_NAME
    if path.is_file():
        with naming_damage(path, "copy or add the corpus again"):
            summary = dict(json.loads(path.read_text(encoding="utf-8")))
    else:
        summary = {**count(Corpus.open(folder)), "format": "", "skipped": {}}
        scripted = len(Conversations([folder]))
        summary |= {"conversations": {"scripted": scripted}} if scripted else {}
    return {**summary, "name": name, "folder": str(folder)}


def _conversations(row: Mapping[str, Any]) -> str:
    """Format how many conversations there are, with their hours, and scripted dialogues."""
    counted = row.get("conversations", {})
    recorded = counted.get("recorded")
    scripted = counted.get("scripted") or row.get("scripted", {}).get("dialogues")
    parts = [f"{recorded} ({counted['hours']:.2f} h)"] if recorded else []
    return " + ".join([*parts, *([f"{scripted} scripted"] if scripted else [])]) or "-"


def _sides(row: Mapping[str, Any]) -> str:
    """Format how many sides have word times, and how many there are."""
    counted = row.get("conversations", {})
    if not (sides := counted.get("sides")):
        return "-"
    return f"{counted['sides_with_word_times']} of {sides}"


def listing_text(rows: list[dict[str, Any]]) -> str:
    """Format the rows as a table, and name the packages that `corpus add` knows."""
    lines = [
        (
            *("name", "hours", "recordings", "conversations", "sides with words", "speakers"),
            *("languages", "skipped", "licences"),
        )
    ]
    for row in rows:
        lines.append(
            (
                row["name"],
                f"{row['hours']:.2f}",
                str(row["recordings"]),
                _conversations(row),
                _sides(row),
                " + ".join(f"{n} {split}" for split, n in row["speakers"].items()) or "-",
                " ".join(row["languages"]) or "-",
                str(sum(row["skipped"].values())),
                ", ".join(row["licences"]),
            )
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        + "\n"
        for line in lines
    )
    added = {row["name"] for row in rows}
    names = [name for name in PACKAGES if name not in added]
    return text + f"\nmicroturn corpus add also knows: {', '.join(names)}\n"
