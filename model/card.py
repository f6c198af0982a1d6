"""The model card of a checkpoint folder: `README.md` in the form of the Hugging Face hub.

It says what the folder's own files say, and scores where somebody hands them over. `weights_sha256`
in its head names the weights that it describes; a folder whose weights change loses its card.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import file_digest, sha256
from pathlib import Path
from string import hexdigits
from typing import Any, Final

from microturn.configs.reading import lines_of
from microturn.model.stored.weights import weight_files

CARD: Final = "README.md"
_WEIGHTS_KEY: Final = "weights_sha256"
_NOT_STATED: Final = "not-stated"
_SHOWN: Final = 20  # speakers by name

_WHAT: Final = """\
A full-duplex speech model of microturn: every 200 ms it reads what the microphone heard and
produces what the loudspeaker plays next, silence included. When to speak is learned from timing;
nothing detects turns.
"""
_LOAD: Final = """\
```python
from microturn.training import InteractionModel

model = InteractionModel.from_pretrained("OWNER/NAME")  # or a folder
layout, tokenizer = model.layout, model.tokenizer
```

`microturn serve checkpoint=FOLDER` lets you talk to a downloaded folder, `microturn train
init=OWNER/NAME` goes on from its weights.
"""
_USE: Final = """\
To hear and to study what a model learns that listens and speaks at once, and to start trainings
from. Nothing that matters should hang on it: it mishears, and people whom it never heard more than
others. Whoever talks with it should know that it is a program.
"""
# What licences ask of whoever passes on weights, beyond naming the authors.
_TERMS: Final = {
    "LicenseRef-Flight-of-the-Amazon-Queen": (
        "The recordings of *Flight of the Amazon Queen* are free of charge and are not sold as a "
        "separate item; the same holds for these weights."
    ),
    "CC-BY-SA-3.0": "Adaptations of recordings under CC BY-SA are passed on under the same terms.",
}
_LIMITS: Final = """\
It was trained on simulated dialogues and does what those show: it knows their words and their kinds
of dialogue, and answers in the one voice that it learnt. How it does with people whom it never
heard, only scores of such people tell.
"""


def card_text(
    *,
    weights_sha256: str,
    sizes: Mapping[str, Any],
    contents: Mapping[str, Any] | None,
    scores: Sequence[str] = (),
    licence: str = "",
    title: str = "",
    recipe: str = "",
) -> str:
    """Write the card.

    sizes: of `describe`. contents: the checkpoint's `contents.json`, None where it has none.
    scores: lines of Markdown. licence: of the weights, as an identifier of the hub. recipe: the
    command that trains it.
    """
    rows = (contents or {}).get("credits")
    head = {
        "library_name": "microturn",
        "license": licence or "other",
        **({} if licence else {"license_name": _NOT_STATED}),
        "pipeline_tag": "audio-to-audio",
        "tags": ["full-duplex", "speech", "microturn"],
        "language": sorted({row["language"] for row in rows or ()} - {""}),
        _WEIGHTS_KEY: weights_sha256,
    }
    config = sizes["config"]
    lines = [
        "---",
        # JSON is YAML, and quotes what needs it.
        *(f"{key}: {json.dumps(value)}" for key, value in head.items() if value),
        "---",
        "",
        f"# {title or 'A microturn checkpoint'}",
        "",
        _WHAT,
        f"{sizes['parameters_total']:,} parameters, {sizes['parameters_active']:,} of them active "
        f"at a position; width {config['d_model']}, {config['n_layers']} blocks, attention over "
        f"{config['window']} micro-turns.",
        "",
        *([f"Trained by `{recipe}`.", ""] if recipe else []),
        "## Load it",
        "",
        _LOAD,
        "## What it was trained on",
        "",
        *_heard(contents),
        "",
        *_credits(rows),
        "",
        "## Scores",
        "",
        *(scores or ["None are recorded for these weights."]),
        "",
        "## Intended use",
        "",
        _USE,
        "## Limits",
        "",
        _LIMITS,
        "## Licence",
        "",
        f"Of the weights: {licence or 'not stated by whoever made this card'}. Of the recordings: "
        "as above; whoever passes the weights on names their authors.",
        *(text for name, text in _TERMS.items() if name in {row["licence"] for row in rows or ()}),
    ]
    return "\n".join(lines) + "\n"


def _heard(contents: Mapping[str, Any] | None) -> list[str]:
    """Say whose speech it heard, the longest first."""
    if contents is None:
        return ["Not recorded: the training sets had no `contents.json`."]
    seconds = {name: sum(found.values()) for name, found in contents["speakers"].items()}
    total = sum(seconds.values())
    if not total:
        return ["No speech of users or of voices around them."]
    rows = sorted(seconds.items(), key=lambda item: (-item[1], item[0]))
    lines = [
        f"Heard as users or around them: {len(rows)} speakers, {_n_sentences(contents)} "
        f"sentences of users, {len(contents['rooms']):,} rooms. All are recordings of people.",
        "",
        "| speaker | share of the speech that it heard |",
        "|---|---:|",
        *(f"| {name or '(unknown)'} | {s / total:.1%} |" for name, s in rows[:_SHOWN]),
    ]
    if len(rows) > _SHOWN:
        rest = sum(s for _, s in rows[_SHOWN:])
        lines.append(f"| {len(rows) - _SHOWN} more | {rest / total:.1%} |")
    return lines


def _n_sentences(contents: Mapping[str, Any]) -> str:
    """Count the sentences; where the smallest digests alone are listed, by the share they are."""
    n, last = len(contents["sentences"]), contents["listed_to"]
    if not all(digit in hexdigits for digit in last):
        return f"{n:,}"
    share = (int(last, 16) + 1) / 16 ** len(last)
    return f"about {round(n / share, -2):,.0f}"


def _credits(rows: Sequence[Mapping[str, Any]] | None) -> list[str]:
    """Name the authors and licences of the recordings."""
    if rows is None:
        return [
            "Licences of the recordings: not recorded in these sets; the data card of each "
            "(`card.md`) counts them."
        ]
    lines = ["| recordings | language | speakers | licence |", "|---|---|---:|---|"]
    for row in rows:
        names = row["speakers"]
        author = row["attribution"] or f"{', '.join(names[:_SHOWN])} (authors not stated)"
        cells = (author, row["language"], str(len(names)), row["licence"])
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return lines


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def weights_digest(folder: Path) -> str:
    """SHA-256 of the weights of a folder: of their file, as the hub shows it, or of all parts."""
    digest = sha256()
    for path in weight_files(folder):
        with path.open("rb") as file:
            file_digest(file, lambda: digest)
    return digest.hexdigest()


def drop_stale_card(folder: Path) -> None:
    """Remove the card of a folder if it says that it is of other weights than the folder's."""
    path = folder / CARD
    if not path.is_file():
        return
    key = f"{_WEIGHTS_KEY}: "
    lines = lines_of(path.read_text(encoding="utf-8"))
    named = [line.removeprefix(key).strip('" ') for line in lines if line.startswith(key)]
    if named and named[0] != weights_digest(folder):
        path.unlink()
