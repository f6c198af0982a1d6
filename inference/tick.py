"""A tick: one micro-turn of all rows in buffers that never move, so that a GPU replays a graph.

The host writes the inputs into one pinned buffer, a single copy takes them to the device, the
micro-turn runs, a single copy brings the outputs back. On a CPU both buffers are the same memory
and nothing is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import Any, Final, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from microturn.model.batch import LaneBatch
from microturn.model.model import InputTensors, InteractionModel, ModelState
from microturn.model.streams import Lanes, LaneSpec, StreamLayout
from microturn.model.vocoders.base import VocoderState

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
        self.device_block = (
            torch.zeros_like(self.host, device=device) if self._copies else self.host
        )

        def views(block: Tensor) -> dict[str, Tensor]:
            tensors = {}
            for name, (dtype, shape) in specs.items():
                n_bytes = int(np.prod(shape)) * dtype.itemsize
                piece = block[starts[name] : starts[name] + n_bytes]
                tensors[name] = piece.view(dtype).view(shape)
            return tensors

        self.arrays: dict[str, NDArray[Any]] = {k: v.numpy() for k, v in views(self.host).items()}
        self.tensors = views(self.device_block)

    def send(self) -> None:
        """Start the copy to the device."""
        if self._copies:
            self.device_block.copy_(self.host, non_blocking=True)

    def fetch(self) -> None:
        """Start the copy to the host, which is complete after `wait`."""
        if self._copies:
            self.host.copy_(self.device_block, non_blocking=True)

    def wait(self) -> None:
        if self._copies:
            torch.cuda.current_stream(self.device_block.device).synchronize()


class Tick:
    """State of all rows, and the micro-turn that advances it.

    Rows are used from the first on: a call may run only as many as are in use. With `rewind` a
    row can go back by that many micro-turns: the rings of keys are that much longer, and the rest
    of a row's state (last patch, overlap of the vocoder) is kept at as many boundaries. A call
    computes the next of `sizes` rows: on a CPU any number if none are given, on a GPU those that
    have a graph, powers of two and all.
    """

    def __init__(
        self,
        model: InteractionModel,
        n_rows: int,
        *,
        graph: bool,
        rewind: int = 0,
        sizes: Sequence[int] = (),
    ) -> None:
        self.model, self.n_rows = model, n_rows
        self.device = next(model.parameters()).device
        # `start` may run on another thread, whose current device is the first one.
        self._on_device: AbstractContextManager[Any] = nullcontext()
        if self.device.type == "cuda":
            self._on_device = torch.cuda.device(self.device)
        with torch.inference_mode(), self._on_device:
            self._in = Buffers(_input_specs(model.layout, n_rows), self.device)
            self._out = Buffers(_output_specs(model.layout, n_rows), self.device)
            self.vocoder = model.vocoder
            self._state = model.init_state(n_rows, spare=rewind)
            self._voice = self.vocoder.init_state(n_rows)
            self._carried = [self._state.patch, *_tensors(self._voice)]  # each (n_rows, ...)
            self._initial = [tensor[0].clone() for tensor in self._carried]
            # `_carried` at the last rewind + 1 boundaries between micro-turns, in a ring.
            self._past = [
                tensor[None].repeat(rewind + 1, *[1] * tensor.dim()) if rewind else tensor[:0]
                for tensor in self._carried
            ]
            self._max_rewind, self._index = rewind, torch.arange(n_rows, device=self.device)
            self._sizes = sorted(sizes) or self._usual_sizes()
            assert self._sizes[-1] == n_rows
            self._views = {size: self._views_of(size) for size in self._sizes}
            self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
            if graph and self.device.type == "cuda":
                for size in reversed(self._sizes):  # the largest first: the others fit its memory
                    self._graphs[size] = self._capture(size)

    def _usual_sizes(self) -> list[int]:
        if self.device.type != "cuda":
            return list(range(1, self.n_rows + 1))
        return sorted({*(1 << power for power in range(self.n_rows.bit_length())), self.n_rows})

    @property
    def inputs(self) -> dict[str, NDArray[Any]]:
        """Arrays to write before `start`; rows that are not `active` keep their state."""
        return self._in.arrays

    @property
    def slabs(self) -> list[Tensor]:
        """All memory that outlives a micro-turn; it never moves."""
        return [*_tensors(self._state), *_tensors(self._voice), *self._past]

    def reset(self, row: int, opened: OpenedRow | None = None) -> None:
        """Set a row to its initial state, or to one that has read an opening."""
        with torch.inference_mode(), self._on_device:
            self._state.backbone.reset_(row)
            carried, boundary = self._initial, 0
            if opened is not None:
                carried = opened.carried
                boundary = opened.n_micro_turns % (self._max_rewind + 1)
                backbone = _tensors(self._state.backbone)
                for tensor, read in zip(backbone, opened.backbone, strict=True):
                    tensor[row] = read
            for tensor, past, first in zip(self._carried, self._past, carried, strict=True):
                tensor[row] = first
                if self._max_rewind:
                    past[boundary, row] = first

    def read(self, lanes: Lanes) -> OpenedRow:
        """Read micro-turns whose lanes are all known, one or more, into the state of a new row.

        The rows stay as they are. Bits are those of a row that made these lanes itself (CPU, fp32,
        one thread).
        """
        with torch.inference_mode(), self._on_device:
            batch = LaneBatch.collate([lanes]).to(self.device)
            patches = self.model.patches(batch["audio_out"])
            state = self.model.init_state(1, spare=self._max_rewind)
            _, state = self.model.prefill(batch, patches, state)
            voice = self.vocoder.init_state(1)
            for k in range(lanes.n_micro_turns):
                _, voice = self.vocoder.step(self.model.log_mel(patches[:, k]), voice)
            return OpenedRow(
                n_micro_turns=lanes.n_micro_turns,
                backbone=[tensor[0] for tensor in _tensors(state.backbone)],
                # Plus zero as in `_take_`: no zero is negative.
                carried=[tensor[0] + 0 for tensor in (state.patch, *_tensors(voice))],
            )

    def pass_over(self, lanes: Mapping[int, Lanes], *, forget: Collection[int]) -> None:
        """Read micro-turns in which the agent made nothing into rows, those of all rows together.

        `lanes` hold the input by row; made lanes are idle. In rows to `forget` nothing before them
        counts.
        """
        with torch.inference_mode(), self._on_device:
            for row in forget:
                self._state.backbone.reset_(row)
            n_positions, n_boundaries = self.model.layout.n_positions, self._max_rewind + 1
            before = {row: int(self._state.backbone.seen[row]) // n_positions for row in lanes}
            batch = LaneBatch.collate(list(lanes.values())).to(self.device)
            done = 0
            # Up to the end of the shortest all rows, up to that of the next all but it, and so on:
            # a row that went on beyond its end would write over keys that it needs.
            for end in sorted({part.n_micro_turns for part in lanes.values()}):
                which = [k for k, part in enumerate(lanes.values()) if part.n_micro_turns >= end]
                index = torch.tensor(which, device=self.device)
                piece = batch.window(done, end)
                piece = piece.map(partial(torch.index_select, dim=0, index=index))
                self._read_([list(lanes)[k] for k in which], piece)
                done = end
            for row, passed in lanes.items():
                for tensor, past, first in zip(
                    self._carried, self._past, self._initial, strict=True
                ):
                    tensor[row] = first
                    for k in range(passed.n_micro_turns if self._max_rewind else 0):
                        past[(before[row] + k + 1) % n_boundaries, row] = first

    def _read_(self, rows: Sequence[int], batch: LaneBatch) -> None:
        """Read the same number of micro-turns into the backbone of several rows."""
        patches, index = self.model.patches(batch["audio_out"]), torch.tensor(rows)
        is_view = rows[-1] - rows[0] == len(rows) - 1  # one row, or neighbours: nothing is copied
        places: Any = slice(rows[0], rows[-1] + 1) if is_view else index.to(self.device)
        state = _map(lambda tensor: tensor[places], self._state)
        _, after = self.model.prefill(batch, patches, state)
        if not is_view:
            for tensor, read in zip(
                _tensors(self._state.backbone), _tensors(state.backbone), strict=True
            ):
                tensor[places] = read
        self._state.backbone.seen[places] = after.backbone.seen

    def rewind(self, row: int, *, to: int) -> None:
        """Restore a row at the boundary after `to` micro-turns, which its rings still hold."""
        assert self._max_rewind
        with torch.inference_mode():
            self._state.backbone.seen[row] = to * self.model.layout.n_positions
            for tensor, past in zip(self._carried, self._past, strict=True):
                tensor[row] = past[to % (self._max_rewind + 1), row]

    def copy_row(self, source: int, target: int) -> None:
        """Copy the state of a row, with its past, into another one."""
        with torch.inference_mode():
            for tensor in _tensors(self._state.backbone) + self._carried:
                tensor[target] = tensor[source]
            for past in self._past if self._max_rewind else ():
                past[:, target] = past[:, source]

    def run(self, n_rows: int | None = None) -> dict[str, NDArray[Any]]:
        """Start a micro-turn and wait for its outputs."""
        self.start(n_rows)
        return self.wait()

    def start(self, n_rows: int | None = None) -> None:
        """Start a micro-turn of the first `n_rows` (all if None); a GPU returns before it ends.

        `inputs` may be written again after `wait`, not before.
        """
        n_active = self.n_rows if n_rows is None else n_rows
        size = next(size for size in self._sizes if size >= n_active)
        with torch.inference_mode(), self._on_device:
            self._in.send()
            if size in self._graphs:
                self._graphs[size].replay()
            else:
                self._advance(self._views[size])
            self._out.fetch()

    def wait(self) -> dict[str, NDArray[Any]]:
        """Wait for the outputs, the only wait of a micro-turn, and return them.

        The arrays are valid until the next `start`.
        """
        self._out.wait()
        return self._out.arrays

    def _capture(self, size: int) -> torch.cuda.CUDAGraph:
        """Capture the graph of `_advance`. All rows sit out, so their state stays initial."""
        views = self._views[size]
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                self._advance(views)
        torch.cuda.current_stream(self.device).wait_stream(stream)
        torch.cuda.synchronize(self.device)
        graph = torch.cuda.CUDAGraph()
        pool = next(iter(self._graphs.values())).pool() if self._graphs else None
        # Other threads (loaders, servers) may use the device while this one captures. Graphs of
        # one pool share memory, which is right because they never run at the same time.
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            self._advance(views)
        return graph

    def _views_of(self, size: int) -> _RowViews:
        """View the first `size` rows; made once, so that a micro-turn creates no objects."""

        def first(tensor: Tensor) -> Tensor:
            return tensor[:size]

        return _RowViews(
            inputs=_map(first, self._in.tensors),
            outputs=_map(first, self._out.tensors),
            state=_map(first, self._state),
            voice=_map(first, self._voice),
            carried=_map(first, self._carried),
            index=first(self._index),
        )

    def _advance(self, views: _RowViews) -> None:
        """Run everything on the device, from buffers into buffers, without a wait."""
        inputs, outputs = views.inputs, views.outputs
        tensors = InputTensors(inputs, inputs["missing_input"])
        # The previous state is not written except for the rings; see `_keep_`.
        output, after = self.model.step(tensors, views.state, inputs["noise"])
        audio, voice = self.vocoder.step(output.log_mel, views.voice)
        self._keep_(views, after, voice=voice)
        outputs["audio"].copy_(audio)
        for name, tokens in output.tokens.items():
            outputs[name].copy_(tokens)

    def _keep_(self, views: _RowViews, after: ModelState, *, voice: VocoderState) -> None:
        """Keep the new state of active rows.

        Keys that the other rows wrote into their rings lie beyond `seen` and are overwritten
        later. Their carried tensors are written into the past once more, where they stand already.
        """
        active, seen = views.inputs["active"], views.state.backbone.seen
        _take_(seen, after.backbone.seen, active=active)
        for old, new in zip(views.carried, [after.patch, *_tensors(voice)], strict=True):
            _take_(old, new, active=active)
        if self._max_rewind:
            boundary = seen // self.model.layout.n_positions % (self._max_rewind + 1)
            for past, carried in zip(self._past, views.carried, strict=True):
                past[boundary, views.index] = carried


@dataclass(frozen=True, kw_only=True)
class OpenedRow:
    """The state of a row that has read an opening; any number of rows can begin with it."""

    n_micro_turns: int
    backbone: list[Tensor]
    carried: list[Tensor]


@dataclass(frozen=True)
class _RowViews:
    """Views of the first rows in all tensors that a micro-turn reads and writes."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    state: ModelState
    voice: VocoderState
    carried: list[Tensor]
    index: Tensor


