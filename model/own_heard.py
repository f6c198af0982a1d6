"""What a model hears itself: `heard` by its own choice, all else as the dialogue has it.

Training reads the true `heard` before it predicts `say`; a session reads its own. B rows, N
micro-turns, P positions of the lane.
"""

from __future__ import annotations

import torch
from torch import Tensor

from microturn.model.batch import LaneBatch
from microturn.model.choice import choose_token
from microturn.model.model import InteractionModel


@torch.no_grad()
def own_heard(model: InteractionModel, batch: LaneBatch, patches: Tensor) -> Tensor:
    """Choose the most likely `heard` token by token, as a session does, (B, N, P) int64.

    Each token is read before the next one is chosen; `say`, voice and given lanes are those of
    `batch`, the voice as standardised `patches`. N times P + 2 small steps one after another.
    """
    B, N = batch.shape
    places = model.layout.lanes["heard"]
    with torch.autocast(patches.device.type, enabled=False):
        vectors = model.embed_dialogues(batch, patches).view(B, N, model.layout.n_positions, -1)
        marks, step = model.embed.marks("heard"), model.backbone.step
        state = model.backbone.init_state(B, device=vectors.device, dtype=vectors.dtype)
        chosen = torch.zeros_like(batch["heard"])
        for n in range(N):
            hidden, state = step(vectors[:, n, : places.start], state)
            for position in range(chosen.shape[2]):
                token = choose_token(model.unembed(hidden[:, -1:]), model.cfg.start_at)  # (B, 1)
                chosen[:, n, position] = token[:, 0]
                hidden, state = step(model.embed.tokens(token) + marks[position], state)
            _, state = step(vectors[:, n, places.stop :], state)
    return chosen
