"""Streaming sessions: append one micro-turn of microphone per row, get one micro-turn of agent.

All rows of a `SessionBatch` advance together; a row that is not `active` keeps its state. What
is returned is to be played during the next micro-turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from microturn.inference.tick import Tick
from microturn.model.checkpoint import LoadedCheckpoint
from microturn.model.streams import IDLE, MelStream, pack_video
from microturn.model.streams.mel import dmel_ids


@dataclass(frozen=True)
class TurnOutput:
    """What one session produced in one micro-turn; token ids without `<idle>`."""

    audio: NDArray[np.float32]  # (samples_per_micro_turn,) played in the next micro-turn
    heard: list[int]
    say: list[int]


class SessionBatch:
    """`batch_size` conversations with one model, preallocated.

    A row's flow noise depends on (seed, micro-turn of that row) alone, so what a session says
    does not depend on its neighbours or its slot. On a GPU a micro-turn of all rows is one
    captured graph; `graph=False` launches its kernels one by one instead.
    """

    def __init__(
        self, checkpoint: LoadedCheckpoint, batch_size: int, seed: int = 0, *, graph: bool = True
    ) -> None:
        self.model, self.layout = checkpoint.model, checkpoint.layout
        self.tokenizer = checkpoint.tokenizer
        self.batch_size, self.seed = batch_size, seed
        self.tick = Tick(self.model, batch_size, graph=graph)
        self.device = self.tick.device
        self._mels = [MelStream(self.layout, fine=False) for _ in range(batch_size)]
        self.micro_turns = np.zeros(batch_size, np.int64)  # appended so far, per row

    def reset(self, row: int) -> None:
        """Begin a new conversation in a row."""
        self._mels[row] = MelStream(self.layout, fine=False)
        self.micro_turns[row] = 0
        self.tick.reset(row)

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
        given = self.tick.given
        # What can be refused comes first: a refused call must not move the front end.
        frames = pack_video(video, self.batch_size, self.layout)
        if frames is not None:
            given["video"][:] = frames
        self._write_text(text_in, given["text_in"])
        given["active"][:] = True if active is None else active
        given["late"][:] = False if late is None else late
        rows = np.flatnonzero(given["active"])
        self._write_dmel(audio, rows, given["audio_in"])
        self._write_noise(rows, given["noise"])
        made = self.tick.run()
        self.micro_turns[rows] += 1
        silence = np.zeros(expected[1], np.float32)
        outputs = [TurnOutput(silence, [], []) for _ in range(self.batch_size)]
        for row in rows:
            heard, say = made["heard"][row].tolist(), made["say"][row].tolist()
            outputs[row] = TurnOutput(
                audio=made["sound"][row].copy(),
                heard=[i for i in heard if i != IDLE],
                say=[i for i in say if i != IDLE],
            )
        return outputs

    def _write_dmel(
        self, audio: NDArray[np.float32], rows: NDArray[np.int64], out: NDArray[np.uint8]
    ) -> None:
        for row in rows:
            clean = np.nan_to_num(audio[row], nan=0.0, posinf=0.0, neginf=0.0)
            out[row] = dmel_ids(self._mels[row].push(np.clip(clean, -1.0, 1.0)))[0]

    def _write_text(
        self, text_in: Sequence[Sequence[int] | None] | None, out: NDArray[np.int64]
    ) -> None:
        out[:] = IDLE
        for row, tokens in enumerate(text_in or ()):
            if tokens:
                if len(tokens) > out.shape[1]:
                    raise ValueError(
                        f"{len(tokens)} text tokens, a micro-turn holds {out.shape[1]}; "
                        "send the rest with the next one"
                    )
                out[row, : len(tokens)] = tokens

    def _write_noise(self, rows: NDArray[np.int64], out: NDArray[np.float32]) -> None:
        for row in rows:
            key = [self.seed, int(self.micro_turns[row])]
            generator = np.random.Generator(np.random.Philox(key=key))
            generator.standard_normal(dtype=np.float32, out=out[row])
