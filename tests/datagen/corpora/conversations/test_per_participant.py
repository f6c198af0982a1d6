"""A recording for each person: partners by their names, words and activity of each."""

import json
from pathlib import Path

import numpy as np
import pytest

from microturn.datagen.corpora.conversations.described import DescribedConversation
from microturn.datagen.corpora.conversations.layouts.per_participant import PER_PARTICIPANT
from microturn.datagen.corpora.utterance import LAYOUT
from microturn.datagen.labels.time_classes import GIVEN, UNKNOWN
from support.conversation_trees import (
    disordered,
    marked,
    put_sound,
    put_text,
    silenced,
    talk,
    write_seamless,
)

FOLDER = Path("improvised", "dev", "0000", "0005")


def read(root: Path) -> list[DescribedConversation]:
    assert PER_PARTICIPANT.matches(root)
    return list(PER_PARTICIPANT.read(root, {}))


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_partners_have_their_words_and_their_sound(tmp_path: Path, rate: int) -> None:
    one = talk(rate=rate)
    (found,) = read(write_seamless(tmp_path, one))
    assert (found.id, found.split, found.problem) == ("V00_S0809_I00000582", "test", "")
    assert (found.licence, found.licence_from) == ("CC-BY-NC-4.0", LAYOUT)
    assert [side.speaker for side in found.sides] == ["P0947", "P0948"]
    for person, side in enumerate(found.sides):
        assert [(w.text, w.start_s, w.end_s, w.times) for w in side.words] == [
            (w.text, w.start_s, w.end_s, GIVEN) for w in one.words(person)
        ]
        assert side.activity == ()
        decoded = side.sound.decode()
        assert decoded.rate == rate
        assert float(np.abs(decoded.audio - one.sounds[person]).max()) < 1e-4


def test_without_words_there_is_activity(tmp_path: Path) -> None:
    one = talk()
    (found,) = read(write_seamless(tmp_path, one, with_words=False))
    for person, side in enumerate(found.sides):
        assert side.words == ()
        assert side.activity == tuple((t.start_s, t.end_s) for t in one.turns_of(person))


def test_the_tree_by_kinds_of_files(tmp_path: Path) -> None:
    one = talk()
    for person in (0, 1):
        stem = f"V01_S0001_I00000001_P{person:04d}"
        put_sound(tmp_path / "naturalistic/train/audio" / f"{stem}.wav", one, person)
        rows = [
            json.dumps({"transcript": t.text, "start": t.start_s, "end": t.end_s, "words": []})
            for t in one.turns_of(person)
        ]
        put_text(tmp_path / "naturalistic/train/transcript" / f"{stem}.jsonl", *rows)
    (found,) = read(tmp_path)
    assert found.split == "train"
    assert [(w.text, w.times) for w in found.sides[1].words] == [
        (turn.text, UNKNOWN) for turn in one.turns_of(1)
    ]


def test_a_segment_with_a_word_that_nobody_placed_is_one_entry(tmp_path: Path) -> None:
    one = talk()
    root = write_seamless(tmp_path, one)
    path = root / FOLDER / "V00_S0809_I00000582_P0947.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["metadata:transcript"][1]["words"][0]["start"]
    put_text(path, json.dumps(content))
    (found,) = read(root)
    first, second, third = one.turns_of(0)
    assert [w.text for w in found.sides[0].words] == [
        *(w.text for w in first.words),
        second.text,
        *(w.text for w in third.words),
    ]
    whole = found.sides[0].words[len(first.words)]
    assert (whole.start_s, whole.end_s, whole.times) == (second.start_s, second.end_s, UNKNOWN)


def test_odd_words_silence_and_odd_names_are_described_as_they_stand(tmp_path: Path) -> None:
    one = marked(disordered(silenced(talk(), 1)), "xxx", "[laughter]")
    (found,) = read(write_seamless(tmp_path, one, name="gespräch 7"))
    assert (found.id, found.licence, found.licence_from) == ("gespräch 7", "", "stated")
    assert [w.text for w in found.sides[0].words] == [w.text for w in one.words(0)]
    assert [w.start_s for w in found.sides[0].words] == [w.start_s for w in one.words(0)]
    assert not found.sides[1].sound.decode().audio.any()


def test_of_three_people_each_pair_is_a_conversation(tmp_path: Path) -> None:
    found = read(write_seamless(tmp_path, talk(3), name="x"))
    assert [one.id for one in found] == ["x-P0947-P0948", "x-P0947-P0949", "x-P0948-P0949"]
    for one in found:
        people = {side.speaker for side in (*one.sides, *one.others)}
        assert people == {"P0947", "P0948", "P0949"}
        assert (len(one.sides), len(one.others)) == (2, 1)


def test_every_fault_is_one_sentence_that_names_the_file(tmp_path: Path) -> None:
    names = ("alone", "broken", "damaged", "empty", "half", "nothing", "twice", "untimed", "whole")
    for name in names:
        write_seamless(tmp_path, talk(), name=name)
    folder = tmp_path / FOLDER
    (folder / "alone_P0948.wav").unlink()
    put_text(folder / "broken_P0947.json", '{"metadata:transcript": [')
    put_text(folder / "damaged_P0947.json", '["no", "object"]')
    (folder / "empty_P0948.wav").write_bytes(b"")
    (folder / "half_P0948.json").unlink()
    put_text(folder / "nothing_P0948.json", '{"id": "x"}')
    put_sound(folder / "again" / "twice_P0947.wav", talk(), 0)
    put_text(folder / "untimed_P0947.json", '{"transcript": [{"transcript": "hi", "start": 1}]}')
    found = {one.id: one.problem for one in read(tmp_path)}
    assert list(found) == sorted(names)
    assert found.pop("whole") == ""
    expected = {
        "alone": "alone_P0947.wav has no partner: no other recording is named alone_P...",
        "broken": "broken_P0947.json cannot be read (Expecting value",
        "damaged": "damaged_P0947.json cannot be read (it is no object)",
        "empty": "empty_P0948.wav: the file is empty",
        "half": "half_P0948.json is missing, and the other side has one",
        "nothing": "nothing_P0948.json cannot be read (it has neither a `transcript` nor a `vad`)",
        "twice": f"{folder / 'again/twice_P0947.wav'} and {folder / 'twice_P0947.wav'} are the "
        "same person by their names; keep one",
        "untimed": "untimed_P0947.json: \"{'transcript': 'hi', 'start': 1}\" has no `start` and",
    }
    assert {name: found[name][: len(text)] for name, text in expected.items()} == expected


def test_parts_of_a_book_are_no_partners(tmp_path: Path) -> None:
    for number in (1, 2):
        put_sound(tmp_path / f"book_P{number}.wav", talk(), 0)
        put_text(tmp_path / f"book_P{number}.txt", "Once upon a time.")
    assert not PER_PARTICIPANT.matches(tmp_path)
