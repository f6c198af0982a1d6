"""The loss of a learned vocoder, on random segments of the agent's voice.

Segments do not pass through the loader of dialogues: a few `agent.flac` per step are decoded one
step ahead, on a thread. B segments, F mel frames, S samples.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from microturn.model.streams import StreamLayout
from microturn.model.streams.mel import (
    FINE_N_FFT,
    MelStream,
    dequantise_fine,
    hann_window,
    mel_filters,
    quantise_fine,
)
from microturn.model.streams.pcm import Audio
from microturn.model.vocoders.base import Vocoder
from microturn.model.vocoders.config import VocoderConfig
from microturn.model.vocoders.frames import FrameGrid

_PER_DIALOGUE: Final = 2  # segments cut from one decoded dialogue
_MAX_TRIES: Final = 8  # dialogues drawn to find one in which the agent speaks
_MIN_VOICE: Final = 1e-3  # a hop with a sample beyond this is voice
_WARM_UP: Final = 8  # frames at the start of a segment that the loss leaves out
# Short windows resolve time, long ones the harmonics of a voice.
_WINDOWS: Final = (256, 512, 2048)
_MIN_MAGNITUDE: Final = 1e-3  # in a window of unit gain per sample; smaller ones are raised to it
_MIN_MEL: Final = 1e-4
_MIN_NORM: Final = 1.0  # of a spectrum: a fainter segment counts as this loud
_COMPRESSION: Final = 0.3  # power law of magnitudes in the loss that compares phases
_MEL_WEIGHT: Final = 2.0
_WAVE_WEIGHT: Final = 3.0


class Voices(Protocol):
    """The agent's voice by dialogue: a shard set, or a simulator."""

    def __len__(self) -> int: ...

    def agent(self, position: int) -> Audio: ...


@dataclass(frozen=True)
class VoiceSegments:
    """Mel (B, F, 80) as the audio_out lane holds it, and the sound (B, S) it was made from."""

    log_mel: Tensor
    sound: Tensor


