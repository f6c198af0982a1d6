"""What a Lightning script needs for a run: the module and its data, by configuration."""

from __future__ import annotations

from microturn.training.config import TrainingConfig
from microturn.training.data import DialogueData
from microturn.training.module import TrainingModule
from microturn.training.sources import open_source
from microturn.training.train import new_data, new_model, new_module


def build_run(cfg: TrainingConfig) -> tuple[TrainingModule, DialogueData]:
    """Make the module and the data that `microturn train` would train with this configuration.

    `module.cfg` has `max_steps` also where the length of the run is given in epochs. Raises
    ValueError or OSError, one sentence, where the data is missing or does not fit.
    """
    source = open_source(cfg.data, skip_damaged=cfg.skip_damaged, layout_from=cfg.layout_from)
    cfg = cfg.for_dialogues(len(source))
    module = new_module(cfg, new_model(cfg, source), source)
    return module, new_data(cfg, source)
