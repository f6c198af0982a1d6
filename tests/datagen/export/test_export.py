"""Exports are opened by the libraries that they are for, and compared sample by sample."""

from __future__ import annotations

import gc
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from microturn.configs import main as cli
from microturn.datagen.corpora.manifest import resample
from microturn.datagen.export.config import ExportConfig
from microturn.datagen.export.dialogue import segments_of
from microturn.datagen.export.export import export
from microturn.datagen.sets.shards import ShardReader, StoredDialogue
from microturn.model.streams.pcm import to_pcm16

N = 6
Export = Callable[..., Path]


@pytest.fixture
def exported(finished_set: ShardReader, tmp_path: Path) -> Export:
    """`microturn export SET format=FORMAT`, and the folder that it makes."""

    def call(form: str, **keys: Any) -> Path:
        out = tmp_path / form
        return export(
            ExportConfig(data=str(finished_set.folder), format=form, out=str(out), **keys)
        )

    return call


def words_of(sample: StoredDialogue, *lanes: str) -> list[tuple[str, float, float]]:
    found = [
        (word.text, word.start_s, word.end_s)
        for lane in lanes
        for word in sample.labels.words.of(lane)
    ]
    return sorted(found, key=lambda word: (word[1], word[2], word[0]))


def test_moshi_finetune_gets_stereo_at_24_khz_and_words(
    finished_set: ShardReader, exported: Export
) -> None:
    sphn = pytest.importorskip("sphn")  # what moshi-finetune reads its sound with
    out = exported("moshi")
    rows = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    assert len(rows) == N
    assert sphn.durations([str(out / row["path"]) for row in rows]) == pytest.approx(
        [row["duration"] for row in rows]
    )
    for sample, row in zip(finished_set, rows, strict=True):
        audio, rate = sphn.read(str(out / row["path"]))
        assert rate == 24_000
        left, right = (
            to_pcm16(resample(side, 16_000, new_rate=24_000))
            for side in (sample.agent(), sample.user())
        )
        assert np.array_equal(np.round(audio * 32768).astype(int), np.stack([left, right]))
        back = resample(audio[0], 24_000, new_rate=16_000)
        error = np.square(back - sample.agent()).sum() / np.square(sample.agent()).sum()
        assert error < 0.001, "no shift and no swap of channels"
        words = json.loads((out / row["path"]).with_suffix(".json").read_text())["alignments"]
        for speaker, lane in (("SPEAKER_MAIN", "agent"), ("SPEAKER_OTHER", "user")):
            said = [(text, *span) for text, span, name in words if name == speaker]
            assert sorted(said, key=lambda w: (w[1], w[2], w[0])) == words_of(sample, lane)
        starts = [span[0] for _, span, _ in words]
        assert starts == sorted(starts)


def test_the_loader_of_moshi_finetune_iterates_over_it(exported: Export) -> None:
    sphn = pytest.importorskip("sphn")
    out = exported("moshi")
    pieces = sphn.dataset_jsonl(
        str(out / "train.jsonl"),
        duration_sec=8.0,
        num_threads=1,
        sample_rate=24_000,
        pad_last_segment=True,
    )
    found = list(pieces)
    assert len(found) == 2 * N
    assert found[0]["data"].shape == (2, 8 * 24_000)
    assert Path(found[0]["path"]).with_suffix(".json").is_file()


def test_lhotse_reads_cuts_of_two_channels_with_words(
    finished_set: ShardReader, exported: Export
) -> None:
    lhotse = pytest.importorskip("lhotse")
    out = exported("lhotse")
    cuts = lhotse.CutSet.from_file(out / "cuts.jsonl.gz")
    recordings = lhotse.RecordingSet.from_file(out / "recordings.jsonl.gz")
    supervisions = lhotse.SupervisionSet.from_file(out / "supervisions.jsonl.gz")
    lhotse.validate_recordings_and_supervisions(recordings, supervisions, read_data=True)
    lhotse.validate(cuts, read_data=True)
    by_id = {recording.id: recording for recording in recordings}
    assert len(by_id) == len(list(cuts)) == N
    for sample, cut in zip(finished_set, cuts, strict=True):
        check_cut(sample, cut)
        assert cut.custom["events"] == sample.json["events"]
        assert by_id[cut.id].load_audio().shape == (2, cut.num_samples)


