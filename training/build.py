"""Builds the model, the module and the data of a run from its configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import lightning as L
import numpy as np
import torch

from microturn.datagen.sets.contents import (
    CONTENTS_NAME,
    Contents,
    contents_text,
    read_contents,
)
from microturn.model.checkpoint_place import IN_RUN
from microturn.model.model import InteractionModel
from microturn.model.stored.draws import draws_of, without_memory
from microturn.model.stored.tensor_files import Stored
from microturn.model.stored.weights import give_weights
from microturn.model.streams import dequantise_fine
from microturn.model.streams.layout import N_MELS
from microturn.model.streams.packing import SILENT_LOG_MEL
from microturn.model.vocoders.config import PATCH_FLOOR
from microturn.training.config import TrainingConfig
from microturn.training.data import DialogueData
from microturn.training.module import TrainingModule
from microturn.training.process_group import print_once
from microturn.training.reading.damage import DamagedDialogues
from microturn.training.reading.mixture import examples_of
from microturn.training.sources import Source, open_source
from microturn.training.start.init_weights import InitialWeights, contents_of, folders_of
from microturn.training.start.run_identity import words_digest
from microturn.training.state import State, weights_for
from microturn.training.vocoder_loss import VocoderTask

_STATISTICS_DIALOGUES: Final = 64


def build_run(cfg: TrainingConfig) -> tuple[TrainingModule, DialogueData]:
    """Make the module and the data that `microturn train` would train with this configuration.

    `module.cfg` has `max_steps` also where the length of the run is given in epochs. Raises
    ValueError or OSError, one sentence, where the data is missing or does not fit.
    """
    source = open_source(cfg.data, skip_damaged=cfg.skip_damaged, layout_from=cfg.layout_from)
    cfg = cfg.for_dialogues(len(source))
    module = new_module(cfg, new_model(cfg, source), source)
    return module, new_data(cfg, source)


@torch.no_grad()
def fit_mel_statistics(model: InteractionModel, source: Source) -> None:
    """Set mean and deviation per band to those of the agent's speech in some dialogues."""
    numbers = examples_of(source, _STATISTICS_DIALOGUES)
    frames = [dequantise_fine(source.lanes(i)["audio_out"]).reshape(-1, N_MELS) for i in numbers]
    log_mel = np.maximum(np.concatenate(frames), PATCH_FLOOR)
    speech = log_mel[log_mel.max(axis=1) > SILENT_LOG_MEL]
    if len(speech) < 2:
        raise ValueError(
            f"from {source.name(numbers[0])} to {source.name(numbers[-1])} the agent never "
            "speaks, so there is no voice to learn; add dialogues in which it does"
        )
    model.mel_mean.copy_(torch.from_numpy(speech.mean(0)))
    model.mel_std.copy_(torch.from_numpy(speech.std(0)).clamp_min(0.1))


def new_model(
    cfg: TrainingConfig, source: Source, resumed: State | None = None
) -> InteractionModel:
    """Make the model that a run begins with.

    Its weights are those of the state, or of the checkpoint `init=`; else they are drawn, and the
    agent's speech in the data is measured. A process that will hold a share of them gets that once
    the model is sharded (`give_weights`). It keeps what its checkpoint needs: the tokenizer, and
    what it is trained on.
    """
    L.seed_everything(cfg.seed, verbose=False)
    with without_memory() as draws:
        model = InteractionModel(cfg.model, source.layout, len(source.tokenizer))
    model.pending = draws_of(model, draws)
    if resumed is not None:
        model.pending = weights_for(model, resumed)
    elif cfg.init:
        model.pending = {**model.pending, **_start_from(cfg.init, model, source)}
    else:
        fit_mel_statistics(model, source)
    if not cfg.parallel.is_sharded:
        give_weights(model, model.pending)
        model.pending = {}
    model.tokenizer = source.tokenizer
    model.notes = _notes(source, cfg, resumed=resumed is not None)
    return model


def _notes(source: Source, cfg: TrainingConfig, *, resumed: bool) -> dict[str, str]:
    """Return the files of a checkpoint that say what it was trained on, by name."""
    contents: Contents | None = source.contents()
    before: Contents | None = Contents()
    if resumed:
        before = read_contents(Path(cfg.out) / IN_RUN)
    elif cfg.init:
        before = contents_of(folders_of(cfg.init))
    if contents is None or before is None:
        return {CONTENTS_NAME: ""}
    return {CONTENTS_NAME: contents_text(before.united(contents))}


def new_module(
    cfg: TrainingConfig, model: InteractionModel, source: Source, resumed: State | None = None
) -> TrainingModule:
    """Make the module that trains a model on a source, with the vocoder where it is learned."""
    voice = None
    if model.vocoder.is_learned:
        voice = VocoderTask(source, cfg.model.vocoder, source.layout, seed=cfg.seed)
    return TrainingModule(model, cfg, names=source.name, resumed=resumed, voice=voice)


def new_data(cfg: TrainingConfig, source: Source) -> DialogueData:
    """Make the batches of a run."""
    return DialogueData(
        source,
        batch_size=cfg.batch_size,
        seed=cfg.seed,
        steps=cfg.max_steps,
        workers=cfg.loader_workers,
        n_micro_batches=cfg.accumulate,
        bucket_steps=cfg.bucket_steps,
        crop_micro_turns=cfg.longest_piece,
        damaged=lambda rank: DamagedDialogues(
            cfg.skip_damaged, Path(cfg.out) / "damaged.jsonl", writes=rank == 0
        ),
        validation=open_validation(cfg, source),
        n_validation=cfg.validate.n_dialogues,
    )


def open_validation(cfg: TrainingConfig, source: Source) -> Source | None:
    """Open the dialogues to validate on; ValueError where they do not fit those of training."""
    if not cfg.validate.data:
        return None
    validation = open_source(cfg.validate.data)
    name = f"validate.data={cfg.validate.data}"
    source.layout.check_same(validation.layout, f"data={cfg.data}", name)
    if words_digest(source.tokenizer) != words_digest(validation.tokenizer):
        raise ValueError(
            f"{name} has another tokenizer than data={cfg.data}; simulate both with the same texts "
            "and vocabulary size"
        )
    return validation


def _start_from(name: str, model: InteractionModel, source: Source) -> dict[str, Stored]:
    initial = InitialWeights.read(name)
    found, phrases = initial.sources(model, source.tokenizer)
    changes = "".join(f"; {phrase}" for phrase in phrases)
    folders = " and ".join(map(str, initial.folders))
    mean = "the mean of " if len(initial.folders) > 1 else ""
    print_once(f"training: {mean}the weights of {folders}, step 0, a new optimiser{changes}")
    return found