class VoiceSegmentSampler:
    """Random segments of voice; each depends on the seed, the step and its number alone."""

    def __init__(
        self, voices: Voices, cfg: VocoderConfig, layout: StreamLayout, *, seed: int
    ) -> None:
        self._voices, self._seed, self._layout = voices, seed, layout
        grid = FrameGrid(layout)
        self._history, self._hop = grid.lag, grid.hop  # history: samples that windows reach back
        self._size = -(-cfg.segment_ms // layout.micro_turn_ms) * layout.samples_per_micro_turn

    def draw(self, step: int, numbers: range) -> VoiceSegments:
        """Draw the segments of a step that have these numbers."""
        voices: dict[int, Audio] = {}
        sounds: list[Audio] = []
        for number in numbers:
            source = number // _PER_DIALOGUE
            if source not in voices:
                voices[source] = self._draw_voice(np.random.default_rng([self._seed, step, source]))
            random = np.random.default_rng([self._seed, step, source, number])
            sounds.append(self._cut(voices[source], random))
        mels = [self._log_mel(sound) for sound in sounds]
        targets = [sound[self._history :] for sound in sounds]
        return VoiceSegments(torch.from_numpy(np.stack(mels)), torch.from_numpy(np.stack(targets)))

    def _draw_voice(self, random: np.random.Generator) -> Audio:
        """Draw a dialogue in which the agent speaks; after several silent ones, take the last."""
        for _ in range(_MAX_TRIES):
            voice = self._voices.agent(int(random.integers(len(self._voices))))
            if np.abs(voice).max(initial=0.0) > _MIN_VOICE:
                break
        return voice

    def _cut(self, voice: Audio, random: np.random.Generator) -> Audio:
        """Cut samples around a random moment of speech, with the history of their first windows."""
        length = self._history + self._size
        padded = np.pad(voice, (self._history, max(0, self._size - len(voice))))
        hops = padded[: len(padded) // self._hop * self._hop].reshape(-1, self._hop)
        voiced = np.flatnonzero((hops.max(axis=1) > _MIN_VOICE) | (hops.min(axis=1) < -_MIN_VOICE))
        moment = self._hop * int(random.choice(voiced)) if len(voiced) else 0
        first = min(max(0, moment - int(random.integers(length))), len(padded) - length)
        return padded[first : first + length]

    def _log_mel(self, sound: Audio) -> NDArray[np.float32]:
        stream = MelStream(self._layout, fine=True)
        stream.set_history(sound[: self._history])
        levels = quantise_fine(stream.push(sound[self._history :]))
        return dequantise_fine(levels).reshape(-1, levels.shape[-1])


class VocoderLoss(nn.Module):
    """Distance between synthesised and recorded sound: spectra at three resolutions, mel, waves.

    The first two are those of Parallel WaveGAN (arXiv 1910.11480) and HiFi-GAN (2010.05646); the
    third compares complex spectra after a power law of their magnitudes, so that phases count and
    the loudest harmonics do not hide the rest (after Wilson et al., 1811.07030). There is no
    discriminator: at this budget the plain losses sound well and cost a small share of a step.
    """

    names = ("vocoder", "vocoder_stft", "vocoder_mel", "vocoder_wave")
    filters: Tensor

    def __init__(self, layout: StreamLayout) -> None:
        super().__init__()
        self.grid = FrameGrid(layout)
        filters = torch.tensor(mel_filters(layout.sample_rate, FINE_N_FFT))
        self.register_buffer("filters", filters, persistent=False)
        for size in {*_WINDOWS, self.grid.window}:
            window = torch.tensor(hann_window(size))
            self.register_buffer(f"window_{size}", window, persistent=False)

    def forward(self, vocoder: Vocoder, segments: VoiceSegments) -> tuple[Tensor, ...]:
        """Compute the loss and its unweighted terms in the order of `names`, each (B,)."""
        sound = vocoder(segments.log_mel)[:, vocoder.lag :]
        target = segments.sound[:, : sound.shape[1]]
        warm = _WARM_UP * vocoder.hop
        sound, target = sound[:, warm:].float(), target[:, warm:]
        stft = torch.stack([self._stft_loss(sound, target, size) for size in _WINDOWS]).mean(0)
        mel, wave = self._mel_loss(sound, target), self._wave_loss(sound, target)
        total = stft + _MEL_WEIGHT * mel + _WAVE_WEIGHT * wave
        return total, stft, mel, wave

    def _spectrum(self, sound: Tensor, size: int, *, hop: int, n_fft: int) -> Tensor:
        frames = sound.unfold(1, size, hop) * getattr(self, f"window_{size}")
        return torch.fft.rfft(frames, n_fft)

    def _stft_loss(self, sound: Tensor, target: Tensor, size: int) -> Tensor:
        """Compare log magnitudes, and magnitudes relative to those of the target."""
        a, b = (
            _magnitude(self._spectrum(x, size, hop=size // 4, n_fft=size)).clamp_min(_MIN_MAGNITUDE)
            for x in (sound, target)
        )
        relative = (a - b).norm(dim=(1, 2)) / b.norm(dim=(1, 2)).clamp_min(_MIN_NORM)
        return (a.log() - b.log()).abs().mean((1, 2)) + relative

    def _mel_loss(self, sound: Tensor, target: Tensor) -> Tensor:
        window, hop = self.grid.window, self.grid.hop
        a, b = (
            (_magnitude(self._spectrum(x, window, hop=hop, n_fft=FINE_N_FFT)) @ self.filters)
            .clamp_min(_MIN_MEL)
            .log()
            for x in (sound, target)
        )
        return (a - b).abs().mean((1, 2))

    def _wave_loss(self, sound: Tensor, target: Tensor) -> Tensor:
        window, hop = self.grid.window, self.grid.hop
        a, b = (
            _compressed(self._spectrum(x, window, hop=hop, n_fft=window)) for x in (sound, target)
        )
        return torch.view_as_real(a - b).abs().mean((1, 2, 3))


class _VocoderWithLoss(nn.Module):
    """From tensors to tensors, as CUDA graphs need it: the loss, then its detached terms."""

    def __init__(self, vocoder: Vocoder, loss: VocoderLoss) -> None:
        super().__init__()
        self.vocoder, self.loss = vocoder, loss

    def forward(self, log_mel: Tensor, sound: Tensor) -> tuple[Tensor, ...]:
        total, *terms = self.loss(self.vocoder, VoiceSegments(log_mel, sound))
        return total, *(term.detach() for term in terms)


class VocoderTask:
    """The vocoder's share of a training step: draws segments, one step ahead, gives the loss."""

    def __init__(
        self, voices: Voices, cfg: VocoderConfig, layout: StreamLayout, *, seed: int
    ) -> None:
        self._sampler = VoiceSegmentSampler(voices, cfg, layout, seed=seed)
        self._n_segments = cfg.segments
        self._loss, self._device = VocoderLoss(layout), torch.device("cpu")
        self._graphs: dict[torch.Size, Any] = {}  # callables, as `_VocoderWithLoss.forward`
        self._thread: ThreadPoolExecutor | None = None
        self._ahead: dict[tuple[int, range], Future[VoiceSegments]] = {}

    def loss(
        self, vocoder: Vocoder, step: int, *, rows: range, batch_size: int
    ) -> dict[str, Tensor]:
        """Compute the share that `rows` of a step's batch have in the mean over its segments.

        Segments are dealt out to the rows of the batch, so the sum over all micro-batches of a
        step is one number, however many devices and micro-batches there are. The entry `vocoder`
        is the loss to minimise, the others are its terms.
        """
        numbers = segments_of(rows, batch_size, n_segments=self._n_segments)
        if not numbers:
            raise ValueError(
                f"model.vocoder.segments={self._n_segments} are fewer than devices times "
                f"accumulate; give at least {batch_size // len(rows)}"
            )
        device = vocoder.device
        if device != self._device:
            self._loss, self._device = self._loss.to(device), device
        segments = self._draw(step, numbers)
        log_mel = segments.log_mel.to(device, non_blocking=True)
        sound = segments.sound.to(device, non_blocking=True)
        values = self._compute(vocoder, log_mel, sound)
        return {
            name: value.sum() / self._n_segments
            for name, value in zip(VocoderLoss.names, values, strict=True)
        }

    def _compute(self, vocoder: Vocoder, log_mel: Tensor, sound: Tensor) -> tuple[Tensor, ...]:
        """Run on one GPU as captured graphs: 800 small launches would outlast their work."""
        function = _VocoderWithLoss(vocoder, self._loss)
        if not log_mel.is_cuda or torch.distributed.is_initialized():
            return function(log_mel, sound)
        if log_mel.shape not in self._graphs:
            half, dtype = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
            with torch.autocast("cuda", dtype=dtype, enabled=half, cache_enabled=False):
                graph = torch.cuda.make_graphed_callables(function, (log_mel, sound))
            self._graphs[log_mel.shape] = graph
        values: tuple[Tensor, ...] = self._graphs[log_mel.shape](log_mel, sound)
        return values

    def _draw(self, step: int, numbers: range) -> VoiceSegments:
        """Draw segments of a step; a thread starts on those of the next step."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(
                1, thread_name_prefix="voice", initializer=_one_blas_thread
            )
        ready = self._ahead.pop((step, numbers), None)
        self._ahead[step + 1, numbers] = self._thread.submit(self._sampler.draw, step + 1, numbers)
        return ready.result() if ready else self._sampler.draw(step, numbers)


def _one_blas_thread() -> None:
    """Limit numpy's BLAS threads, which spin while they wait, on cores that the step needs."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1, "blas")


def segments_of(rows: range, batch_size: int, *, n_segments: int) -> range:
    """Numbers of the step's segments that belong to consecutive rows of its batch."""
    first, end = (-(-row * n_segments // batch_size) for row in (rows.start, rows.stop))
    return range(first, end)


def _magnitude(spectrum: Tensor) -> Tensor:
    """Take the absolute value, with a finite gradient at zero."""
    return (spectrum.real.square() + spectrum.imag.square() + 1e-8).sqrt()


def _compressed(spectrum: Tensor) -> Tensor:
    return spectrum * _magnitude(spectrum).clamp_min(_MIN_MAGNITUDE) ** (_COMPRESSION - 1.0)
