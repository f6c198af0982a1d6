"""Calls of Fisher and Switchboard: who says what on which channel, or what is wrong."""

from pathlib import Path

import numpy as np
import pytest

from microturn.datagen.corpora.conversations.described import DescribedConversation
from microturn.datagen.corpora.conversations.layouts.sph import SPH
from microturn.datagen.corpora.manifest import resample
from microturn.datagen.labels.time_classes import GIVEN, UNKNOWN
from support.conversation_trees import (
    Talk,
    disordered,
    marked,
    put_sound,
    put_text,
    swapped,
    talk,
    write_fisher,
    write_switchboard,
)


def read(root: Path) -> list[DescribedConversation]:
    assert SPH.matches(root)
    return list(SPH.read(root, {}))


def check_sound(found: DescribedConversation, one: Talk, *, loudest_error: float) -> None:
    for side, truth in zip(found.sides, one.sounds, strict=True):
        decoded = side.sound.decode()
        assert decoded.rate == one.rate
        assert float(np.abs(decoded.audio - truth).max()) < loudest_error


@pytest.mark.parametrize(("subtype", "error"), [("ULAW", 0.04), ("PCM_16", 1e-4)])
def test_a_call_of_fisher_has_two_sides_of_segments(
    tmp_path: Path, subtype: str, error: float
) -> None:
    one = talk(rate=8_000)
    (found,) = read(write_fisher(tmp_path, one, subtype=subtype))
    assert (found.id, found.language, found.problem) == ("fe_03_00001", "en", "")
    assert [side.speaker for side in found.sides] == ["2602", "8817"]
    assert [side.sound.channel for side in found.sides] == [0, 1]
    for person, side in enumerate(found.sides):
        assert [word.text for word in side.words] == [
            turn.text.lower() for turn in one.turns_of(person)
        ]
        assert {word.times for word in side.words} == {UNKNOWN}
        starts = [turn.start_s for turn in one.turns_of(person)]
        assert [word.start_s for word in side.words] == pytest.approx(starts, abs=0.006)
    check_sound(found, one, loudest_error=error)


def test_a_call_of_switchboard_has_words_without_its_silences(tmp_path: Path) -> None:
    one = marked(talk(rate=8_000), "[laughter-yeah]", "th[at]-", "[vocalized-noise]")
    (found,) = read(write_switchboard(tmp_path, one))
    assert (found.id, found.language) == ("sw2001", "en")
    assert [side.speaker for side in found.sides] == ["1020", "1044"]
    for person, side in enumerate(found.sides):
        assert [(w.text, w.start_s, w.end_s, w.times) for w in side.words] == [
            (w.text, w.start_s, w.end_s, GIVEN) for w in one.words(person)
        ]
    assert found.sides[0].words[0].text == "[laughter-yeah]"
    assert found.sides[1].words[0].text == "th[at]-"


def test_unclear_marks_and_times_out_of_order_are_kept_as_they_stand(tmp_path: Path) -> None:
    one = talk(rate=8_000)
    root = write_fisher(tmp_path / "fisher", one)
    (text,) = root.rglob("fe_03_00001.txt")
    put_text(text, "3.1 4.2 A: (( i guess )) so", "1.0 2.5 A1: well", "2.0 3.0 B:", "0.5 9 B: mm")
    (found,) = read(root)
    assert [(w.text, w.start_s) for w in found.sides[0].words] == [
        ("(( i guess )) so", 3.1),
        ("well", 1.0),
    ]
    assert [w.text for w in found.sides[1].words] == ["(( ))", "mm"]
    (found,) = read(write_switchboard(tmp_path / "swb", disordered(one)))
    assert [w.start_s for w in found.sides[0].words] == [
        w.start_s for w in disordered(one).words(0)
    ]


def test_swapped_channels_are_described_as_the_corpus_says(tmp_path: Path) -> None:
    one = swapped(talk(rate=8_000))
    (found,) = read(write_switchboard(tmp_path, one, subtype="PCM_16"))
    check_sound(found, one, loudest_error=1e-4)


def test_a_call_without_transcript_is_sound_alone(tmp_path: Path) -> None:
    root = write_fisher(tmp_path, talk(rate=8_000))
    put_sound(root / "fe_03_p1_sph1" / "fe_03_00002.sph", talk(rate=8_000, first=1), 0, 1)
    found = {one.id: one for one in read(root)}
    assert [side.words for side in found["fe_03_00002"].sides] == [(), ()]
    assert [side.speaker for side in found["fe_03_00002"].sides] == ["", ""]


