"""One micro-turn of all rows in buffers that never move, so that a GPU can replay it as a graph.

The host writes what is `given` into one pinned buffer, a single copy takes it to the device, the
micro-turn runs, a single copy brings what was made back. On a CPU both buffers are the same
memory and nothing is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Final, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from microturn.model.model import InteractionModel, MicroTurnInput, ModelState
from microturn.model.streams.video import frame_shape
from microturn.model.vocoders.griffin_lim import GriffinLim, VocoderState

_ALIGNMENT: Final = 64  # bytes
_WARM_UP: Final = 2  # runs before the capture: libraries choose and allocate


class Buffers:
    """Named arrays in one block of memory on the host, and the same on the device."""

    def __init__(self, specs: Mapping[str, tuple[torch.dtype, tuple[int, ...]]], device: Any):
        starts, size = {}, 0
        for name, (dtype, shape) in specs.items():
            starts[name] = size
            n_bytes = int(np.prod(shape)) * dtype.itemsize
            size += -(-n_bytes // _ALIGNMENT) * _ALIGNMENT
        self._copies = device.type == "cuda"
        self.host = torch.zeros(size, dtype=torch.uint8, pin_memory=self._copies)
        self.there = torch.zeros_like(self.host, device=device) if self._copies else self.host

        def views(block: Tensor) -> dict[str, Tensor]:
            cut = {}
            for name, (dtype, shape) in specs.items():
                n_bytes = int(np.prod(shape)) * dtype.itemsize
                part = block[starts[name] : starts[name] + n_bytes]
                cut[name] = part.view(dtype).view(shape)
            return cut

        self.arrays: dict[str, NDArray[Any]] = {k: v.numpy() for k, v in views(self.host).items()}
        self.tensors = views(self.there)

    def send(self) -> None:
        if self._copies:
            self.there.copy_(self.host, non_blocking=True)

    def fetch(self) -> None:
        """Returns at once; the host has what was made after `wait`."""
        if self._copies:
            self.host.copy_(self.there, non_blocking=True)

    def wait(self) -> None:
        if self._copies:
            torch.cuda.current_stream(self.there.device).synchronize()


class Tick:
    """State of all rows, and the micro-turn that moves it.

    Rows are taken from the first on: a call may run as few of them as are in use. With `rewind`
    a row can go back by so many micro-turns: rings of keys are that much longer, and what else
    a row carries (last patch, sound that still overlaps) is kept for as many boundaries. A call
    computes the next of `sizes` rows: on a CPU any number if none are given, on a GPU those that
    have a graph, powers of two and all.
    """

    def __init__(
        self,
        model: InteractionModel,
        rows: int,
        *,
        graph: bool,
        rewind: int = 0,
        sizes: Sequence[int] = (),
    ) -> None:
        self.model, self.rows = model, rows
        self.device = next(model.parameters()).device
        # The thread that runs may be another one than this, and its current device the first.
        self._on_device: AbstractContextManager[Any] = nullcontext()
        if self.device.type == "cuda":
            self._on_device = torch.cuda.device(self.device)
        layout = model.layout
        frames, samples = layout.frames_per_micro_turn, layout.samples_per_micro_turn
        inputs: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {
            "audio_in": (torch.uint8, (rows, frames, layout.n_mels)),
            "late": (torch.bool, (rows,)),
            "active": (torch.bool, (rows,)),
            "text_in": (torch.int64, (rows, layout.text_in_positions)),
            "noise": (torch.float32, (rows, layout.audio_out_positions, layout.patch_dim)),
        }
        if layout.video_positions:
            inputs["video"] = (torch.uint8, (rows, *frame_shape(layout)))
        with torch.inference_mode(), self._on_device:
            self._in = Buffers(inputs, self.device)
            self._out = Buffers(
                {
                    "sound": (torch.float32, (rows, samples)),
                    "heard": (torch.int64, (rows, layout.heard_positions)),
                    "say": (torch.int64, (rows, layout.say_positions)),
                },
                self.device,
            )
            learned = model.vocoder
            self.vocoder = GriffinLim(layout, self.device) if learned is None else learned
            self._state = model.init_state(rows, spare=rewind)
            self._voice = self.vocoder.init_state(rows)
            self._carried = [self._state.patch, *_tensors(self._voice)]  # each (rows, ...)
            self._fresh = [tensor[0].clone() for tensor in self._carried]
            # What was carried at the last rewind + 1 boundaries between micro-turns, in a ring.
            self._past = [
                tensor[None].repeat(rewind + 1, *[1] * tensor.dim()) if rewind else tensor[:0]
                for tensor in self._carried
            ]
            self._keeps, self._index = rewind, torch.arange(rows, device=self.device)
            self._sizes = sorted(sizes) or self._usual_sizes()
            assert self._sizes[-1] == rows
            self._parts = {size: self._part(size) for size in self._sizes}
            self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
            if graph and self.device.type == "cuda":
                for size in reversed(self._sizes):  # the largest first: the others fit its memory
                    self._graphs[size] = self._captured(size)

    def _usual_sizes(self) -> list[int]:
        if self.device.type != "cuda":
            return list(range(1, self.rows + 1))
        return sorted({*(1 << power for power in range(self.rows.bit_length())), self.rows})

    @property
    def given(self) -> dict[str, NDArray[Any]]:
        """Arrays to write into before `run`; rows that are not `active` keep their state."""
        return self._in.arrays

    @property
    def slabs(self) -> list[Tensor]:
        """All memory that outlives a micro-turn; none of it ever moves."""
        return [*_tensors(self._state), *_tensors(self._voice), *self._past]

    def reset(self, row: int) -> None:
        """Forget everything of a row."""
        with torch.inference_mode():
            self._state.backbone.reset_(row)
            for tensor, past, fresh in zip(self._carried, self._past, self._fresh, strict=True):
                tensor[row] = fresh
                if self._keeps:
                    past[0, row] = fresh

    def rewind(self, row: int, to: int) -> None:
        """Back to the boundary after `to` micro-turns, which lies within reach."""
        assert self._keeps
        with torch.inference_mode():
            self._state.backbone.seen[row] = to * self.model.layout.n_positions
            for tensor, past in zip(self._carried, self._past, strict=True):
                tensor[row] = past[to % (self._keeps + 1), row]

    def copy(self, source: int, target: int) -> None:
        """Make a row what another one is, with its past."""
        with torch.inference_mode():
            for tensor in _tensors(self._state.backbone) + self._carried:
                tensor[target] = tensor[source]
            for past in self._past if self._keeps else ():
                past[:, target] = past[:, source]

    def run(self, rows: int | None = None) -> dict[str, NDArray[Any]]:
        """`start` and `wait`."""
        self.start(rows)
        return self.wait()

    def start(self, rows: int | None = None) -> None:
        """Begin a micro-turn of the first `rows` (all if None); a GPU is still at it afterwards.

        What is `given` may be written again after `wait`, not before.
        """
        wanted = self.rows if rows is None else rows
        size = next(size for size in self._sizes if size >= wanted)
        with torch.inference_mode(), self._on_device:
            self._in.send()
            if size in self._graphs:
                self._graphs[size].replay()
            else:
                self._advance(self._parts[size])
            self._out.fetch()

    def wait(self) -> dict[str, NDArray[Any]]:
        """What was made, once it is there: the only wait of a micro-turn.

        The arrays hold until the next call.
        """
        self._out.wait()
        return self._out.arrays

    def _captured(self, size: int) -> torch.cuda.CUDAGraph:
        """The graph of `_advance`. All rows sit out meanwhile, so their state stays fresh."""
        part = self._parts[size]
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                self._advance(part)
        torch.cuda.current_stream(self.device).wait_stream(stream)
        torch.cuda.synchronize(self.device)
        graph = torch.cuda.CUDAGraph()
        pool = next(iter(self._graphs.values())).pool() if self._graphs else None
        # Other threads (loaders, servers) may use the device while this one captures. Graphs of
        # one pool share memory, which is right because they never run at the same time.
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            self._advance(part)
        return graph

    def _part(self, size: int) -> _Part:
        """The first `size` rows as views, made once: a micro-turn makes no objects of its own."""

        def first(tensor: Tensor) -> Tensor:
            return tensor[:size]

        return _Part(
            given=_map(first, self._in.tensors),
            made=_map(first, self._out.tensors),
            state=_map(first, self._state),
            voice=_map(first, self._voice),
            carried=_map(first, self._carried),
            index=first(self._index),
        )

    def _advance(self, part: _Part) -> None:
        """Everything that happens on the device, from buffers into buffers, without a wait."""
        given, made = part.given, part.made
        inputs = MicroTurnInput(
            given["audio_in"], given["late"], given["text_in"], given.get("video")
        )
        # The state that goes in is not written but for the rings; see `_keep_`.
        output, after = self.model.step(inputs, part.state, given["noise"])
        sound, voice = self.vocoder.step(output.log_mel, part.voice)
        self._keep_(part, after, voice)
        made["sound"].copy_(sound)
        made["heard"].copy_(output.heard)
        made["say"].copy_(output.say)

    def _keep_(self, part: _Part, after: ModelState, voice: VocoderState) -> None:
        """Take over the new state of active rows.

        What the others wrote into their rings lies beyond `seen` and is overwritten later. They
        write what they carry into the past once more, where it stands already.
        """
        active, seen = part.given["active"], part.state.backbone.seen
        _take_(seen, active, after.backbone.seen)
        for old, new in zip(part.carried, [after.patch, *_tensors(voice)], strict=True):
            _take_(old, active, new)
        if self._keeps:
            slot = seen // self.model.layout.n_positions % (self._keeps + 1)
            for past, carried in zip(self._past, part.carried, strict=True):
                past[slot, part.index] = carried


@dataclass(frozen=True)
class _Part:
    """What a micro-turn of the first rows reads and writes: views, no copies."""

    given: dict[str, Tensor]
    made: dict[str, Tensor]
    state: ModelState
    voice: VocoderState
    carried: list[Tensor]
    index: Tensor


def _take_(old: Tensor, active: Tensor, new: Tensor) -> None:
    # Adding zero makes minus zero plain zero: phases are read from these numbers, and silence
    # that was computed must go on like silence that was there from the start.
    chosen = active.view(-1, *[1] * (old.dim() - 1))
    old.copy_(torch.where(chosen, new + 0, old))


S = TypeVar("S")


def _map(function: Callable[[Tensor], Tensor], state: S) -> S:
    """The same structure of dataclasses, lists and dictionaries with other tensors."""
    made: Any = state
    if isinstance(state, Tensor):
        made = function(state)
    elif isinstance(state, dict):
        made = {name: _map(function, value) for name, value in state.items()}
    elif isinstance(state, (list, tuple)):
        made = type(state)(_map(function, value) for value in state)
    elif is_dataclass(state) and not isinstance(state, type):
        made = replace(
            state, **{f.name: _map(function, getattr(state, f.name)) for f in fields(state)}
        )
    return cast(S, made)


def _tensors(state: object) -> list[Tensor]:
    """All tensors of a state in a fixed order; each has a row of it first."""
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    _map(note, state)
    return found
