"""Text on the stream: a byte-pair tokenizer whose special tokens come first and never move."""

from __future__ import annotations

import re
import unicodedata
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
_APOSTROPHES: Final = "'\u2018\u2019\u201b\u02bc\uff07\u00b4"
_PARTS_OF_WORDS: Final = ("L", "M", "N")  # categories: letters, marks on them, numbers


def normalise(text: str) -> str:
    """Reduce a text to lower case, words and apostrophes, single spaces.

    Equal words become equal in every spelling of Unicode: signs on letters are composed, all
    apostrophes are one, marks stay on their letters, and invisible signs inside words vanish.
    """
    if not text.isascii():
        text = "".join(map(_plain, unicodedata.normalize("NFC", text.lower())))
        return " ".join(word for word in text.split() if _has_letter(word))
    return " ".join(_NOT_WORDS.sub(" ", text.lower()).split())


def _plain(sign: str) -> str:
    """Return what a sign is in a normalised text: itself, an apostrophe, a space or nothing."""
    if sign in _APOSTROPHES:
        return "'"
    category = unicodedata.category(sign)
    if category in ("Cf", "Me") or "\ufe00" <= sign <= "\ufe0f":
        return ""  # soft hyphens, joiners, directions; frames and styles of emoji
    return sign if category.startswith(_PARTS_OF_WORDS) else " "


def _has_letter(word: str) -> bool:
    """Tell whether a word is more than marks without a letter, as an emoji leaves them."""
    return not all(unicodedata.category(sign).startswith("M") for sign in word)


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
        Path(path).write_text(self._backend.to_str(pretty=True) + "\n", encoding="utf-8")

    def __len__(self) -> int:
        return int(self._backend.get_vocab_size())

    @property
    def pieces(self) -> list[str]:
        """The pieces of words by id, special tokens first."""
        return [str(self._backend.id_to_token(i)) for i in range(len(self))]

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text; special tokens such as `<bg>` in it stay special."""
        ids: list[int] = []
        for piece in text.split():
            if piece in SPECIAL_TOKENS:
                ids.append(SPECIAL_TOKENS.index(piece))
            else:
                ids += self._piece(piece)
        return ids

    def encode_words(self, text: str) -> list[int]:
        """Return the ids of a text from outside: `<bg>` in it is the word bg, never a mark."""
        return self.encode(normalise(text))

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
