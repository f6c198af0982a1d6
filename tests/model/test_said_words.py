"""What a checkpoint knows of the words that its agent can say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from microturn.model.checkpoint import load_checkpoint, random_checkpoint, save_checkpoint
from microturn.model.checkpoint_files import said_words


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        (None, None),
        ({"format": 1}, None),
        ({"format": 1, "said": []}, frozenset()),
        ({"format": 1, "said": ["i'm", "sorry"]}, frozenset(["i'm", "sorry"])),
    ],
)
def test_the_words_stay_with_a_checkpoint(
    tmp_path: Path, contents: dict[str, object] | None, said: frozenset[str] | None
) -> None:
    made = random_checkpoint()
    notes = {} if contents is None else {"contents.json": json.dumps(contents)}
    save_checkpoint(tmp_path, made.model, made.tokenizer, notes=notes)
    assert load_checkpoint(tmp_path).said == said


@pytest.mark.parametrize("text", ["[]", "{", '{"said": 3}', "[" * 100_000])
def test_contents_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"contents\.json of the checkpoint: not its form"):
        said_words({"contents.json": text})
