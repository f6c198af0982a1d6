"""Words never become control tokens, and those around words are written and read in one place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.model.streams import (
    BG,
    BG_END,
    CONTROL_TOKENS,
    EOS,
    SYSTEM,
    UNK,
    USER,
    LaneText,
    TimedToken,
    Tokenizer,
    control_id,
    instructions_text,
    normalise,
    note_text,
    progress_text,
    read_text,
    result_text,
    typed_text,
)
from support.hostile.words import TEXTS, WORDS, control_ids

TOKENIZER = Tokenizer.train([" ".join(WORDS)] * 50, vocab_size=200)
MAKERS = (result_text, progress_text, typed_text, instructions_text)


@given(TEXTS)
def test_no_text_encodes_to_control_tokens(text: str) -> None:
    ids = TOKENIZER.encode(text)
    assert not control_ids(ids)
    assert ids == TOKENIZER.encode(normalise(text))
    assert len(TOKENIZER.decode(ids).split()) == len(normalise(text).split()), "no word is lost"


@given(TEXTS)
def test_control_tokens_stand_around_words_only(words: str) -> None:
    ids = TOKENIZER.encode(words)
    for text, expected in (
        (result_text(words), [BG, *ids, BG_END]),
        (progress_text(words), [BG, SYSTEM, *ids, BG_END]),
        (typed_text(words), [USER, *ids]),
        (instructions_text(words), [SYSTEM, *ids]),
        (note_text(words, of_user=True), [SYSTEM, USER, *ids]),
        (note_text(words, of_user=False), [SYSTEM, *ids]),
        (LaneText(words=words, before=(EOS,)), [EOS, *ids]),
    ):
        assert TOKENIZER.encode_lane_text(text) == expected
        assert TimedToken(text=text, sample=0).ids(TOKENIZER) == expected
    assert TimedToken(text=words, sample=0).ids(TOKENIZER) == ids


@given(TEXTS, st.sampled_from(MAKERS))
def test_a_label_is_read_as_it_was_written(words: str, make: type[LaneText]) -> None:
    text = make(words)  # type: ignore[call-arg]
    assert read_text(str(text)) == text
    assert text.is_result == (make is result_text)


@pytest.mark.parametrize("text", ["", "eleven", "<bg> eleven", "<eos> eleven", "<bg>"])
def test_a_text_without_its_control_tokens_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be `<bg> WORDS </bg>`"):
        read_text(text)


def test_control_tokens_have_names() -> None:
    assert [control_id(name) for name in CONTROL_TOKENS] == list(range(len(CONTROL_TOKENS)))
    with pytest.raises(ValueError, match="'bg' is no control token; it is one of <idle> "):
        control_id("bg")


def test_tokenizers_of_existing_sets_give_the_ids_they_gave() -> None:
    """Written down when `encode` still made control tokens: words have the same ids since."""
    assert TOKENIZER.encode("eight plus three") == [77, 63, 76]
    assert TOKENIZER.encode("Eighty-Three, users'!") == [77, 28, 76, 71, 25, UNK]


def test_letters_without_a_piece_are_told(tmp_path: Path) -> None:
    ids = TOKENIZER.encode("eight \u65e5\u672c 7s")
    assert ids.count(UNK) == 3
    assert [word for word, _ in TOKENIZER.words(ids)] == ["eight", "\ufffd\ufffd", "\ufffds"]
    assert TOKENIZER.unspellable("Eight, \u65e5\u672c 7s eight 7s!") == ["\u65e5\u672c", "7s"]
    with pytest.raises(ValueError, match="cannot spell '\u65e5\u672c', '7s' in text"):
        TOKENIZER.check_words("eight \u65e5\u672c 7s", name="text")
    with pytest.raises(ValueError, match="there are no words in text='!'"):
        TOKENIZER.check_words("!", name="text")
    TOKENIZER.save(tmp_path / "a.json")
    values = json.loads((tmp_path / "a.json").read_text())
    values["model"]["unk_token"] = None
    (tmp_path / "a.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"a\.json: unknown letters must become <unk>"):
        Tokenizer.load(tmp_path / "a.json")
