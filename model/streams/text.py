"""Text on the stream: a byte-pair tokenizer whose control tokens come first and never move."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from microturn.model.streams.control_tokens import CONTROL_TOKENS, IDLE, UNK, LaneText

if TYPE_CHECKING:
    from tokenizers import Tokenizer as _Backend

MAX_PIECES: Final = 50_000  # words whose ids are cached
UNKNOWN_LETTER: Final = "\ufffd"  # what `<unk>` is in a word

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
        for expected, token in enumerate(CONTROL_TOKENS):
            if backend.token_to_id(token) != expected:
                raise ValueError(f"{source}: control token {token} must have id {expected}")
        if getattr(backend.model, "unk_token", None) != CONTROL_TOKENS[UNK]:
            raise ValueError(f"{source}: unknown letters must become <unk>, or words would vanish")
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
            vocab_size=vocab_size, special_tokens=list(CONTROL_TOKENS), show_progress=False
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
        """The pieces of words by id, control tokens first."""
        return [str(self._backend.id_to_token(i)) for i in range(len(self))]

    def encode(self, text: str) -> list[int]:
        """Return the ids of the words of a text; a letter that no piece has becomes `<unk>`.

        No other control token is ever made: `<bg>` in a text is the word bg.
        """
        return [i for piece in text.split() for i in self._piece(piece)]

    def encode_lane_text(self, text: LaneText) -> list[int]:
        """Return the ids of words and of the control tokens around them."""
        return [*text.before, *self.encode(text.words), *text.after]

    def check_words(self, text: str, *, name: str) -> None:
        """Raise ValueError, with the name of the text, where words of it would be lost."""
        if not normalise(text):
            raise ValueError(f"there are no words in {name}={text[:40]!r}; write some or none")
        if lost := self.unspellable(text):
            shown = ", ".join(map(repr, lost[:3])) + (", ..." if len(lost) > 3 else "")
            raise ValueError(
                f"the tokenizer of this model cannot spell {shown} in {name}; use other words"
            )

    def unspellable(self, text: str) -> list[str]:
        """Return the words of a text that have a letter which no piece has, each once."""
        return [word for word in dict.fromkeys(normalise(text).split()) if UNK in self._piece(word)]

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
        """Return the text of ids without control tokens."""
        plain = [i for i in ids if i >= len(CONTROL_TOKENS) or i == UNK]
        return " ".join(word for word, _ in self.words(plain))

    def words(self, ids: Sequence[int]) -> list[tuple[str, int]]:
        """Return the words and the index of each one's first id; control tokens stand alone.

        `<unk>` is a letter of its word, U+FFFD.
        """
        words: list[tuple[str, int]] = []
        follows = False  # whether the piece before is of a word
        for index, token_id in enumerate(ids):
            is_word = token_id >= len(CONTROL_TOKENS) or token_id == UNK
            piece = self._backend.id_to_token(int(token_id)) or CONTROL_TOKENS[UNK]
            if piece == CONTROL_TOKENS[UNK]:
                piece = UNKNOWN_LETTER
            if is_word and follows and not piece.startswith("▁"):
                words[-1] = (words[-1][0] + piece, words[-1][1])
            elif token_id != IDLE:
                words.append((piece.removeprefix("▁"), index))
            follows = is_word or (follows and token_id == IDLE)
        return words
