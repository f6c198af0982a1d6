"""Streaming Griffin-Lim: no clicks at chunk borders, faithful mel, digital silence stays silent."""

import numpy as np
import torch

from microturn.model.streams import StreamLayout, fine_mel
from microturn.model.vocoders.config import VocoderConfig
from microturn.model.vocoders.griffin_lim import GriffinLim

LAYOUT = StreamLayout()
SPM = LAYOUT.samples_per_micro_turn
LAG = 600  # window - hop


def harmonic(n: int) -> np.ndarray:
    """A gliding harmonic tone, voiced-speech-like."""
    t = np.arange(n) / LAYOUT.sample_rate
    phase = 2 * np.pi * np.cumsum(140 + 30 * np.sin(2 * np.pi * 1.5 * t)) / LAYOUT.sample_rate
    tone = sum(np.sin(k * phase) / k for k in range(1, 20))
    return (0.08 * tone).astype(np.float32)


def resynthesise(log_mel: np.ndarray) -> np.ndarray:
    vocoder = GriffinLim(VocoderConfig(), LAYOUT)
    state, parts = vocoder.init_state(1), []
    for frames in torch.from_numpy(log_mel):
        sound, state = vocoder.step(frames[None], state)
        parts.append(sound[0])
    return torch.cat(parts).numpy()


def test_resynthesis_keeps_the_mel_and_lags_by_the_overlap() -> None:
    audio = harmonic(12 * SPM)
    made = resynthesise(fine_mel(audio, LAYOUT))
    assert len(made) == len(audio)
    aligned = np.concatenate([made[LAG:], np.zeros(LAG, np.float32)])
    want, got = fine_mel(audio, LAYOUT)[2:-1], fine_mel(aligned, LAYOUT)[2:-1]
    loud = want > want.max() - 2.5  # bands within 50 dB of the loudest
    error_db = 20 * np.abs(got - want)[loud]
    assert np.median(error_db) < 3.0


def test_chunk_borders_do_not_click() -> None:
    made = resynthesise(fine_mel(harmonic(12 * SPM), LAYOUT))
    jumps = np.abs(np.diff(made))[2 * SPM :]
    at_borders = jumps[SPM - 1 :: SPM]
    assert at_borders.max() <= jumps.max()
    assert at_borders.mean() < 2.0 * jumps.mean()


def test_silence_is_digital_silence() -> None:
    made = resynthesise(fine_mel(np.zeros(4 * SPM, np.float32), LAYOUT))
    assert not made.any()


def test_rows_are_independent() -> None:
    vocoder = GriffinLim(VocoderConfig(), LAYOUT)
    log_mel = torch.from_numpy(fine_mel(harmonic(2 * SPM), LAYOUT))
    both = torch.stack([log_mel[1], torch.full_like(log_mel[1], -7.0)])
    sound, _ = vocoder.step(both, vocoder.init_state(2))
    alone, _ = vocoder.step(both[:1], vocoder.init_state(1))
    torch.testing.assert_close(sound[:1], alone, atol=1e-5, rtol=1e-4)
    assert not sound[1].any()
