"""`microturn reinforce`: turns a checkpoint into one that has learned from conversations."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path

import lightning as L
import torch

from microturn.configs.load import save_config
from microturn.model.card import weights_digest
from microturn.model.checkpoint import load_checkpoint, save_checkpoint
from microturn.model.checkpoint_files import TOKENIZER, StoredCheckpoint
from microturn.training.build import new_model
from microturn.training.reading.digest import data_digest
from microturn.training.reinforce.config import ReinforceConfig
from microturn.training.reinforce.environment import Users, open_users
from microturn.training.reinforce.held_out import HeldOut
from microturn.training.reinforce.module import ReinforceModule
from microturn.training.run_lock import alone_in
from microturn.training.sources import Source, open_source
from microturn.training.start.init_weights import folder_of, refuse_to_overwrite
from microturn.training.start.run_identity import RunIdentity, words_digest
from microturn.training.train import choose_precision, fit, has_gpu, load_state, silence_lightning


def reinforce(cfg: ReinforceConfig, *, watch: L.Callback | None = None) -> int:
    """Train or resume; returns 0 when the run reached its end.

    watch: a callback that comes after all others, for measurements. Raises as `train` does.
    """
    silence_lightning()
    torch.set_num_threads(cfg.threads or max(1, len(os.sched_getaffinity(0))))
    out, folder = Path(cfg.out), folder_of(cfg.checkpoint)
    users = open_users(cfg.environment, folder / TOKENIZER)
    source = open_source(cfg.data)
    stored = StoredCheckpoint.read(folder)
    for name, other in (("environment", users), ("data", source)):
        _check_fits(name, stored, other)
    training = cfg.training(stored.cfg)
    run = RunIdentity.of(
        training,
        source.layout,
        source.tokenizer,
        data=data_digest(source),
        precision=choose_precision(training.precision, gpu=has_gpu(training)),
    )
    run = replace(run, settings=run.settings | _settings(cfg, weights_digest(folder)))
    refuse_to_overwrite(out)
    resumed = load_state(training, run)
    model = new_model(training, source, resumed)
    module = ReinforceModule(
        model,
        training,
        cfg,
        frozen=load_checkpoint(folder).model,
        users=users,
        names=source.name,
        resumed=resumed,
    )
    with alone_in(out):
        save_config(out / "config.yaml", cfg)
        if module.progress >= 1:
            save_checkpoint(out / "checkpoint", model, source.tokenizer, notes=model.notes)
            print(f"reinforce: {out} is finished ({module.steps} steps); nothing to do")
            return 0
        return fit(module, source, run, beside=_held_out(cfg, stored), watch=watch)


def _held_out(cfg: ReinforceConfig, stored: StoredCheckpoint) -> list[L.Callback]:
    if not cfg.held_out.environment:
        return []
    users = open_users(cfg.held_out.environment, stored.folder / TOKENIZER)
    _check_fits("held_out.environment", stored, users)
    longest = cfg.rollout.max_micro_turns
    return [HeldOut(cfg.held_out, cfg.reward, Path(cfg.out), users, longest=longest)]


def _check_fits(name: str, stored: StoredCheckpoint, other: Users | Source) -> None:
    """Raise ValueError where an environment or a set has another layout or other words."""
    stored.layout.check_same(other.layout, f"checkpoint={stored.folder}", name)
    if words_digest(stored.tokenizer) != words_digest(other.tokenizer):
        raise ValueError(
            f"{name} has another tokenizer than checkpoint={stored.folder}; give the configuration "
            "and the data that the checkpoint was trained on"
        )


def _settings(cfg: ReinforceConfig, digest: str) -> dict[str, object]:
    """Return what decides the steps of a run beside the settings of its training, flat."""
    own = {"kl": cfg.kl, "clip": cfg.clip, "supervised_share": cfg.supervised_share}
    for section in ("rollout", "reward"):
        values = asdict(getattr(cfg, section))
        own |= {f"{section}.{key}": value for key, value in values.items()}
    return {**own, "environment": cfg.environment, "checkpoint": digest}
