"""Cards are plain data, whatever the strings that they are made of."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.inference.agent.cards import (
    Card,
    ListCard,
    TableCard,
    TextCard,
    card_from_json,
    card_to_json,
    clean,
)

TEXTS = st.text(max_size=300)
CARDS: st.SearchStrategy[Card] = st.one_of(
    st.builds(TextCard, text=TEXTS, title=TEXTS),
    st.builds(ListCard, items=st.lists(TEXTS, max_size=60).map(tuple), title=TEXTS),
    st.builds(
        TableCard,
        columns=st.lists(TEXTS, max_size=10).map(tuple),
        rows=st.lists(st.lists(TEXTS, max_size=10).map(tuple), max_size=60).map(tuple),
        title=TEXTS,
    ),
)


def strings_in(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for entry in value.values() for text in strings_in(entry)]
    assert isinstance(value, list)
    return [text for entry in value for text in strings_in(entry)]


@given(CARDS)
def test_a_card_on_the_wire_is_clean_bounded_and_stays_so(card: Card) -> None:
    values = card_to_json(card)
    assert len(json.dumps(values)) < 500_000
    for text in strings_in(values):
        assert len(text) <= 2_000
        signs = text.replace("\n", "") if values["kind"] == "text" else text
        assert not any(unicodedata.category(sign) in ("Cc", "Cf", "Cs") for sign in signs)
    if values["kind"] == "table":
        assert {len(row) for row in values["rows"]} <= {len(values["columns"])}
    assert card_to_json(card_from_json(json.loads(json.dumps(values)))) == values


def test_signs_that_change_how_others_are_shown_are_gone() -> None:
    assert clean("a\u202eb\x1b[31m\x00 c\u200b\ud800", 20) == "ab[31m c"
    assert clean("one\n two\t three", 20) == "one two three"
    assert clean("one\r\n\n two\t three", 20, lines=True) == "one\n\ntwo three"
    assert clean("abcdef", 4) == "abc…"
    assert len(clean("x" * 100_000_000, 4)) == 4


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"kind": "chart", "text": "x"},
        {"kind": "text", "text": ["x"]},
        {"kind": "list", "items": "x"},
        {"kind": "table", "columns": ["a"], "rows": "x"},
    ],
)
def test_what_is_no_card_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="a card is {kind: text, text}"):
        card_from_json(values)


def test_rows_of_a_table_have_to_be_lists() -> None:
    with pytest.raises(ValueError, match="needs rows that are lists"):
        card_from_json({"kind": "table", "columns": ["a"], "rows": ["x"]})
