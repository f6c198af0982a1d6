"""Lhotse cuts, NeMo's duplex cuts, shard sets and scripted dialogues, with their typical faults."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from microturn.datagen.corpora.add import SKIPPED_NAME, add_corpus
from microturn.datagen.corpora.config import CorpusAddConfig
from microturn.datagen.corpora.conversations.layouts.choice import layout_of
from microturn.datagen.corpora.conversations.reader import Conversations
from microturn.datagen.corpora.conversations.record import CorpusConversation
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.export.config import ExportConfig
from microturn.datagen.export.export import export
from microturn.datagen.labels.time_classes import UNKNOWN
from microturn.datagen.sets.shards import ShardReader
from support.conversation_trees import Talk, put_sound, talk


def add(source: Path, out: Path, **keys: Any) -> dict[str, Any]:
    config = CorpusAddConfig(
        **{"source": str(source), "out": str(out), "workers": 1, "align": False, **keys}
    )
    return add_corpus(config)


def reasons(out: Path) -> dict[str, str]:
    rows = map(json.loads, (out / SKIPPED_NAME).read_text(encoding="utf-8").splitlines())
    return {row["id"]: row["reason"] for row in rows}


def write_rows(path: Path, *rows: Any) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def words_of(found: CorpusConversation) -> list[list[tuple[str, float]]]:
    return [[(word.text, word.start_s) for word in side.words] for side in found.sides]


def duplex_cut(root: Path, one: Talk, **changes: Any) -> dict[str, Any]:
    """A cut of NeMo's duplex data: the user is its recording, the agent its target."""
    put_sound(root / "user.wav", one, 0)
    put_sound(root / "agent.wav", one, 1)
    recordings = [
        {
            "id": name,
            "sources": [{"type": "file", "channels": [0], "source": f"{name}.wav"}],
            "sampling_rate": one.rate,
            "duration": one.duration_s,
        }
        for name in ("user", "agent")
    ]
    supervisions = [
        {
            "id": f"s{number}",
            "start": turn.start_s,
            "duration": turn.end_s - turn.start_s,
            "channel": 0,
            "text": turn.text,
            "speaker": ("user", "agent")[turn.person],
            "language": "en",
        }
        for number, turn in enumerate(one.turns)
    ]
    return {
        "id": "duplex",
        "start": 0,
        "duration": one.duration_s,
        "channel": 0,
        "type": "MonoCut",
        "supervisions": supervisions,
        "recording": recordings[0],
        "custom": {"target_audio": recordings[1]},
        **changes,
    }


def test_a_duplex_cut_has_user_and_agent(tmp_path: Path) -> None:
    one, root = talk(), tmp_path / "in"
    write_rows(root / "cuts.jsonl", duplex_cut(root, one))
    add(root, tmp_path / "out")
    opened = Conversations([tmp_path / "out"])
    (found,) = opened
    assert [side.role for side in found.sides] == ["user", "agent"]
    assert found.language == "en"
    for person, side in enumerate(found.sides):
        sound = opened.sound(found, side, 0.0, found.duration_s)
        assert np.abs(sound - one.sounds[person]).max() < 1e-4
        assert [word.times for word in side.words] == [UNKNOWN] * 3, "one entry for each turn"
        assert [word.start_s for word in side.words] == [t.start_s for t in one.turns_of(person)]
        assert len(side.activity) >= 3


def test_what_a_cut_may_lack_is_said(tmp_path: Path) -> None:
    one, root = talk(), tmp_path / "in"
    good = duplex_cut(root, one)
    plain = {**good, "id": "plain", "custom": None}
    stored = {**good, "id": "stored"}
    stored["recording"] = {**good["recording"], "sources": [{"type": "memory", "channels": [0]}]}
    moved = {**good, "id": "moved"}
    moved["recording"] = {**good["recording"], "transforms": [{"name": "Speed"}]}
    write_rows(root / "cuts.jsonl", good, plain, stored, moved)
    add(root, tmp_path / "out")
    assert reasons(tmp_path / "out") == {
        "plain": "cuts.jsonl, cut plain: it has no channel for each person, and no "
        "custom.target_audio",
        "stored": "cuts.jsonl, cut stored: its sound is of the type memory, and only files are "
        "read",
        "moved": "cuts.jsonl, cut moved: its recording has transforms, which are not applied",
    }


