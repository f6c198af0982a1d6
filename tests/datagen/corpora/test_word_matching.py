"""Word times that nobody knows are interpolated or unknown, and say so."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from microturn.datagen.corpora.add import SKIPPED_NAME, SUMMARY_NAME, add_corpus
from microturn.datagen.corpora.alignment.length import fault_of_length, fault_of_words
from microturn.datagen.corpora.alignment.matching import (
    MAX_GAP_S,
    StatedWord,
    found_share,
    match_words,
    stated_words,
)
from microturn.datagen.corpora.config import CorpusAddConfig
from microturn.datagen.corpora.cutting import levels_db
from microturn.datagen.corpora.manifest import MANIFEST_NAME, Corpus
from microturn.datagen.corpora.utterance import AlignedWord, Utterance
from microturn.datagen.labels.time_classes import ALIGNED, GIVEN, INTERPOLATED, UNKNOWN

RATE = 16_000
LOUD = np.zeros(2000)  # 10 s that sound from end to end


@pytest.fixture(scope="module")
def line(shipped: Corpus) -> Utterance:
    """A prompt of ten words, none of them twice."""
    prompts = shipped.filter(speaker="asterisk-en")
    return next(u for u in prompts if len({word.text for word in u.words}) == 10 == len(u.words))


def timed(text: str, step_s: float = 0.5) -> list[AlignedWord]:
    """Words of equal length without gaps."""
    return [
        AlignedWord(text=word, start_s=i * step_s, end_s=(i + 1) * step_s)
        for i, word in enumerate(text.split())
    ]


def matched(words: list[AlignedWord], text: str, end_s: float = 5.0) -> list[tuple[Any, ...]]:
    found = match_words(stated_words(words), text.split(), span_s=(0.0, end_s), levels=LOUD)
    return [(w.text, w.start_s, w.end_s, w.times) for w in found or ()]


def test_known_times_stay_and_one_missing_word_fills_its_gap() -> None:
    words = timed("we saw a dog today")
    found = matched([words[0], *words[2:]], "we saw a dog today", 2.5)
    assert found[1] == ("saw", 0.5, 1.0, INTERPOLATED)
    assert [w[1:] for i, w in enumerate(found) if i != 1] == [
        (0.5 * i, 0.5 * i + 0.5, GIVEN) for i in (0, 2, 3, 4)
    ]


def test_several_missing_words_share_a_gap_by_their_lengths() -> None:
    words = timed("we saw a dog today")
    found = matched([words[0], *words[3:]], "we saw a dog today", 2.5)
    assert found[1:3] == [
        ("saw", 0.5, pytest.approx(0.5 + 4 / 6, abs=1e-4), INTERPOLATED),
        ("a", pytest.approx(0.5 + 4 / 6, abs=1e-4), 1.5, INTERPOLATED),
    ]


def test_words_in_too_long_a_gap_are_one_entry_of_unknown_times() -> None:
    words = timed("we saw a dog today", MAX_GAP_S)
    found = matched([words[0], *words[3:]], "we saw a dog today")
    assert found[1] == ("saw a", 1.0, 3.0, UNKNOWN)
    assert [w[0] for w in found] == ["we", "saw a", "dog", "today"]


@pytest.mark.parametrize("name", ["<unk>", "<UNK>", "<oov>"])
def test_an_unknown_word_of_an_aligner_is_where_the_aligner_heard_something(name: str) -> None:
    words = timed("we saw a dog")
    words[1] = AlignedWord(text=name, start_s=0.6, end_s=0.9)
    assert matched(words, "we saw a dog", 2.0)[1] == ("saw", 0.6, 0.9, INTERPOLATED)


def test_words_without_any_room_take_their_neighbours_with_them() -> None:
    words = timed("we a dog")  # the aligner stretched the neighbours of "saw"
    assert [w[0::3] for w in matched(words, "we saw a dog", 1.5)] == [
        ("we", INTERPOLATED),
        ("saw", INTERPOLATED),
        ("a", INTERPOLATED),
        ("dog", GIVEN),
    ]


def test_a_label_of_several_words_is_no_time_of_each() -> None:
    words = [*timed("we saw"), AlignedWord(text="twenty-one", start_s=1.0, end_s=1.9)]
    assert [w[0::3] for w in matched(words, "we saw twenty one", 1.9)] == [
        ("we", GIVEN),
        ("saw", GIVEN),
        ("twenty", INTERPOLATED),
        ("one", INTERPOLATED),
    ]
    sentence = [AlignedWord(text="we saw a dog", start_s=0.0, end_s=1.7)]
    assert matched(sentence, "we saw a dog") == [], "no time is known"


def test_silence_at_the_edges_of_a_gap_is_not_spoken() -> None:
    levels = np.full(1000, -20.0)
    levels[100:140] = levels[180:200] = -80.0  # 0.5 to 0.7 s and 0.9 to 1.0 s
    words = timed("we saw dog")
    found = match_words(
        stated_words([words[0], words[2]]), ["we", "saw", "dog"], span_s=(0.0, 1.5), levels=levels
    )
    assert found is not None
    assert (found[1].start_s, found[1].end_s) == pytest.approx((0.7, 0.9), abs=0.01)


def test_only_words_that_are_not_in_the_text_speak_against_it() -> None:
    text = ["we", "saw", "a", "dog", "and", "a", "cat", "today"]
    assert found_share(stated_words(timed("we saw")), text) == 1.0
    assert found_share(stated_words(timed("we met some dog")), text) == 0.5
    assert found_share([StatedWord((), 0.0, 1.0)], text) == 1.0


@given(
    texts=st.lists(st.sampled_from(["a", "b", "c", "dd", "ee"]), min_size=1, max_size=9),
    fates=st.lists(st.sampled_from(["kept", "lost", "<unk>", "empty"]), min_size=9, max_size=9),
    steps=st.lists(st.floats(0.01, 1.5), min_size=9, max_size=9),
)
def test_matched_words_spell_the_text_in_order(
    texts: list[str], fates: list[str], steps: list[float]
) -> None:
    entries, at = [], 0.0
    for text, fate, step in zip(texts, fates, steps, strict=False):
        end = at if fate == "empty" else at + step
        if fate != "lost":
            name = "<unk>" if fate == "<unk>" else text
            entries.append(AlignedWord(text=name, start_s=at, end_s=end))
        at += step
    found = match_words(stated_words(entries), texts, span_s=(0.0, at), levels=LOUD)
    if "kept" not in fates[: len(texts)]:
        assert found is None
    if found is not None:
        assert " ".join(word.text for word in found).split() == texts
        assert all(0 <= word.start_s < word.end_s <= at + 0.001 for word in found)
        starts = [word.start_s for word in found]
        assert starts == sorted(starts)
        assert any(word.is_known for word in found)


def test_interpolated_times_are_near_the_true_ones(shipped: Corpus) -> None:
    """Every third word of a prompt is missing; equal shares of the line are off by more."""
    errors, even = [], []
    for utterance in shipped.filter(speaker="asterisk-en")[::4]:
        words = utterance.words
        if len(words) < 4:
            continue
        kept = [word for i, word in enumerate(words) if i % 3 != 1]
        found = match_words(
            stated_words(kept),
            [word.text for word in words],
            span_s=(utterance.start_s, utterance.end_s),
            levels=levels_db(np.asarray(shipped.load(utterance))),
        )
        assert found is not None
        if len(found) < len(words):
            continue
        step_s = (utterance.end_s - utterance.start_s) / len(words)
        for i in range(1, len(words), 3):
            errors.append(abs(found[i].start_s - words[i].start_s))
            even.append(abs(utterance.start_s + i * step_s - words[i].start_s))
    assert len(errors) > 100
    assert np.mean(errors) < 0.02 < 0.1 < np.mean(even)


def test_a_manifest_says_how_times_are_known(line: Utterance) -> None:
    first, *rest = line.words
    row = line.to_json()
    assert "times" not in row, "aligned is the rule"
    row["times"], row["words"][0] = GIVEN, [*row["words"][0], INTERPOLATED]
    words = Utterance.from_json(row).words
    assert [word.times for word in words] == [INTERPOLATED] + [GIVEN] * len(rest)
    assert Utterance.from_json(row).to_json() == row
    whole = [[line.text, line.start_s, line.end_s]]  # as earlier versions wrote unknown times
    assert Utterance.from_json(line.to_json() | {"words": whole}).words[0].times == UNKNOWN
    with pytest.raises(ValueError, match="'times' is 'guessed', not one of aligned, given"):
        Utterance.from_json(row | {"times": "guessed"})
    assert first.is_known


def grid(tier: str, labels: list[tuple[str, float, float]]) -> str:
    end = labels[-1][2]
    head = f'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n{end}\n<exists>\n1\n'
    rows = "".join(f'{a}\n{b}\n"{text}"\n' for text, a, b in labels)
    return f'{head}"IntervalTier"\n"{tier}"\n0\n{end}\n{len(labels)}\n{rows}'


def test_corpora_with_doubtful_times_are_taken_as_what_they_are(
    tmp_path: Path, shipped: Corpus, line: Utterance, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown word, a tier of sentences, figures, another language."""
    audio = np.asarray(shipped.load(line))
    root = tmp_path / "in" / "ann"
    root.mkdir(parents=True)
    labels = [(word.text, word.start_s, word.end_s) for word in line.words]
    labels[3] = ("<unk>", *labels[3][1:])
    rows = {
        "unk": (grid("ann - words", labels), line.text, "en"),
        "sentence": (grid("sentence", [(line.text, 0.0, line.duration_s)]), line.text, "en"),
        "figures": ("", f"{line.text} 42", "en"),
        "german": ("", line.text, "de"),
    }
    manifest = []
    for i, (name, (times, text, language)) in enumerate(rows.items()):
        soundfile.write(root / f"{name}.wav", audio[i:], RATE)
        if times:
            (root / f"{name}.TextGrid").write_text(times)
        manifest.append({"audio": f"{name}.wav", "id": name, "text": text, "lang": language})
    lines = "".join(json.dumps(row) + "\n" for row in manifest)
    (root / "m.jsonl").write_text(lines)
    config = CorpusAddConfig(
        source=str(root), format="jsonl", out=str(tmp_path / "out"), workers=1, cache=str(tmp_path)
    )
    summary = add_corpus(config)
    corpus = Corpus.open(tmp_path / "out")
    found = {u.id.partition("/")[2]: [word.times for word in u.words] for u in corpus}
    n = len(line.words)
    assert found == {
        "unk": [INTERPOLATED if i == 3 else GIVEN for i in range(n)],
        "sentence": [ALIGNED] * n,
        "figures": [UNKNOWN],
        "german": [UNKNOWN],
    }
    words = corpus["ann/unk"].words
    assert (words[3].text, words[3].start_s) == (line.words[3].text, line.words[3].start_s)
    stored = (tmp_path / "out" / MANIFEST_NAME).read_text().splitlines()
    assert [json.loads(row).get("times") for row in stored] == [GIVEN, None, UNKNOWN, UNKNOWN]
    counted = json.loads((tmp_path / "out" / SUMMARY_NAME).read_text())["word_times"]
    assert counted == summary["word_times"]
    assert {name: row["words"] for name, row in counted.items()} == {
        "aligned": n,
        "given": n - 1,
        "interpolated": 1,
        "unknown": 2 * n + 1,
    }
    assert all(row["seconds"] > 0 for row in counted.values())
    assert "word times:" in capsys.readouterr().err
    assert (tmp_path / "out" / SKIPPED_NAME).read_text() == ""
    assert not any(cut for cut in corpus["ann/german"].cuts)


