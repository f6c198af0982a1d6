"""`microturn train`: turns dialogues into a checkpoint folder."""

from __future__ import annotations

import logging
import os
import signal
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy

from microturn.configs.load import ConfigError, save_config
from microturn.configs.main import FAILED, WRONG_USAGE
from microturn.configs.signals import Interrupted, code_of, number_of
from microturn.model.checkpoint import save_checkpoint
from microturn.model.model import InteractionModel
from microturn.training import state
from microturn.training.build import new_data, new_model, new_module
from microturn.training.callbacks import Progress, SaveState
from microturn.training.cluster import choose_cluster
from microturn.training.config import TrainingConfig
from microturn.training.fleet.callbacks import WaitForData, WatchRanks
from microturn.training.fleet.children import launch_with_observer
from microturn.training.flops import flops_per_micro_turn, matmul_rate
from microturn.training.log import Logging
from microturn.training.module import TrainingModule
from microturn.training.parallel import check_compiler, compile_blocks, recompute_blocks
from microturn.training.process_group import is_first_process, print_once
from microturn.training.reading.digest import data_digest
from microturn.training.run_lock import alone_in
from microturn.training.sources import Source, open_source
from microturn.training.start.bridge import Bridge
from microturn.training.start.init_weights import refuse_to_overwrite
from microturn.training.start.run_identity import RunIdentity
from microturn.training.state import State
from microturn.training.stop import Stop
from microturn.training.validating.best import KeepBest
from microturn.training.watch.divergence import Divergence
from microturn.training.watch.plugins import make_callbacks, make_logger
from microturn.training.watch.step_times import StepTimes


def choose_precision(precision: str, *, gpu: bool) -> str:
    """Translate into Lightning's name; on CPUs bf16 gains nothing at these sizes."""
    if precision == "auto":
        precision = "bf16" if gpu else "32"
    return "bf16-mixed" if precision == "bf16" else "32-true"


def choose_strategy(cfg: TrainingConfig) -> Strategy | str:
    """Choose how the devices of a run share its work."""
    if cfg.n_devices == 1:
        return "auto"
    if cfg.parallel.is_sharded:  # its mesh is not used: ours has three dimensions
        return ModelParallelStrategy(data_parallel_size=cfg.n_devices, tensor_parallel_size=1)
    # Buffers count what each device sees; they are summed once per step, not copied before it.
    return DDPStrategy(broadcast_buffers=False, gradient_as_bucket_view=True)


def trainer_arguments(cfg: TrainingConfig) -> dict[str, Any]:
    """Return the arguments of `lightning.Trainer` that the configuration decides."""
    gpu = has_gpu(cfg)
    validating = {
        "val_check_interval": cfg.validate.every_steps * cfg.accumulate,
        "check_val_every_n_epoch": None,
        "num_sanity_val_steps": 0,
    }
    return {
        "accelerator": cfg.accelerator,
        "devices": cfg.devices,
        "num_nodes": cfg.nodes,
        "strategy": choose_strategy(cfg),
        "precision": choose_precision(cfg.precision, gpu=gpu),
        "max_steps": cfg.max_steps,
        "max_epochs": -1,
        "accumulate_grad_batches": cfg.accumulate,
        "log_every_n_steps": cfg.log_steps,
        "use_distributed_sampler": False,
        **(validating if cfg.validate.data else {}),
    }


def stand_at_step(trainer: L.Trainer, step: int) -> None:
    """Let a new trainer count from `step` on, as one does that resumes from a checkpoint.

    Its numbers of steps, those of loggers and callbacks too, are then those of the whole run.
    """
    loop = trainer.fit_loop.epoch_loop
    steps, batches = loop.automatic_optimization.optim_progress.optimizer.step, loop.batch_progress
    steps.total.ready = steps.total.completed = step
    for name in ("ready", "started", "processed", "completed"):
        setattr(batches.total, name, step * trainer.accumulate_grad_batches)
    loop._batches_that_stepped = step


