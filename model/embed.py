"""Early fusion: every lane becomes vectors of one sequence; nothing is pretrained.

B dialogues, N micro-turns, S positions of a micro-turn, D width.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microturn.kernels.ops import has_kernels
from microturn.model.hmlp import VideoEmbedding
from microturn.model.linear import BatchInvariantLinear
from microturn.model.param_groups import ParamGroup
from microturn.model.streams import StreamLayout
from microturn.model.streams.mel import DMEL_BINS


class DMelEmbedding(nn.Module):
    """Bag of embeddings: the sum of one vector per (band, bin), then RMSNorm.

    With `group` > 1 the frames of one position are joined by a linear layer.
    """

    offsets: Tensor

    def __init__(self, d_model: int, n_mels: int, group: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(n_mels * DMEL_BINS, d_model))
        self.norm = nn.RMSNorm(d_model)
        self.join = (
            BatchInvariantLinear(group * d_model, d_model, bias=False) if group > 1 else None
        )
        self.group = group
        offsets = torch.arange(n_mels) * DMEL_BINS
        self.register_buffer("offsets", offsets, persistent=False)
        nn.init.normal_(self.table, std=1.0 / math.sqrt(n_mels))

    def forward(self, ids: Tensor) -> Tensor:
        """(..., F, 80) bin ids to (..., F / group, D)."""
        frames = self._bags(ids.flatten(0, -2)).view(*ids.shape[:-1], -1)
        if self.join is None:
            return frames
        return self.join(frames.unflatten(-2, (-1, self.group)).flatten(-2))

    def _bags(self, ids: Tensor) -> Tensor:
        """Frames (N, 80) to (N, D)."""
        if has_kernels(self.table):
            from microturn.kernels.dmel_bag import dmel_bag

            eps = torch.finfo(self.table.dtype).eps  # that of nn.RMSNorm
            return dmel_bag(ids, self.table, self.norm.weight, eps)
        index = ids.long() + self.offsets
        frames: Tensor = self.norm(F.embedding_bag(index, self.table, mode="sum"))
        return frames


class LaneEmbedding(nn.Module):
    """Vectors for each lane, plus one learned vector per position of the micro-turn.

    The positions of video are marked by their row and column instead.
    """

    video: VideoEmbedding | None

    def __init__(
        self,
        d_model: int,
        layout: StreamLayout,
        vocab_size: int,
        video_channels: tuple[int, ...] = (64, 128, 256),
    ) -> None:
        super().__init__()
        self.layout = layout
        self.dmel = DMelEmbedding(d_model, layout.n_mels, layout.audio_in_group)
        self.tokens = nn.Embedding(vocab_size, d_model)
        self.patch = BatchInvariantLinear(layout.patch_dim, d_model)
        marked = layout.n_positions - layout.video_positions
        self.lane = nn.Parameter(torch.empty(marked, d_model))
        self.late = nn.Parameter(torch.empty(d_model))
        nn.init.normal_(self.tokens.weight, std=1.0)
        nn.init.normal_(self.lane, std=0.5)
        nn.init.normal_(self.late, std=1.0)
        self.video = None
        if layout.video_positions:
            rows, cols = layout.video_rows, layout.video_cols
            self.video = VideoEmbedding(d_model, rows, cols, video_channels)

    def init_weights(self) -> None:
        """Draw the linear maps; tables and marks are drawn where they are made."""
        if self.dmel.join is not None:
            self.dmel.join.init_weights()
        self.patch.init_weights()

    def param_groups(self) -> dict[Tensor, ParamGroup]:
        return {self.lane: ParamGroup.VECTOR}

    def _lane(self, name: str) -> Tensor:
        lane, first = self.layout.lanes[name], self.layout.video_positions
        return self.lane[lane.start - first : lane.stop - first]

    def lane_vector(self, name: str, index: int) -> Tensor:
        """What marks position `index` of a lane, (D,)."""
        return self._lane(name)[index]

    def audio_in(self, ids: Tensor, late: Tensor) -> Tensor:
        """Microphone ids (..., F, 80) and late marks (...) to (..., P, D)."""
        vectors = self.dmel(ids)
        vectors = torch.where(late[..., None, None], self.late.to(vectors.dtype), vectors)
        return vectors + self._lane("audio_in")

    def text(self, name: str, ids: Tensor) -> Tensor:
        """Tokens (..., P) of lane `name` to (..., P, D)."""
        return self.tokens(ids) + self._lane(name)

    def audio_out(self, patches: Tensor) -> Tensor:
        """Standardised own-voice patches (..., P, patch_dim) to (..., P, D)."""
        return self.patch(patches) + self._lane("audio_out")
