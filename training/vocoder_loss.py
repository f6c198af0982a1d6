"""What the learned vocoder learns from: pieces of the agent's voice, and how its sound is judged.

The pieces are drawn beside the lanes and not through them, so the loader of dialogues stays as
it is: a few dialogues per step have their `agent.flac` decoded, one step ahead, on a thread.
B pieces, F mel frames, S samples.
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

_PER_DIALOGUE: Final = 2  # pieces cut from one decoded dialogue
_TRIES: Final = 8  # dialogues looked at for one in which the agent speaks
_SPEAKS: Final = 1e-3  # a hop with a sample beyond this is voice
_WARM_UP: Final = 8  # frames at the start of a piece that the loss leaves out
# Short windows hear when something happens, long ones whether harmonics stand apart.
_WINDOWS: Final = (256, 512, 2048)
_QUIET: Final = 1e-3  # magnitudes below this, in a window of unit gain per sample, are one
_MEL_QUIET: Final = 1e-4
_FAINT: Final = 1.0  # of a whole spectrum: fainter pieces are not judged by what there is
_COMPRESSION: Final = 0.3  # power law of magnitudes in the loss that knows phases
_MEL_WEIGHT: Final = 2.0
_WAVE_WEIGHT: Final = 3.0


class Voices(Protocol):
    """Where the agent's voice is: a shard set, or a simulator."""

    def __len__(self) -> int: ...

    def agent(self, position: int) -> Audio: ...


@dataclass(frozen=True)
class Pieces:
    """Mel (B, F, 80) as the audio_out lane holds it, and the sound (B, S) it was made from."""

    log_mel: Tensor
    sound: Tensor


