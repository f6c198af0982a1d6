"""What a checkpoint says about itself to whoever opens the page: voices it knows, and examples.

Voices and typed text come from the `contents.json` that training leaves in a checkpoint; examples
are recordings in its folder `examples`, which `microturn examples` writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from microturn.model.checkpoint_files import CONTENTS

EXAMPLES: Final = "examples"
EXAMPLES_INDEX: Final = "examples.json"


@dataclass(frozen=True, kw_only=True)
class Voice:
    """A person whom the checkpoint heard, and the share of what it heard."""

    name: str
    share: float


@dataclass(frozen=True, kw_only=True)
class Example:
    """A recording of a user in the folder `examples`."""

    file: str
    title: str  # what is said in it
    seconds: float


@dataclass(frozen=True, kw_only=True)
class AboutCheckpoint:
    """What there is to know before a conversation."""

    voices: tuple[Voice, ...] = ()  # the most heard first; empty: not recorded
    typed: bool = False  # whether it was trained on typed text
    examples: tuple[Example, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "voices": [{"name": v.name, "share": v.share} for v in self.voices],
            "typed": self.typed,
            "examples": [
                {"file": e.file, "title": e.title, "seconds": e.seconds} for e in self.examples
            ],
        }


def about_checkpoint(folder: Path) -> AboutCheckpoint:
    """Read what a checkpoint folder records; raises ValueError for an index that is none."""
    contents = _read_json(folder / CONTENTS) or {}
    return AboutCheckpoint(
        voices=_voices(contents.get("speakers", {})),
        typed=bool(contents.get("n_typed")),
        examples=_examples(folder / EXAMPLES / EXAMPLES_INDEX),
    )


def _voices(speakers: Mapping[str, Mapping[str, float]]) -> tuple[Voice, ...]:
    """Sum up seconds of speech by person; those whom nobody knows stand under an empty name."""
    seconds = {name: sum(found.values()) for name, found in speakers.items()}
    total = sum(seconds.values())
    named = sorted((item for item in seconds.items() if item[0]), key=lambda item: -item[1])
    return tuple(Voice(name=name, share=round(s / total, 4)) for name, s in named if s)


def _examples(index: Path) -> tuple[Example, ...]:
    rows = _read_json(index) or []
    try:
        examples = [Example(file=r["file"], title=r["title"], seconds=r["seconds"]) for r in rows]
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{index}: each example needs file, title and seconds; `microturn examples` writes it"
        ) from error
    for example in examples:
        if Path(example.file).name != example.file or not (index.parent / example.file).is_file():
            raise ValueError(f"{index}: {example.file!r} is no recording beside it")
    return tuple(examples)


def _read_json(path: Path) -> Any:
    """Read a file of JSON, None where there is none; ValueError names one that is damaged."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
