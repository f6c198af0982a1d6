"""`microturn train`: from dialogues to a checkpoint folder."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path

import lightning as L
import numpy as np
import torch
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from lightning.pytorch.utilities import rank_zero_only

from microturn.configs.load import save_config
from microturn.model.checkpoint import describe, save_checkpoint
from microturn.model.model import PATCH_FLOOR, InteractionModel
from microturn.model.streams import dequantise_fine
from microturn.model.streams.layout import N_MELS
from microturn.model.streams.packing import SILENT_LOG_MEL
from microturn.training import state
from microturn.training.callbacks import Progress, SaveState, Stop
from microturn.training.config import TrainingConfig
from microturn.training.data import DialogueData
from microturn.training.flops import flops_per_micro_turn, matmul_rate
from microturn.training.log import Logging
from microturn.training.module import TrainingModule
from microturn.training.parallel import check_compiler, compile_blocks, recompute_blocks
from microturn.training.sources import Source, open_source
from microturn.training.state import Facts, State
from microturn.training.vocoder_loss import VoiceTask

_STATISTICS_DIALOGUES = 64


def choose_precision(wanted: str, *, gpu: bool) -> str:
    """Lightning's name of the precision; on CPUs bf16 gains nothing at these sizes."""
    if wanted == "auto":
        wanted = "bf16" if gpu else "32"
    return "bf16-mixed" if wanted == "bf16" else "32-true"


def choose_strategy(cfg: TrainingConfig) -> Strategy | str:
    """How the devices of a run share its work."""
    world = cfg.devices * cfg.nodes
    if world == 1:
        return "auto"
    if cfg.strategy == "fsdp":
        return ModelParallelStrategy(data_parallel_size=world, tensor_parallel_size=1)
    # Buffers count what each device sees; they are summed once per step, not copied before it.
    return DDPStrategy(broadcast_buffers=False, gradient_as_bucket_view=True)


@torch.no_grad()
def fit_mel_statistics(model: InteractionModel, source: Source) -> None:
    """Mean and deviation per band over the agent's speech (not its silence) of some dialogues."""
    count = min(_STATISTICS_DIALOGUES, len(source))
    frames = [
        dequantise_fine(source.lanes(i)["audio_out"]).reshape(-1, N_MELS) for i in range(count)
    ]
    log_mel = np.maximum(np.concatenate(frames), PATCH_FLOOR)
    speech = log_mel[log_mel.max(axis=1) > SILENT_LOG_MEL]
    if len(speech) > 1:  # otherwise nobody speaks and the initial statistics stay
        model.mel_mean.copy_(torch.from_numpy(speech.mean(0)))
        model.mel_std.copy_(torch.from_numpy(speech.std(0)).clamp_min(0.1))