def _take_(old: Tensor, new: Tensor, *, active: Tensor) -> None:
    # Adding zero turns minus zero into zero: phases are read from these numbers, and computed
    # silence must go on like the silence of the initial state.
    mask = active.view(-1, *[1] * (old.dim() - 1))
    old.copy_(torch.where(mask, new + 0, old))


_Specs = dict[str, tuple[torch.dtype, tuple[int, ...]]]


def _input_specs(layout: StreamLayout, n_rows: int) -> _Specs:
    lanes = layout.given_lanes
    return {
        "missing_input": (torch.bool, (n_rows,)),
        "active": (torch.bool, (n_rows,)),
        "noise": (torch.float32, (n_rows, layout.audio_out_positions, layout.patch_dim)),
        **{spec.name: (_dtype(spec), (n_rows, *spec.shape)) for spec in lanes},
    }


def _output_specs(layout: StreamLayout, n_rows: int) -> _Specs:
    lanes = [spec for spec in layout.made_lanes if spec.kind == "tokens"]
    return {
        "audio": (torch.float32, (n_rows, layout.samples_per_micro_turn)),
        **{spec.name: (_dtype(spec), (n_rows, *spec.shape)) for spec in lanes},
    }


def _dtype(spec: LaneSpec) -> torch.dtype:
    return torch.int64 if spec.kind == "tokens" else torch.uint8


S = TypeVar("S")


def _map(function: Callable[[Tensor], Tensor], state: S) -> S:
    """Apply a function to every tensor in a structure of dataclasses, lists and dictionaries."""
    mapped: Any = state
    if isinstance(state, Tensor):
        mapped = function(state)
    elif isinstance(state, dict):
        mapped = {name: _map(function, value) for name, value in state.items()}
    elif isinstance(state, (list, tuple)):
        mapped = type(state)(_map(function, value) for value in state)
    elif is_dataclass(state) and not isinstance(state, type):
        mapped = replace(
            state, **{f.name: _map(function, getattr(state, f.name)) for f in fields(state)}
        )
    return cast(S, mapped)


def _tensors(state: object) -> list[Tensor]:
    """List all tensors of a state in a fixed order; their first dimension is the row."""
    tensors: list[Tensor] = []

    def collect(tensor: Tensor) -> Tensor:
        tensors.append(tensor)
        return tensor

    _map(collect, state)
    return tensors
