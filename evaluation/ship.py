"""`microturn ship`: a checkpoint as it comes with the package: small, with card and digests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from microturn.datagen.sets.contents import Contents
from microturn.evaluation.config import ShipConfig
from microturn.evaluation.model_card import write_model_card
from microturn.inference.serve.about import EXAMPLES
from microturn.model.checkpoint_files import (
    CONTENTS,
    StoredCheckpoint,
    write_checkpoint,
    write_digests,
)
from microturn.model.checkpoint_place import find_checkpoint
from microturn.model.stored.weights import WEIGHTS, read_whole

MAX_WEIGHTS_BYTES: Final = 16 * 2**20
MAX_LISTED: Final = 1_500  # recordings or sentences, a sample of those that were heard in training


def ship(config: ShipConfig) -> int:
    """Write the folder; ValueError where `out` is the checkpoint itself, or weights are too large.

    The same checkpoint gives the same weights, so a folder that was scored gets its scores by the
    same command with `scores=`.
    """
    source, out = find_checkpoint(config.checkpoint), Path(config.out)
    if out.resolve() == source.resolve():
        raise ValueError(f"out={out} is the checkpoint itself; give another folder")
    stored = StoredCheckpoint.read(source)
    weights = halved(read_whole(stored.weights()))
    n_bytes = sum(tensor.nbytes for tensor in weights.values())
    if n_bytes > MAX_WEIGHTS_BYTES:
        raise ValueError(
            f"{source} has {n_bytes / 2**20:.1f} MiB of weights in bfloat16; at most "
            f"{MAX_WEIGHTS_BYTES / 2**20:.0f} MiB ship"
        )
    write_checkpoint(
        out,
        cfg=stored.cfg,
        layout=stored.layout,
        tokenizer=stored.tokenizer,
        weights=weights,
        notes={CONTENTS: sampled(stored.notes.get(CONTENTS, ""), where=f"{source}/{CONTENTS}")},
    )
    shutil.rmtree(out / EXAMPLES, ignore_errors=True)
    if (source / EXAMPLES).is_dir():
        shutil.copytree(source / EXAMPLES, out / EXAMPLES)
    # Whole: `shipped` alone is the name of the one that comes with the package.
    write_model_card(replace(config, checkpoint=str(out.absolute())))
    write_digests(out)
    total = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(
        f"{out}: {total / 2**20:.2f} MiB, of them {(out / WEIGHTS).stat().st_size / 2**20:.2f} "
        "of weights"
    )
    return 0


def sampled(contents: str, *, where: str) -> str:
    """Return the text of `contents.json` with a sample of its recordings; all people stay."""
    if not contents:
        return ""
    whole = Contents.from_json(json.loads(contents), where=where)
    entry = whole.of_limited_size(MAX_LISTED).to_json()
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n"


def halved(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Round matrices to bfloat16; vectors, such as biases and means of mel, are small and stay."""
    return {
        name: tensor.to(torch.bfloat16)
        if tensor.is_floating_point() and tensor.ndim > 1
        else tensor
        for name, tensor in weights.items()
    }
