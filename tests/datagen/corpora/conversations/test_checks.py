"""Faults that real conversations have: mended and counted, or skipped with the number."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from microturn.datagen.corpora.add import SKIPPED_NAME, SUMMARY_NAME, add_corpus
from microturn.datagen.corpora.checking import Unusable
from microturn.datagen.corpora.config import CorpusAddConfig
from microturn.datagen.corpora.conversations.checking.clocks import words_lag_s
from microturn.datagen.corpora.conversations.checking.marks import spoken_text
from microturn.datagen.corpora.conversations.checking.words import mended_words
from microturn.datagen.corpora.conversations.reader import Conversations
from microturn.datagen.corpora.conversations.record import CorpusConversation
from microturn.datagen.corpora.utterance import AlignedWord
from microturn.datagen.labels.time_classes import ALIGNED, GIVEN, INTERPOLATED, UNKNOWN
from microturn.model.streams.pcm import Audio
from support.conversation_trees import (
    PEOPLE,
    Talk,
    disordered,
    marked,
    same_twice,
    silenced,
    swapped,
    talk,
    tear,
    with_crosstalk,
)


@pytest.fixture
def taken(tmp_path: Path) -> Taken:
    return Taken(tmp_path)


class Taken:
    """Takes in a folder of one conversation, two files or one: what became of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out"

    def write(self, one: Talk, *, together: bool = True, **sound: Any) -> Path:
        """Write a shape that every check can be shown with: Lhotse cuts."""
        root = self.folder / "calls"
        root.mkdir()
        n = len(one.sounds)
        if together:
            soundfile.write(root / "ä 1.wav", np.stack(one.sounds, axis=1), one.rate, **sound)
            sources = [{"type": "file", "channels": list(range(n)), "source": "ä 1.wav"}]
        else:
            for person, samples in enumerate(one.sounds):
                soundfile.write(root / f"{person}.wav", samples, one.rate, **sound)
            sources = [
                {"type": "file", "channels": [person], "source": f"{person}.wav"}
                for person in range(n)
            ]
        supervisions = [
            {
                "id": f"s{number}",
                "start": turn.start_s,
                "duration": turn.end_s - turn.start_s,
                "channel": turn.person,
                "text": turn.text,
                "speaker": PEOPLE[turn.person],
                "language": "English",
                "alignment": {
                    "word": [[w.text, w.start_s, w.end_s - w.start_s] for w in turn.words]
                },
            }
            for number, turn in enumerate(one.turns)
        ]
        cut = {
            "id": "one",
            "start": 0,
            "duration": one.duration_s,
            "channel": list(range(n)),
            "type": "MultiCut",
            "supervisions": supervisions,
            "recording": {"id": "r", "sources": sources, "duration": one.duration_s},
        }
        (root / "cuts.jsonl").write_text(json.dumps(cut) + "\n", encoding="utf-8")
        return root

    def add(self, **keys: Any) -> None:
        add_corpus(
            CorpusAddConfig(
                **{
                    "source": str(self.folder / "calls"),
                    "out": str(self.out),
                    "workers": 1,
                    "align": False,
                    **keys,
                }
            )
        )

    def conversation(self, one: Talk, **keys: Any) -> CorpusConversation:
        self.write(one, **keys)
        self.add()
        (found,) = Conversations([self.out])
        return found

    def sounds(self, found: CorpusConversation) -> list[Audio]:
        opened = Conversations([self.out])
        return [opened.sound(found, side, 0.0, found.duration_s) for side in found.sides]

    def mended(self) -> dict[str, int]:
        mended: dict[str, int] = json.loads((self.out / SUMMARY_NAME).read_text())["mended"]
        return mended

    def reason(self, one: Talk, **keys: Any) -> str:
        """Return why a conversation is skipped, or what the command says of a corpus of it."""
        self.write(one, **keys)
        with pytest.raises(ValueError, match="none of the 1 conversations") as caught:
            self.add()
        return str(caught.value)