def speech(seconds: float) -> np.ndarray:
    """Levels of speech of this length, and of silence after it."""
    levels = np.full(round(seconds * 300), -60.0)
    levels[: round(seconds * 200)] = -20.0
    return levels


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (10.0, "yes"),
        (9.0, "and then we went home"),
        (30.0, "42"),
        (9.0, "\u4f60\u597d"),
    ],
)
def test_a_text_that_is_too_short_for_its_sound_is_a_fault(seconds: float, text: str) -> None:
    fault = fault_of_length(text, (0.0, seconds), speech(seconds))
    assert f"and {seconds:.1f} s sound: words are missing" in fault


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1.2, "r"),
        (2.2, "r i c h a r d"),
        (1.8, "42"),
        (4.0, "0123456789"),
        (3.5, "\u4f60\u597d" * 6),
        (4.0, "It used to be until you showed up..."),
    ],
)
def test_slow_speech_figures_and_syllables_are_none(seconds: float, text: str) -> None:
    assert fault_of_length(text, (0.0, seconds), speech(seconds)) == ""


def test_silence_does_not_count_as_sound() -> None:
    levels = np.full(2000, -60.0)
    levels[100:250] = -20.0
    assert fault_of_length("yes", (0.5, 9.0), levels) == ""
    levels = np.full(2000, -30.0)  # a steady noise, and a word 15 dB above it
    levels[100:150] = -15.0
    assert fault_of_length("yes", (0.0, 10.0), levels) == ""


