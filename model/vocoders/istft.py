"""A learned vocoder: a causal network that predicts the spectrum of each frame.

After Vocos (Siuzdak, arXiv 2306.00814): ConvNeXt blocks at the frame rate, then one linear head
for magnitude and phase of every bin, an inverse FFT, a window, overlap-add. Differences:
convolutions look back only, the magnitude is a correction of the mel's ridge inverse (so an
untrained network has the right spectral envelope), and the phase is a direction (cosine and sine,
normalised) and not an angle. A micro-turn carries the inputs of its convolutions and the sound
that later frames overlap, and overlap-add adds oldest frames first, so micro-turn by micro-turn
gives the sound of the whole.
B rows, F frames, C channels, K bins, H hop.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microturn.model.param_groups import ParamGroup
from microturn.model.streams import StreamLayout
from microturn.model.streams.layout import N_MELS
from microturn.model.streams.mel import FINE_OVERLAP, hann_window
from microturn.model.vocoders.base import Vocoder, VocoderState
from microturn.model.vocoders.config import VocoderConfig
from microturn.model.vocoders.frames import mel_inverse, squared_window

_MEL_SCALE = 2.0  # divides log10 magnitudes of speech to about unit range
_STEM_FRAMES = 3  # mel frames that the first layer sees
_WIDEN = 3  # inner width of a block over its width, as in Vocos
_MIN_CORRECTION, _MAX_CORRECTION = -6.0, 3.0  # of a magnitude's natural logarithm
_MIN_MAGNITUDE = 1e-5  # of a bin before its correction


class _ConvNextBlock(nn.Module):
    """Depthwise causal convolution, norm, MLP, residual."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.taps = nn.Parameter(torch.randn(kernel, width) * kernel**-0.5)
        self.offset = nn.Parameter(torch.zeros(width))
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, _WIDEN * width)
        self.down = nn.Linear(_WIDEN * width, width)
        nn.init.normal_(self.down.weight, std=0.3 * (_WIDEN * width) ** -0.5)

    def param_groups(self) -> dict[Tensor, ParamGroup]:
        return dict.fromkeys([self.up.weight, self.down.weight], ParamGroup.MATRIX)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Compute x (B, F, C) after past (B, kernel - 1, C); returns output and next past."""
        n, seen = x.shape[1], torch.cat([past, x], dim=1)
        mixed = self.offset
        for tap, weight in enumerate(self.taps):
            mixed = mixed + seen[:, tap : tap + n] * weight
        x = x + self.down(F.gelu(self.up(self.norm(mixed))))
        return x, seen[:, n:]


class IstftVocoder(Vocoder):
    """Carries past inputs of all layers and overlapping sound, flattened: (B, numbers)."""

    label = "learned (istft)"
    inverse: Tensor
    window: Tensor
    norm: Tensor

    def __init__(self, cfg: VocoderConfig, layout: StreamLayout) -> None:
        super().__init__(cfg, layout)
        n_bins = self.grid.window // 2 + 1
        self.stem = nn.Linear(_STEM_FRAMES * N_MELS, cfg.width)
        self.blocks = nn.ModuleList(
            _ConvNextBlock(cfg.width, cfg.kernel) for _ in range(cfg.layers)
        )
        self.norm_out = nn.LayerNorm(cfg.width)
        self.spectrum = nn.Linear(cfg.width, 3 * n_bins)
        nn.init.normal_(self.spectrum.weight, std=0.02)
        inverse = torch.tensor(mel_inverse(layout.sample_rate, self.grid.window)).float()
        window = torch.tensor(hann_window(self.grid.window))
        self.register_buffer("inverse", inverse, persistent=False)  # (80, K)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("norm", squared_window(window), persistent=False)

    def blocks_to_compile(self) -> nn.ModuleList:
        return self.blocks

    @property
    def _carried(self) -> list[tuple[int, int]]:
        """Shapes of the carried mel frames, inputs of each block, and overlapping sound."""
        looks_back = [(self.cfg.kernel - 1, self.cfg.width)] * self.cfg.layers
        return [(_STEM_FRAMES - 1, N_MELS), *looks_back, (FINE_OVERLAP - 1, self.hop)]

    def init_state(self, rows: int) -> VocoderState:
        size = sum(n * width for n, width in self._carried)
        return VocoderState(self.window.new_zeros(rows, size))

    def forward(self, log_mel: Tensor) -> Tensor:
        """Make the sound of whole clips at once, equal to that of micro-turns."""
        return self.step(log_mel, self.init_state(len(log_mel)))[0]

    def step(self, log_mel: Tensor, state: VocoderState) -> tuple[Tensor, VocoderState]:
        B, n, _ = log_mel.shape
        sizes = [rows * width for rows, width in self._carried]
        parts = state.carried.split(sizes, dim=1)
        past, *pasts, overlap = (
            part.view(B, *shape) for part, shape in zip(parts, self._carried, strict=True)
        )
        seen = torch.cat(
            [past, (log_mel.clamp_min(self.cfg.floor) - self.cfg.floor) / _MEL_SCALE], dim=1
        )
        x = self.stem(torch.cat([seen[:, i : i + n] for i in range(_STEM_FRAMES)], dim=-1))
        carried = [seen[:, n:]]
        for block, before in zip(self.blocks, pasts, strict=True):
            x, after = block(x, before)
            carried.append(after)
        sound, overlap = self._overlap_add(self._frames(self.norm_out(x), log_mel), overlap)
        carried.append(overlap)
        kept = torch.cat([part.flatten(1) for part in carried], dim=1)
        return sound, VocoderState(kept)

    def _frames(self, x: Tensor, log_mel: Tensor) -> Tensor:
        """Make the windowed sound of each frame, (B, F, window), in fp32."""
        correction, cosine, sine = self.spectrum(x).float().chunk(3, dim=-1)
        mel = 10.0 ** log_mel.float()
        audible = mel > 10**self.cfg.floor
        with torch.autocast(mel.device.type, enabled=False):  # a spectrum has more range than bf16
            envelope = (torch.where(audible, mel, 0.0) @ self.inverse).clamp_min(_MIN_MAGNITUDE)
        magnitude = envelope * correction.clamp(_MIN_CORRECTION, _MAX_CORRECTION).exp()
        # Digital silence stays digital silence.
        magnitude = magnitude * audible.any(-1, keepdim=True)
        length = torch.rsqrt(cosine.square() + sine.square() + 1e-6)
        scale = magnitude * length
        bins = torch.complex(scale * cosine, scale * sine)
        return torch.fft.irfft(bins, self.grid.window) * self.window

    def _overlap_add(self, frames: Tensor, overlap: Tensor) -> tuple[Tensor, Tensor]:
        """Overlap-add: complete sound (B, F * H), and the sound that later frames add to.

        A hop adds its four frames from the oldest to the newest, in the same order for whole
        clips and for pieces of them.
        """
        B, n, _ = frames.shape
        pieces = frames.view(B, n, FINE_OVERLAP, self.hop)
        total = F.pad(overlap, (0, 0, 0, n))
        for part in reversed(range(FINE_OVERLAP)):
            total = total + F.pad(pieces[:, :, part], (0, 0, part, FINE_OVERLAP - 1 - part))
        return (total[:, :n] / self.norm).flatten(1), total[:, n:]
