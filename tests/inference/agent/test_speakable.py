"""What is said of a result, by a voice of a few words and by one of any."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.inference.agent.speakable import Speakable, Spoken, spell

OPEN = Speakable(count_tokens=lambda words: len(words.split()), can_spell=str.isascii)
CLOSED = replace(
    OPEN,
    words=frozenset(("eleven", "three", "oh", "five", "o'clock", "screen")),
)
MUTE = replace(OPEN, words=frozenset(("eleven",)))


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("17:05, 3.5 and 25%", "seventeen oh five, three point five and twenty five percent"),
        ("11:00", "eleven o'clock"),
        ("-3 is not 1,204", "minus three is not one thousand two hundred four"),
        ("18° and 2026-11-29", "eighteen degrees and 2026-11-29"),
        ("v1.2.3 at 99:99", "v1.2.3 at 99:99"),
        ("99999999999999999999", "99999999999999999999"),
    ],
)
def test_numbers_are_written_in_words(text: str, spelled: str) -> None:
    assert spell(text) == spelled


def test_a_voice_says_what_it_knows_and_points_to_a_card_for_the_rest() -> None:
    assert CLOSED.speak("11", budget=5) == Spoken(line="eleven", is_all=True)
    assert CLOSED.speak("3:05!", budget=5) == Spoken(line="three oh five", is_all=True)
    weather = "The weather in Paris is 18 degrees and sunny."
    assert CLOSED.speak(weather, budget=20) == Spoken(line="screen", is_all=False)
    # A part of it would say something else.
    assert CLOSED.speak(f"Eleven. {weather}", budget=20) == Spoken(line="screen", is_all=False)
    assert MUTE.speak(weather, budget=20) == Spoken(line="", is_all=False)


def test_an_open_voice_says_as_many_sentences_as_fit() -> None:
    text = "It is 18 degrees. The sun shines.\nTomorrow it rains all day long."
    assert OPEN.speak(text, budget=7) == Spoken(
        line="it is eighteen degrees the sun shines", is_all=False
    )
    assert OPEN.speak(text, budget=99).is_all
    assert OPEN.speak("word " * 50, budget=10) == Spoken(line="it is on your screen", is_all=False)
    assert OPEN.speak("word " * 50, budget=1) == Spoken(line="screen", is_all=False)


@pytest.mark.parametrize("text", ["", "…", "\x00", "!!! ???"])
def test_nothing_is_said_of_a_text_without_words(text: str) -> None:
    assert not OPEN.speak(text, budget=20).is_all


@given(st.text(max_size=200), st.integers(0, 12))
def test_the_line_is_words_that_fit_and_are_known(text: str, budget: int) -> None:
    for voice in (OPEN, CLOSED, MUTE):
        line = voice.speak(text, budget=budget).line
        assert voice.can_say(line)
        assert len(line.split()) <= budget
        assert not set(line) & set("<>/\n.,")
