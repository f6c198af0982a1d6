"""`microturn ship`: a checkpoint as it comes with the package: small, with card and digests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from microturn.configs.files import replacing_folder
from microturn.configs.reading import naming_damage
from microturn.datagen.sets.contents import Contents
from microturn.evaluation.config import ShipConfig
from microturn.evaluation.model_card import write_card_of
from microturn.inference.serve.about import EXAMPLES
from microturn.model.checkpoint_files import (
    CONTENTS,
    DIGESTS,
    StoredCheckpoint,
    digests_of,
    write_checkpoint,
    write_digests,
)
from microturn.model.checkpoint_place import find_checkpoint
from microturn.model.model import InteractionModel
from microturn.model.stored.weights import WEIGHTS, read_whole

MAX_WEIGHTS_BYTES: Final = 16 * 2**20
MAX_LISTED: Final = 1_500  # recordings or sentences, a sample of those that were heard in training


def ship(config: ShipConfig) -> int:
    """Write the folder whole or leave it as it was.

    The same checkpoint gives the same weights, so a folder that was scored gets its scores by the
    same command with `scores=`. Raises ValueError where `out` is the checkpoint itself, or a folder
    that holds anything else than what this command wrote, or weights are too large.
    """
    source, out = find_checkpoint(config.checkpoint), Path(config.out)
    if out.resolve() == source.resolve():
        raise ValueError(f"out={out} is the checkpoint itself; give another folder")
    if out.exists() and not out.is_dir():
        raise ValueError(f"out={out} is a file; give a folder")
    exists = out.is_dir() and any(out.iterdir())
    if exists:
        _refuse_other_files(out)
    stored = StoredCheckpoint.read(source)
    model = InteractionModel.from_stored(stored)  # refuses weights that do not fit
    model.notes = {CONTENTS: sampled(stored.notes.get(CONTENTS, ""), where=f"{source / CONTENTS}")}
    weights = halved(read_whole(stored.weights()))
    n_bytes = sum(tensor.nbytes for tensor in weights.values())
    if n_bytes > MAX_WEIGHTS_BYTES:
        raise ValueError(
            f"{source} has {n_bytes / 2**20:.1f} MiB of weights in bfloat16; at most "
            f"{MAX_WEIGHTS_BYTES / 2**20:.0f} MiB ship"
        )
    with replacing_folder(out.absolute(), over=exists) as part:
        write_checkpoint(
            part,
            cfg=stored.cfg,
            layout=stored.layout,
            tokenizer=stored.tokenizer,
            weights=weights,
            notes=model.notes,
        )
        if (source / EXAMPLES).is_dir():
            shutil.copytree(source / EXAMPLES, part / EXAMPLES)
        write_card_of(model, part, config, name=str(out))
        write_digests(part)
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
    with naming_damage(where, "copy it again, or delete it for a card without it"):
        whole = Contents.from_json(json.loads(contents), where=where)
    entry = whole.of_limited_size(MAX_LISTED).to_json()
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n"


def _refuse_other_files(out: Path) -> None:
    """Raise ValueError for a folder with files that this command did not write: they would go."""
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    others = sorted(found - digests_of(out).keys() - {DIGESTS})
    if others:
        raise ValueError(
            f"out={out} holds {others[0]}, which {DIGESTS} there does not list, so `microturn "
            "ship` did not write it; give another folder"
        )


def halved(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Round matrices to bfloat16; vectors, such as biases and means of mel, are small and stay."""
    return {
        name: tensor.to(torch.bfloat16)
        if tensor.is_floating_point() and tensor.ndim > 1
        else tensor
        for name, tensor in weights.items()
    }
