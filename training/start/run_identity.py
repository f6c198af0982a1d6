"""What decided the steps of a run, as a state keeps it; the next run is compared with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from microturn.model.streams import StreamLayout, Tokenizer
from microturn.training.config import TrainingConfig
from microturn.training.reading.source import tokenizer_text
from microturn.training.start.bridge import SCHEDULE
from microturn.training.start.model_settings import differences, is_loss_setting

# Keys that change where, when and how fast a run computes and what it writes, and none of its
# steps; the data counts by its digest, the model by its own keys.
_HARMLESS: Final = frozenset(
    {
        "accelerator",
        "accumulate",
        "activation_checkpointing",
        "callbacks",
        "checkpoint_minutes",
        "checkpoint_steps",
        "checkpoints_kept",
        "compile",
        "data",
        "devices",
        "divergence",
        "init",
        "layout_from",
        "loader_workers",
        "log",
        "log_steps",
        "logger",
        "max_epochs",  # max_steps says it
        "model",
        "nodes",
        "out",
        "parallel",
        "resume",
        "skip_damaged",
        "streaming_validation",
        "threads",
        "validate",
    }
)


@dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """Settings that a run and the state it resumes from share: the sizes must, the rest should.

    A state of a former version lacks some of them; what it lacks is not compared.
    """

    model: dict[str, Any]
    layout: str
    words: str  # digest of the tokenizer
    seed: int
    batch_size: int
    max_steps: int = 0
    data: str = ""  # digest
    settings: dict[str, Any] = field(default_factory=dict)  # other keys of the run, flat

    @classmethod
    def of(
        cls,
        cfg: TrainingConfig,
        layout: StreamLayout,
        tokenizer: Tokenizer,
        *,
        data: str,
        precision: str,
    ) -> RunIdentity:
        """Describe a run. data: digest of what it reads. precision: the one really used."""
        values = json.loads(json.dumps(asdict(cfg)))
        settings = dict(_flat({k: v for k, v in values.items() if k not in _HARMLESS}))
        settings["precision"] = precision
        own = {name: settings.pop(name) for name in ("seed", "batch_size", "max_steps")}
        return cls(
            model=values["model"],
            layout=layout.hash,
            words=words_digest(tokenizer),
            data=data,
            settings=settings,
            **own,
        )

    def differences_from(self, now: RunIdentity, path: Path) -> list[str]:
        """Return what `now` changes, a phrase each.

        path: of the state that `self` is of. Raises ValueError where it is of another model.
        """
        way_out = (
            f"give it another out=, with init={path} to start from its weights, or resume=false"
        )
        found = list(differences(self.model, now.model))
        other = [_phrase(f"model.{k}", a, b) for k, a, b in found if not is_loss_setting(k)]
        if other:
            raise ValueError(f"{path} is of another model ({'; '.join(other)}); {way_out}")
        for name, thing in (("layout", "stream layout"), ("words", "tokenizer")):
            if getattr(self, name) != getattr(now, name):
                raise ValueError(f"{path} was trained on shards with another {thing}; {way_out}")
        phrases = [_phrase(f"model.{key}", then, here) for key, then, here in found]
        phrases += [_phrase(key, then, here) for key, then, here in self._changed(now)]
        if self.data and self.data != now.data:
            phrases.append("data is not what it was (another set, order or mix)")
        return phrases

    def has_schedule_of(self, now: RunIdentity) -> bool:
        """Whether both have the same rates at the same step."""
        return not SCHEDULE & {key for key, _, _ in self._changed(now)}

    def _changed(self, now: RunIdentity) -> list[tuple[str, Any, Any]]:
        return differences(self._all_settings, now._all_settings)

    @property
    def _all_settings(self) -> dict[str, Any]:
        known = {"max_steps": self.max_steps} if self.max_steps else {}
        return {"seed": self.seed, "batch_size": self.batch_size, **known, **self.settings}


def words_digest(tokenizer: Tokenizer) -> str:
    """Digest of all that a tokenizer does."""
    return sha256(tokenizer_text(tokenizer).encode()).hexdigest()


def _phrase(key: str, then: Any, now: Any) -> str:
    return f"{key}={then} there, {now} here"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