def test_no_line_that_ships_has_a_fault_of_length(shipped: Corpus) -> None:
    for utterance in shipped.utterances[::9]:
        if utterance.words:
            audio = np.asarray(shipped.load(utterance))
            span_s = (utterance.start_s, utterance.end_s)
            levels = levels_db(audio)
            assert not fault_of_length(utterance.text, span_s, levels), utterance.id
            assert not fault_of_words(utterance.words, levels), utterance.id


def test_a_recording_with_missing_words_is_skipped_with_the_reason(
    tmp_path: Path, shipped: Corpus
) -> None:
    """In a language that cannot be aligned, too."""
    prompts = [u for u in shipped.filter(speaker="asterisk-en") if u.duration_s > 2.0]
    root = tmp_path / "in" / "ann"
    root.mkdir(parents=True)
    audio = np.concatenate([np.asarray(shipped.load(u)) for u in prompts[:4]])
    texts = [u.text for u in prompts[:4]]
    for name, text in (("short", "ja"), ("half", " ".join(texts[:2])), ("good", " ".join(texts))):
        soundfile.write(root / f"{name}.wav", audio[len(name) :], RATE)
        (root / f"{name}.txt").write_text(text)
    first = [[word.text, word.start_s, word.end_s] for word in prompts[0].words]
    second_s = prompts[0].duration_s
    second = [[w.text, w.start_s + second_s, w.end_s + second_s] for w in prompts[1].words]
    (root / "half.json").write_text(json.dumps([*first, *second]))
    add_corpus(
        CorpusAddConfig(
            source=str(tmp_path / "in"),
            out=str(tmp_path / "out"),
            workers=1,
            cache=str(tmp_path),
            language="de",
        )
    )
    assert [u.id for u in Corpus.open(tmp_path / "out")] == ["in/ann/good"]
    rows = [json.loads(row) for row in (tmp_path / "out" / SKIPPED_NAME).read_text().splitlines()]
    assert [(row["id"], row["kind"]) for row in rows] == [
        ("ann/half", "mislabelled"),
        ("ann/short", "mislabelled"),
    ]
    assert "s sound outside its words: words are missing" in rows[0]["reason"]
    assert re.search(r"takes at most [\d.]+ s, and [\d.]+ s sound", rows[1]["reason"])
