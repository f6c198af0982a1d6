"""`microturn reconstruct`: what is measured, what is left behind, and errors in one sentence."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from microturn.configs.main import main
from microturn.datagen.sets.shards import ShardReader
from microturn.evaluation.reconstruct import report
from microturn.evaluation.reconstruct.reconstruction import (
    Stopwatch,
    VoicePair,
    distance,
    periodicity,
    resynthesise,
)
from microturn.evaluation.reconstruct.words import WordRecogniser, count_errors
from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.model.checkpoint import random_checkpoint, save_checkpoint
from microturn.model.streams import StreamLayout
from microturn.model.streams.packing import pack_agent_audio
from microturn.model.vocoders.config import VocoderConfig
from microturn.model.vocoders.griffin_lim import GriffinLim
from microturn.model.vocoders.registry import VOCODERS, build_vocoder

LAYOUT = StreamLayout()
RATE, SPM = LAYOUT.sample_rate, LAYOUT.samples_per_micro_turn


def tone(hertz: float, n: int = 10 * SPM) -> np.ndarray:
    t = np.arange(n) / RATE
    return (0.05 * sum(np.sin(2 * np.pi * hertz * k * t) / k for k in range(1, 12))).astype("f4")


def noise(seed: int, n: int = 10 * SPM) -> np.ndarray:
    return (0.05 * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "set"
    words = ["simulate", "datagen/smoke.yaml", f"out={out}", "n_dialogues=3", "workers=1"]
    assert main([*words, "n_micro_turns=40"]) == 0
    return out


def checkpoint_of(data: Path, folder: Path, cfg: VocoderConfig) -> Path:
    """Untrained, of the set's layout."""
    config = replace(random_checkpoint().model.cfg, vocoder=cfg)
    made = random_checkpoint(layout=ShardReader(data).layout, config=config)
    save_checkpoint(folder, made.model, made.tokenizer)
    return folder


def test_a_recording_has_no_distance_from_itself_and_noise_has_one() -> None:
    same = distance([(tone(180), tone(180))], LAYOUT)
    assert same.log_mel_db == same.spectrum_db == 0.0
    assert same.periodicity is not None
    assert same.periodicity > 0.95
    other = distance([(tone(180), noise(0))], LAYOUT)
    assert other.log_mel_db > 6.0
    assert other.spectrum_db > 6.0
    assert other.periodicity is not None
    assert other.periodicity < 0.6


def test_half_the_sound_is_six_decibels_everywhere() -> None:
    audio = noise(1)
    found = distance([(audio, audio / 2)], LAYOUT)
    assert found.log_mel_db == pytest.approx(6.02, abs=0.05)
    assert found.spectrum_db == pytest.approx(6.02, abs=0.05)


def test_periodicity_of_tones_noise_and_silence() -> None:
    assert periodicity(tone(120), LAYOUT).mean() > 0.95
    assert periodicity(noise(2), LAYOUT).mean() < 0.5
    assert not periodicity(np.zeros(SPM, np.float32), LAYOUT).any()


def test_resynthesis_is_on_the_clock_of_the_recording() -> None:
    audio = np.zeros(12 * SPM, np.float32)
    audio[4 * SPM + 500 : 7 * SPM] = tone(150)[: 3 * SPM - 500]
    lane, _ = pack_agent_audio(audio, LAYOUT)
    watch = Stopwatch()
    made = resynthesise(build_vocoder(VocoderConfig(), LAYOUT), lane, watch=watch)
    assert len(made) == len(audio)
    assert watch.sound_s == pytest.approx(2.4)
    wanted, got = (np.flatnonzero(np.abs(x) > 0.02) for x in (audio, made))
    assert abs(int(wanted[0]) - int(got[0])) < 400
    assert abs(int(wanted[-1]) - int(got[-1])) < 400


def test_words_are_recognised_in_recordings_and_not_in_noise(data: Path) -> None:
    """Real recordings: the smoke set's agent speaks."""
    takes = []
    for stored in ShardReader(data):
        spoken = [
            SpokenWord(text=w.text, start_s=w.start_s, end_s=w.end_s)
            for w in stored.labels.words.agent
        ]
        audio = stored.agent()
        made = {"noise": noise(3, len(audio))}
        takes.append(
            VoicePair(key=stored.key, words=tuple(spoken), recorded=audio, resynthesised=made)
        )
    recogniser = WordRecogniser(word.text for take in takes for word in take.words)
    errors = count_errors(takes, recogniser, rate=RATE)
    assert errors["original"].words >= 3
    assert errors["original"].rate is not None
    assert errors["noise"].rate is not None
    assert errors["original"].rate < 0.4 < errors["noise"].rate


def test_report_has_table_pictures_and_sounds(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learned = VocoderConfig(kind="istft", width=16, layers=1)
    checkpoint = checkpoint_of(data, tmp_path / "checkpoint", learned)
    out = tmp_path / "out"
    words = ["reconstruct", f"data={data}", f"out={out}", f"checkpoint={checkpoint}"]
    assert main([*words, "n_samples=1", "words=false"]) == 0
    assert "Griffin-Lim" in capsys.readouterr().out
    result = json.loads((out / "reconstruction.json").read_text())
    versions = result["versions"]
    assert list(versions) == ["original", "griffin_lim", "istft"]
    assert versions["original"]["log_mel_db"] == 0.0
    assert 0.5 < versions["griffin_lim"]["log_mel_db"] < 3.0
    assert versions["istft"]["log_mel_db"] > versions["griffin_lim"]["log_mel_db"]  # untrained
    assert result["lag_samples"] == 600
    text = (out / "reconstruction.md").read_text()
    (picture,) = (out / "pictures").glob("*.png")
    assert f"pictures/{picture.name}" in text
    sounds = sorted(path.name for path in (out / "sounds").iterdir())
    assert len(sounds) == 3
    for name in sounds:
        assert f"sounds/{name}" in text
        assert soundfile.info(out / "sounds" / name).frames == 40 * SPM


def test_what_cannot_be_done_is_one_sentence(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = checkpoint_of(data, tmp_path / "plain", VocoderConfig())
    out = f"out={tmp_path / 'out'}"
    assert main(["reconstruct", f"data={data}", out, f"checkpoint={plain}"]) == 1
    assert "has no vocoder but Griffin-Lim; train one with model.vocoder.kind=istft" in (
        capsys.readouterr().err
    )
    assert main(["reconstruct", f"data={tmp_path / 'nowhere'}", out]) == 1
    assert "there is no shard set" in capsys.readouterr().err
    assert main(["reconstruct", f"data={data}", out, "n_dialogues=-1"]) == 2
    assert "n_dialogues=-1 must not be negative" in capsys.readouterr().err


def test_a_second_unlearned_vocoder_is_measured_with_its_own_lag(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(GriffinLim):
        label = "late"

        @property
        def lag(self) -> int:
            return super().lag + 40

    monkeypatch.setitem(VOCODERS, "istft", Late)
    monkeypatch.setitem(report._NAMES, "istft", Late.label)
    checkpoint = checkpoint_of(data, tmp_path / "late", VocoderConfig(kind="istft"))
    out = tmp_path / "out"
    words = [f"data={data}", f"out={out}", f"checkpoint={checkpoint}", "words=false"]
    assert main(["reconstruct", *words, "n_samples=0", "n_dialogues=1"]) == 0
    result = json.loads((out / "reconstruction.json").read_text())
    assert list(result["versions"]) == ["original", "griffin_lim", "istft"]
    assert result["lag_samples"] == 640