def check_cut(sample: StoredDialogue, cut: Any) -> None:
    """Sound to the bit, words to the sample."""
    audio = cut.load_audio()
    assert cut.sampling_rate == 16_000
    assert np.array_equal(audio, np.stack([sample.user(), sample.agent()]))
    for channel, lanes in ((0, ("user", "background")), (1, ("agent",))):
        items = [
            (item.symbol, item.start, item.end)
            for supervision in cut.supervisions
            if supervision.channel == channel
            for item in supervision.alignment["word"]
        ]
        expected = words_of(sample, *lanes)
        assert len(items) == len(expected)
        for got, want in zip(
            sorted(items, key=lambda w: (w[1], w[2], w[0])), expected, strict=True
        ):
            assert got[0] == want[0]
            assert got[1:] == pytest.approx(want[1:], abs=2e-6)


@pytest.mark.filterwarnings(  # lhotse leaves the tars open
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_lhotse_shar_holds_the_same(finished_set: ShardReader, exported: Export) -> None:
    lhotse = pytest.importorskip("lhotse")
    out = exported("lhotse", shar=True, dialogues_per_shard=4)
    assert sorted(path.name for path in (out / "shar").iterdir()) == [
        *("cuts.000000.jsonl.gz", "cuts.000001.jsonl.gz"),
        *("recording.000000.tar", "recording.000001.tar"),
    ]
    for path in (out / "audio").iterdir():
        path.unlink()  # everything is in the tars
    cuts = list(lhotse.CutSet.from_shar(in_dir=out / "shar"))
    for sample, cut in zip(finished_set, cuts, strict=True):
        check_cut(sample, cut)
    del cut, cuts
    gc.collect()


def test_nemo_manifests_rttm_and_ctm(finished_set: ShardReader, exported: Export) -> None:
    lhotse = pytest.importorskip("lhotse")  # reads RTTM and CTM with code of its own
    out = exported("nemo")
    rows = [json.loads(line) for line in (out / "diarization.json").read_text().splitlines()]
    assert len(rows) == N
    for sample, row in zip(finished_set, rows, strict=True):
        assert {"label": "infer", "text": "-", "offset": 0}.items() <= row.items()
        audio, rate = soundfile.read(out / row["audio_filepath"], dtype="int16")
        mixed = (sample.user().astype(np.float64) + sample.agent()) / 2 * 32768
        assert rate == 16_000
        assert np.array_equal(audio, np.round(mixed).astype(np.int16))
        assert row["duration"] == len(audio) / rate
        # A name without suffix is what NeMo joins its files by.
        assert {Path(row[key]).stem for key in row if key.endswith("path") and row[key]} == {
            sample.key
        }
        segments = segments_of(sample, 0.5)
        turns = lhotse.SupervisionSet.from_rttm(out / row["rttm_filepath"])
        got = [(turn.recording_id, turn.speaker, turn.start, turn.duration) for turn in turns]
        assert got == [(sample.key, s.voice, s.start_s, s.duration_s) for s in segments]
        assert row["num_speakers"] == len({turn.speaker for turn in turns})
        check_ctm(sample, out / row["ctm_filepath"], turns)


def check_ctm(sample: StoredDialogue, path: Path, turns: Any) -> None:
    words = words_of(sample, "user", "agent", "background")
    fields = [line.split() for line in path.read_text().splitlines()]
    assert all(len(row) == 8 and row[0] == sample.key and row[6] == "lex" for row in fields)
    said = [(row[4], float(row[2]), float(row[2]) + float(row[3])) for row in fields]
    for got, want in zip(sorted(said, key=lambda w: (w[1], w[2], w[0])), words, strict=True):
        assert got[0] == want[0]
        assert got[1:] == pytest.approx(want[1:], abs=2e-6)
    aligned = turns.with_alignment_from_ctm(path)
    for turn in aligned:
        mine = [row[4] for row in fields if row[7] == turn.speaker]
        inside = [item.symbol for item in turn.alignment["word"]]
        assert inside, "a reader of CTM finds the words of every turn of RTTM"
        assert set(inside) & set(mine)


def test_the_manifest_of_recognition_points_at_the_words(
    finished_set: ShardReader, exported: Export
) -> None:
    out = exported("nemo", n_dialogues=2)
    rows = [json.loads(line) for line in (out / "asr.json").read_text().splitlines()]
    expected = [segment for i in range(2) for segment in segments_of(finished_set[i], 0.5)]
    assert [row["text"] for row in rows] == [segment.text for segment in expected]
    for row, segment in zip(rows, expected, strict=True):
        piece, rate = soundfile.read(
            out / row["audio_filepath"],
            start=round(row["offset"] * 16_000),
            frames=round(row["duration"] * 16_000),
            dtype="float32",
        )
        whole = finished_set[int(segment.id[:8])]
        side = whole.agent() if segment.lane == "agent" else whole.user()
        first = round(segment.start_s * rate)
        assert np.array_equal(piece, side[first : first + len(piece)])
        if segment.lane == "agent":
            assert np.abs(piece).max() > 0.01


def test_segments_hold_one_voice_and_break_at_silences(finished_set: ShardReader) -> None:
    for sample in finished_set:
        for segment in segments_of(sample, 0.5):
            for before, after in zip(segment.words, segment.words[1:], strict=False):
                assert after.start_s - before.end_s < 0.5
        alone = segments_of(sample, 0.0)
        words = [(w.text, w.start_s, w.end_s) for segment in alone for w in segment.words]
        expected = words_of(sample, "user", "agent", "background")
        assert sorted(words, key=lambda w: (w[1], w[2], w[0])) == expected


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("streaming", [False, True])
def test_hugging_face_datasets_reads_the_shards(
    streaming: bool, finished_set: ShardReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    from microturn.datagen.export.huggingface import as_dataset

    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    found = as_dataset(finished_set.folder, streaming=streaming, cache_dir=str(tmp_path))
    rows = list(found)
    assert len(rows) == N
    for sample, row in zip(finished_set, rows, strict=True):
        assert row["__key__"] == sample.key
        for name, audio in (("user.flac", sample.user()), ("agent.flac", sample.agent())):
            got, _ = soundfile.read(io.BytesIO(row[name]), dtype="float32")
            assert np.array_equal(got, audio)
        for name, lane in sample.tokens().items():
            assert np.array_equal(np.array(row["streams.npz"][name]), lane)
        stored = row["json"]["words"]["agent"]
        assert [w["text"] for w in stored] == [w.text for w in sample.labels.words.agent]
    assert [row["json"]["channel"]["digital_zero_s"] for row in rows] == [
        sample.json["channel"]["digital_zero_s"] for sample in finished_set
    ]


def test_the_types_of_labels_do_not_depend_on_the_dialogues(
    finished_set: ShardReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    from microturn.datagen.export.huggingface import features_of

    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    features = features_of(finished_set)
    channel, number = features["json"]["channel"], datasets.Value("float64")
    assert all(sample.json["channel"]["echo_path"] is None for sample in finished_set)
    assert (channel["echo_path"]["erle_db"], channel["line"]["clip_db"]) == (number, number)
    assert channel["network"]["lost_s"] == datasets.List(datasets.List(number))
    tars = [str(finished_set.folder / shard.name) for shard in finished_set.shards]
    rows = datasets.load_dataset(
        "webdataset", data_files=tars, split="train", features=features, cache_dir=str(tmp_path)
    )
    assert [row["json"]["index"] for row in rows] == list(range(N))


def test_decoded_audio_is_a_matter_of_the_features(finished_set: ShardReader) -> None:
    datasets = pytest.importorskip("datasets")
    from microturn.datagen.export.huggingface import features_of

    assert features_of(finished_set)["user.flac"] == datasets.Value("binary")
    assert isinstance(features_of(finished_set, decode=True)["user.flac"], datasets.Audio)


def test_the_command_and_its_errors(
    finished_set: ShardReader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(finished_set.folder), "format=moshi", f"out={tmp_path / 'm'}"]
    assert cli.main([*words, "n_dialogues=1"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "m")
    assert (tmp_path / "m" / "config.yaml").is_file()
    assert len((tmp_path / "m" / "train.jsonl").read_text().splitlines()) == 1
    assert cli.main(words) == 1
    assert "exists and is not empty; give another out=FOLDER" in capsys.readouterr().err
    assert cli.main(["export", str(tmp_path / "no"), "format=nemo", f"out={tmp_path}/x"]) == 1
    assert "there is no shard set" in capsys.readouterr().err
    assert cli.main([*words[:2], "format=kaldi", "out=x"]) == 2
    assert "format='kaldi' is none of moshi, lhotse, nemo" in capsys.readouterr().err
    assert cli.main([*words, "--shar"]) == 2
    assert "shar=true goes with format=lhotse" in capsys.readouterr().err
    for key in ("n_dialogues=-1", "join_s=-1", "dialogues_per_shard=0"):
        assert cli.main([*words, key]) == 2
        assert f"{key} must" in capsys.readouterr().err.replace("=-1.0", "=-1")


def test_equal_sets_give_equal_bytes(exported: Export, tmp_path: Path) -> None:
    first = {p.name: p.read_bytes() for p in exported("lhotse").iterdir() if p.is_file()}
    (tmp_path / "lhotse").rename(tmp_path / "before")
    again = {p.name: p.read_bytes() for p in exported("lhotse").iterdir() if p.is_file()}
    assert first == again
