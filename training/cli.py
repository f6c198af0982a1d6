"""`microturn train`, `microturn reinforce`, `microturn see` and `microturn match`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from microturn.configs.command import Command, build_config, starts_over
from microturn.training.config import TrainingConfig
from microturn.training.matching.config import MatchConfig
from microturn.training.reinforce.config import ReinforceConfig
from microturn.training.seeing.config import SeeConfig


def _train(cfg: TrainingConfig) -> int:
    from microturn.training.train import train

    return train(cfg)


def _model_of(checkpoint: str) -> dict[str, Any]:
    from microturn.training.start.init_weights import model_layer

    return model_layer(checkpoint)


def _reinforce(cfg: ReinforceConfig) -> int:
    from microturn.training.reinforce.run import reinforce

    return reinforce(cfg)


def _see(cfg: SeeConfig) -> int:
    from microturn.training.seeing.see import see

    return see(cfg)


def _match(cfg: MatchConfig) -> int:
    from microturn.training.matching.match import match

    return match(cfg)


def _on_interrupt(config: TrainingConfig | ReinforceConfig, line: str) -> str:
    states = sorted((Path(config.out) / "states").glob("step*.safetensors"))
    if not states:
        return starts_over(config, line)
    again = line if config.resume else f"{line} resume=true"
    return f"{states[-1]} is saved; continue with: {again}"


TRAIN = Command(
    schema=TrainingConfig,
    run=_train,
    help="train a model on simulated dialogues",
    on_interrupt=_on_interrupt,
    beneath=("init", _model_of),
)
REINFORCE = Command(
    schema=ReinforceConfig,
    run=_reinforce,
    help="let a checkpoint learn from conversations, by what became of their events",
    on_interrupt=_on_interrupt,
)
SEE = Command(
    schema=SeeConfig,
    run=_see,
    help="teach the video stem of a checkpoint to read drawn worlds",
)
MATCH = Command(
    schema=MatchConfig,
    run=_match,
    help="give a checkpoint two blocks that find an agreed word again",
)


def config_of(words: Sequence[str]) -> TrainingConfig:
    """Return the configuration of `microturn train WORDS`, for a script.

    words: YAML files and key=value; with `init=` the sizes of the model that no word gives are the
    checkpoint's. Raises ConfigError (a ValueError, one sentence) or, for a missing file, OSError.
    """
    cfg: TrainingConfig = build_config(TRAIN, words)
    return cfg
