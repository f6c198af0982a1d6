"""Shard sets are read by plain WebDataset and by our reader, and what is damaged is named."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from microturn.datagen.dialogue.timeline import Timeline
from microturn.datagen.labels.dialogue import DialogueLabels
from microturn.datagen.pack import heard_tokens, say_tokens, text_in_tokens
from microturn.datagen.sets.shards import ShardReader, ShardWriter
from microturn.model.streams import LayoutError, StreamLayout, pack_dialogue


@pytest.fixture
def copied_set(finished_set: ShardReader, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_set.folder, tmp_path / "set"))


@pytest.mark.filterwarnings("ignore")  # webdataset leaves its files open
def test_plain_webdataset_reads_a_set(finished_set: ShardReader) -> None:
    import webdataset

    tars = [str(finished_set.folder / shard.name) for shard in finished_set.shards]
    samples = list(webdataset.WebDataset(tars, shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [f"{i:08d}" for i in range(6)]
    n_samples = finished_set.n_micro_turns * finished_set.layout.samples_per_micro_turn
    for sample in samples:
        for name in ("user.flac", "agent.flac"):
            audio, rate = soundfile.read(io.BytesIO(sample[name]))
            assert (len(audio), rate) == (n_samples, finished_set.layout.sample_rate)
        assert json.loads(sample["json"])["layout_hash"] == finished_set.layout.hash
        with np.load(io.BytesIO(sample["streams.npz"])) as lanes:
            assert lanes["say"].shape == (80, finished_set.layout.say_positions)


def test_any_dialogue_can_be_taken(finished_set: ShardReader) -> None:
    assert len(finished_set) == 6
    in_order = [sample.key for sample in finished_set]
    assert [finished_set[i].key for i in (5, 0, 3)] == [in_order[i] for i in (5, 0, 3)]
    assert finished_set[4].index == finished_set[4].labels.index == 4
    with pytest.raises(IndexError, match="has 6 dialogues, 0 to 5, not 6"):
        finished_set[6]


def test_features_are_those_of_the_stored_sound(finished_set: ShardReader) -> None:
    for sample in finished_set:
        timeline = _timeline(finished_set, sample.labels)
        packed = pack_dialogue(
            user_audio=sample.user(),
            agent_audio=sample.agent(),
            heard=heard_tokens(timeline),
            say=say_tokens(timeline, finished_set.layout),
            text_in=list(text_in_tokens(timeline)),
            layout=finished_set.layout,
            tokenizer=finished_set.tokenizer,
        )
        stored = sample.lanes().named_arrays()
        for name, array in packed.named_arrays().items():
            np.testing.assert_array_equal(stored[name], array, name)


@pytest.mark.parametrize("n", [1, 17, 50])
def test_the_first_micro_turns_do_not_know_the_later_ones(
    finished_set: ShardReader, n: int
) -> None:
    """Cut off the sound and the words after micro-turn n: the lanes before it stay the same."""
    sample, layout = finished_set[1], finished_set.layout
    timeline = _timeline(finished_set, sample.labels)
    # What is played in micro-turn n is decided, and therefore known, in n - 1.
    end = n * layout.samples_per_micro_turn
    packed = pack_dialogue(
        user_audio=sample.user()[:end],
        agent_audio=sample.agent()[:end],
        heard=[word for word in heard_tokens(timeline) if word.sample <= end],
        say=[word for word in say_tokens(timeline, layout) if word.sample < end],
        text_in=[text for text in text_in_tokens(timeline) if text.sample < end],
        layout=layout,
        tokenizer=finished_set.tokenizer,
    )
    whole = sample.lanes()
    for name, last in (
        ("audio_in", n),
        ("text_in", n),
        ("heard", n),
        ("say", n - 1),
        ("audio_out", n - 1),
    ):
        np.testing.assert_array_equal(packed[name][:last], whole[name][:last], name)


def _timeline(reader: ShardReader, labels: DialogueLabels) -> Timeline:
    n_samples = reader.n_micro_turns * reader.layout.samples_per_micro_turn
    return Timeline.from_labels(labels, sample_rate=reader.layout.sample_rate, n_samples=n_samples)


def test_what_the_agent_says_is_in_the_lane_and_in_the_words(finished_set: ShardReader) -> None:
    for sample in finished_set:
        ids = [int(token) for token in sample.tokens()["say"].reshape(-1)]
        spoken = [word.text for word in sample.labels.words.agent]
        assert finished_set.tokenizer.decode(ids).split() == spoken


def test_stems_add_up_to_the_microphone(finished_set: ShardReader) -> None:
    sample = finished_set[2]
    total = sum(sample.stem(n) for n in ("user", "background", "echo", "noise", "dither"))
    assert np.abs(total - sample.user()).max() <= 3.1 / 32768


def test_every_recording_is_named_with_its_licence(finished_set: ShardReader) -> None:
    for sample in finished_set:
        items = {item.id: item for item in sample.labels.items}
        for lane in ("user", "agent", "background"):
            assert {word.source for word in sample.labels.words.of(lane)} <= set(items)
        assert all(item.licence for item in items.values())
        agents = {item.voice for item in items.values() if item.lane == "agent"}
        assert agents <= {"asterisk-en"}
        users = [item for item in items.values() if item.lane == "user"]
        assert all(item.perturbed or item.speaker != "asterisk-en" for item in users)


def test_another_layout_is_refused(finished_set: ShardReader) -> None:
    with pytest.raises(LayoutError, match=r"layout.say_positions=2 but this run has 3"):
        ShardReader(finished_set.folder, layout=StreamLayout(say_positions=3))


def test_folders_that_are_no_finished_set(copied_set: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no shard set in"):
        ShardReader(tmp_path / "nowhere")
    (copied_set / "index.json").unlink()
    with pytest.raises(FileNotFoundError, match="an unfinished one"):
        ShardReader(copied_set)


def test_missing_and_cut_shards_are_named(copied_set: Path) -> None:
    shard = copied_set / "shard-000001.tar"
    shard.write_bytes(shard.read_bytes()[:-1024])
    with pytest.raises(ValueError, match=r"shard-000001.tar has \d+ bytes but index.json says"):
        ShardReader(copied_set)
    shard.unlink()
    with pytest.raises(FileNotFoundError, match="shard-000001.tar is missing"):
        ShardReader(copied_set)


def test_bytes_that_are_no_tar_are_named(copied_set: Path) -> None:
    shard = copied_set / "shard-000000.tar"
    shard.write_bytes(b"x" * shard.stat().st_size)
    reader = ShardReader(copied_set)
    with pytest.raises(ValueError, match="shard-000000.tar is damaged"):
        reader[0]


def test_a_format_of_the_future_is_refused(copied_set: Path) -> None:
    index = copied_set / "index.json"
    index.write_text(index.read_text().replace('"format": 1', '"format": 9', 1))
    with pytest.raises(ValueError, match="format 9, this code reads 1"):
        ShardReader(copied_set)


def test_a_set_without_features_says_so(finished_set: ShardReader) -> None:
    sample = finished_set[0]
    bare = {name: data for name, data in sample.members.items() if name != "features.npz"}
    with pytest.raises(ValueError, match="simulate with features=true"):
        replace(sample, members=bare).lanes()


def test_a_writer_leaves_no_trace_of_when_and_who(tmp_path: Path) -> None:
    for name in ("a", "b"):
        writer = ShardWriter(tmp_path / f"{name}.tar")
        writer.write(3, {"json": b"{}", "user.flac": b"abc"})
        writer.close()
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert [(m.name, m.mtime, m.uid) for m in tar] == [
            ("00000003.json", 0, 0),
            ("00000003.user.flac", 0, 0),
        ]
    abandoned = ShardWriter(tmp_path / "c.tar")
    abandoned.abandon()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "b.tar"]


def test_reading_shards_loads_no_torch() -> None:
    code = "import sys; import microturn.datagen.sets.shards, microturn.datagen.dialogue.timeline\n"
    code += "assert not {'torch', 'scipy', 'webdataset'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