class VoicePieces:
    """Random pieces of voice; one depends on the seed, the step and its number alone."""

    def __init__(
        self, voices: Voices, cfg: VocoderConfig, layout: StreamLayout, *, seed: int
    ) -> None:
        self._voices, self._seed, self._layout = voices, seed, layout
        grid = FrameGrid(layout)
        self._carry, self._hop = grid.lag, grid.hop
        self._size = -(-cfg.segment_ms // layout.micro_turn_ms) * layout.samples_per_micro_turn

    def draw(self, step: int, pieces: range) -> Pieces:
        """Some of the pieces of a step, by number."""
        voices: dict[int, Audio] = {}
        sounds: list[Audio] = []
        for piece in pieces:
            source, _ = divmod(piece, _PER_DIALOGUE)
            if source not in voices:
                voices[source] = self._speaking(np.random.default_rng([self._seed, step, source]))
            random = np.random.default_rng([self._seed, step, source, piece])
            sounds.append(self._piece(voices[source], random))
        mels = [self._log_mel(sound) for sound in sounds]
        cut = [sound[self._carry :] for sound in sounds]
        return Pieces(torch.from_numpy(np.stack(mels)), torch.from_numpy(np.stack(cut)))

    def _speaking(self, random: np.random.Generator) -> Audio:
        """The agent's voice in a dialogue; a few are tried where it says nothing."""
        for _ in range(_TRIES):
            voice = self._voices.agent(int(random.integers(len(self._voices))))
            if np.abs(voice).max(initial=0.0) > _SPEAKS:
                break
        return voice

    def _piece(self, voice: Audio, random: np.random.Generator) -> Audio:
        """Samples somewhere around a moment of speech, with what the first windows reach back."""
        whole = self._carry + self._size
        padded = np.pad(voice, (self._carry, max(0, self._size - len(voice))))
        hops = padded[: len(padded) // self._hop * self._hop].reshape(-1, self._hop)
        moments = np.flatnonzero((hops.max(axis=1) > _SPEAKS) | (hops.min(axis=1) < -_SPEAKS))
        moment = self._hop * int(random.choice(moments)) if len(moments) else 0
        first = min(max(0, moment - int(random.integers(whole))), len(padded) - whole)
        return padded[first : first + whole]

    def _log_mel(self, sound: Audio) -> NDArray[np.float32]:
        stream = MelStream(self._layout, fine=True)
        stream.carry(sound[: self._carry])
        levels = quantise_fine(stream.push(sound[self._carry :]))
        return dequantise_fine(levels).reshape(-1, levels.shape[-1])


class VocoderLoss(nn.Module):
    """Distance between made and recorded sound: spectra at three resolutions, mel, waves.

    The first two are those of Parallel WaveGAN (arXiv 1910.11480) and HiFi-GAN (2010.05646); the
    third compares complex spectra after a power law of their magnitudes, so that it knows phases
    and the loudest harmonics do not hide the rest (after Wilson et al., 1811.07030). There is no
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

    def forward(self, vocoder: Vocoder, pieces: Pieces) -> tuple[Tensor, ...]:
        """The loss, and its unweighted parts as `names` says, each (B,)."""
        made = vocoder(pieces.log_mel)[:, vocoder.lag :]
        wanted = pieces.sound[:, : made.shape[1]]
        warm = _WARM_UP * vocoder.hop
        made, wanted = made[:, warm:].float(), wanted[:, warm:]
        stft = torch.stack([self._stft_loss(made, wanted, size) for size in _WINDOWS]).mean(0)
        mel, wave = self._mel_loss(made, wanted), self._wave_loss(made, wanted)
        total = stft + _MEL_WEIGHT * mel + _WAVE_WEIGHT * wave
        return total, stft, mel, wave

    def _spectrum(self, sound: Tensor, size: int, hop: int, n_fft: int) -> Tensor:
        frames = sound.unfold(1, size, hop) * getattr(self, f"window_{size}")
        return torch.fft.rfft(frames, n_fft)

    def _stft_loss(self, made: Tensor, wanted: Tensor, size: int) -> Tensor:
        """Log magnitude, and magnitude relative to what there is."""
        a, b = (_magnitude(self._spectrum(x, size, size // 4, size)) for x in (made, wanted))
        a, b = a.clamp_min(_QUIET), b.clamp_min(_QUIET)
        relative = (a - b).norm(dim=(1, 2)) / b.norm(dim=(1, 2)).clamp_min(_FAINT)
        return (a.log() - b.log()).abs().mean((1, 2)) + relative

    def _mel_loss(self, made: Tensor, wanted: Tensor) -> Tensor:
        window, hop = self.grid.window, self.grid.hop
        a, b = (
            (_magnitude(self._spectrum(x, window, hop, FINE_N_FFT)) @ self.filters)
            .clamp_min(_MEL_QUIET)
            .log()
            for x in (made, wanted)
        )
        return (a - b).abs().mean((1, 2))

    def _wave_loss(self, made: Tensor, wanted: Tensor) -> Tensor:
        window, hop = self.grid.window, self.grid.hop
        a, b = (_compressed(self._spectrum(x, window, hop, window)) for x in (made, wanted))
        return torch.view_as_real(a - b).abs().mean((1, 2, 3))


class _Judged(nn.Module):
    """A vocoder and its loss from tensors to tensors: the loss, then its parts to be looked at."""

    def __init__(self, vocoder: Vocoder, loss: VocoderLoss) -> None:
        super().__init__()
        self.vocoder, self.loss = vocoder, loss

    def forward(self, log_mel: Tensor, sound: Tensor) -> tuple[Tensor, ...]:
        total, *parts = self.loss(self.vocoder, Pieces(log_mel, sound))
        return total, *(part.detach() for part in parts)


class VoiceTask:
    """The vocoder's part of a training step: draws pieces, reads ahead, gives the loss."""

    def __init__(
        self, voices: Voices, cfg: VocoderConfig, layout: StreamLayout, *, seed: int
    ) -> None:
        self._pieces, self._n = VoicePieces(voices, cfg, layout, seed=seed), cfg.segments
        self._loss, self._device = VocoderLoss(layout), torch.device("cpu")
        self._graphs: dict[torch.Size, Any] = {}  # callables, as `_Judged.forward`
        self._thread: ThreadPoolExecutor | None = None
        self._ahead: dict[tuple[int, range], Future[Pieces]] = {}

    def loss(self, vocoder: Vocoder, step: int, rows: range, batch_size: int) -> dict[str, Tensor]:
        """What the dialogues `rows` of a step's batch contribute to the mean over its pieces.

        Pieces are dealt out to the rows of the batch, so the sum over all parts of a step is one
        number, however many devices and parts there are. `vocoder` is what to minimise.
        """
        mine = pieces_of(rows, batch_size, self._n)
        if not mine:
            raise ValueError(
                f"model.vocoder.segments={self._n} are fewer than devices times accumulate; "
                f"give at least {batch_size // len(rows)}"
            )
        device = vocoder.device
        if device != self._device:
            self._loss, self._device = self._loss.to(device), device
        pieces = self._take(step, mine)
        log_mel = pieces.log_mel.to(device, non_blocking=True)
        sound = pieces.sound.to(device, non_blocking=True)
        values = self._judged(vocoder, log_mel, sound)
        return {n: v.sum() / self._n for n, v in zip(VocoderLoss.names, values, strict=True)}

    def _judged(self, vocoder: Vocoder, log_mel: Tensor, sound: Tensor) -> tuple[Tensor, ...]:
        """On one GPU as captured graphs: 800 small launches would take longer than their work."""
        judged = _Judged(vocoder, self._loss)
        if not log_mel.is_cuda or torch.distributed.is_initialized():
            return judged(log_mel, sound)
        if log_mel.shape not in self._graphs:
            half, dtype = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
            with torch.autocast("cuda", dtype=dtype, enabled=half, cache_enabled=False):
                graph = torch.cuda.make_graphed_callables(judged, (log_mel, sound))
            self._graphs[log_mel.shape] = graph
        values: tuple[Tensor, ...] = self._graphs[log_mel.shape](log_mel, sound)
        return values

    def _take(self, step: int, mine: range) -> Pieces:
        """Pieces of a step; a thread begins with the same ones of the next step."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(
                1, thread_name_prefix="voice", initializer=_one_blas_thread
            )
        ready = self._ahead.pop((step, mine), None)
        self._ahead[step + 1, mine] = self._thread.submit(self._pieces.draw, step + 1, mine)
        return ready.result() if ready else self._pieces.draw(step, mine)


def _one_blas_thread() -> None:
    """numpy's BLAS threads wait by spinning, on cores that the step needs; torch has its own."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1, "blas")


def pieces_of(rows: range, batch_size: int, n: int) -> range:
    """Which of a step's `n` pieces belong to a run of rows of its batch."""
    return range(-(-rows.start * n // batch_size), -(-rows.stop * n // batch_size))


def _magnitude(spectrum: Tensor) -> Tensor:
    """Absolute value with a gradient at zero."""
    return (spectrum.real.square() + spectrum.imag.square() + 1e-8).sqrt()


def _compressed(spectrum: Tensor) -> Tensor:
    return spectrum * _magnitude(spectrum).clamp_min(_QUIET) ** (_COMPRESSION - 1.0)
