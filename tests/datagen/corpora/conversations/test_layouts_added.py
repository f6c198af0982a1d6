"""Every layout through `corpus add`: what is stored sounds as it was, with its words and people."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from microturn.configs.reading import lines_of
from microturn.datagen.corpora.add import SKIPPED_NAME, add_corpus
from microturn.datagen.corpora.config import CorpusAddConfig
from microturn.datagen.corpora.conversations.checking.fit import SWAPPED
from microturn.datagen.corpora.conversations.reader import Conversations
from microturn.datagen.corpora.conversations.record import CorpusConversation
from microturn.datagen.corpora.manifest import resample
from microturn.datagen.labels.time_classes import GIVEN, UNKNOWN
from microturn.model.streams import normalise
from support.conversation_trees import (
    Talk,
    marked,
    put_text,
    same_twice,
    silenced,
    swapped,
    talk,
    tear,
    with_crosstalk,
    write_candor,
    write_fisher,
    write_meeting,
    write_seamless,
    write_session,
    write_switchboard,
)

Writer = Callable[[Path, Talk], Path]
RATE = 16_000


def stereo(root: Path, one: Talk) -> Path:
    return write_session(root / "s", one, kind=".stm", stereo=True).parent


def two_files(root: Path, one: Talk) -> Path:
    return write_session(root / "s", one, kind=".TextGrid", names=("zoë", "åke")).parent


# Layout, its writer, the rate of its sound, whether its words have times, keys.
LAYOUTS: dict[str, tuple[Writer, int, bool, dict[str, Any]]] = {
    "fisher": (write_fisher, 8_000, False, {}),
    "switchboard": (write_switchboard, 8_000, True, {}),
    "seamless": (write_seamless, 48_000, True, {}),
    "candor": (write_candor, 48_000, True, {}),
    "two files": (two_files, 16_000, True, {}),
    "stereo": (stereo, 44_100, False, {}),
    "meeting": (write_meeting, 16_000, False, {"conversations": True}),
}


def add(source: Path, out: Path, **keys: Any) -> dict[str, Any]:
    config = CorpusAddConfig(
        **{"source": str(source), "out": str(out), "workers": 1, "align": False, **keys}
    )
    return add_corpus(config)


def reasons(out: Path) -> dict[str, tuple[str, str]]:
    rows = map(json.loads, lines_of((out / SKIPPED_NAME).read_text(encoding="utf-8")))
    return {row["id"]: (row["kind"], row["reason"]) for row in rows}


def check(found: CorpusConversation, opened: Conversations, one: Talk, *, timed: bool) -> None:
    assert found.duration_s == pytest.approx(one.duration_s, abs=0.01)
    for person, side in enumerate(found.sides):
        stored = opened.sound(found, side, 0.0, one.duration_s)
        truth = resample(one.sounds[person], one.rate, new_rate=RATE)
        n = min(len(stored), len(truth))
        error = np.square(stored[:n] - truth[:n]).mean() / np.square(truth[:n]).mean()
        assert error < 10 ** (-30 / 10), "more than mu-law and resampling change"
        said = (
            [(w.text, w.start_s, w.end_s) for w in one.words(person)]
            if timed
            else [(t.text, t.start_s, t.end_s) for t in one.turns_of(person)]
        )
        assert [w.text for w in side.words] == [normalise(text) for text, *_ in said]
        assert {w.times for w in side.words} == {GIVEN if timed else UNKNOWN}
        for word, (_, start_s, end_s) in zip(side.words, said, strict=True):
            assert (word.start_s, word.end_s) == pytest.approx((start_s, end_s), abs=0.006)
        if not timed:
            assert side.activity, "where words have no times"


@pytest.mark.parametrize("name", LAYOUTS)
def test_words_and_sound_of_both_sides(tmp_path: Path, name: str) -> None:
    write, rate, timed, keys = LAYOUTS[name]
    one = talk(rate=rate)
    summary = add(write(tmp_path / "in", one), tmp_path / "out", **keys)
    counted = summary["conversations"]
    assert (counted["recorded"], counted["sides"]) == (1, 2)
    opened = Conversations([tmp_path / "out"])
    check(opened[0], opened, one, timed=timed)


@pytest.mark.parametrize("multichannel", [False, True])
def test_people_are_the_same_in_every_pair_of_every_meeting(
    tmp_path: Path, multichannel: bool
) -> None:
    for number in range(2):
        one = talk(3, n_turns=6, first=2 * number)
        name = f"ES200{number}a"
        write_meeting(tmp_path / "in" / "train", one, meeting=name, multichannel=multichannel)
    add(tmp_path / "in", tmp_path / "out", conversations=True, name="ami")
    opened = Conversations([tmp_path / "out"])
    assert len(opened) == 6
    assert {row.split for row in opened.rows} == {"train"}
    assert {name for row in opened.rows for name in row.speakers} == {
        "ami-FEE040",
        "ami-FEE041",
        "ami-FEE042",
    }
    members = {(side.tar, side.offset) for one in opened for side in (*one.sides, *one.others)}
    assert len(members) == 2 * (1 if multichannel else 3), "the same sound is stored once"


def test_a_meeting_without_conversations_is_utterances(tmp_path: Path) -> None:
    one = talk()
    summary = add(write_meeting(tmp_path / "in", one), tmp_path / "out", fit=-1000.0)
    assert "conversations" not in summary or not summary["conversations"]["recorded"]
    assert not len(Conversations([tmp_path / "out"]))


def _session(root: Path, one: Talk, number: int) -> Path:
    return write_session(root / f"s{number}", one, kind=".rttm")


NUMBERED: dict[str, Callable[[Path, Talk, int], Path]] = {
    "fisher": lambda root, one, n: write_fisher(root, one, call=f"0000{n}", pins=f"1{n},2{n}"),
    "seamless": lambda root, one, n: write_seamless(root, one, name=f"V0_S{n}_I0"),
    "candor": lambda root, one, n: write_candor(root, one, name=f"c{n}"),
    "activity alone": _session,
    "meeting": lambda root, one, n: write_meeting(root, one, meeting=f"ES200{n}"),
}


@pytest.mark.parametrize("name", NUMBERED)
def test_faults_of_the_sound_are_found_in_every_layout(tmp_path: Path, name: str) -> None:
    faults = [
        talk(),
        swapped(talk(first=1)),
        silenced(talk(first=2), 1),
        same_twice(talk(first=3)),
        with_crosstalk(talk(first=4), -6.0),
    ]
    for number, one in enumerate(faults):
        NUMBERED[name](tmp_path / "in", one, number)
    summary = add(tmp_path / "in", tmp_path / "out", conversations=name == "meeting")
    assert summary["conversations"]["recorded"] == 2
    assert summary["mended"] == {SWAPPED: 1}
    kinds = [kind for _, (kind, _) in sorted(reasons(tmp_path / "out").items())]
    assert kinds == ["silent", "one_voice", "crosstalk"]
    opened = Conversations([tmp_path / "out"])
    for found, one in zip(opened, (faults[0], talk(first=1)), strict=True):
        for person, side in enumerate(found.sides):
            stored = opened.sound(found, side, 0.0, one.duration_s)
            first = one.turns_of(person)[0]
            inside = stored[round(first.start_s * RATE) : round(first.end_s * RATE)]
            assert np.square(inside).mean() > 10 * np.square(stored[: RATE // 4]).mean()


def test_swapped_channels_are_put_right(tmp_path: Path) -> None:
    one = talk(rate=8_000)
    summary = add(write_switchboard(tmp_path / "in", swapped(one)), tmp_path / "out")
    assert summary["mended"]
    opened = Conversations([tmp_path / "out"])
    check(opened[0], opened, one, timed=True)


def test_marks_are_sound_without_text(tmp_path: Path) -> None:
    one = marked(talk(rate=8_000), "[laughter]", "th[at]-")
    add(write_switchboard(tmp_path / "in", one), tmp_path / "out")
    (found,) = Conversations([tmp_path / "out"])
    for side in found.sides:
        assert (side.words[0].text, side.words[0].times) == ("", UNKNOWN)
        assert all(word.text for word in side.words[1:])


def test_patterns_reach_the_layout(tmp_path: Path) -> None:
    one = talk()
    source = write_session(tmp_path / "in" / "s", one, stereo=True).parent
    add(source, tmp_path / "out", sides={"a": "ann", "b": "ben"})
    opened = Conversations([tmp_path / "out"])
    assert [side.speaker for side in opened[0].sides] == ["in-ann", "in-ben"]
    with pytest.raises(ValueError, match="give sides.a=ann sides.b=ben, or swapped"):
        add(source, tmp_path / "other")
    calls = write_fisher(tmp_path / "calls", talk(rate=8_000))
    with pytest.raises(ValueError, match="sides.a is set, but sides and fields of the layout sph"):
        add(calls, tmp_path / "other", sides={"a": "ann", "b": "ben"})
    with pytest.raises(ValueError, match="columns.text is set, but .* or give format=two_files"):
        add(calls, tmp_path / "other", columns={"text": "said"})


def test_what_cannot_be_used_is_skipped_with_its_file_and_reason(tmp_path: Path) -> None:
    root = tmp_path / "in"
    for number, call in enumerate(("2001", "2002", "2003", "2004", "2005")):
        source = talk(rate=8_000, first=number)
        write_switchboard(root, silenced(source, 1) if call == "2002" else source, call=call)
    tear(root / "swb1" / "sw02003.sph")
    shortened = root / "swb1" / "sw02004.sph"
    coding = b"sample_coding -s26 ulaw,embedded-shorten-v2.00\n"
    data = shortened.read_bytes()
    shortened.write_bytes(data.replace(b"sample_coding -s4 ulaw\n", coding))
    (root / "swb_ms98_transcriptions/20/2005/sw2005B-ms98-a-word.text").unlink()
    put_text(root / "swb1" / "conv_tab.csv", *(f"200{n},Y,10{n},20{n}" for n in range(1, 6)))
    summary = add(root, tmp_path / "out")
    assert summary["conversations"]["recorded"] == 1
    found = reasons(tmp_path / "out")
    assert {name: kind for name, (kind, _) in found.items()} == {
        "sw2002": "silent",
        "sw2003": "unreadable",
        "sw2004": "entry",
        "sw2005": "entry",
    }
    assert "it is torn" in found["sw2003"][1]
    assert "sw02004.sph: its sound is compressed as ulaw,embedded" in found["sw2004"][1]
    assert "the word file of side B is missing" in found["sw2005"][1]
