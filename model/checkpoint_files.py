"""The files of a checkpoint folder: weights as safetensors, the rest as text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from microturn.configs.files import make_folder, replacing
from microturn.configs.load import load_config, save_config
from microturn.configs.reading import lines_of, naming_damage
from microturn.model.card import CARD, digest_of, drop_stale_card
from microturn.model.config import ModelConfig
from microturn.model.stored.tensor_files import Stored, StoredTensor, write_file
from microturn.model.stored.weights import (
    WEIGHTS,
    Alone,
    Peers,
    failing_together,
    has_weights,
    naming,
    stored_weights,
    write_weights,
)
from microturn.model.streams import StreamLayout, Tokenizer

CONFIG, LAYOUT, TOKENIZER = "config.yaml", "layout.json", "tokenizer.json"
DIGESTS: Final = "sha256sums.txt"  # of a folder that ships, in the form of `sha256sum`
# Text files that a checkpoint may hold besides: what it was trained on, and its card.
CONTENTS: Final = "contents.json"
NOTES: Final = (CONTENTS, CARD)


@dataclass(frozen=True, kw_only=True)
class StoredCheckpoint:
    """What a folder holds; the weights are read when they are asked for."""

    folder: Path
    cfg: ModelConfig
    layout: StreamLayout
    tokenizer: Tokenizer
    notes: Mapping[str, str]  # by name of the file, those that there are

    @classmethod
    def read(cls, folder: str | Path) -> StoredCheckpoint:
        """Read all but the weights.

        Raises FileNotFoundError where a file is missing, and ValueError that names a damaged one:
        one that cannot be read, or is not the one in the folder's list of digests, if it has one.
        """
        folder = Path(folder)
        check_complete(folder)
        check_digests(folder)
        present = [folder / name for name in NOTES if (folder / name).is_file()]
        return cls(
            folder=folder,
            cfg=load_config(ModelConfig, [folder / CONFIG]),
            layout=StreamLayout.load(folder / LAYOUT),
            tokenizer=Tokenizer.load(folder / TOKENIZER),
            notes={path.name: _text_of(path) for path in present},
        )

    def weights(self) -> dict[str, StoredTensor]:
        """Find the weights, which are read region by region; raises ValueError for damaged ones."""
        return stored_weights(self.folder)


def _text_of(path: Path) -> str:
    with naming_damage(path, "copy it again, or delete it to go on without it"):
        return path.read_text(encoding="utf-8")


def said_words(notes: Mapping[str, str]) -> frozenset[str] | None:
    """Return the words that the agent says in the training data by the notes of a checkpoint.

    None: it may say any, or nothing is recorded. Raises ValueError for contents in another form.
    """
    try:
        said = json.loads(notes.get(CONTENTS) or "{}").get("said")
        return None if said is None else frozenset(map(str, said))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{CONTENTS} of the checkpoint: not its form ({error})") from error


def check_complete(folder: str | Path) -> None:
    """Raise FileNotFoundError when a file of a checkpoint is missing."""
    folder = Path(folder)
    for name in (WEIGHTS, CONFIG, LAYOUT, TOKENIZER):
        if not (has_weights(folder) if name == WEIGHTS else (folder / name).is_file()):
            raise FileNotFoundError(
                f"{folder}: no {name}, so this is no checkpoint folder; "
                "train one with `microturn train` or `make demo`"
            )


def write_digests(folder: Path) -> None:
    """List the SHA-256 of every file of a folder, which loading then compares."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != DIGESTS)
    lines = (f"{digest_of(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)
    _write_note(folder / DIGESTS, "".join(lines))


def digests_of(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file that the list of a folder names; none without a list."""
    listed = folder / DIGESTS
    if not listed.is_file():
        return {}
    text = listed.read_bytes().decode("utf-8", errors="replace")
    return {pair[-1]: pair[0] for pair in (line.split("  ", 1) for line in lines_of(text))}


def check_digests(folder: Path) -> None:
    """Raise ValueError where a file that decides the model is not the one in the list.

    A folder without a list is not checked; the card and the examples are not either.
    """
    if not (folder / DIGESTS).is_file():
        return
    expected = digests_of(folder)
    for name in (WEIGHTS, CONFIG, LAYOUT, TOKENIZER, CONTENTS):
        path = folder / name
        if expected.get(name) != (digest_of(path) if path.is_file() else None):
            raise ValueError(
                f"{path} is damaged or was changed: its SHA-256 is not the one in {DIGESTS}; "
                "install microturn again, or write the folder again with `microturn ship`"
            )


def write_checkpoint(
    folder: Path,
    *,
    cfg: ModelConfig,
    layout: StreamLayout,
    tokenizer: Tokenizer,
    weights: Mapping[str, Tensor | Stored],
    notes: Mapping[str, str],
    saved: str = "",
    peers: Peers | None = None,
) -> None:
    """Write a complete folder, each file beside the old one and then in its place, weights last.

    notes: more text files, by name; an empty text removes the file. A card of other weights and a
    list of digests are removed. saved, peers: of `write_weights`; all processes that hold shards
    of the weights call. Raises OSError, and leaves the weights that were there, where the disk
    does not take the new ones.
    """
    peers = peers or Alone()
    with failing_together(peers):
        if peers.rank == 0:
            make_folder(folder)
            (folder / DIGESTS).unlink(missing_ok=True)
            _replace(folder / CONFIG, lambda path: save_config(path, cfg))
            _replace(folder / LAYOUT, layout.save)
            _replace(folder / TOKENIZER, tokenizer.save)
            for name, text in notes.items():
                _write_note(folder / name, text)
    about = {"format": "microturn", "layout_hash": layout.hash}
    write_weights(folder, weights, about, saved=saved, peers=peers)
    if peers.rank == 0:
        drop_stale_card(folder)


def _write_note(path: Path, text: str) -> None:
    if text:
        _replace(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    else:
        path.unlink(missing_ok=True)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write safetensors so that a kill or a full disk leaves the file that was there before.

    `about` goes into the header as JSON under one key: the same content gives the same bytes.
    """
    _replace(path, lambda temporary: write_file(temporary, tensors, about))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Put a new file in place of an old one when it is on the disk."""
    with naming(path), replacing(path, durable=True) as temporary:
        write(temporary)