def long_talk() -> Talk:
    return talk(n_turns=12)


def test_swapped_channels_are_put_right_and_counted(taken: Taken) -> None:
    found = taken.conversation(swapped(talk()))
    assert [side.speaker for side in found.sides] == [f"calls-{name}" for name in PEOPLE[:2]]
    assert taken.mended() == {"channels swapped": 1}
    for sound, own in zip(taken.sounds(found), talk().sounds, strict=True):
        assert np.abs(sound - own).max() < 1e-4


def test_words_that_fit_no_channel_are_refused_with_the_share(taken: Taken) -> None:
    one, other = talk(), talk(first=3)
    turns = tuple(replace(turn, person=number // 3) for number, turn in enumerate(one.turns))
    assert "the words of a side lie where its own channel is the louder one in " in taken.reason(
        replace(other, turns=turns)
    )


def test_a_silent_channel_is_named(taken: Taken) -> None:
    assert "the channel of its side b is silent" in taken.reason(silenced(talk(), 1))


def test_one_mono_file_twice_is_refused(taken: Taken) -> None:
    assert "its two channels are one mono recording twice" in taken.reason(same_twice(talk()))


@pytest.mark.parametrize("level_db", [-20.0, -40.0])
def test_crosstalk_is_measured_and_muted_while_only_the_other_speaks(
    taken: Taken, level_db: float
) -> None:
    one = long_talk()
    found = taken.conversation(with_crosstalk(one, level_db))
    assert found.crosstalk_db == pytest.approx(level_db, abs=1.5)
    assert taken.mended()["crosstalk muted"] == 1
    sounds = taken.sounds(found)
    for person in (0, 1):
        other = one.sounds[1 - person] * np.float32(10 ** (level_db / 20))
        left = sounds[person] - one.sounds[person]
        alone = np.ones(len(left), bool)
        for word in one.words(person):
            alone[round((word.start_s - 0.3) * 16_000) : round((word.end_s + 0.3) * 16_000)] = False
        assert np.square(left[alone]).sum() < 0.03 * np.square(other[alone]).sum()
        own = ~alone
        assert np.square((left - other)[own]).sum() < 0.02 * np.square(one.sounds[person]).sum()


def test_inaudible_crosstalk_changes_nothing(taken: Taken) -> None:
    found = taken.conversation(with_crosstalk(long_talk(), -60.0))
    assert found.crosstalk_db is not None
    assert found.crosstalk_db < -45
    assert taken.mended() == {}


def test_loud_crosstalk_is_refused_with_its_level(taken: Taken) -> None:
    reason = taken.reason(with_crosstalk(long_talk(), -6.0))
    assert "is heard on the channel of" in reason
    level_db = float(reason.partition(" at ")[2].split()[0])
    assert level_db == pytest.approx(-6, abs=0.7)
    assert "dB re their own (at most -12 dB)" in reason


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_other_rates(taken: Taken, rate: int) -> None:
    found = taken.conversation(talk(rate=rate))
    assert {side.sample_rate for side in found.sides} == {min(rate, 16_000)}
    for sound, own in zip(taken.sounds(found), talk().sounds, strict=True):
        n = min(len(sound), len(own))
        share = np.square(sound[:n] - own[:n]).sum() / np.square(own).sum()
        assert share < (0.2 if rate == 8_000 else 1e-3)


def test_float_samples_with_an_offset_in_another_scale(taken: Taken) -> None:
    one = talk()
    loud = replace(one, sounds=tuple((sound + 0.02) * 20_000 for sound in one.sounds))
    found = taken.conversation(loud, subtype="FLOAT")
    assert taken.mended() == {"offset": 1, "scale of whole numbers": 1}
    for sound, own in zip(taken.sounds(found), one.sounds, strict=True):
        assert np.corrcoef(sound, own)[0, 1] > 0.999
        assert abs(float(sound.mean())) < 1e-3


def test_samples_that_are_not_finite(taken: Taken) -> None:
    one = talk()
    bad = one.sounds[1].copy()
    bad[20_000] = np.nan
    reason = taken.reason(replace(one, sounds=(one.sounds[0], bad)), subtype="FLOAT")
    assert "it has samples that are not finite" in reason


def test_a_torn_file(taken: Taken) -> None:
    tear(taken.write(talk()) / "ä 1.wav")
    with pytest.raises(ValueError, match="it is torn: its header says"):
        taken.add()


def test_words_out_of_order_are_sorted_and_counted(taken: Taken) -> None:
    found = taken.conversation(disordered(talk()))
    for side in found.sides:
        starts = [word.start_s for word in side.words]
        assert starts == sorted(starts)
        for a, b in zip(side.words, side.words[1:], strict=False):
            assert a.end_s <= b.start_s or UNKNOWN in (a.times, b.times)
    mended = taken.mended()
    assert mended["words out of order"] == len(talk().turns)
    assert mended["overlapping words trimmed"] >= len(talk().turns)


def test_marks_of_transcribers_are_no_words(taken: Taken) -> None:
    found = taken.conversation(marked(talk(), "[laughter]", "th-", "((maybe))"))
    (first, *_), (second, *_) = (side.words for side in found.sides)
    assert (first.text, first.times) == ("", UNKNOWN)
    assert (second.text, second.times) == ("", UNKNOWN)
    unclear = [word for word in found.sides[0].words if word.text == "maybe"]
    assert [word.times for word in unclear] == [UNKNOWN]
    assert taken.mended() == {"sounds that are no words": 2, "unclear words": 1}


def test_redacted_spans_become_silence(taken: Taken) -> None:
    one = talk()
    found = taken.conversation(marked(one, "[redacted]"))
    head = one.turns[0].words[0]
    assert found.redacted == ((head.start_s, head.end_s),)
    sound = taken.sounds(found)[0]
    assert not sound[round(head.start_s * 16_000) + 1 : round(head.end_s * 16_000) - 1].any()
    assert found.sides[0].words[0].text == ""


def test_sides_of_two_files_are_stored_apart(taken: Taken) -> None:
    found = taken.conversation(talk(), together=False)
    assert len({side.member for side in found.sides}) == 2
    for sound, own in zip(taken.sounds(found), talk().sounds, strict=True):
        assert np.abs(sound - own).max() < 1e-4


def late(one: Talk, person: int, lag_s: float, drift: float = 0.0) -> Talk:
    """Words of one person that are late by a constant, and by a share of the time."""

    def moved(seconds: float) -> float:
        return round(seconds * (1 + drift) + lag_s, 4)

    turns = tuple(
        turn
        if turn.person != person
        else replace(
            turn,
            words=tuple(
                replace(w, start_s=moved(w.start_s), end_s=moved(w.end_s)) for w in turn.words
            ),
        )
        for turn in one.turns
    )
    return replace(one, turns=turns)


def test_words_that_come_late_are_refused_with_their_lag(taken: Taken) -> None:
    reason = taken.reason(late(long_talk(), 1, 0.4))
    assert "the words of joe come 0." in reason
    assert "s after their sound (at most 0.25 s)" in reason


def test_a_lag_is_measured_to_a_frame_or_two() -> None:
    one = long_talk()
    power = np.square(one.sounds[0][: len(one.sounds[0]) // 160 * 160].reshape(-1, 160)).mean(1)
    for lag_s in (-0.3, 0.0, 0.2):
        words = late(one, 0, lag_s).words(0)
        found = words_lag_s(power.astype(np.float32), words, 0, len(power))
        assert found is not None
        assert found == pytest.approx(lag_s, abs=0.05)


def test_clocks_that_drift_are_refused_with_the_number(taken: Taken) -> None:
    reason = taken.reason(late(long_talk(), 0, -0.2, drift=0.03))
    assert "drift apart by" in reason


def two_clocks(one: Talk, ppm: float, level_db: float = -25.0) -> Talk:
    """Two devices that hear both people; the second one's clock is slower."""
    heard = with_crosstalk(one, level_db)
    n = len(heard.sounds[1])
    places = np.arange(n) * (1 + ppm * 1e-6)
    slow = np.interp(places, np.arange(n), heard.sounds[1]).astype(np.float32)
    return replace(heard, sounds=(heard.sounds[0], slow))


def test_clocks_of_two_files_are_compared_by_crosstalk(taken: Taken) -> None:
    one = talk(n_turns=16)
    drift_s = one.duration_s * 4_000e-6
    assert drift_s > 0.1
    reason = taken.reason(two_clocks(one, 4_000.0), together=False)
    assert "the clocks of its two files drift apart by" in reason


def test_clocks_that_agree_pass(taken: Taken) -> None:
    found = taken.conversation(two_clocks(talk(n_turns=16), 0.0), together=False)
    assert found.crosstalk_db == pytest.approx(-25, abs=2)


def word(text: str, start_s: float, end_s: float, times: str = GIVEN) -> AlignedWord:
    return AlignedWord(text=text, start_s=start_s, end_s=end_s, times=times)


@pytest.mark.parametrize(
    ("text", "words", "certain"),
    [
        ("hello", ("hello",), True),
        ("[laughter]", (), False),
        ("[laughter-yes]", ("yes",), True),
        ("<unk>", (), False),
        ("xxx", (), False),
        ("((i think so))", ("i", "think", "so"), False),
        ("(( ))", (), False),
        ("th-", (), False),
        ("th[at]-", (), False),
        ("-[th]at", (), False),
        ("uh-huh", ("uh", "huh"), True),
        ("about_1", ("about",), True),
        ("Well, I (..) know", ("well", "i", "know"), False),
        ("&=laughs no", ("no",), False),
        ("{breath} yes [noise]", ("yes",), False),
        ("it's 5 o'clock", ("it's", "5", "o'clock"), True),
        ("пр-", (), False),
        ("что-то", ("что", "то"), True),
    ],
)
def test_what_an_entry_says(text: str, words: tuple[str, ...], certain: bool) -> None:
    said = spoken_text(text)
    assert (said.words, said.is_certain, said.is_silent) == (words, certain, False)


@pytest.mark.parametrize("text", ["[silence]", "sil", "<eps>", "", "<p>", "(.)", "..."])
def test_signs_of_silence_are_left_out(text: str) -> None:
    assert spoken_text(text).is_silent


@pytest.mark.parametrize("text", ["s", "p", "silence", "pause"])
def test_words_that_look_like_signs_are_words(text: str) -> None:
    assert spoken_text(text).words == (text,)


def test_words_are_mended_one_by_one() -> None:
    found = mended_words(
        [
            word("one", 0.0, 0.3),
            word("second", 0.2, 0.6),  # overlaps the first
            word("three", 0.6, 0.6),  # has no length
            word("four", 0.605, 0.9),
            word("five", 1.0, 9.0),  # nobody takes so long
            word("twenty-two", 9.2, 9.8),
            word("seven", 9.9, 10.4),  # beyond the end
            *(word(f"w{i}", 2.0 + i / 3, 2.2 + i / 3) for i in range(10)),
            word("late", 10.5, 10.9),
        ],
        10.0,
    )
    assert found.mended == {
        "words beyond the end left out": 1,
        "words beyond the end cut": 1,
        "words out of order": 1,
        "overlapping words trimmed": 1,
        "words without a length": 1,
        "words longer than their text": 1,
    }
    entries = {w.text: w for w in found.words}
    assert (entries["one"].end_s, entries["one"].times) == (0.2, GIVEN)
    assert (entries["three"].end_s, entries["three"].times) == (0.62, UNKNOWN)
    assert entries["five"].times == UNKNOWN
    assert entries["seven"].end_s == 10.0
    assert (entries["twenty"].times, entries["two"].times) == (INTERPOLATED,) * 2
    assert "late" not in entries


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([word("a", 5.0, 6.0), word("b", 0.0, 1.0)], "1 of its 2 words lie outside its 2.00 s"),
        ([word("a", 1.0, 0.5)], "its word 'a' ends at 0.5 s and begins at 1 s"),
        ([word("a", float("nan"), 0.5)], "the times of its word 'a' are not finite"),
    ],
)
def test_times_of_another_recording(words: list[AlignedWord], sentence: str) -> None:
    with pytest.raises(Unusable, match=sentence):
        mended_words(words, 2.0)


def test_nothing_is_skipped_in_silence(taken: Taken) -> None:
    taken.write(talk())
    path = taken.folder / "calls" / "cuts.jsonl"
    row = json.loads(path.read_text())
    other = {**row, "id": "two"}
    broken = {**row, "id": "three", "supervisions": []}
    path.write_text("".join(json.dumps(one) + "\n" for one in (row, other, broken)))
    taken.add()
    rows = map(json.loads, (taken.out / SKIPPED_NAME).read_text().splitlines())
    found = {row["id"]: (row["kind"], row["reason"]) for row in rows}
    assert found["two"] == ("duplicate", "it is the same sound as calls/one")
    assert found["three"][0] == "entry"


@pytest.mark.parametrize("rate", [8_000, 16_000])
def test_segments_are_aligned_word_by_word(taken: Taken, tmp_path: Path, rate: int) -> None:
    one = talk(rate=rate)
    root = taken.write(one)
    row = json.loads((root / "cuts.jsonl").read_text())
    for supervision in row["supervisions"]:
        del supervision["alignment"]
    row["supervisions"][1]["text"] = "seven hundred and forty elephants"
    row["supervisions"][2]["text"] = f"(({row['supervisions'][2]['text']}))"
    (root / "cuts.jsonl").write_text(json.dumps(row) + "\n")
    taken.add(align=True, cache=str(tmp_path / "cache"))
    (found,) = Conversations([taken.out])
    words = [word for side in found.sides for word in side.words]
    truth = [w for t in one.turns for w in t.words]
    known = {(w.text, round(w.start_s)): w for w in truth}
    times = [word for word in words if word.times == ALIGNED]
    assert len(times) > 0.6 * len(truth)
    near = [
        w
        for w in times
        if any(abs(w.start_s - v.start_s) < 0.1 and w.text == v.text for v in known.values())
    ]
    assert len(near) >= 0.85 * len(times)
    segments = [word.text for word in words if word.times == UNKNOWN]
    assert "seven hundred and forty elephants" in segments
    assert len(segments) == 2, "what is unclear is not aligned"
    assert taken.mended() == {
        "segments whose text does not fit their sound": 1,
        "unclear words": 1,
    }


def untold(one: Talk) -> Talk:
    """The same without a transcript: turns that say who is where, but no words."""
    turns = tuple(replace(turn, words=(), text="") for turn in one.turns)
    return replace(one, turns=turns)


def test_crosstalk_is_measured_without_words(taken: Taken) -> None:
    found = taken.conversation(untold(with_crosstalk(long_talk(), -25.0)))
    assert not any(side.words for side in found.sides)
    assert found.crosstalk_db == pytest.approx(-25, abs=2.5)
    for side in found.sides:
        assert 5 <= len(side.activity) <= 40


def test_loud_crosstalk_is_refused_without_words(taken: Taken) -> None:
    reason = taken.reason(untold(with_crosstalk(long_talk(), -6.0)))
    level_db = float(reason.partition(" at ")[2].split()[0])
    assert level_db == pytest.approx(-6, abs=2)


def test_separate_voices_without_words_pass(taken: Taken) -> None:
    found = taken.conversation(untold(long_talk()))
    assert found.crosstalk_db is not None
    assert found.crosstalk_db < -40
    assert taken.mended() == {}