def test_names_and_texts_beyond_ascii_and_other_rates(tmp_path: Path) -> None:
    one = talk(rate=48_000)
    put_sound(tmp_path / "übung" / "gespräch.wav", one, 0, 1)
    put_text(tmp_path / "übung" / "Gespräch.txt", "0.5 2 A: schöne grüße", "2.5 3 B: ja")
    (found,) = read(tmp_path)
    assert (found.id, found.language) == ("gespräch", "")
    assert found.sides[0].words[0].text == "schöne grüße"
    decoded = found.sides[1].sound.decode()
    assert decoded.rate == 48_000
    truth = talk(rate=16_000).sounds[1]
    assert float(np.abs(resample(decoded.audio, 48_000, new_rate=16_000) - truth).max()) < 0.05


def test_every_fault_is_one_sentence_that_names_the_file(tmp_path: Path) -> None:
    one = talk(rate=8_000)
    root = write_fisher(tmp_path, one)
    write_switchboard(root, one, call="2001")
    write_switchboard(root, one, call="2002")
    write_switchboard(root, one, call="2003")
    write_switchboard(root, one, call="2004")
    (root / "swb_ms98_transcriptions/20/2001/sw2001B-ms98-a-word.text").unlink()
    (root / "swb1/sw02002.sph").unlink()
    words = root / "swb_ms98_transcriptions/20/2003/sw2003A-ms98-a-word.text"
    put_text(words, "sw2003A-ms98-a-0001 0.0 0.9 hi", "sw2003A-ms98-a-0001 0.9 there")
    put_sound(root / "swb1/sw02004.sph", one, 0)
    put_text(root / "trans/fe_03_00003.txt", "0.5 2.5 A: hello")
    for number, text in ((4, "0.5 2.5 C: hello"), (5, "0.5 2.5 A: hello")):
        put_text(root / f"trans/fe_03_0000{number}.txt", "# fe_03", text)
        put_sound(root / f"audio/fe_03_0000{number}.sph", one, 0, 1)
    shortened = root / "audio/fe_03_00005.sph"
    data = shortened.read_bytes()
    coding = b"sample_coding -s26 ulaw,embedded-shorten-v2.00\n"
    shortened.write_bytes(data.replace(b"sample_coding -s3 pcm\n", coding))
    put_text(root / "trans/fe_03_00006.txt", "0.5 2.5 A: hello")
    put_sound(root / "cd1/fe_03_00006.sph", one, 0, 1)
    put_sound(root / "cd2/fe_03_00006.sph", one, 0, 1)
    (root / "audio/fe_03_00007.sph").write_bytes(b"")
    problems = {one.id: one.problem for one in read(root)}
    assert problems.pop("fe_03_00001") == ""
    assert problems == {
        "fe_03_00003": "fe_03_00003.txt has no sound: a file fe_03_00003.sph is missing",
        "fe_03_00004": "fe_03_00004.txt, line 2: '0.5 2.5 C: hello' is not `start end A: text`",
        "fe_03_00005": "fe_03_00005.sph: its sound is compressed as ulaw,embedded-shorten-v2.00, "
        "which is not read; convert it with `sph2pipe -f wav`",
        "fe_03_00006": f"{root / 'cd1/fe_03_00006.sph'} and {root / 'cd2/fe_03_00006.sph'} are the "
        "same call by their names; keep one",
        "fe_03_00007": "fe_03_00007.sph: the file is empty",
        "sw2001": "sw2001A-ms98-a-word.text is there, and the word file of side B is missing",
        "sw2002": "sw2002A-ms98-a-word.text has no sound: a file sw2002.sph is missing",
        "sw2003": "sw2003A-ms98-a-word.text, line 2: 'sw2003A-ms98-a-0001 0.9 there' is not "
        "`id start end word`",
        "sw2004": "sw02004.sph has 1 channel, and a call has two, one for each person",
    }


def test_a_table_of_calls_without_people_is_named(tmp_path: Path) -> None:
    root = write_fisher(tmp_path, talk(rate=8_000))
    (table,) = root.rglob("*calldata.tbl")
    put_text(table, "CALL_ID,DATE_TIME", "00001,20021210")
    with pytest.raises(ValueError, match="calldata.tbl lacks the columns APIN, BPIN"):
        list(SPH.read(root, {}))


def test_other_folders_of_sound_and_text_are_no_calls(tmp_path: Path) -> None:
    put_sound(tmp_path / "ann" / "a.wav", talk(), 0)
    put_text(tmp_path / "ann" / "a.txt", "Of course not.")
    assert not SPH.matches(tmp_path)
    assert not SPH.matches(tmp_path / "ann" / "a.txt")
