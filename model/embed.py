"""Early fusion: all lanes are embedded into one sequence; nothing is pretrained.

B dialogues, N micro-turns, S positions of a micro-turn, D width.
"""

import math

import torch
from torch import Tensor, nn

from microturn.kernels import ops
from microturn.model.linear import BatchInvariantLinear
from microturn.model.param_groups import ParamGroup
from microturn.model.stems.audio_stem import AudioStem
from microturn.model.stems.hmlp import FrameEmbedding
from microturn.model.streams import LaneSpec, StreamLayout
from microturn.model.streams.mel import DMEL_BINS


class DMelEmbedding(nn.Module):
    """Bag of embeddings: the sum of one vector per (band, bin), then RMSNorm.

    With `group` > 1 the frames of one position are joined by a linear layer. With `channels` the
    vector of an `AudioStem` is added.
    """

    def __init__(
        self, d_model: int, n_mels: int, group: int, channels: tuple[int, ...] = ()
    ) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(n_mels * DMEL_BINS, d_model))
        self.norm = nn.RMSNorm(d_model)
        self.join = (
            BatchInvariantLinear(group * d_model, d_model, bias=False) if group > 1 else None
        )
        self.group = group
        self.stem = AudioStem(d_model, n_mels, group, channels) if channels else None
        nn.init.normal_(self.table, std=1.0 / math.sqrt(n_mels))

    def forward(self, ids: Tensor) -> Tensor:
        """Embed bin ids (..., F, 80) as (..., F / group, D)."""
        bags = ops.dmel_bag(ids.flatten(0, -2), self.table, self.norm.weight)
        vectors = bags.view(*ids.shape[:-1], -1)
        if self.join is not None:
            vectors = self.join(vectors.unflatten(-2, (-1, self.group)).flatten(-2))
        return vectors if self.stem is None else vectors + self.stem(ids)


class LaneEmbedding(nn.Module):
    """Vectors of each lane by its kind, plus one learned vector per position of the micro-turn.

    Positions of frames are marked by their row and column instead. All token lanes share one
    table, all dMel lanes another; every lane of frames has a stem of its own, named after it.
    Checkpoints fix the names of the parameters: `lane` holds the marks, `late` the vector that
    stands for missing input.
    """

    def __init__(
        self,
        d_model: int,
        layout: StreamLayout,
        vocab_size: int,
        frame_channels: tuple[int, ...] = (64, 128, 256),
        audio_channels: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.layout = layout
        self.dmel = DMelEmbedding(d_model, layout.n_mels, layout.audio_in_group, audio_channels)
        self.tokens = nn.Embedding(vocab_size, d_model)
        self.patch = BatchInvariantLinear(layout.patch_dim, d_model)
        self._marked = marked_rows(layout)
        n_marked = sum(places.stop - places.start for places in self._marked.values())
        self.lane = nn.Parameter(torch.empty(n_marked, d_model))
        self.late = nn.Parameter(torch.empty(d_model))
        nn.init.normal_(self.tokens.weight, std=1.0)
        nn.init.normal_(self.lane, std=0.5)
        nn.init.normal_(self.late, std=1.0)
        for spec in layout.lane_specs:
            if spec.kind == "frames":
                self.add_module(spec.name, FrameEmbedding(d_model, spec.grid, frame_channels))

    def init_weights(self) -> None:
        """Draw the linear maps; tables and marks keep what their constructors drew."""
        if self.dmel.join is not None:
            self.dmel.join.init_weights()
        self.patch.init_weights()

    def param_groups(self) -> dict[Tensor, ParamGroup]:
        return {self.lane: ParamGroup.VECTOR}

    def forward(self, spec: LaneSpec, values: Tensor, missing_input: Tensor) -> Tensor:
        """Embed a lane, (..., P, D).

        values (..., *spec.shape) are those of `Lanes`, or, of a `mel` lane, standardised patches
        (..., P, patch_dim). missing_input (...) marks micro-turns without sound.
        """
        if spec.kind == "frames":
            frames: Tensor = self.get_submodule(spec.name)(values)
            return frames
        if spec.kind == "dmel":
            vectors = self.dmel(values)
            missing = missing_input[..., None, None]
            vectors = torch.where(missing, self.late.to(vectors.dtype), vectors)
        else:
            vectors = self.tokens(values) if spec.kind == "tokens" else self.patch(values)
        return vectors + self.marks(spec.name)

    def marks(self, name: str) -> Tensor:
        """Return the vectors that mark the positions of a lane, (P, D)."""
        return self.lane[self._marked[name]]


def marked_rows(layout: StreamLayout) -> dict[str, slice]:
    """Find the rows of `LaneEmbedding.lane` by lane: positions in stream order, without frames."""
    places, start = {}, 0
    for spec in layout.lane_specs:
        if spec.kind != "frames":
            places[spec.name] = slice(start, start + spec.positions)
            start += spec.positions
    return places
