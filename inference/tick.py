"""One micro-turn of all rows in buffers that never move, so that a GPU can replay it as a graph.

The host writes what is `given` into one pinned buffer, a single copy takes it to the device, the
micro-turn runs, a single copy brings what was made back. On a CPU both buffers are the same
memory and nothing is copied.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from microturn.model.backbone import BackboneState
from microturn.model.model import InteractionModel, MicroTurnInput, ModelState
from microturn.model.streams.video import frame_shape
from microturn.model.vocoder import GriffinLim, VocoderState

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
        """Returns when the host has everything that was made; the only wait of a micro-turn."""
        if self._copies:
            self.host.copy_(self.there, non_blocking=True)
            torch.cuda.current_stream(self.there.device).synchronize()


class Tick:
    """State of all rows, and the micro-turn that moves it."""

    def __init__(self, model: InteractionModel, rows: int, *, graph: bool) -> None:
        self.model, self.rows = model, rows
        self.device = next(model.parameters()).device
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
        with torch.inference_mode():
            self._in = Buffers(inputs, self.device)
            self._out = Buffers(
                {
                    "sound": (torch.float32, (rows, samples)),
                    "heard": (torch.int64, (rows, layout.heard_positions)),
                    "say": (torch.int64, (rows, layout.say_positions)),
                },
                self.device,
            )
            self.vocoder = GriffinLim(layout, self.device)
            self._state = model.init_state(rows)
            self._voice = self.vocoder.init_state(rows)
            self._fresh_patch = self._state.patch[0].clone()
            self._graph = self._captured() if graph and self.device.type == "cuda" else None

    @property
    def given(self) -> dict[str, NDArray[Any]]:
        """Arrays to write into before `run`; rows that are not `active` keep their state."""
        return self._in.arrays

    def reset(self, row: int) -> None:
        """Forget everything of a row."""
        with torch.inference_mode():
            self._state.backbone.reset_(row)
            self._state.patch[row] = self._fresh_patch
            self._voice.frames[row] = 0.0

    def run(self) -> dict[str, NDArray[Any]]:
        """One micro-turn; the arrays are valid until the next call."""
        with torch.inference_mode():
            self._in.send()
            if self._graph is None:
                self._advance()
            else:
                self._graph.replay()
            self._out.fetch()
        return self._out.arrays

    def _captured(self) -> torch.cuda.CUDAGraph:
        """The graph of `_advance`. All rows sit out meanwhile, so their state stays fresh."""
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                self._advance()
        torch.cuda.current_stream(self.device).wait_stream(stream)
        torch.cuda.synchronize(self.device)
        graph = torch.cuda.CUDAGraph()
        # Other threads (loaders, servers) may use the device while this one captures.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            self._advance()
        return graph

    def _advance(self) -> None:
        """Everything that happens on the device, from buffers into buffers, without a wait."""
        given, made, state = self._in.tensors, self._out.tensors, self._state
        inputs = MicroTurnInput(
            given["audio_in"], given["late"], given["text_in"], given.get("video")
        )
        # The state that goes in is not written but for the rings; see `_keep_`.
        output, after = self.model.step(inputs, state, given["noise"])
        sound, voice = self.vocoder.step(output.log_mel, self._voice)
        self._keep_(given["active"], after, voice)
        made["sound"].copy_(sound)
        made["heard"].copy_(output.heard)
        made["say"].copy_(output.say)

    def _keep_(self, active: Tensor, after: ModelState, voice: VocoderState) -> None:
        """Take over the new state of active rows.

        What the others wrote into their rings lies beyond `seen` and is overwritten later.
        """
        backbone: BackboneState = self._state.backbone
        _take_(backbone.seen, active, after.backbone.seen)
        _take_(self._state.patch, active[:, None], after.patch)
        _take_(self._voice.frames, active[:, None, None], voice.frames)


def _take_(old: Tensor, active: Tensor, new: Tensor) -> None:
    old.copy_(torch.where(active, new, old))
