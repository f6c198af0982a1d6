"""`microturn train`: from a shard set to a checkpoint folder."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path

import lightning as L
import numpy as np
import torch

from microturn.configs.load import save_config
from microturn.model.checkpoint import describe
from microturn.model.model import PATCH_FLOOR, InteractionModel
from microturn.model.streams import dequantise_fine
from microturn.model.streams.lanes import SILENT_LOG_MEL
from microturn.model.streams.layout import N_MELS
from microturn.training.callbacks import CsvLog, Progress, SaveState
from microturn.training.config import TrainingConfig
from microturn.training.data import DialogueData
from microturn.training.module import TrainingModule

_STATISTICS_DIALOGUES = 64


def choose_precision(wanted: str, *, gpu: bool) -> str:
    """Lightning's name of the precision; on CPUs bf16 gains nothing at these sizes."""
    if wanted == "auto":
        wanted = "bf16" if gpu else "32"
    return "bf16-mixed" if wanted == "bf16" else "32-true"


@torch.no_grad()
def fit_mel_statistics(model: InteractionModel, data: DialogueData) -> None:
    """Mean and deviation per band over the agent's speech (not its silence) of some dialogues."""
    count = min(_STATISTICS_DIALOGUES, len(data.dataset))
    frames = [dequantise_fine(data.dataset[i].audio_out).reshape(-1, N_MELS) for i in range(count)]
    log_mel = np.maximum(np.concatenate(frames), PATCH_FLOOR)
    speech = log_mel[log_mel.max(axis=1) > SILENT_LOG_MEL]
    if len(speech) > 1:  # otherwise nobody speaks and the initial statistics stay
        model.mel_mean.copy_(torch.from_numpy(speech.mean(0)))
        model.mel_std.copy_(torch.from_numpy(speech.std(0)).clamp_min(0.1))


def _resume_point(cfg: TrainingConfig) -> tuple[Path | None, int]:
    path = Path(cfg.out) / "last.ckpt"
    if not cfg.resume or not path.is_file():
        return None, 0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(
            f"{path}: cannot be read ({type(error).__name__}); delete it or pass resume=false"
        ) from error
    return path, int(state["global_step"])


def _quiet() -> None:
    """Lightning's advice about features that we do not use."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.*")
    warnings.filterwarnings("ignore", message=".*pin_memory.*")


def train(cfg: TrainingConfig) -> int:
    """Train or resume; returns 0 when the run reached its end."""
    _quiet()
    torch.set_num_threads(cfg.threads or len(os.sched_getaffinity(0)))
    out = Path(cfg.out)
    resume_from, first_step = _resume_point(cfg)
    data = DialogueData(
        cfg.data,
        batch_size=cfg.batch_size,
        seed=cfg.seed,
        steps=cfg.max_steps,
        first_step=first_step,
        workers=cfg.loader_workers,
    )
    tokenizer = data.reader.tokenizer
    L.seed_everything(cfg.seed + first_step, verbose=False)
    model = InteractionModel(cfg.model, data.reader.layout, len(tokenizer))
    fit_mel_statistics(model, data)
    out.mkdir(parents=True, exist_ok=True)
    save_config(out / "config.yaml", cfg)
    gpu = cfg.accelerator != "cpu" and torch.cuda.is_available()
    precision = choose_precision(cfg.precision, gpu=gpu)
    _announce(model, data, cfg, precision, first_step)
    seconds = data.reader.n_micro_turns * data.reader.layout.micro_turn_ms / 1000
    saver = SaveState(out, tokenizer, cfg.checkpoint_minutes)
    callbacks: list[L.Callback] = [CsvLog(out / "log" / "metrics.csv"), saver]
    if cfg.listen.data:
        from microturn.training.listen import Listen

        callbacks.append(Listen(cfg.listen, out, tokenizer))
    callbacks.append(Progress(seconds))  # last: what others do between steps is no data wait
    trainer = L.Trainer(
        accelerator=cfg.accelerator,
        devices=1,
        precision=precision,  # type: ignore[arg-type]
        max_steps=cfg.max_steps,
        max_epochs=-1,
        gradient_clip_val=cfg.optim.clip,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        default_root_dir=out,
    )
    module = TrainingModule(model, cfg)
    trainer.fit(module, data, ckpt_path=resume_from, weights_only=True)
    if trainer.interrupted:
        saver.save(trainer, module)
        raise KeyboardInterrupt
    return 0


def _announce(
    model: InteractionModel, data: DialogueData, cfg: TrainingConfig, precision: str, step: int
) -> None:
    sizes = describe(model)
    total, active = sizes["parameters_total"], sizes["parameters_active"]
    where = f"resuming at step {step}" if step else "starting"
    print(
        f"training: {total:,} parameters ({active:,} active), {len(data.dataset)} dialogues, "
        f"{cfg.batch_size} per step, {precision}, {torch.get_num_threads()} threads; {where}",
        file=sys.stderr,
    )
