"""Conversations of a folder: lines when asked for, windows of sound, faults in one sentence."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from microturn.datagen.corpora.conversations.reader import Conversations
from microturn.datagen.corpora.conversations.record import CONVERSATIONS_NAME, CorpusConversation
from microturn.datagen.corpora.manifest import Corpus, resample
from microturn.model.streams.pcm import Audio

RATES = (8_000, 16_000, 22_050, 44_100, 48_000)


def recorded(rate: int, seconds: float = 6.0) -> Audio:
    """Two channels of real speech at a rate: samples (n, 2)."""
    corpus = Corpus.open()
    lines = [u for u in corpus.filter(language="en") if u.duration_s > 2.5][:4]
    n = round(seconds * rate)
    channels = []
    for pair in (lines[:2], lines[2:]):
        voice = np.concatenate([corpus.load(u) for u in pair])
        channels.append(np.resize(resample(voice, 16_000, new_rate=rate), n))
    return np.stack(channels, axis=1).astype(np.float32)


def write_folder(folder: Path, samples: Audio, rate: int, **changes: Any) -> Path:
    """A corpus folder of one conversation, its sound between two other members of a tar."""
    folder.mkdir(exist_ok=True)
    data = io.BytesIO()
    soundfile.write(data, samples, rate, format="FLAC", subtype="PCM_16")
    with tarfile.open(folder / "audio-0000.tar", "w") as tar:
        for name, content in (("a", b"x" * 700), ("c.flac", data.getvalue()), ("z", b"y" * 900)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with tarfile.open(folder / "audio-0000.tar") as tar:
        offset = tar.getmember("c.flac").offset_data
    side = {
        "tar": "audio-0000.tar",
        "member": "c.flac",
        "offset": offset,
        "size": len(data.getvalue()),
        "sample_rate": rate,
    }
    line = {
        "id": "own/one",
        "kind": "recorded",
        "source": "own",
        "split": "train",
        "language": "en-US",
        "licence": "CC0-1.0",
        "duration": len(samples) / rate,
        "sides": [
            {**side, "speaker": "own-a", "channel": 0, "words": [["hello", 0.5, 0.9]]},
            {**side, "speaker": "own-b", "channel": 1, "words": [], "activity": [[1.0, 2.0]]},
        ],
        **changes,
    }
    (folder / CONVERSATIONS_NAME).write_text(json.dumps(line) + "\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("rate", RATES)
def test_a_window_is_a_part_of_the_whole(tmp_path: Path, rate: int) -> None:
    samples = recorded(rate)
    opened = Conversations([write_folder(tmp_path, samples, rate)])
    (found,) = opened
    whole = [
        resample(np.ascontiguousarray(channel), rate, new_rate=16_000)
        for channel in (np.round(samples.T * 32768).clip(-32768, 32767) / 32768).astype(np.float32)
    ]
    for start_s, end_s in ((0.0, 6.0), (0.0, 0.3), (1.2345, 2.5), (4.2, 6.0)):
        for side, truth in zip(found.sides, whole, strict=True):
            window = opened.sound(found, side, start_s, end_s)
            first, last = round(start_s * 16_000), round(end_s * 16_000)
            assert len(window) == last - first
            np.testing.assert_allclose(window, truth[first:last], atol=3e-5)


def test_what_lies_beyond_the_end_and_what_is_redacted_is_silent(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, recorded(16_000), 16_000, redacted=[[1.0, 1.5]])
    opened = Conversations([folder])
    found = opened.find("own/one")
    window = opened.sound(found, found.sides[0], 0.9, 7.0)
    assert len(window) == round(6.1 * 16_000)
    assert not window[1600:9600].any()
    assert window[:1600].any()
    assert not window[round(5.1 * 16_000) :].any()


def test_a_line_is_written_as_it_was_read(tmp_path: Path) -> None:
    opened = Conversations([write_folder(tmp_path, recorded(16_000), 16_000)])
    found = opened[0]
    assert CorpusConversation.from_json(json.loads(json.dumps(found.to_json()))) == found
    row = opened.rows[0]
    assert (row.language, row.speakers, row.has_words) == ("en", ("own-a", "own-b"), (True, False))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kind": "stereo"}, "field 'kind' is 'stereo', not one of recorded, scripted"),
        ({"sides": []}, "a recorded conversation has two sides, this one 0"),
        ({"redacted": [[5, 9]]}, "times 5 to 9 s are not inside the recording"),
        ({"kind": "scripted", "turns": []}, "a scripted dialogue needs two turns, it has 0"),
        ({"licence": None}, "field 'licence' is None, not str"),
    ],
)
def test_a_wrong_line_is_one_sentence(tmp_path: Path, changes: Any, sentence: str) -> None:
    folder = write_folder(tmp_path, recorded(16_000, 3.0), 16_000, **changes)
    with pytest.raises((ValueError, TypeError), match=f"line 1: {sentence}"):
        Conversations([folder])


def test_a_missing_tar_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, recorded(16_000, 3.0), 16_000)
    (folder / "audio-0000.tar").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks audio-0000.tar"):
        Conversations([folder])


def test_the_corpus_that_ships_has_no_recorded_conversation() -> None:
    assert all(row.kind == "scripted" for row in Conversations.open("").rows)
