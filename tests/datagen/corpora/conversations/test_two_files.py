"""Sessions of two files or two channels: which sound is whose, in every kind of transcript."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from microturn.datagen.corpora.add import add_corpus
from microturn.datagen.corpora.config import CorpusAddConfig
from microturn.datagen.corpora.conversations.described import DescribedConversation
from microturn.datagen.corpora.conversations.layouts import LAYOUTS
from microturn.datagen.corpora.conversations.layouts.two_files import TWO_FILES
from microturn.datagen.labels.time_classes import GIVEN, UNKNOWN
from support.conversation_trees import (
    Talk,
    disordered,
    marked,
    put_sound,
    put_text,
    silenced,
    talk,
    write_candor,
    write_fisher,
    write_meeting,
    write_seamless,
    write_session,
    write_switchboard,
    write_transcript,
)

TIMED, SEGMENTS = (".ctm", ".TextGrid", ".json"), (".csv", ".stm")


def read(root: Path, **options: str) -> list[DescribedConversation]:
    keys = {key.replace("sides_", "sides."): value for key, value in options.items()}
    return list(TWO_FILES.read(root, keys))


def check_sound(found: DescribedConversation, one: Talk) -> None:
    for side, truth in zip(found.sides, one.sounds, strict=True):
        decoded = side.sound.decode()
        assert decoded.rate == one.rate
        assert float(np.abs(decoded.audio - truth).max()) < 1e-4


def check_words(found: DescribedConversation, one: Talk, kind: str) -> None:
    for person, side in enumerate(found.sides):
        if kind in TIMED:
            said = [(w.text, w.start_s, w.end_s, GIVEN) for w in one.words(person)]
        else:
            said = [(t.text, t.start_s, t.end_s, UNKNOWN) for t in one.turns_of(person)]
        assert [w.text for w in side.words] == [text for text, *_ in said]
        assert [w.times for w in side.words] == [times for *_, times in said]
        for number in (1, 2):
            times = [(w.start_s, w.end_s)[number - 1] for w in side.words]
            assert times == pytest.approx([one[number] for one in said], abs=0.0011)


@pytest.mark.parametrize("kind", [*TIMED, *SEGMENTS])
@pytest.mark.parametrize("names", [("ann", "ben"), ("zoë", "Åke")])
def test_two_files_go_by_the_names_of_their_speakers(
    tmp_path: Path, kind: str, names: tuple[str, str]
) -> None:
    one = talk(first=1)
    letters = {".ctm": ("room A", "room_b")}  # a CTM has channels, and names nobody
    write_session(tmp_path / "train" / "s1", one, kind=kind, names=letters.get(kind, names))
    assert TWO_FILES.matches(tmp_path)
    (found,) = read(tmp_path)
    assert (found.id, found.split, found.problem) == ("train/s1", "train", "")
    people = [side.speaker for side in found.sides]
    if kind == ".ctm":
        assert people == ["", ""]
    else:
        assert set(people) == set(names)
        in_order = sorted(found.sides, key=lambda side: names.index(side.speaker))
        found = DescribedConversation(id=found.id, sides=tuple(in_order))
    check_sound(found, one)
    check_words(found, one, kind)


@pytest.mark.parametrize("kind", [*TIMED, *SEGMENTS])
def test_two_channels_go_by_letters_numbers_or_patterns(tmp_path: Path, kind: str) -> None:
    one = talk(rate=48_000)
    names = ("left", "right") if kind != ".stm" else ("ann", "ben")
    write_session(tmp_path / "s1", one, kind=kind, names=names, stereo=True)
    assert TWO_FILES.matches(tmp_path)
    (found,) = read(tmp_path)
    assert [side.sound.channel for side in found.sides] == [0, 1]
    assert found.sides[0].speaker == ("ann" if kind == ".stm" else "")
    check_sound(found, one)
    check_words(found, one, kind)


def test_patterns_say_who_is_whom(tmp_path: Path) -> None:
    one = talk()
    write_session(tmp_path / "s1", one, stereo=True)
    (open_question,) = read(tmp_path)
    assert open_question.problem == (
        "call.csv does not say who is on which channel of call.wav; give sides.a=ann sides.b=ben, "
        "or swapped"
    )
    (found,) = read(tmp_path, sides_a="ann", sides_b="ben")
    assert [side.speaker for side in found.sides] == ["ann", "ben"]
    check_words(found, one, ".csv")
    (found,) = read(tmp_path, sides_a="b*")
    assert [side.speaker for side in found.sides] == ["ben", "ann"]
    assert found.sides[0].words[0].text == one.turns_of(1)[0].text


def test_patterns_pick_the_files_among_others(tmp_path: Path) -> None:
    one = talk()
    put_sound(tmp_path / "s1" / "mix.wav", one, 0)
    put_sound(tmp_path / "s1" / "mic1.wav", one, 0)
    put_sound(tmp_path / "s1" / "mic2.wav", one, 1)
    write_transcript(tmp_path / "s1" / "call.csv", one, ("SPEAKER_00", "SPEAKER_01"))
    (found,) = read(tmp_path)
    assert found.problem == (
        "s1 has the sounds mic1.wav, mic2.wav, mix.wav; say by sides.a=PATTERN and "
        "sides.b=PATTERN which one is whose, each pattern fitting one of them"
    )
    (found,) = read(tmp_path, sides_a="mic1*", sides_b="mic2*")
    assert found.problem == (
        "call.csv does not say whose sound mic1.wav and mic2.wav are; give "
        "sides.a='mic1.wav|SPEAKER_00' sides.b='mic2.wav|SPEAKER_01', or with the speakers swapped"
    )
    (found,) = read(tmp_path, sides_a="mic1.wav|SPEAKER_00", sides_b="mic2.wav|SPEAKER_01")
    assert [side.speaker for side in found.sides] == ["", ""]
    check_sound(found, one)
    check_words(found, one, ".csv")


def test_paths_with_a_star_for_the_session(tmp_path: Path) -> None:
    """As in Harper Valley: a tree for each role, times in milliseconds, words without times."""
    one = talk(rate=8_000)
    for number in ("1", "2"):
        for person, role in enumerate(("agent", "caller")):
            put_sound(tmp_path / "data/audio" / role / f"{number}.wav", one, person)
        rows = [
            {
                "speaker_role": ("agent", "caller")[t.person],
                "start_ms": round(1000 * t.start_s),
                "duration_ms": round(1000 * (t.end_s - t.start_s)),
                "human_transcript": t.text,
            }
            for t in one.turns
        ]
        put_text(tmp_path / "data/transcript" / f"{number}.json", json.dumps(rows))
        put_text(tmp_path / "data/metadata" / f"{number}.json", '{"agent": {"speaker_id": 5}}')
    (tmp_path / "data/audio/caller/2.wav").unlink()
    first, second = read(
        tmp_path, sides_a="data/audio/agent/*.wav", sides_b="data/audio/caller/*.wav"
    )
    assert (first.id, [side.speaker for side in first.sides]) == ("1", ["", ""])
    check_sound(first, one)
    check_words(first, one, ".csv")
    assert second.problem == (
        "2.wav has 1 channel and is the only sound; a session has one file of two channels, or two "
        "files"
    )
    with pytest.raises(ValueError, match="sides.b='' has no star"):
        read(tmp_path, sides_a="data/audio/agent/*.wav")


@pytest.mark.parametrize("with_words", [True, False])
def test_candor(tmp_path: Path, with_words: bool) -> None:
    one = talk(rate=48_000)
    write_candor(tmp_path, one, with_words=with_words)
    write_candor(tmp_path, one, name="0042c2f3", with_words=with_words)
    assert TWO_FILES.matches(tmp_path)
    found, other = read(tmp_path)
    assert (found.id, other.id, other.problem) == ("0020a0c5", "0042c2f3", "")
    assert [side.speaker for side in found.sides] == ["5a73899f", "5fa072f4"]
    check_sound(found, one)
    check_words(found, one, ".json" if with_words else ".csv")


def test_rttm_is_activity_without_words(tmp_path: Path) -> None:
    one = talk()
    write_session(tmp_path / "s1", one, kind=".rttm")
    put_text(tmp_path / "s1" / "._ann.wav", "what another system leaves behind")
    (found,) = read(tmp_path)
    for person, side in enumerate(found.sides):
        assert side.words == ()
        spans = [(t.start_s, t.end_s) for t in one.turns_of(person)]
        assert np.allclose(side.activity, spans, atol=0.0011)


def test_each_file_may_have_a_text_of_its_own(tmp_path: Path) -> None:
    one = talk()
    for person, name in enumerate(("ann", "ben")):
        put_sound(tmp_path / "s1" / f"{name}.wav", one, person)
        words = [[w.text, w.start_s, w.end_s] for w in one.words(person)]
        put_text(tmp_path / "s1" / f"{name}.json", json.dumps({"segments": [{"words": words}]}))
    assert not TWO_FILES.matches(tmp_path)  # as a speaker's two utterances have them too
    (found,) = read(tmp_path)
    check_words(found, one, ".json")
    (tmp_path / "s1" / "ben.json").unlink()
    (found,) = read(tmp_path)
    assert found.problem == "ben.json is missing, and ann.json is there"


def test_a_flat_folder_of_stereo_files(tmp_path: Path) -> None:
    one = talk()
    for name in ("x", "y", "z"):
        put_sound(tmp_path / f"{name}.wav", one, 0, 1)
        write_transcript(tmp_path / f"{name}.csv", one, ("A", "B"))
    assert TWO_FILES.matches(tmp_path)
    found = read(tmp_path)
    assert [one.id for one in found] == ["x", "y", "z"]
    check_words(found[2], one, ".csv")


def test_odd_words_silence_and_no_transcript(tmp_path: Path) -> None:
    one = marked(disordered(silenced(talk(), 1)), "<unk>", "[laughter]")
    write_session(tmp_path / "s1", one, kind=".json")
    write_session(tmp_path / "s2", one)
    (tmp_path / "s2" / "call.csv").unlink()
    found, alone = read(tmp_path)
    check_words(found, one, ".json")
    assert not found.sides[1].sound.decode().audio.any()
    assert [(side.speaker, side.words) for side in alone.sides] == [("", ()), ("", ())]


def test_columns_of_other_names_and_times_of_the_clock(tmp_path: Path) -> None:
    write_session(tmp_path / "s1", talk())
    put_text(
        *(tmp_path / "s1" / "call.csv", "who;from;to;said"),
        *("ann;00:00:01,5;00:00:02,5;hi", "ben;0:03;0:04.25;so"),
    )
    (found,) = read(tmp_path, speaker="who", start="from", end="to", text="said")
    assert [(w.text, w.start_s, w.end_s) for side in found.sides for w in side.words] == [
        ("hi", 1.5, 2.5),
        ("so", 3.0, 4.25),
    ]
    with pytest.raises(ValueError, match="columns.words is not a field of transcripts"):
        read(tmp_path, words="x")


def test_every_fault_is_one_sentence_that_names_the_file(tmp_path: Path) -> None:
    one = talk()
    for name in ("alone", "empty", "nobody", "odd", "third", "torn", "two", "unread", "whole"):
        write_session(tmp_path / name, one)
    (tmp_path / "alone" / "ben.wav").unlink()
    (tmp_path / "empty" / "ann.wav").write_bytes(b"")
    header = "speaker,start,stop,utterance"
    put_text(tmp_path / "nobody" / "call.csv", header, "ann,0.5,1,hi", ",1,2,ho")
    put_text(tmp_path / "odd" / "call.csv", header, "ann,0.5,soon,hi")
    put_text(tmp_path / "third" / "call.csv", header, *(f"{x},1,2,hi" for x in ("ann", "ben", "x")))
    put_text(tmp_path / "torn" / "call.csv", header, "ann,0.5,1")
    write_transcript(tmp_path / "two" / "again.csv", one, ("ann", "ben"))
    (tmp_path / "unread" / "call.csv").unlink()
    put_text(tmp_path / "unread" / "call.json", '{"words_of": "ann"}')
    write_transcript(tmp_path / "zzz" / "call.stm", one, ("ann", "ben"))
    problems = {found.id: found.problem for found in read(tmp_path)}
    assert problems.pop("whole") == ""
    assert problems == {
        "alone": "ann.wav has 1 channel and is the only sound; a session has one file of two "
        "channels, or two files",
        "empty": "ann.wav: the file is empty",
        "nobody": "call.csv does not say who speaks in 1 of 2 entries; it needs a column or key "
        "`speaker`",
        "odd": "call.csv: line 2: the time 'soon' is no number",
        "third": "call.csv has 3 speakers (ann, ben, x), and two can be sides",
        "torn": "call.csv: line 2: it has 3 cells, and the header 4",
        "two": "two has the transcripts again.csv and call.csv; keep one",
        "unread": "call.json holds no segments with `start`, `end` and a text",
        "zzz": "call.stm has no sound beside it",
    }


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("ann,0.5,soon,hi", "its session s1: call.csv: line 2: the time 'soon' is no number"),
        ("ann,0.5,1,hi", "its session s1: call.csv names one speaker, and a conversation has two"),
    ],
)
def test_a_folder_without_a_good_session_is_told_why(
    tmp_path: Path, rows: str, sentence: str
) -> None:
    write_session(tmp_path / "in" / "s1", talk())
    put_text(tmp_path / "in" / "s1" / "call.csv", "speaker,start,stop,utterance", rows)
    source, out = str(tmp_path / "in"), str(tmp_path / "out")
    with pytest.raises(ValueError, match=sentence):
        add_corpus(CorpusAddConfig(source=source, out=out))


def test_folders_of_utterances_are_no_sessions(tmp_path: Path) -> None:
    one = talk()
    for name in ("a", "b"):
        put_sound(tmp_path / "ann" / f"{name}.wav", one, 0)
        write_transcript(tmp_path / "ann" / f"{name}.TextGrid", one, ("words", "phones"))
    put_text(tmp_path / "ann" / "metadata.csv", "audio,text", "a.wav,hi", "b.wav,ho")
    assert not TWO_FILES.matches(tmp_path)
    write_session(tmp_path / "dialogue", one)
    put_text(tmp_path / "data.jsonl", '{"path": "ann/a.wav"}')
    assert not TWO_FILES.matches(tmp_path)


def test_only_one_layout_takes_each_tree(tmp_path: Path) -> None:
    one = talk(rate=8_000)
    write_fisher(tmp_path / "sph" / "a", one)
    write_switchboard(tmp_path / "sph" / "b", one)
    write_seamless(tmp_path / "per_participant" / "a", one)
    write_seamless(tmp_path / "per_participant" / "b", one, name="x")
    write_candor(tmp_path / "two_files" / "a", one)
    for number, kind in enumerate((*TIMED, *SEGMENTS, ".rttm")):
        for stereo in (False, True):
            write_session(tmp_path / f"two_files/{number}{stereo}", one, kind=kind, stereo=stereo)
    write_meeting(tmp_path / "segments" / "a", one)
    for tree in tmp_path.glob("*/*"):
        taken = [layout.name for layout in LAYOUTS if layout.matches(tree)]
        assert taken == [tree.parent.name], tree
    (found,) = read(tmp_path / "two_files" / "0True")
    assert found.id == "0True"


def test_sessions_are_read_one_by_one(tmp_path: Path) -> None:
    """The second session is not looked at before it is asked for."""
    write_session(tmp_path / "s1", talk())
    write_session(tmp_path / "s2", talk())
    found: Iterator[DescribedConversation] = TWO_FILES.read(tmp_path, {})
    assert next(found).id == "s1"
    put_text(tmp_path / "s2" / "call.csv", "speaker,start,stop,utterance", "ann,1,2,late")
    assert next(islice(found, 1)).sides[0].words[0].text == "late"
