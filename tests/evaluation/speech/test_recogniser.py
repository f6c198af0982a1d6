"""pocketsphinx with a list of words, on recordings of the shipped voice."""

from __future__ import annotations

import numpy as np
import pytest

from microturn.evaluation.hearing.counts import errors_between
from microturn.evaluation.speech.recogniser import (
    english_recogniser,
    heard_in,
    listed_recogniser,
    sound_of,
)
from support.shipped_lines import GAP_S, RATE, in_a_row, recordings_of


def test_words_that_sound_alike_are_one() -> None:
    assert sound_of("four") == sound_of("for") == "F AO R"
    assert sound_of("one") != sound_of("two")
    assert sound_of("zzyx")  # by rule
    assert errors_between(["for", "two"], ["four", "two"]) == 0
    assert errors_between(["for"], ["four", "two"]) == 1


def test_most_recorded_words_are_understood_and_noise_is_none() -> None:
    spoken = recordings_of(30)
    hear = listed_recogniser(word for words, _ in spoken for word in words)
    n_words = sum(len(words) for words, _ in spoken)
    errors = sum(errors_between(hear(audio, RATE), words) for words, audio in spoken)
    assert n_words >= 30
    assert errors / n_words < 0.35
    others = [*spoken[1:], spoken[0]]  # the sound of the next one: the words are not read anywhere
    mixed = zip(spoken, others, strict=True)
    assert sum(errors_between(hear(b, RATE), words) for (words, _), (_, b) in mixed) > n_words * 0.9
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 0.1
    wrong = sum(errors_between(hear(noise, RATE), words) for words, _ in spoken)
    assert wrong >= n_words * 0.9


def test_a_stretch_is_heard_by_itself() -> None:
    (first, a), (second, b) = recordings_of(2)
    sound, spans, at_s = in_a_row([a, b]), [], GAP_S
    for part in (a, b):
        spans.append((at_s, at_s + len(part) / RATE))
        at_s = spans[-1][1] + GAP_S
    hear = listed_recogniser([*first, *second])
    heard = heard_in(spans, sound, RATE, hear=hear)
    assert [
        errors_between(got, said) for got, said in zip(heard, (first, second), strict=True)
    ] == [
        0,
        0,
    ]
    assert heard_in(spans[::-1], sound, RATE, hear=hear) == heard[::-1]


def test_the_english_model_knows_words_of_no_list() -> None:
    hear = english_recogniser()
    found = [hear(audio, RATE) for _, audio in recordings_of(10)]
    assert any(found)
    assert all(word == word.lower() and "(" not in word for words in found for word in words)


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no word to listen for"):
        listed_recogniser([])
