"""Every layout of recorded conversations, from its folder to a corpus: sound and words arrive."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from microturn.datagen.corpora.add import add_corpus
from microturn.datagen.corpora.config import CorpusAddConfig
from microturn.datagen.corpora.conversations.reader import Conversations
from support.conversation_trees import (
    Talk,
    silenced,
    talk,
    write_candor,
    write_fisher,
    write_meeting,
    write_seamless,
    write_session,
    write_switchboard,
)

MEETING = {"conversations": True}
CASES: dict[str, tuple[Callable[..., Any], dict[str, Any], bool]] = {
    "per_participant": (write_seamless, {}, True),
    "sph": (write_switchboard, {}, True),
    "sph of Fisher": (write_fisher, {}, False),
    "two_files": (write_session, {}, False),
    "two_files of CANDOR": (write_candor, {}, True),
    "segments": (write_meeting, MEETING, False),
    "segments of one file": (partial(write_meeting, multichannel=True), MEETING, False),
}


@pytest.mark.parametrize("case", CASES)
def test_sound_and_words_arrive(case: str, tmp_path: Path) -> None:
    write, keys, has_times = CASES[case]
    one: Talk = talk(3 if "segments" in case else 2, rate=8_000 if case == "sph" else 16_000)
    write(tmp_path / "in", one)
    summary = add_corpus(
        CorpusAddConfig(
            source=str(tmp_path / "in"),
            out=str(tmp_path / "out"),
            workers=1,
            align=False,
            **keys,
        )
    )
    assert summary["format"] == case.split()[0]
    assert summary["skipped"] == {}
    opened = Conversations([tmp_path / "out"])
    assert len(opened) == (3 if "segments" in case else 1)
    found = opened[0]
    assert found.duration_s == pytest.approx(one.duration_s, abs=0.01)
    clean = talk(len(one.sounds)).sounds
    for person, side in enumerate((*found.sides, *found.others)):
        sound, truth = opened.sound(found, side, 0.0, one.duration_s), clean[person]
        n = min(len(sound), len(truth))
        assert np.corrcoef(sound[:n], truth[:n])[0, 1] > 0.9, "at the same times"
        said = [word.text for word in side.words]
        assert " ".join(said).split() == " ".join(w.text for w in one.words(person)).split()
        assert all(word.is_known == has_times for word in side.words)
        assert bool(side.activity) != has_times
    members = {side.member for row in opened for side in (*row.sides, *row.others)}
    assert len(members) <= len(one.sounds), "each file is stored once"
    assert len(members) == 1 or "one file" not in case


def test_a_third_person_who_is_silent_harms_nobody(tmp_path: Path) -> None:
    write_meeting(tmp_path / "in", silenced(talk(3), 2))
    summary = add_corpus(
        CorpusAddConfig(
            source=str(tmp_path / "in"),
            out=str(tmp_path / "out"),
            workers=1,
            align=False,
            conversations=True,
        )
    )
    assert summary["conversations"]["recorded"] == 1
    assert summary["skipped"] == {"silent": 2}, "the pairs with the silent one"