def silence_lightning() -> None:
    """Suppress Lightning's advice about features that this program does not use."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.*")
    warnings.filterwarnings("ignore", message=".*pin_memory.*")
    # Experts that are split and shared are gathered in two steps, which torch calls suboptimal.
    logging.getLogger("torch.distributed.tensor._redistribute").setLevel(logging.ERROR)
    # The vocoder's loss is captured on a stream of its own (CUDA).
    warnings.filterwarnings("ignore", message=".*AccumulateGrad node's stream.*")


def train(cfg: TrainingConfig, *, watch: L.Callback | None = None) -> int:
    """Train or resume; returns 0 when the run reached its end.

    watch: a callback that comes after all others, for measurements. Raises ValueError or OSError
    for what a user can fix, and KeyboardInterrupt once a stopped run is saved.
    """
    ranks = WatchRanks(cfg.silence_s, Path(cfg.out))
    try:
        code = _train(cfg, ranks, watch)
        ranks.leave()
        return code
    except BaseException as error:
        ranks.report(error)
        if is_first_process() or not isinstance(error, ValueError | OSError | KeyboardInterrupt):
            raise
        # Of ranks that have met the first one reports it; the exit code is that of all.
        return exit_code_of(error)


def exit_code_of(error: BaseException) -> int:
    """Return the exit code with which the command ends on an error, as configs/main.py gives it."""
    if isinstance(error, KeyboardInterrupt):
        return code_of(number_of(error))
    return WRONG_USAGE if isinstance(error, ConfigError) else FAILED


def _train(cfg: TrainingConfig, ranks: WatchRanks, watch: L.Callback | None) -> int:
    silence_lightning()
    cluster = choose_cluster(cfg)
    ranks.meet(cfg, cluster, gpu=has_gpu(cfg))
    if cfg.compile:
        check_compiler()
    torch.set_num_threads(cfg.threads or max(1, len(os.sched_getaffinity(0)) // cfg.devices))
    out = Path(cfg.out)
    source = open_source(cfg.data, skip_damaged=cfg.skip_damaged, layout_from=cfg.layout_from)
    cfg = cfg.for_dialogues(len(source))
    run = RunIdentity.of(
        cfg,
        source.layout,
        source.tokenizer,
        data=data_digest(source),
        precision=choose_precision(cfg.precision, gpu=has_gpu(cfg)),
    )
    refuse_to_overwrite(out)
    resumed = load_state(cfg, run)
    model = new_model(cfg, source, resumed)
    with alone_in(out) if is_first_process() else nullcontext():
        return _run(
            cfg,
            model,
            source,
            run=run,
            resumed=resumed,
            cluster=cluster,
            ranks=ranks,
            watch=watch,
        )


def _run(
    cfg: TrainingConfig,
    model: InteractionModel,
    source: Source,
    *,
    run: RunIdentity,
    resumed: State | None,
    cluster: ClusterEnvironment | None,
    ranks: WatchRanks,
    watch: L.Callback | None,
) -> int:
    """Train in a run folder that nothing else trains in."""
    out = Path(cfg.out)
    if is_first_process():
        save_config(out / "config.yaml", cfg)
    module = new_module(cfg, model, source, resumed)
    if module.progress >= 1:
        assert resumed is not None
        if is_first_process():
            save_checkpoint(
                out / "checkpoint",
                model,
                source.tokenizer,
                weights=resumed.weights,
                notes=model.notes,
                saved=f"step {module.steps}",
            )
        print_once(f"training: {out} is finished ({module.steps} steps); nothing to do")
        return 0
    if cfg.activation_checkpointing:
        recompute_blocks(model)
    if cfg.compile:
        compile_blocks(model)
    return fit(module, source, run, cluster=cluster, ranks=ranks, watch=watch)


def fit(
    module: TrainingModule,
    source: Source,
    run: RunIdentity,
    *,
    cluster: ClusterEnvironment | None = None,
    ranks: WatchRanks | None = None,
    beside: Sequence[L.Callback] = (),
    watch: L.Callback | None = None,
) -> int:
    """Train a module to the end of its run, with states, log, progress and signals.

    ranks: their watch, where they have met. beside: callbacks before the progress bar. Returns 0;
    raises as `train` does.
    """
    cfg = module.cfg
    out = Path(cfg.out)
    gpu = has_gpu(cfg)
    precision = choose_precision(cfg.precision, gpu=gpu)
    _announce(module, source, precision)
    data = new_data(cfg, source)
    stop = Stop()
    divergence = Divergence(cfg.divergence, out)
    saver = SaveState(
        out,
        source.tokenizer,
        run=run,
        notes=module.model.notes or {},
        every_minutes=cfg.checkpoint_minutes,
        every_steps=cfg.checkpoint_steps,
        n_kept=cfg.checkpoints_kept,
        replaced=() if cfg.resume else state.saved_states(out),
        is_asked=stop.must_save,
        is_good=divergence.is_good,
    )
    times = StepTimes()
    log = Logging(cfg.log, out / "log", every_steps=cfg.log_steps, times=times)
    ranks = ranks or WatchRanks(cfg.silence_s, out)
    callbacks: list[L.Callback] = [ranks, times, stop, log, divergence, saver]
    if cfg.validate.data:
        callbacks.append(KeepBest(cfg.validate, out, source.tokenizer, saver.notes))
    if cfg.streaming_validation.data:
        from microturn.training.streaming_validation import StreamingValidation

        validation = cfg.streaming_validation
        streaming = StreamingValidation(validation, out, source.layout, source.tokenizer)
        streaming.is_stopping = lambda: stop.requested
        callbacks.append(streaming)
    callbacks += beside
    callbacks.append(_progress(module, source, times, half="bf16" in precision))
    if watch is not None:
        callbacks.append(watch)
    more = make_callbacks(cfg.callbacks)
    trainer = L.Trainer(
        **trainer_arguments(cfg),
        callbacks=[*callbacks, *more, WaitForData()],
        logger=make_logger(cfg.logger, out / "lightning") or False,
        enable_checkpointing=any(isinstance(one, Checkpoint) for one in more),
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=out,
        plugins=cluster,
    )
    launch_with_observer(trainer)
    stand_at_step(trainer, module.steps)
    with stop.handling_signals():
        try:
            trainer.fit(module, data)
        except MisconfigurationException as error:
            raise ValueError(" ".join(str(error).split())) from error
        except SystemExit:  # Lightning turns a second Ctrl-C into this
            raise Interrupted(stop.number or signal.SIGINT) from None
    if stop.requested:
        raise Interrupted(stop.number)
    return 0


def _progress(module: TrainingModule, source: Source, times: StepTimes, *, half: bool) -> Progress:
    """Make the bar, a callback after the others: their time between steps is no wait for data."""
    cfg = module.cfg
    n = min(source.n_micro_turns, cfg.longest_piece or source.n_micro_turns)

    def peak() -> float:
        """Rate of the faster precision that the run computes in; bf16 leaves some work in fp32."""
        single = matmul_rate(module.device, torch.float32)
        if not half:
            return cfg.n_devices * single
        bf16 = matmul_rate(module.device, torch.bfloat16)
        if bf16 < single:
            print_once(
                f"training: precision=bf16 is slower than 32 here: matrix products run at "
                f"{bf16 / 1e9:.1f} GFLOP/s against {single / 1e9:.1f}; give precision=32"
            )
        return cfg.n_devices * max(single, bf16)

    return Progress(
        dialogue_s=source.layout.duration_s(n),
        flops_per_dialogue=module.passes * n * flops_per_micro_turn(module.model, n),
        measure_peak=peak,
        times=times,
    )


def load_state(cfg: TrainingConfig, run: RunIdentity) -> State | None:
    """Load the last state of the run folder, if any, and check that it fits this run."""
    states = state.saved_states(Path(cfg.out))
    if not cfg.resume:
        return None
    for path in state.unfinished_states(Path(cfg.out)):
        print_once(f"training: {path} is unfinished, as a kill leaves it; it is not used")
    if not states:
        return None
    last = state.load(states[-1])
    for difference in last.facts.run.differences_from(run, last.path):
        print_once(
            f"training: {difference}: this run goes on from {last.path}, but not as one that "
            "was never stopped would"
        )
    here = last.for_run(run)
    if here is not last:
        print_once(
            f"training: another schedule: the rates of step {last.step} move to it over "
            f"{Bridge.length(cfg.optim.warmup_steps)} steps (optim.warmup_steps)"
        )
    return here


def has_gpu(cfg: TrainingConfig) -> bool:
    """Tell whether the run computes on a GPU."""
    return cfg.accelerator != "cpu" and torch.cuda.is_available()


def _announce(module: TrainingModule, source: Source, precision: str) -> None:
    sizes, cfg = module.model.describe(), module.cfg
    total, active = sizes["parameters_total"], sizes["parameters_active"]
    held = sum(p.numel() for p in module.model.parameters() if not p.requires_grad)
    frozen = f", {held:,} frozen" if held else ""
    start = f"resuming at step {module.steps}" if module.steps else "starting"
    way = cfg.parallel.on(cfg.n_devices)
    split = f"data {way.data} x shard {way.shard} x expert {way.expert}"
    shared = f"{cfg.n_devices} devices ({split}), " if cfg.n_devices > 1 else ""
    print_once(
        f"training: {total:,} parameters ({active:,} active{frozen}), {len(source)} dialogues, "
        f"{cfg.batch_size} per step, {shared}{precision}, {torch.get_num_threads()} threads; "
        f"{start}"
    )
