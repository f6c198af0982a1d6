"""`microturn talk` as a person types it."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from microturn.configs.load import load_config
from microturn.configs.main import main
from microturn.inference.audio import encode_pcm16, read_recording, resample
from microturn.inference.config import TalkConfig
from microturn.inference.micro_turn import MicroTurnIn
from microturn.inference.rows import RowBatch
from microturn.model.streams import StreamLayout
from microturn.model.streams.pcm import Audio

RATE = StreamLayout().sample_rate


def talk(*words: object) -> int:
    return main(["talk", *map(str, words)])


def test_a_recording_is_answered_on_its_own_clock(
    recording_file: Path,
    recording: Audio,
    checkpoint_folder: Path,
    one_row: RowBatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    where = [f"out={tmp_path}", f"checkpoint={checkpoint_folder}", "device=cpu"]
    assert talk(recording_file, *where) == 0
    shown = capsys.readouterr()
    assert "talk:" in shown.err
    assert f"{checkpoint_folder} runs on the CPU (1 thread)" in shown.err
    assert "resampled" not in shown.err
    assert "heard:" in shown.out

    info = soundfile.info(tmp_path / "output.wav")
    assert (info.frames, info.samplerate, info.channels) == (len(recording), RATE, 1)
    words = json.loads((tmp_path / "words.json").read_text())
    assert {"heard", "said", "delegations", "results"} <= set(words)
    assert words["seconds"] == pytest.approx(len(recording) / RATE)
    assert all(0 <= word["time_s"] <= words["seconds"] + 0.2 for word in words["said"])
    config = load_config(TalkConfig, [tmp_path / "config.yaml"])
    assert config.input == str(recording_file)
    with Image.open(tmp_path / "timeline.png") as picture:
        assert picture.width > 800
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    assert len(np.unique(pixels, axis=0)) > 20  # something was drawn

    # The same micro-turns by hand: what is heard in one is answered from the next one on.
    spm = one_row.layout.samples_per_micro_turn
    heard = read_recording(recording_file, sample_rate=RATE).samples
    padded = np.pad(heard, (0, -len(heard) % spm)).reshape(-1, spm)
    outputs = [one_row.step_rows({0: MicroTurnIn(audio=audio)})[0] for audio in padded]
    pieces = [np.zeros(spm, np.float32), *(output.audio for output in outputs)]
    expected = np.concatenate(pieces)[: len(recording)]
    written, _ = soundfile.read(tmp_path / "output.wav", dtype="float32")
    assert encode_pcm16(written) == encode_pcm16(expected)


def test_another_rate_is_resampled_and_reported(
    recording: Audio,
    checkpoint_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "music.flac"
    soundfile.write(
        path, np.tile(resample(recording, rate=RATE, new_rate=44_100)[:, None], (1, 2)), 44_100
    )
    out = tmp_path / "out"
    assert talk(path, f"out={out}", f"checkpoint={checkpoint_folder}") == 0
    said = capsys.readouterr().err
    assert f"{path}: resampled from 44100 Hz to {RATE} Hz" in said
    assert f"{path}: 2 channels mixed down to one" in said
    frames = soundfile.info(out / "output.wav").frames
    assert abs(frames - len(recording)) <= 1


@pytest.mark.parametrize("n_samples", [1, 3_199, 3_200, 3_201])
def test_any_length_gives_the_same_length(
    n_samples: int, checkpoint_folder: Path, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(n_samples, 0.1), RATE)
    assert talk(tmp_path / "a.wav", f"out={tmp_path}", f"checkpoint={checkpoint_folder}") == 0
    assert soundfile.info(tmp_path / "output.wav").frames == n_samples


def test_an_unreadable_recording_leaves_no_files(
    checkpoint_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("no sound here")
    for name, sentence in (("notes.txt", "not a recording"), ("none.wav", "no such file")):
        out = tmp_path / "out"
        assert talk(tmp_path / name, f"out={out}", f"checkpoint={checkpoint_folder}") == 1
        error = capsys.readouterr().err.strip()
        assert sentence in error
        assert len(error.splitlines()) == 1
        assert not out.exists()


def test_a_missing_checkpoint_says_where_to_get_one(
    recording_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert talk(recording_file, f"out={tmp_path}", f"checkpoint={tmp_path / 'none'}") == 1
    error = capsys.readouterr().err
    assert "no checkpoint here; `make demo` trains one" in error
    assert len(error.strip().splitlines()) == 1


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert talk("a.wav") == 2
    assert "out" in capsys.readouterr().err
    assert talk("a.wav", "out=x", "agent.latency=3") == 2
    assert "agent.latency_s" in capsys.readouterr().err
    assert talk("a.wav", "out=x", "agent.max_pending=0") == 2
    assert "agent.max_pending=0 must be at least 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("device", "sentence"),
    [
        ("gpu", "device=gpu is no device; use cpu, cuda, cuda:0 or auto"),
        ("meta", "device=meta is not supported"),
        pytest.param(
            "cuda",
            "device=cuda, but PyTorch finds no GPU here; use cpu or auto",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
        pytest.param(
            "cuda:99",
            "device=cuda:99, but",
        ),
    ],
)
def test_an_absent_device_is_refused(
    recording_file: Path,
    checkpoint_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    device: str,
    sentence: str,
) -> None:
    words = [f"out={tmp_path}", f"checkpoint={checkpoint_folder}", f"device={device}"]
    assert talk(recording_file, *words) == 1
    assert sentence in capsys.readouterr().err


def test_notes_are_sent_while_talking(
    recording_file: Path, checkpoint_folder: Path, tmp_path: Path
) -> None:
    """Opt-in: the answer is the plain one until the first note, and goes on with notes."""
    words = [recording_file, f"checkpoint={checkpoint_folder}", "agent.enabled=false"]
    assert talk(*words, f"out={tmp_path / 'plain'}") == 0
    assert talk(*words, f"out={tmp_path / 'noted'}", "notes.enabled=true") == 0
    plain, noted = (
        soundfile.read(tmp_path / name / "output.wav", dtype="float32")[0]
        for name in ("plain", "noted")
    )
    assert plain.shape == noted.shape
    unchanged = StreamLayout().samples_per_micro_turn * 8  # nothing can leave a window of 8 before
    assert np.array_equal(plain[:unchanged], noted[:unchanged])