def _quiet() -> None:
    """Lightning's advice about features that we do not use."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.*")
    warnings.filterwarnings("ignore", message=".*pin_memory.*")


def train(cfg: TrainingConfig, *, watch: L.Callback | None = None) -> int:
    """Train or resume; returns 0 when the run reached its end.

    watch: a callback that comes after all others, for measurements. Raises ValueError or OSError
    for what a user can mend, and KeyboardInterrupt once a stopped run is saved.
    """
    try:
        return _train(cfg, watch)
    except (ValueError, OSError, KeyboardInterrupt):
        if _is_first():
            raise
        return 0  # all processes stop for the same reason; the first one tells it


def _train(cfg: TrainingConfig, watch: L.Callback | None) -> int:
    _quiet()
    if cfg.compile:
        check_compiler()
    torch.set_num_threads(cfg.threads or max(1, len(os.sched_getaffinity(0)) // cfg.devices))
    out = Path(cfg.out)
    source = open_source(cfg.data)
    facts = Facts.of(
        cfg.model, source.layout, source.tokenizer, seed=cfg.seed, batch_size=cfg.batch_size
    )
    resumed = _resumed(cfg, facts)
    L.seed_everything(cfg.seed, verbose=False)
    model = InteractionModel(cfg.model, source.layout, len(source.tokenizer))
    if resumed is None:
        fit_mel_statistics(model, source)
    else:
        _restore(model, resumed)
    if _is_first():
        out.mkdir(parents=True, exist_ok=True)
        save_config(out / "config.yaml", cfg)
    voice = None
    if model.vocoder.is_learned:
        voice = VoiceTask(source, cfg.model.vocoder, source.layout, seed=cfg.seed)
    module = TrainingModule(model, cfg, names=source.name, resumed=resumed, voice=voice)
    if module.progress >= 1:
        save_checkpoint(out / "checkpoint", model, source.tokenizer)
        return 0
    if cfg.activation_checkpointing:
        recompute_blocks(model)
    if cfg.compile:
        compile_blocks(model)
    return _fit(cfg, module, source, facts, watch)


def _fit(
    cfg: TrainingConfig,
    module: TrainingModule,
    source: Source,
    facts: Facts,
    watch: L.Callback | None,
) -> int:
    out, first_step = Path(cfg.out), module.steps
    gpu = cfg.accelerator != "cpu" and torch.cuda.is_available()
    precision = choose_precision(cfg.precision, gpu=gpu)
    _announce(module, source, precision)
    data = DialogueData(
        source,
        batch_size=cfg.batch_size,
        seed=cfg.seed,
        steps=cfg.max_steps,
        first_step=first_step,
        workers=cfg.loader_workers,
        parts=cfg.accumulate,
    )
    saver = SaveState(
        out,
        source.tokenizer,
        facts,
        minutes=cfg.checkpoint_minutes,
        steps=cfg.checkpoint_steps,
        kept=cfg.checkpoints_kept,
    )
    stop = Stop()
    callbacks: list[L.Callback] = [stop, Logging(cfg.log, out / "log", cfg.log_steps), saver]
    if cfg.listen.data:
        from microturn.training.streaming_validation import Listen

        callbacks.append(Listen(cfg.listen, out, source.layout, source.tokenizer))
    callbacks.append(_progress(module, source, gpu=gpu, half="bf16" in precision))
    if watch is not None:
        callbacks.append(watch)
    trainer = L.Trainer(
        accelerator=cfg.accelerator,
        devices=cfg.devices,
        num_nodes=cfg.nodes,
        strategy=choose_strategy(cfg),
        precision=precision,  # type: ignore[arg-type]
        max_steps=cfg.max_steps - first_step,
        max_epochs=-1,
        accumulate_grad_batches=cfg.accumulate,
        use_distributed_sampler=False,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=out,
    )
    with stop.listening():
        try:
            trainer.fit(module, data)
        except SystemExit:  # what Lightning makes of a second Ctrl-C
            raise KeyboardInterrupt from None
    if stop.asked and module.progress < 1:
        raise KeyboardInterrupt
    return 0


def _progress(module: TrainingModule, source: Source, *, gpu: bool, half: bool) -> Progress:
    """Last but for `watch`: what others do between steps is no data wait."""
    n, cfg = source.n_micro_turns, module.cfg
    dtype = torch.bfloat16 if half else torch.float32

    def peak() -> float:
        return cfg.devices * cfg.nodes * matmul_rate(module.device, dtype)

    seconds = source.layout.duration_s(n)
    return Progress(seconds, n * flops_per_micro_turn(module.model, n), peak)


def _resumed(cfg: TrainingConfig, facts: Facts) -> State | None:
    """The last state of this run, checked against what is asked for now."""
    states = state.saved_states(Path(cfg.out))
    if not cfg.resume or not states:
        return None
    found = state.load(states[-1])
    for difference in found.check_fits(facts):
        _say(
            f"training: {difference}: this run goes on from {found.path}, but not as one that "
            "was never stopped would"
        )
    return found


def _restore(model: InteractionModel, resumed: State) -> None:
    try:
        model.load_state_dict(resumed.weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(
            f"{resumed.path} does not fit this model ({reason}); give another out= or resume=false"
        ) from error


def _announce(module: TrainingModule, source: Source, precision: str) -> None:
    sizes, cfg = describe(module.model), module.cfg
    total, active = sizes["parameters_total"], sizes["parameters_active"]
    where = f"resuming at step {module.steps}" if module.steps else "starting"
    world = cfg.devices * cfg.nodes
    shared = f"{world} devices ({cfg.strategy}), " if world > 1 else ""
    _say(
        f"training: {total:,} parameters ({active:,} active), {len(source)} dialogues, "
        f"{cfg.batch_size} per step, {shared}{precision}, {torch.get_num_threads()} threads; "
        f"{where}"
    )


def _say(text: str) -> None:
    if _is_first():
        print(text, file=sys.stderr)


def _is_first() -> bool:
    """Whether this is the process that speaks and writes; known before they have met."""
    return getattr(rank_zero_only, "rank", 0) == 0
