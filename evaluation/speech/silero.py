"""Speech in a recording, by Silero VAD: a small network whose weights come as a package.

The network (github.com/snakers4/silero-vad, version 6, 16 kHz, MIT) is written out here, since its
package ships it as TorchScript, which torch has given up; a test compares the two. All frames of a
recording go through the convolutions at once, and through the LSTM in order.
"""

from __future__ import annotations

import warnings
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

SAMPLE_RATE: Final = 16_000
FRAME: Final = 512  # samples per probability
_CONTEXT: Final = 64  # samples of the frame before that a frame begins with
_PAD: Final = 64
_N_BINS: Final = 129
_FRAMES_AT_ONCE: Final = 1024  # half a minute: bounds the memory of an hour
_WEIGHTS: Final = "silero_vad/data/silero_vad.jit"
_NAMES: Final = {
    "stft_conv.weight": "_model.stft.forward_basis_buffer",
    **{
        f"conv{i + 1}.{kind}": f"_model.encoder.{i}.reparam_conv.{kind}"
        for i in range(4)
        for kind in ("weight", "bias")
    },
    **{
        f"lstm.{kind}_l0": f"_model.decoder.rnn.{kind}"
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    },
    "final_conv.weight": "_model.decoder.decoder.2.weight",
    "final_conv.bias": "_model.decoder.decoder.2.bias",
}


State = tuple[Tensor, Tensor]  # of the LSTM


class SileroNetwork(nn.Module):
    """Magnitude spectrum, four convolutions, an LSTM, one probability per frame."""

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 2 * _N_BINS, 256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(_N_BINS, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
        self.lstm = nn.LSTM(128, 128, batch_first=True)
        self.final_conv = nn.Conv1d(128, 1, 1)

    def encode(self, frames: Tensor) -> Tensor:
        """(N, context + frame samples) -> (N, 128), each frame by itself."""
        x = nn.functional.pad(frames.unsqueeze(1), (0, _PAD), mode="reflect")
        x = self.stft_conv(x)
        x = (x[:, :_N_BINS] ** 2 + x[:, _N_BINS:] ** 2).sqrt()
        for convolution in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = convolution(x).relu()
        return x.squeeze(-1)

    def forward(self, frames: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """frames (N, context + frame samples), in order -> (N,), and the state after them."""
        pieces = [self.encode(piece) for piece in frames.split(_FRAMES_AT_ONCE)]
        x, state = self.lstm(torch.cat(pieces).unsqueeze(0), state)  # (1, N, 128)
        return self.final_conv(x.relu().transpose(1, 2)).sigmoid().flatten(), state


@cache
def network() -> SileroNetwork:
    """Load the network with the package's weights; raises OSError where the package is missing."""
    try:
        path = distribution("silero-vad").locate_file(_WEIGHTS)
    except PackageNotFoundError as error:
        raise OSError("silero-vad is not installed; install 'microturn[evaluation]'") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # we take its numbers, not its code
        script = torch.jit.load(str(path), map_location="cpu")
    weights = script.state_dict()
    model = SileroNetwork()
    model.load_state_dict({ours: weights[theirs] for ours, theirs in _NAMES.items()})
    return model.eval()


def speech_spans(audio: NDArray[np.float32], sample_rate: int) -> tuple[tuple[float, float], ...]:
    """Return when audio (T,) holds speech, in seconds: frames more likely speech than not."""
    if sample_rate != SAMPLE_RATE:
        from scipy.signal import resample_poly

        audio = resample_poly(audio, SAMPLE_RATE, sample_rate).astype(np.float32)
    is_speech = np.concatenate([[False], speech_probabilities(audio) >= 0.5, [False]])
    edges = np.flatnonzero(is_speech[1:] != is_speech[:-1]) * (FRAME / SAMPLE_RATE)
    return tuple((float(start), float(end)) for start, end in edges.reshape(-1, 2))


def speech_probabilities(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """One probability per 32 ms of audio (T,) at 16 kHz; the last frame is padded."""
    n = -(-len(audio) // FRAME)
    padded = torch.zeros(_CONTEXT + n * FRAME)
    padded[_CONTEXT : _CONTEXT + len(audio)] = torch.from_numpy(audio)
    frames = padded.unfold(0, _CONTEXT + FRAME, FRAME) if n else padded.new_zeros((0, FRAME))
    with torch.inference_mode():
        found = network()(frames)[0] if n else frames.new_zeros(0)
    return found.numpy()


class SpeechStream:
    """`speech_probabilities` of sound that comes piece by piece."""

    def __init__(self) -> None:
        self._heard = np.zeros(_CONTEXT, np.float32)  # the context, and less than a frame
        self._state: State | None = None

    def hear(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take in audio (T,); return the probabilities of the frames that are whole with it."""
        heard = np.concatenate([self._heard, audio])
        n = (len(heard) - _CONTEXT) // FRAME
        self._heard = heard[n * FRAME :]
        if not n:
            return np.zeros(0, np.float32)
        frames = torch.from_numpy(heard[: _CONTEXT + n * FRAME]).unfold(0, _CONTEXT + FRAME, FRAME)
        with torch.inference_mode():
            found, self._state = network()(frames, self._state)
        probabilities: NDArray[np.float32] = found.numpy()
        return probabilities