def test_cuts_of_one_channel_stay_recordings(tmp_path: Path) -> None:
    root = tmp_path / "in"
    cut = duplex_cut(root, talk(), custom=None)
    write_rows(root / "cuts.jsonl", cut)
    assert layout_of(root, "auto", asked=False) is None


def test_a_window_of_a_long_recording_is_cut_out(tmp_path: Path) -> None:
    one, root = talk(), tmp_path / "in"
    cut = duplex_cut(root, one)
    start = one.turns[2].start_s - 0.1
    cut |= {"start": start, "duration": one.duration_s - start}
    cut["supervisions"] = [
        {**row, "start": row["start"] - start} for row in cut["supervisions"][2:]
    ]
    write_rows(root / "cuts.jsonl", cut)
    add(root, tmp_path / "out")
    opened = Conversations([tmp_path / "out"])
    (found,) = opened
    assert found.duration_s == pytest.approx(one.duration_s - start, abs=1e-3)
    sound = opened.sound(found, found.sides[0], 0.0, 1.0)
    first = round(start * one.rate)
    assert np.abs(sound - one.sounds[0][first : first + 16_000]).max() < 1e-4
    assert found.sides[0].words[0].start_s == pytest.approx(0.1, abs=1e-3)


def test_shards_keep_people_and_licences(finished_set: ShardReader, tmp_path: Path) -> None:
    summary = add(Path(str(finished_set.folder)), tmp_path / "out")
    assert summary["format"] == "shards"
    people = {line.speaker for line in Corpus.open()}
    for sample, found in zip(finished_set, Conversations([tmp_path / "out"]), strict=True):
        assert set(found.speakers) <= people
        assert set(found.licence.split(" AND ")) == {i.licence for i in sample.labels.items}
        assert found.licence_from == "stated"
        assert found.language == "en"


def script(root: Path, one: Talk, **changes: Any) -> dict[str, Any]:
    """A dialogue whose turns are files of their own."""
    rows = []
    for number, turn in enumerate(one.turns):
        first, end = (round(seconds * one.rate) for seconds in (turn.start_s, turn.end_s))
        path = root / "audio" / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, one.sounds[turn.person][first:end], one.rate)
        rows.append(
            {
                "speaker": one.people[turn.person],
                "role": ("user", "assistant")[turn.person],
                "audio": f"audio/{number}.wav",
                "text": turn.text,
                "words": [
                    [w.text, round(w.start_s - turn.start_s, 3), round(w.end_s - turn.start_s, 3)]
                    for w in turn.words
                ],
            }
        )
    return {"id": "d1", "turns": rows, "language": "en", **changes}


def test_a_scripted_dialogue_names_its_turns_in_order(tmp_path: Path) -> None:
    one, root = talk(), tmp_path / "plays"
    row = script(root, one, instructions="Be brief.", licence="CC0-1.0")
    repeated = {**row, "id": "d2", "turns": row["turns"][:4]}
    write_rows(root / "dialogues.jsonl", row, repeated)
    summary = add(root, tmp_path / "out")
    corpus, (found, second) = Corpus.open(tmp_path / "out"), Conversations([tmp_path / "out"])
    assert (found.kind, found.instructions, found.licence) == ("scripted", "Be brief.", "CC0-1.0")
    assert [turn.role for turn in found.turns] == ["user", "agent"] * 3
    for turn, spoken in zip(found.turns, one.turns, strict=True):
        line = corpus[turn.utterance]
        assert line.speaker == turn.speaker == f"plays-{one.people[spoken.person]}"
        assert [word.text for word in line.words] == [word.text for word in spoken.words]
    assert second.turns == found.turns[:4], "recordings are stored once"
    assert (summary["recordings"], summary["conversations"]["scripted"]) == (6, 2)
    assert summary["skipped"] == {}
    assert len({line.split for line in corpus} | {found.split, second.split}) == 1


