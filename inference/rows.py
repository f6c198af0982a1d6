"""Rows of streaming state: append one micro-turn of microphone per row, get one of agent.

All rows of a `SessionBatch` advance together; a row that is not `active` keeps its state. What
is returned is to be played during the next micro-turn. `inference/sessions.py` is the layer above,
where a conversation is a handle and not a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from microturn.inference.tick import Tick
from microturn.model.checkpoint import LoadedCheckpoint
from microturn.model.streams import IDLE, pack_video
from microturn.model.streams.mel import dmel_rows


@dataclass(frozen=True)
class TurnOutput:
    """What one session produced in one micro-turn; token ids without `<idle>`."""

    audio: NDArray[np.float32]  # (samples_per_micro_turn,) played in the next micro-turn
    heard: list[int]
    say: list[int]


class SessionBatch:
    """`batch_size` conversations with one model, preallocated.

    A row's flow noise depends on (seed, micro-turn of that row) alone, so what a session says
    does not depend on its neighbours or its slot. Rows beyond the last active one cost nothing.
    With `rewind` a row can go back by up to so many micro-turns. On a GPU a micro-turn is one
    captured graph for each of `sizes` numbers of rows (powers of two if none are given);
    `graph=False` launches its kernels one by one instead.
    """

    def __init__(
        self,
        checkpoint: LoadedCheckpoint,
        batch_size: int,
        seed: int = 0,
        *,
        graph: bool = True,
        rewind: int = 0,
        sizes: Sequence[int] = (),
    ) -> None:
        self.model, self.layout = checkpoint.model, checkpoint.layout
        self.tokenizer = checkpoint.tokenizer
        self.batch_size, self.seed, self.reach = batch_size, seed, rewind
        self.tick = Tick(self.model, batch_size, graph=graph, rewind=rewind, sizes=sizes)
        self.device = self.tick.device
        self.micro_turns = np.zeros(batch_size, np.int64)  # appended so far, per row
        self.oldest = np.zeros(batch_size, np.int64)  # boundary that a row can go back to
        # The sound that the next window still hears, at the last boundaries of each row.
        carry = self.layout.samples_per_frame
        self._heard = np.zeros((rewind + 1, batch_size, carry), np.float32)
        # Noise of a row, and the micro-turn that it belongs to.
        self._noise = np.zeros_like(self.tick.given["noise"])
        self._noise_of = np.full(batch_size, -1, np.int64)
        self._silence = np.zeros(self.layout.samples_per_micro_turn, np.float32)
        self._silence.flags.writeable = False

    def reset(self, row: int) -> None:
        """Begin a new conversation in a row."""
        self._heard[0, row] = 0.0
        self.micro_turns[row] = self.oldest[row] = 0
        self.tick.reset(row)

    def rewind(self, row: int, to: int) -> None:
        """Forget what a row did after its first `to` micro-turns.

        Raises ValueError for a number that is negative, ahead, or further back than `rewind`.
        """
        now, oldest = int(self.micro_turns[row]), int(self.oldest[row])
        if not 0 <= to <= now:
            raise ValueError(
                f"cannot rewind to micro-turn {to}: the session has made {now} micro-turns"
            )
        if to < oldest:
            raise ValueError(
                f"cannot rewind to micro-turn {to}: sessions of rewind={self.reach} keep their "
                f"last {self.reach} micro-turns, and the oldest kept here is {oldest}"
            )
        if to == now:
            return
        self.tick.rewind(row, to)
        self.micro_turns[row] = to

    def copy(self, source: int, target: int) -> None:
        """Make row `target` what row `source` is, with all that it can go back to."""
        self.tick.copy(source, target)
        self._heard[:, target] = self._heard[:, source]
        self.micro_turns[target] = self.micro_turns[source]
        self.oldest[target] = self.oldest[source]

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
        frame of each row, black where there is none. Raises ValueError for another shape, for
        more text than a micro-turn holds and for ids that are none. Samples that are not finite
        count as silence.
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
        outputs = [TurnOutput(self._silence, [], []) for _ in range(self.batch_size)]
        if not len(rows):
            return outputs
        self._write_dmel(audio, rows, given["audio_in"])
        self._draw_noise(rows)
        given["noise"][rows] = self._noise[rows]
        self.tick.start(int(rows[-1]) + 1)
        self.micro_turns[rows] += 1
        np.maximum(self.oldest, self.micro_turns - self.reach, out=self.oldest)
        self._draw_noise(rows)  # of the next micro-turn, while a GPU is at this one
        made = self.tick.wait()
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
        clean = np.nan_to_num(audio[rows], nan=0.0, posinf=0.0, neginf=0.0)
        clean = clean.clip(-1.0, 1.0).astype(np.float32, copy=False)
        boundaries, _, carry = self._heard.shape
        now = self.micro_turns[rows]
        before = self._heard[now % boundaries, rows]
        out[rows] = dmel_rows(np.concatenate([before, clean], axis=1), self.layout)
        self._heard[(now + 1) % boundaries, rows] = clean[:, -carry:]

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
                if not 0 <= min(tokens) <= max(tokens) < self.model.vocab_size:
                    raise ValueError(
                        f"text tokens {list(tokens)} are no ids of this tokenizer, which has "
                        f"{self.model.vocab_size}"
                    )
                out[row, : len(tokens)] = tokens

    def _draw_noise(self, rows: NDArray[np.int64]) -> None:
        for row in rows[self._noise_of[rows] != self.micro_turns[rows]]:
            self._noise_of[row] = self.micro_turns[row]
            key = [self.seed, int(self.micro_turns[row])]
            generator = np.random.Generator(np.random.Philox(key=key))
            generator.standard_normal(dtype=np.float32, out=self._noise[row])
