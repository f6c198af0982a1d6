"""The interface of a vocoder: fine log-mel in, sound out, streamed or whole.

B rows, F frames (any number of whole micro-turns), H samples per frame (the hop).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar

import torch
from torch import Tensor, nn

from microturn.model.streams import StreamLayout
from microturn.model.vocoders.config import VocoderConfig
from microturn.model.vocoders.frames import FrameGrid


@dataclass(frozen=True)
class VocoderState:
    """What a row carries from one micro-turn to the next; zeros: nothing has sounded yet."""

    carried: Tensor  # (B, ...) floats; each vocoder chooses what they are


class Vocoder(nn.Module):
    """Makes sound of the fine log10-mel (B, F, 80) that an audio_out lane holds.

    Sound is float32 in [-1, 1] at the layout's sample rate. It comes `lag` samples after the mel:
    sample `lag` of the output is the first one of what frame 0 describes. State is a value: `step`
    leaves its argument as it is, and rows do not depend on each other. A mel at or below the
    lane's floor gives digital silence.

    Tables that the layout decides are buffers with `persistent=False`: no part of a checkpoint. A
    vocoder with parameters is trained by `training/vocoder_loss.py`: AdamW, unless its modules
    declare a `param_groups` (`model/param_groups.py`).
    """

    label: ClassVar[str]  # its name in reports

    def __init__(self, cfg: VocoderConfig, layout: StreamLayout) -> None:
        super().__init__()
        self.cfg, self.layout, self.grid = cfg, layout, FrameGrid(layout)

    @property
    def hop(self) -> int:
        """Samples of sound per mel frame."""
        return self.grid.hop

    @property
    def lag(self) -> int:
        """Samples by which sound comes after its mel."""
        return self.grid.lag

    @property
    def is_learned(self) -> bool:
        """Whether there are parameters to train."""
        return next(self.parameters(), None) is not None

    @property
    def device(self) -> torch.device:
        """Where its tables and parameters are."""
        return next(chain(self.buffers(), self.parameters())).device

    def blocks_to_compile(self) -> Iterable[nn.Module]:
        """Hidden blocks: `torch.compile` compiles them, and they declare their matrices."""
        return ()

    def init_state(self, rows: int) -> VocoderState:
        """State of rows in which nothing has sounded yet."""
        raise NotImplementedError

    def step(self, log_mel: Tensor, state: VocoderState) -> tuple[Tensor, VocoderState]:
        """Sound (B, F * H) of one micro-turn (B, F, 80), and the state after it."""
        raise NotImplementedError

    def forward(self, log_mel: Tensor) -> Tensor:
        """Sound (B, F * H) of whole clips (B, F, 80), as streaming makes it."""
        state, sounds = self.init_state(len(log_mel)), []
        for frames in log_mel.split(self.layout.fine_frames_per_micro_turn, dim=1):
            sound, state = self.step(frames, state)
            sounds.append(sound)
        return torch.cat(sounds, dim=1)
