"""A batch of rows of streaming state: one micro-turn of input per row gives one of output.

A *row* is a place in the batch. `inference/sessions.py` is the layer above, where a conversation
is a handle and not a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microturn.inference.micro_turn import Gap, MicroTurnIn, MicroTurnOut
from microturn.inference.tick import OpenedRow, Tick
from microturn.model.checkpoint import LoadedCheckpoint
from microturn.model.streams import IDLE, Lanes
from microturn.model.streams.mel import dmel_rows


class RowBatch:
    """`n_rows` preallocated rows of one model.

    A row's flow noise depends on (seed, micro-turn of that row) alone, so its output does not
    depend on its neighbours or its index. Rows beyond the last active one cost nothing. With
    `rewind` a row can go back by up to that many micro-turns. On a GPU a micro-turn is one
    captured graph for each of `sizes` numbers of rows (powers of two if none are given);
    `graph=False` launches its kernels one by one instead.
    """

    def __init__(
        self,
        checkpoint: LoadedCheckpoint,
        n_rows: int,
        *,
        seed: int = 0,
        graph: bool = True,
        rewind: int = 0,
        sizes: Sequence[int] = (),
    ) -> None:
        self.model, self.layout = checkpoint.model, checkpoint.layout
        self.tokenizer, self.said = checkpoint.tokenizer, checkpoint.said
        self.n_rows, self.seed, self.max_rewind = n_rows, seed, rewind
        self.tick = Tick(self.model, n_rows, graph=graph, rewind=rewind, sizes=sizes)
        self.device = self.tick.device
        self.micro_turns = np.zeros(n_rows, np.int64)  # stepped so far, per row
        self._before = np.zeros(n_rows, np.int64)  # micro-turns of the opening, per row
        self.oldest = np.zeros(n_rows, np.int64)  # earliest boundary that a row can go back to
        # The audio that the next window still covers, at the last boundaries of each row.
        carry = self.layout.samples_per_frame
        self._tails = np.zeros((rewind + 1, n_rows, carry), np.float32)
        # Noise of a row, and the micro-turn that it belongs to.
        self._noise = np.zeros_like(self.tick.inputs["noise"])
        self._noise_micro_turn = np.full(n_rows, -1, np.int64)

    def reset(self, row: int, opened: OpenedRow | None = None) -> None:
        """Begin a new conversation in a row, after an opening that `read` has read."""
        self._tails[0, row] = 0.0  # the user is silent during an opening
        self.micro_turns[row] = self.oldest[row] = 0
        self._before[row] = 0 if opened is None else opened.n_micro_turns
        self.tick.reset(row, opened)

    def read(self, opening: Lanes) -> OpenedRow:
        """Read the lanes of an opening (`pack_opening`); no row changes. For `reset`."""
        return self.tick.read(opening)

    @property
    def reach(self) -> int:
        """Micro-turns that the model looks back."""
        return max(self.model.backbone.reaches) // self.layout.n_positions

    def pass_over(self, gaps: Mapping[int, Gap]) -> None:
        """Advance the given rows by micro-turns that get no answer; the other rows stay.

        The model reads what the user said and showed in them, and its own silence, in one pass for
        all rows, which costs a fraction of as many steps and has the bits of one pass for each.
        `newest` are the last `reach` if there are more: then all before is forgotten.
        Raises ValueError for another number and for input of a wrong shape; no row changes then.
        """
        for row, gap in gaps.items():
            if len(gap.newest) != min(gap.n, self.reach):
                raise ValueError(
                    f"{len(gap.newest)} inputs for {gap.n} micro-turns; pass those of the last "
                    f"{self.reach}"
                )
            for micro_turn in gap.newest:
                self._check_audio({row: micro_turn})
                self._check_given(micro_turn)
        gaps = {row: gap for row, gap in gaps.items() if gap.n}
        forget = {row for row, gap in gaps.items() if gap.n > len(gap.newest)}
        lanes = {}
        for row, gap in gaps.items():
            end = int(self.micro_turns[row]) + gap.n
            lanes[row] = self._listened(row, gap.newest, end=end, forget=row in forget)
            self.micro_turns[row] = end
            self.oldest[row] = max(self.oldest[row], end - self.max_rewind)
            if row in forget:
                self._before[row], self.oldest[row] = len(gap.newest) - end, end
        if lanes:
            self.tick.pass_over(lanes, forget=forget)

    def _listened(
        self, row: int, inputs: Sequence[MicroTurnIn], *, end: int, forget: bool
    ) -> Lanes:
        """Pack micro-turns up to `end` in which the agent only listened; keeps the new tails."""
        n, (boundaries, _, carry) = len(inputs), self._tails.shape
        audio = _clean(np.stack([micro_turn.audio for micro_turn in inputs]))
        tails = np.zeros((n + 1, carry), np.float32)
        tails[1:] = audio[:, -carry:]
        if not forget:
            tails[0] = self._tails[(end - n) % boundaries, row]
        dmel = dmel_rows(np.concatenate([tails[:-1], audio], axis=1), self.layout)
        for k in range(n + 1):
            self._tails[(end - n + k) % boundaries, row] = tails[k]
        arrays = {spec.name: spec.idle(n) for spec in self.layout.lane_specs} | {"audio_in": dmel}
        for k, micro_turn in enumerate(inputs):
            for name, array in micro_turn.given.items():
                arrays[name][k] = array
        weights = {
            spec.name: np.zeros((n, spec.positions), np.float32) for spec in self.layout.made_lanes
        }
        missing = np.array([micro_turn.missing_input for micro_turn in inputs], np.bool_)
        return Lanes(layout=self.layout, arrays=arrays, weights=weights, missing_input=missing)

    def rewind(self, row: int, *, to: int) -> None:
        """Restore the state of a row after its first `to` micro-turns.

        Raises ValueError for a number that is negative, ahead, or further back than `rewind`.
        """
        now, oldest = int(self.micro_turns[row]), int(self.oldest[row])
        if not 0 <= to <= now:
            raise ValueError(
                f"cannot rewind to micro-turn {to}: the session has made {now} micro-turns"
            )
        if to < oldest:
            raise ValueError(
                f"cannot rewind to micro-turn {to}: sessions of rewind={self.max_rewind} keep "
                f"their last {self.max_rewind} micro-turns, and the oldest kept here is {oldest}"
            )
        if to == now:
            return
        self.tick.rewind(row, to=int(self._before[row]) + to)
        self.micro_turns[row] = to

    def copy_row(self, source: int, target: int) -> None:
        """Copy row `source`, with everything that it can go back to, into row `target`."""
        self.tick.copy_row(source, target)
        self._tails[:, target] = self._tails[:, source]
        self.micro_turns[target] = self.micro_turns[source]
        self.oldest[target] = self.oldest[source]
        self._before[target] = self._before[source]

    def step_rows(self, inputs: Mapping[int, MicroTurnIn]) -> dict[int, MicroTurnOut]:
        """Advance the given rows by one micro-turn; the other rows sit out and keep their state.

        Raises ValueError for audio or frames of another shape, for more text than a micro-turn
        holds and for ids outside the vocabulary. Samples that are not finite count as silence.
        """
        if not inputs:
            return {}
        # Everything that can be refused comes first: a refused call must not move the front end.
        self._write_text(inputs)
        self._write_given(inputs)
        self._check_audio(inputs)
        rows = np.array(sorted(inputs), np.int64)
        buffers = self.tick.inputs
        buffers["active"][:] = False
        buffers["active"][rows] = True
        buffers["missing_input"][:] = False
        buffers["missing_input"][rows] = [inputs[row].missing_input for row in rows]
        buffers["audio_in"][rows] = self._dmel(rows, inputs)
        self._draw_noise(rows)
        buffers["noise"][rows] = self._noise[rows]
        self.tick.start(int(rows[-1]) + 1)
        self.micro_turns[rows] += 1
        np.maximum(self.oldest, self.micro_turns - self.max_rewind, out=self.oldest)
        self._draw_noise(rows)  # of the next micro-turn, while a GPU is busy with this one
        outputs = self.tick.wait()
        return {row: _output(outputs, row) for row in inputs}

    def _check_audio(self, inputs: Mapping[int, MicroTurnIn]) -> None:
        shape = (self.layout.samples_per_micro_turn,)
        for row, micro_turn in inputs.items():
            if np.shape(micro_turn.audio) != shape:
                raise ValueError(
                    f"audio of row {row} has shape {np.shape(micro_turn.audio)}, "
                    f"a micro-turn needs {shape}"
                )

    def _dmel(
        self, rows: NDArray[np.int64], inputs: Mapping[int, MicroTurnIn]
    ) -> NDArray[np.uint8]:
        clean = _clean(np.stack([inputs[row].audio for row in rows]))
        boundaries, _, carry = self._tails.shape
        now = self.micro_turns[rows]
        tails = self._tails[now % boundaries, rows]
        dmel = dmel_rows(np.concatenate([tails, clean], axis=1), self.layout)
        self._tails[(now + 1) % boundaries, rows] = clean[:, -carry:]
        return dmel

    def _write_text(self, inputs: Mapping[int, MicroTurnIn]) -> None:
        out = self.tick.inputs["text_in"]
        out[:] = IDLE
        for row, micro_turn in inputs.items():
            ids = micro_turn.text_in
            if not ids:
                continue
            if len(ids) > out.shape[1]:
                raise ValueError(
                    f"{len(ids)} text tokens, a micro-turn holds {out.shape[1]}; "
                    "send the rest with the next one"
                )
            if not 0 <= min(ids) <= max(ids) < self.model.vocab_size:
                raise ValueError(
                    f"text tokens {list(ids)} are no ids of this tokenizer, which has "
                    f"{self.model.vocab_size}"
                )
            out[row, : len(ids)] = ids

    def _write_given(self, inputs: Mapping[int, MicroTurnIn]) -> None:
        """Write the lanes without a front end; a lane without input is idle."""
        for micro_turn in inputs.values():
            self._check_given(micro_turn)
        for spec in self.layout.ready_lanes:
            buffer = self.tick.inputs[spec.name]
            buffer[:] = 0
            for row, micro_turn in inputs.items():
                buffer[row] = micro_turn.given.get(spec.name, 0)

    def _check_given(self, micro_turn: MicroTurnIn) -> None:
        for name, array in micro_turn.given.items():
            self.layout.check_ready(name, array[None], 1)

    def _draw_noise(self, rows: NDArray[np.int64]) -> None:
        for row in rows[self._noise_micro_turn[rows] != self.micro_turns[rows]]:
            self._noise_micro_turn[row] = self.micro_turns[row]
            key = [self.seed, int(self.micro_turns[row])]
            generator = np.random.Generator(np.random.Philox(key=key))
            generator.standard_normal(dtype=np.float32, out=self._noise[row])


def _clean(audio: NDArray[Any]) -> NDArray[np.float32]:
    """Return samples within full scale; those that are not finite are silence."""
    finite = np.nan_to_num(audio, nan=0.0, posinf=0.0, neginf=0.0)
    return finite.clip(-1.0, 1.0).astype(np.float32, copy=False)


def _output(outputs: Mapping[str, NDArray[Any]], row: int) -> MicroTurnOut:
    return MicroTurnOut(
        audio=outputs["audio"][row].copy(),
        tokens={
            lane: [i for i in ids[row].tolist() if i != IDLE]
            for lane, ids in outputs.items()
            if lane != "audio"
        },
    )
