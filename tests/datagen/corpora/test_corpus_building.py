"""The parts that build a corpus: texts, tags, selection, the game's archive, cuts by energy."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from microturn.datagen.corpora.cutting import RATE, cut_word, voiced_span
from microturn.datagen.corpora.default_corpus import asterisk
from microturn.datagen.corpora.default_corpus.amazon_queen import Archive, VoicedLine, pairs
from microturn.datagen.corpora.default_corpus.opus import opus
from microturn.datagen.corpora.default_corpus.queen_selection import (
    HELD_OUT,
    select,
    speaker_name,
)
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.corpora.pronunciations import pronounce
from microturn.datagen.corpora.tags import tags_of
from microturn.datagen.corpora.utterance import AlignedWord
from tests.support.game_archive import archive_file, tables


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("Uh huh.", {"backchannel"}),
        ("Oh yeah?", {"backchannel", "question"}),
        ("Hello Joe.", {"greeting"}),
        ("Hold it right there!", {"interruption", "imperative"}),
        ("But how...", {"trailing"}),
        ("It took three days.", {"digit"}),
        ("C", {"letter"}),
        ("The key is in the lock.", set()),
    ],
)
def test_tags_follow_the_words(text: str, tags: set[str]) -> None:
    assert tags_of(text) == tags | {"dialogue"}


def test_every_prompt_of_another_language_has_an_english_one() -> None:
    english = asterisk.texts("en")
    assert english["digits/7"] == "seven"
    for voice in asterisk.VOICES[1:]:
        assert set(asterisk.texts(voice.language)) <= set(english)
    assert asterisk.tags_of("digits/7", "seven") == {"digit", "number", "prompt", "word"}


def test_aliases_become_one_speaker_and_things_none() -> None:
    assert speaker_name("SEC") == speaker_name("SECRETARY") == "secretary"
    assert speaker_name("JOE KING") == "joe"
    assert speaker_name("TELEPHONE") == speaker_name("NARRATOR") == ""


def clip(
    name: str, speaker: str, text: str, *, scene: str = "BOB1.DOG", size: int = 1000
) -> VoicedLine:
    return VoicedLine(id=name, text=text, speaker=speaker, scene=scene, offset=0, size=size)


def test_pairs_join_the_last_line_with_the_first_reply() -> None:
    clips = [
        clip("010001J1", "JOE", "Hi."),
        clip("010001J2", "JOE", "Do you have a rope?"),
        clip("010001P1", "BOB", "A rope?"),
        clip("010001P2", "BOB", "I have two."),
        clip("010002J1", "JOE", "Never mind."),
    ]
    assert pairs(clips) == {"010001": ("010001J2", "010001P1")}


def test_selection_keeps_what_is_needed_and_stays_in_its_budget() -> None:
    clips = [clip(f"02{i:04d}P1", "HENRY", f"Plain words {'a' * i}") for i in range(1, 30)]
    clips += [clip("030001P1", "BOB", "Okay."), clip("030002P1", "NOTE", "Okay.")]
    clips += [clip("030003P1", "BOB", "Hello.", size=99_000)]
    picks = select(clips, 10_500)
    assert [pick.clip.id for pick in picks if pick.speaker == "trader-bob"] == ["030001P1"]
    assert sum(pick.clip.size for pick in picks) <= 10_500
    assert {pick.split for pick in picks if pick.speaker in HELD_OUT} == {"test"}
    assert picks == select(list(reversed(clips)), 10_500)


def game(path: Path) -> Path:
    """A game with one object description in two voiced pieces, and a clip without a text."""
    entries = tables(descriptions=["First piece*NASecond piece"])
    sounds = {name: name.encode() for name in ("JOE00411.SB", "JOE00412.SB", "X.SB")}
    return archive_file(path, entries | sounds)


def test_the_archive_joins_texts_and_sounds(tmp_path: Path) -> None:
    archive = Archive(game(tmp_path / "queen.1c"))
    clips = archive.clips()
    assert [(c.id, c.text, c.speaker) for c in clips] == [
        ("JOE00411", "First piece", "JOE"),
        ("JOE00412", "Second piece", "JOE"),
    ]
    assert archive.read("JOE00412.SB") == b"JOE00412.SB"


def test_another_file_is_refused_with_its_name(tmp_path: Path) -> None:
    path = archive_file(tmp_path / "queen.1", {}, compression=0)
    with pytest.raises(ValueError, match=r"queen\.1 is not the MP3 edition of queen\.1c"):
        Archive(path)


def tones(*spans: tuple[float, float], n_seconds: float = 1.0) -> np.ndarray:
    """Near-silence with 300 Hz tones between these times."""
    time = np.arange(int(n_seconds * RATE)) / RATE
    audio = np.full(len(time), 1e-5, np.float32)
    for start, end in spans:
        inside = (time >= start) & (time < end)
        audio[inside] = 0.3 * np.sin(2 * np.pi * 300 * time[inside])
    return audio


def test_the_voiced_span_is_where_the_sound_is() -> None:
    start, end = voiced_span(tones((0.2, 0.7)))
    assert start == pytest.approx(0.2, abs=0.011)
    assert end == pytest.approx(0.7, abs=0.011)


def test_an_isolated_word_is_clean_and_gets_the_edges_of_its_sound() -> None:
    audio = tones((0.1, 0.3), (0.4, 0.6), (0.7, 0.9))
    words = tuple(
        AlignedWord(text=text, start_s=start, end_s=end)
        for text, start, end in (("a", 0.08, 0.33), ("b", 0.36, 0.65), ("c", 0.68, 0.9))
    )
    cut = cut_word(audio, words, index=1, score=-10.0)
    assert cut.quality == "clean"
    assert cut.start_s == pytest.approx(0.4, abs=0.011)
    assert cut.end_s == pytest.approx(0.6, abs=0.011)
    assert cut_word(audio, words, index=1, score=-70.0).quality == "poor"


def test_a_word_that_runs_into_the_next_is_not_clean() -> None:
    audio = tones((0.1, 0.6))
    words = (
        AlignedWord(text="a", start_s=0.1, end_s=0.35),
        AlignedWord(text="b", start_s=0.35, end_s=0.6),
    )
    assert {cut_word(audio, words, index=i, score=-10.0).quality for i in (0, 1)} == {"poor"}


def test_unknown_words_get_a_pronunciation() -> None:
    assert pronounce("xray") == "EH K S R EY"
    assert pronounce("azura") == "AE Z ER AE"
    assert pronounce("ssh") == "SH"


def test_opus_has_the_same_bytes_and_as_many_samples() -> None:
    sound = Corpus.open().load(Corpus.open()["asterisk-en/digits/7"])
    stored = opus(sound, RATE)
    assert opus(sound, RATE) == stored, "the number of the stream is not drawn"
    assert len(stored) < 7_000 * len(sound) / RATE
    decoded, rate = soundfile.read(io.BytesIO(stored), dtype="float32")
    assert (len(decoded), rate) == (len(sound), RATE)
    assert 10 * np.log10(np.sum(sound**2) / np.sum((sound - decoded) ** 2)) > 10


def test_recordings_in_opus_are_as_long_as_before() -> None:
    corpus = Corpus.open()
    for utterance in (corpus["asterisk-fr/digits/7"], corpus["music/reno_project-system"]):
        assert utterance.member.endswith(".opus")
        assert abs(len(corpus.load(utterance)) - utterance.duration_s * RATE) <= 1
