"""Text on the stream: a byte-pair tokenizer whose special tokens come first and never move."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tokenizers import Tokenizer as _Backend

SPECIAL_TOKENS: Final = (
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
IDLE, EOS, DELEGATE, CANCEL, BG, BG_END, USER, SYSTEM, LATE, UNK = range(len(SPECIAL_TOKENS))

MAX_PIECES: Final = 50_000  # words whose ids are cached

_NOT_WORDS = re.compile(r"[^\w'\s]|_")


def normalise(text: str) -> str:
    """Reduce a text to lower case, words and apostrophes, single spaces."""
    return " ".join(_NOT_WORDS.sub(" ", text.lower()).split())


class Tokenizer:
    """Byte-pair encoding over normalised words; a word is one or more ids, never part of one."""

    def __init__(self, backend: _Backend, *, source: str = "tokenizer") -> None:
        for expected, token in enumerate(SPECIAL_TOKENS):
            if backend.token_to_id(token) != expected:
                raise ValueError(f"{source}: special token {token} must have id {expected}")
        self._backend = backend
        self._pieces: dict[str, list[int]] = {}

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> Tokenizer:
        """Learn merges from transcripts; equal texts give equal tokenizers."""
        from tokenizers import Tokenizer as Backend
        from tokenizers import decoders, models, pre_tokenizers, trainers

        backend = Backend(models.BPE(unk_token="<unk>"))
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
        backend.decoder = decoders.Metaspace()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size, special_tokens=list(SPECIAL_TOKENS), show_progress=False
        )
        backend.train_from_iterator((normalise(text) for text in texts), trainer)
        return cls(backend)

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        from tokenizers import Tokenizer as Backend

        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: no tokenizer here")
        try:
            backend = Backend.from_file(str(path))
        except Exception as error:  # the library raises bare Exception for bad JSON
            raise ValueError(f"{path}: not a tokenizer file ({error})") from error
        return cls(backend, source=str(path))

    def save(self, path: str | Path) -> None:
        Path(path).write_text(self._backend.to_str(pretty=True) + "\n")

    def __len__(self) -> int:
        return int(self._backend.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text; special tokens such as `<bg>` in it stay special."""
        ids: list[int] = []
        for piece in text.split():
            if piece in SPECIAL_TOKENS:
                ids.append(SPECIAL_TOKENS.index(piece))
            else:
                ids += self._piece(piece)
        return ids

    def _piece(self, piece: str) -> list[int]:
        """Return the ids of one word, from the cache if it has occurred before."""
        ids = self._pieces.get(piece)
        if ids is None:
            if len(self._pieces) >= MAX_PIECES:
                self._pieces.clear()
            ids = self._backend.encode(normalise(piece), add_special_tokens=False).ids
            self._pieces[piece] = ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids without special tokens."""
        plain = [i for i in ids if i >= len(SPECIAL_TOKENS)]
        return str(self._backend.decode(plain)).strip()

    def words(self, ids: Sequence[int]) -> list[tuple[str, int]]:
        """Return the words and the index of each one's first id; special tokens stand alone."""
        words: list[tuple[str, int]] = []
        for index, token_id in enumerate(ids):
            piece = self._backend.id_to_token(int(token_id)) or "<unk>"
            if token_id < len(SPECIAL_TOKENS):
                if token_id != IDLE:
                    words.append((piece, index))
            elif piece.startswith("▁") or not words or words[-1][0] in SPECIAL_TOKENS:
                words.append((piece.removeprefix("▁"), index))
            else:
                words[-1] = (words[-1][0] + piece, words[-1][1])
        return words
