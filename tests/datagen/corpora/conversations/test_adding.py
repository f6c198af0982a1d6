"""`corpus add` of conversations: what is stored, in which split, and what adding again does."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from microturn.datagen.corpora.add import SKIPPED_NAME, SUMMARY_NAME, add_corpus
from microturn.datagen.corpora.adding.people import Circles
from microturn.datagen.corpora.config import CorpusAddConfig
from microturn.datagen.corpora.conversations.checking.measured import measured
from microturn.datagen.corpora.conversations.checking.storing import stored_files
from microturn.datagen.corpora.conversations.reader import Conversations
from microturn.datagen.corpora.home import digest_of, open_corpora
from microturn.datagen.corpora.listing import list_corpora, listing_text
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.corpora.recordings import FileSound
from microturn.datagen.labels.time_classes import GIVEN, INTERPOLATED, UNKNOWN
from support.conversation_trees import Talk, put_sound, talk


def add(source: Path, out: Path, **keys: Any) -> dict[str, Any]:
    config = CorpusAddConfig(
        **{"source": str(source), "out": str(out), "workers": 1, "align": False, **keys}
    )
    return add_corpus(config)


def write_moshi(root: Path, *talks: Talk, suffix: str = ".wav", **more: Any) -> Path:
    """Agent left (person 0), user right, as moshi-finetune has them."""
    rows = []
    for number, one in enumerate(talks):
        path = put_sound(root / "stereo" / f"{number}{suffix}", one, 0, 1)
        alignments = [
            [word.text, [word.start_s, word.end_s], ("SPEAKER_MAIN", "SPEAKER_OTHER")[person]]
            for person in (0, 1)
            for word in one.words(person)
        ]
        text = json.dumps({"alignments": alignments, **more})
        path.with_suffix(".json").write_text(text, encoding="utf-8")
        rows.append({"path": f"stereo/{path.name}", "duration": one.duration_s})
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (root / "train.jsonl").write_text(lines, encoding="utf-8")
    return root


def reasons(out: Path) -> dict[str, tuple[str, str]]:
    rows = map(json.loads, (out / SKIPPED_NAME).read_text(encoding="utf-8").splitlines())
    return {row["id"]: (row["kind"], row["reason"]) for row in rows}


def test_a_stereo_recording_becomes_two_sides(tmp_path: Path) -> None:
    one = talk()
    summary = add(write_moshi(tmp_path / "in", one), tmp_path / "out", language="en")
    opened = Conversations([tmp_path / "out"])
    (found,) = opened
    assert (found.id, found.split, found.language) == ("in/stereo/0", "train", "en")
    assert [side.role for side in found.sides] == ["agent", "user"]
    assert len({side.speaker for side in found.sides}) == 2
    assert len({side.member for side in found.sides}) == 1, "stored once"
    for person, side in enumerate(found.sides):
        stored = opened.sound(found, side, 0.0, found.duration_s)
        assert np.abs(stored - one.sounds[person]).max() < 1e-4
        words = [(w.text, w.start_s, w.end_s, w.times) for w in side.words]
        assert words == [(w.text, w.start_s, w.end_s, GIVEN) for w in one.words(person)]
        assert not side.activity
    counted = summary["conversations"]
    assert (counted["recorded"], counted["sides"], counted["sides_with_word_times"]) == (1, 2, 2)
    assert counted["unnamed"] == 2
    assert summary == json.loads((tmp_path / "out" / SUMMARY_NAME).read_text()) | {
        "folder": str(tmp_path / "out")
    }


def test_bytes_are_the_same_for_any_number_of_workers(tmp_path: Path) -> None:
    source = write_moshi(tmp_path / "in", talk(), talk(first=2), talk(first=4, n_turns=4))
    for workers in (1, 2):
        add(source, tmp_path / str(workers), workers=workers)
    names = sorted(path.name for path in (tmp_path / "1").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "2").iterdir())
    for name in set(names) - {"config.yaml"}:
        one, two = ((tmp_path / folder / name).read_bytes() for folder in "12")
        assert one == two, name
    assert not any("draft" in name for name in names)


def test_it_goes_together_with_the_words_of_another_corpus(tmp_path: Path) -> None:
    out = tmp_path / "out"
    add(write_moshi(tmp_path / "in", talk()), out)
    assert len(Corpus.open(out)) == 0
    both = f"default,{out}"
    assert len(open_corpora(both)) == len(Corpus.open())
    assert [row.id for row in Conversations.open(both).rows if row.id.startswith("in/")]
    assert len({digest_of("default"), digest_of(both), digest_of(str(out))}) == 3


def test_adding_again_says_what_is_new(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, root = tmp_path / "out", tmp_path / "in"
    add(write_moshi(root, talk()), out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    add(root, out)
    assert "nothing is new in its source" in capsys.readouterr().err
    assert before == {path.name: path.read_bytes() for path in out.iterdir()}
    again = add(write_moshi(root, talk(), talk(first=2)), out)
    assert (again["new"], again["conversations"]["recorded"]) == (1, 2)


def test_compressed_files_are_kept_and_high_rates_resampled(tmp_path: Path) -> None:
    kept = write_moshi(tmp_path / "kept", talk(), suffix=".flac")
    add(kept, tmp_path / "a")
    (found,) = Conversations([tmp_path / "a"])
    side = found.sides[0]
    with (tmp_path / "a" / side.tar).open("rb") as file:
        file.seek(side.offset)
        assert file.read(side.size) == (kept / "stereo" / "0.flac").read_bytes()
    one = talk(rate=44_100)
    add(write_moshi(tmp_path / "high", one, suffix=".flac"), tmp_path / "b")
    opened = Conversations([tmp_path / "b"])
    (found,) = opened
    assert {side.sample_rate for side in found.sides} == {16_000}
    low = talk()
    for person, side in enumerate(found.sides):
        error = opened.sound(found, side, 0.0, found.duration_s)[: len(low.sounds[person])]
        error = error - low.sounds[person][: len(error)]
        assert np.square(error).sum() < 1e-3 * np.square(low.sounds[person]).sum()


def test_blocks_of_a_long_file_join_without_a_seam(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = talk(rate=22_050)
    add(write_moshi(tmp_path / "in", one), tmp_path / "whole")
    module = "microturn.datagen.corpora.conversations.checking.measured.BLOCK_S"
    monkeypatch.setattr(module, 2.0)
    add(tmp_path / "in", tmp_path / "pieces")
    whole, pieces = (
        (tmp_path / name / "audio-0000.tar").read_bytes() for name in ("whole", "pieces")
    )
    assert whole == pieces


def test_interpolated_and_unknown_words_keep_their_class(tmp_path: Path) -> None:
    unknown = [["somewhere in here", [2.0, 3.4], "SPEAKER_OTHER"]]
    source = write_moshi(tmp_path / "in", talk(), interpolated=[1], unknown=unknown)
    add(source, tmp_path / "out")
    (found,) = Conversations([tmp_path / "out"])
    agent, user = found.sides
    assert [word.times for word in agent.words[:3]] == [GIVEN, INTERPOLATED, GIVEN]
    (entry,) = [word for word in user.words if word.times == UNKNOWN]
    assert (entry.text, entry.start_s, entry.end_s) == ("somewhere in here", 2.0, 3.4)
    assert user.activity, "when a segment sounds is found in the sound"


def test_a_side_without_words_has_its_activity(tmp_path: Path) -> None:
    one = talk()
    source = write_moshi(tmp_path / "in", one)
    path = source / "stereo" / "0.json"
    rows = json.loads(path.read_text())["alignments"]
    path.write_text(json.dumps({"alignments": [row for row in rows if row[2] == "SPEAKER_MAIN"]}))
    add(source, tmp_path / "out")
    (found,) = Conversations([tmp_path / "out"])
    user = found.sides[1]
    assert (user.words, found.sides[0].activity) == ((), ())
    said = np.zeros(round(one.duration_s * 100), bool)
    for word in one.words(1):
        said[round(word.start_s * 100) : round(word.end_s * 100)] = True
    active = np.zeros_like(said)
    for start_s, end_s in user.activity:
        active[round(start_s * 100) : round(end_s * 100)] = True
    assert (said & active).sum() > 0.9 * said.sum()
    assert (active & ~said).sum() < 0.25 * active.sum()


def test_a_faulty_row_or_file_is_one_sentence(tmp_path: Path) -> None:
    root = write_moshi(tmp_path / "in", talk(), talk(first=2), talk(first=4))
    (root / "stereo" / "1.wav").unlink()
    (root / "stereo" / "2.json").write_text("[]")
    with (root / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"duration": 3}\n')
    add(root, tmp_path / "out")
    found = reasons(tmp_path / "out")
    assert found["stereo/1"] == ("unreadable", "the file is missing")
    assert "2.json holds no alignments" in found["train-0000003"][1]
    assert found["train-0000004"] == ("entry", "train.jsonl, line 4: no 'path'")
    with pytest.raises(ValueError, match="the file is missing; without strict=true it is skipped"):
        add(root, tmp_path / "strict", strict=True)
    with pytest.raises(ValueError, match="holds no conversation of the layout scripted: it needs"):
        add(root, tmp_path / "other", format="scripted")


def test_sides_need_conversations(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"sides has a; give sides.a and sides.b"):
        CorpusAddConfig(source="x", sides={"a": "*_L.wav"})
    root = tmp_path / "in" / "ann"
    root.mkdir(parents=True)
    soundfile.write(root / "x.wav", talk().sounds[0], 16_000)
    (root / "x.txt").write_text("hello")
    with pytest.raises(ValueError, match="sides.a and sides.b name the files of conversations"):
        add(tmp_path / "in", tmp_path / "out", sides={"a": "*L", "b": "*R"})
    moshi = write_moshi(tmp_path / "calls", talk())
    with pytest.raises(ValueError, match="alignments= is for recordings"):
        add(moshi, tmp_path / "out", alignments="times")
    with pytest.raises(ValueError, match="has none of the layouts of conversations"):
        add(tmp_path / "in", tmp_path / "out", conversations=True)


def test_people_who_talk_with_each_other_are_on_one_side() -> None:
    circles = Circles()
    pairs = [(f"p{i}", f"p{i + 1}") for i in range(0, 200, 2)]
    pairs += [("p1", "p2"), ("p2", "p5")]
    for pair in pairs:
        circles.add(pair, "")
    splits = circles.splits(test_share=0.2)
    sides = {name: splits.of([name], "")[0] for pair in pairs for name in pair}
    assert all(sides[a] == sides[b] for a, b in pairs)
    share = sum(side == "test" for side in sides.values()) / len(sides)
    assert 0.1 < share < 0.3
    assert splits.of([""], "") == ("train", "")


def test_most_people_are_never_held_out_and_stated_splits_hold() -> None:
    circles = Circles()
    for i in range(20):
        circles.add((f"p{i}", f"p{i + 1}"), "")
    circles.add(("x", "y"), "")
    splits = circles.splits(test_share=0.9)
    assert splits.of(("p0", "p1"), "") == ("train", "")
    assert splits.of(("x", "y"), "") == ("test", "")
    stated = Circles()
    stated.add(("a", "b"), "train")
    stated.add(("b", "c"), "test")
    stated.add(("d", "e"), "")
    found = stated.splits(test_share=0.0)
    assert found.of(("b", "c"), "test") == ("test", "")
    side, problem = found.of(("a", "b"), "train")
    assert side == "test"
    assert "a and b talk with people whom the corpus' own split holds out" in problem
    assert found.of(("d", "e"), "") == ("train", "")


def test_the_list_of_corpora_counts_conversations(tmp_path: Path) -> None:
    add(write_moshi(tmp_path / "in", talk()), tmp_path / "corpora" / "calls", language="en")
    rows = list_corpora(str(tmp_path / "corpora"))
    head, *lines = listing_text(rows).splitlines()
    assert "conversations" in head
    (calls,) = (line for line in lines if line.startswith("calls"))
    assert "1 (0.00 h)" in calls
    assert "2 of 2" in calls
    assert list_corpora(str(tmp_path / "corpora" / "calls"))[-1] == rows[-1]


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    samples = np.stack(talk(n_turns=30).sounds, axis=1)
    n_times = 600 * 16_000 // len(samples)
    with soundfile.SoundFile(tmp_path / "long.wav", "w", 16_000, 2, "PCM_16") as file:
        for _ in range(n_times):
            file.write(samples)
    sounds = [FileSound(path=tmp_path / "long.wav", channel=channel) for channel in (0, 1)]
    tracemalloc.start()
    try:
        found = measured(sounds)
        (stored,) = stored_files(
            found, (None, None), max_rate=8_000, folder=tmp_path, name="stored"
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found[0].duration_s > 500
    assert soundfile.info(stored.path).duration == pytest.approx(found[0].duration_s, abs=1e-3)
    assert peak < 32 * 2**20, "all of it is twice as much"
