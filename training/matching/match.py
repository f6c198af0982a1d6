"""Puts two blocks in front of a checkpoint's that find an agreed word again (`microturn match`).

They are made and not learnt (`blocks.py`); other weights keep their bits. A training that freezes
them (`freeze=[layer.0..1]`) teaches the others when to use what they find.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from microturn.configs.command import write_json
from microturn.configs.files import make_folder
from microturn.kernels.ring_attention import project
from microturn.kernels.window_attention import Window
from microturn.model.backbone import Block
from microturn.model.batch import LaneBatch
from microturn.model.model import InteractionModel
from microturn.model.stored.weights import give_weights, has_weights
from microturn.model.streams import Lanes
from microturn.training.matching.blocks import Pairs, Readings, make_blocks_
from microturn.training.matching.config import MatchConfig
from microturn.training.matching.vectors import Agreements, Vectors, words_of
from microturn.training.reading.mixture import examples_of
from microturn.training.sources import open_source
from microturn.training.start.init_weights import InitialWeights

N_BLOCKS: Final = 2
OTHER_LANES: Final = 14  # dialogues that say what vectors of other lanes are like
_BLOCK: Final = re.compile(r"(?<=^backbone\.blocks\.)\d+")


def match(cfg: MatchConfig) -> int:
    """Write the checkpoint of `init` with two more blocks in front; returns 0.

    Raises OSError or ValueError, one sentence, where `init`, `data` or `out` cannot be used.
    """
    torch.set_num_threads(cfg.threads or max(1, len(os.sched_getaffinity(0))))
    out = Path(cfg.out)
    if has_weights(out):
        raise ValueError(f"out={out} holds a checkpoint; give another out=")
    initial = InitialWeights.read(cfg.init)
    if initial.cfg.n_attention_only:
        raise ValueError(
            f"init={cfg.init} has {initial.cfg.n_attention_only} blocks of attention alone in "
            "front already; give a checkpoint from before a match"
        )
    pieces = initial.tokenizer.encode(cfg.means)
    if len(pieces) != 1 or initial.layout.heard_positions != 1:
        raise ValueError(
            f"means={cfg.means} takes {len(pieces)} tokens and a micro-turn has "
            f"{initial.layout.heard_positions} for words that are heard; a match needs one of each"
        )
    source = open_source(cfg.data, layout_from=cfg.init)
    if source.tokenizer.pieces != initial.tokenizer.pieces:
        raise ValueError(
            f"data={cfg.data} has other tokens than init={cfg.init}; train that on sets with the "
            "tokens of this data first"
        )
    initial.layout.check_same(source.layout, f"init={cfg.init}", f"data={cfg.data}")
    numbers = examples_of(source, cfg.n_dialogues + cfg.n_test)
    dialogues = [source.lanes(number) for number in numbers]
    known, others = dialogues[: cfg.n_dialogues], dialogues[cfg.n_dialogues :]
    make_folder(out)  # before the work, so that it fails early

    agreed = Agreements.of(known, pieces[0])
    model = grown(initial, cfg.seed)
    blocks = front(model)
    vectors = Vectors.of(model, initial.tokenizer, known[:OTHER_LANES])
    pairs = Pairs(model.cfg.head_dim, model.cfg.rope_base, model.layout.n_positions)
    generator = torch.Generator().manual_seed(cfg.seed)
    make_blocks_(blocks, Readings(vectors, agreed), pairs, generator)
    model.save_pretrained(out)
    found = measure(model.eval(), agreed, others)
    print(
        f"{len(agreed.cues)} cues, {len(agreed.answers)} answers; in other dialogues block 1 reads"
    )
    print("\n".join(f"  {name:<14} {value:.3f}" for name, value in found.items()))
    write_json(found, cfg.json)
    return 0


def grown(initial: InitialWeights, seed: int) -> InteractionModel:
    """Build the model of a checkpoint with blocks of attention in front that write nothing yet."""
    cfg = initial.cfg
    cfg = replace(cfg, n_layers=cfg.n_layers + N_BLOCKS, n_attention_only=N_BLOCKS)
    torch.manual_seed(seed)
    model = InteractionModel(cfg, initial.layout, len(initial.tokenizer))
    give_weights(model, {_later(name): stored for name, stored in initial.weights.items()})
    model.tokenizer = initial.tokenizer
    model.notes = initial.notes()
    with torch.no_grad():
        for block in front(model):
            block.attention.out.weight.zero_()
    return model


def front(model: InteractionModel) -> list[Block]:
    """Return the blocks that were put in front."""
    blocks = [block for block in model.backbone.blocks if isinstance(block, Block)]
    return blocks[:N_BLOCKS]


def _later(name: str) -> str:
    return _BLOCK.sub(lambda found: str(int(found[0]) + N_BLOCKS), name)


@torch.no_grad()
def measure(model: InteractionModel, agreed: Agreements, dialogues: list[Lanes]) -> dict[str, Any]:
    """Measure how much a position reads of answers: after a cue of its own, after others of any.

    `told_apart` is the chance that a cue reads more of its answer than another word of any.
    """
    cues: list[float] = []
    others: list[float] = []
    for lanes in dialogues:
        shares = read_shares(model, lanes)
        place = model.layout.lanes["heard"].start
        words = words_of(lanes)
        following = [*(piece for _, piece in words[1:]), 0]
        answer_of: dict[int, int] = {}
        for i, (turn, piece) in enumerate(words):
            if piece == agreed.means and 0 < i < len(words) - 1:
                answer_of[words[i - 1][1]] = words[i + 1][0]
            if piece not in agreed.cues or following[i] == agreed.means or not answer_of:
                continue
            if turn + 1 == lanes.n_micro_turns:
                continue
            row = shares[turn + 1].view(lanes.n_micro_turns, -1)[:, place]
            if piece in answer_of:
                cues.append(float(row[answer_of[piece]]))
            else:
                others.append(float(row[[*answer_of.values()]].sum()))
    if not cues or not others:
        raise ValueError("no cue comes after its agreement in the dialogues of data=; give more")
    higher = np.mean(np.array(cues)[:, None] > np.array(others)[None])
    values = {"cue": np.mean(cues), "other": np.mean(others), "told_apart": higher}
    return {name: round(float(value), 4) for name, value in values.items()}


def read_shares(model: InteractionModel, lanes: Lanes) -> Tensor:
    """Compute what the position of `heard` of each micro-turn reads in block 1, (N, T)."""
    batch = LaneBatch.collate([lanes])
    first, second = front(model)
    backbone = model.backbone
    x = backbone.norm_in(model.embed_dialogues(batch, model.patches(batch["audio_out"])))
    T, place = x.shape[1], model.layout.lanes["heard"].start
    cos, sin = backbone.angles(torch.arange(T))
    window = Window.plan(
        T, first.attention.reach, n_sinks=0, head_dim=model.cfg.head_dim, device=x.device
    )
    x = first(x, window, cos, sin)
    attention = second.attention
    weights = (attention.q_norm.weight, attention.k_norm.weight)
    qkv = attention.qkv(second.attention_norm(x))
    q, k, _ = project(qkv, weights, (cos, sin), attention.n_kv_heads)
    asking = torch.arange(place, T, model.layout.n_positions)
    distance = asking[:, None] - torch.arange(T)
    unread = (distance < 0) | (distance >= attention.reach)
    scores = (q[0, 0, asking] @ k[0, 0].T) / attention.head_dim**0.5
    return scores.masked_fill(unread, -torch.inf).softmax(-1)
