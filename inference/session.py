"""Streaming sessions: append one micro-turn of microphone per row, get one micro-turn of agent.

All rows of a `SessionBatch` advance together; a row that is not `active` keeps its state. What
is returned is to be played during the next micro-turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from microturn.model.backbone import BackboneState
from microturn.model.checkpoint import LoadedCheckpoint
from microturn.model.model import MicroTurnInput, ModelState
from microturn.model.streams import IDLE, MelStream, pack_video
from microturn.model.streams.mel import dmel_ids
from microturn.model.vocoder import GriffinLim, VocoderState


@dataclass(frozen=True)
class TurnOutput:
    """What one session produced in one micro-turn; token ids without `<idle>`."""

    audio: NDArray[np.float32]  # (samples_per_micro_turn,) played in the next micro-turn
    heard: list[int]
    say: list[int]


class SessionBatch:
    """`batch_size` conversations with one model, preallocated.

    A row's flow noise depends on (seed, micro-turn of that row) alone, so what a session says
    does not depend on its neighbours or its slot.
    """

    def __init__(self, checkpoint: LoadedCheckpoint, batch_size: int, seed: int = 0) -> None:
        self.model, self.layout = checkpoint.model, checkpoint.layout
        self.tokenizer = checkpoint.tokenizer
        self.batch_size, self.seed = batch_size, seed
        self.device = next(self.model.parameters()).device
        self.vocoder = GriffinLim(self.layout, self.device)
        self._mels = [MelStream(self.layout, fine=False) for _ in range(batch_size)]
        with torch.inference_mode():
            self._state = self.model.init_state(batch_size)
            self._fresh_patch = self._state.patch[0].clone()
            self._voice = self.vocoder.init_state(batch_size)
        self.micro_turns = np.zeros(batch_size, np.int64)  # appended so far, per row

    def reset(self, row: int) -> None:
        """Begin a new conversation in a row."""
        self._mels[row] = MelStream(self.layout, fine=False)
        self.micro_turns[row] = 0
        with torch.inference_mode():
            self._state.backbone.reset_(row)
            self._state.patch[row] = self._fresh_patch
            self._voice.frames[row] = 0.0

    def append(
        self,
        audio: NDArray[np.float32],
        text_in: Sequence[Sequence[int] | None] | None = None,
        active: NDArray[np.bool_] | None = None,
        late: NDArray[np.bool_] | None = None,
        video: NDArray[np.uint8] | None = None,
    ) -> list[TurnOutput]:
        """Advance every active row by one micro-turn.

        audio (B, samples_per_micro_turn); text_in up to `text_in_positions` ids per row; a row
        marked `late` reads `<late>` in place of its microphone; video (B, H, W, 3), the newest
        frame of each row, black where there is none. Raises ValueError for another shape or more
        text than a micro-turn holds. Samples that are not finite count as silence.
        """
        expected = (self.batch_size, self.layout.samples_per_micro_turn)
        if audio.shape != expected:
            raise ValueError(f"audio has shape {audio.shape}, a micro-turn needs {expected}")
        active = np.ones(self.batch_size, np.bool_) if active is None else active
        late = np.zeros(self.batch_size, np.bool_) if late is None else late
        frames = self._frames(video)  # first: a refused call must not move the front end
        inputs = MicroTurnInput(
            audio_in=self._dmel(audio, active),
            late=torch.from_numpy(late).to(self.device),
            text_in=self._text(text_in),
            video=frames,
        )
        with torch.inference_mode():
            before = self._state.backbone.seen.clone(), self._state.patch
            output, state = self.model.step(inputs, self._state, self._noise())
            sound, voice = self.vocoder.step(output.log_mel, self._voice)
            if not active.all():
                state, voice = self._keep(torch.from_numpy(active), before, state, voice)
            self._state, self._voice = state, voice
        self.micro_turns += active
        sounds = sound.cpu().numpy()
        heard, say = output.heard.cpu().tolist(), output.say.cpu().tolist()
        return [
            TurnOutput(
                audio=sounds[row] if active[row] else np.zeros(expected[1], np.float32),
                heard=[i for i in heard[row] if i != IDLE and active[row]],
                say=[i for i in say[row] if i != IDLE and active[row]],
            )
            for row in range(self.batch_size)
        ]

    def _dmel(self, audio: NDArray[np.float32], active: NDArray[np.bool_]) -> Tensor:
        shape = (self.batch_size, self.layout.frames_per_micro_turn, self.layout.n_mels)
        ids = np.zeros(shape, np.uint8)
        for row in np.flatnonzero(active):
            clean = np.nan_to_num(audio[row], nan=0.0, posinf=0.0, neginf=0.0)
            ids[row] = dmel_ids(self._mels[row].push(np.clip(clean, -1.0, 1.0)))[0]
        return torch.from_numpy(ids).to(self.device)

    def _frames(self, video: NDArray[np.uint8] | None) -> Tensor | None:
        frames = pack_video(video, self.batch_size, self.layout)
        return None if frames is None else torch.from_numpy(frames).to(self.device)

    def _text(self, text_in: Sequence[Sequence[int] | None] | None) -> Tensor:
        ids = torch.full((self.batch_size, self.layout.text_in_positions), IDLE)
        for row, tokens in enumerate(text_in or ()):
            if tokens:
                if len(tokens) > ids.shape[1]:
                    raise ValueError(
                        f"{len(tokens)} text tokens, a micro-turn holds {ids.shape[1]}; "
                        "send the rest with the next one"
                    )
                ids[row, : len(tokens)] = torch.tensor(list(tokens))
        return ids.to(self.device)

    def _noise(self) -> Tensor:
        shape = (self.layout.audio_out_positions, self.layout.patch_dim)
        rows = []
        for count in self.micro_turns:
            generator = np.random.Generator(np.random.Philox(key=[self.seed, int(count)]))
            rows.append(generator.standard_normal(shape, np.float32))
        return torch.from_numpy(np.stack(rows)).to(self.device)

    def _keep(
        self,
        active: Tensor,
        before: tuple[Tensor, Tensor],
        state: ModelState,
        voice: VocoderState,
    ) -> tuple[ModelState, VocoderState]:
        """Put idle rows back: what they wrote lies beyond `seen` and is overwritten later."""
        active = active.to(self.device)
        seen, patch = before
        backbone: BackboneState = replace(
            state.backbone, seen=torch.where(active, state.backbone.seen, seen)
        )
        kept = ModelState(backbone, torch.where(active[:, None], state.patch, patch))
        frames = torch.where(active[:, None, None], voice.frames, self._voice.frames)
        return kept, VocoderState(frames)