def test_a_turn_that_cannot_be_used_is_named_with_its_file(tmp_path: Path) -> None:
    root = tmp_path / "plays"
    row = script(root, talk())
    lacking = {**script(root / "b", talk(first=3)), "id": "lacking"}
    lacking["turns"] = [{**turn, "audio": f"b/{turn['audio']}"} for turn in lacking["turns"]]
    (root / "b" / "audio" / "2.wav").unlink()
    short = {**row, "id": "short", "turns": row["turns"][:1]}
    odd = {**row, "id": "odd", "turns": [{**row["turns"][0], "role": "narrator"}] * 2}
    mute = {**row, "id": "mute", "turns": [{"speaker": "x", "text": "hello"}] * 2}
    alone = {**row, "id": "alone", "turns": row["turns"][::2]}
    nobody = {**row, "id": "nobody", "turns": [{**turn, "speaker": ""} for turn in row["turns"]]}
    write_rows(root / "dialogues.jsonl", row, lacking, short, odd, mute, alone, nobody)
    add(root, tmp_path / "out")
    found = reasons(tmp_path / "out")
    assert found["lacking"].startswith("its turn 3, ")
    assert found["lacking"].endswith("2.wav: the file is missing")
    assert "line 3: it has 1 turn, and a dialogue needs two" in found["short"]
    assert "line 4: the role 'narrator' is neither user nor agent" in found["odd"]
    assert "line 5: its turn 1 names no audio file" in found["mute"]
    assert "line 6: all its turns are by 'asterisk-en', and a dialogue needs two" in found["alone"]
    assert "line 7: its turn 1 names no speaker" in found["nobody"]
    assert len(Corpus.open(tmp_path / "out")) == 11, "the other turns are recordings still"


def test_two_layouts_in_one_folder_are_refused_with_their_names(tmp_path: Path) -> None:
    root = tmp_path / "both"
    write_rows(root.parent / "x", {})
    row = script(root, talk())
    write_rows(root / "dialogues.jsonl", row)
    write_rows(root / "cuts.jsonl", duplex_cut(root, talk()))
    with pytest.raises(ValueError, match=r"may be lhotse_dialogues and scripted; give format=lho"):
        add(root, tmp_path / "out")
    add(root, tmp_path / "out", format="scripted")
    with pytest.raises(ValueError, match="format=librispeech has no conversations; these have"):
        layout_of(root, "librispeech", asked=True)


def test_a_set_that_was_moved_is_read_where_it_lies(
    finished_set: ShardReader, tmp_path: Path
) -> None:
    keys = {"data": str(finished_set.folder), "format": "lhotse", "n_dialogues": 2}
    out = export(ExportConfig(**keys, out=str(tmp_path / "a"), shar=True))
    shutil.move(out, tmp_path / "b")
    add(tmp_path / "b", tmp_path / "out")
    add(tmp_path / "b" / "shar", tmp_path / "shar-out", name="b")
    plain, shar = (Conversations([tmp_path / name]) for name in ("out", "shar-out"))
    assert len(plain) == len(shar) == 2
    for one, other in zip(plain, shar, strict=True):
        assert words_of(one) == words_of(other)
        for a, b in zip(one.sides, other.sides, strict=True):
            sounds = (plain.sound(one, a, 0.0, 9.0), shar.sound(other, b, 0.0, 9.0))
            assert np.array_equal(*sounds)
    (tmp_path / "b" / "shar" / "recording.000000.tar").unlink()
    with pytest.raises(ValueError, match="recording.000000.tar is missing beside its cuts"):
        add(tmp_path / "b" / "shar", tmp_path / "none")


def test_a_file_that_is_no_corpus_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "cuts.jsonl").write_text("{}\nnot json\n")
    with pytest.raises(ValueError, match="is not a complete lhotse_dialogues corpus"):
        add(tmp_path, tmp_path / "out", format="lhotse_dialogues")
