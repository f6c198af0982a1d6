"""How long a demo takes here, from the time of a few steps of its own training."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from microturn.configs.reading import naming_damage

# The other stages in steps of `training/tiny.yaml`: like a step, they are bound by the cores. The
# ratios were alike on an idle AMD EPYC (0.54 s a step) and a busy Intel Xeon (1.9 s).
SIMULATION_STEPS: Final = 0.016  # for each dialogue to train on
SCORING_STEPS: Final = 0.6  # for each test dialogue, all agents; at most
MAX_PEOPLE: Final = 48  # dialogues of the suite `people`
VALIDATION_STEPS: Final = 10  # for each streaming validation
VALIDATION_S: Final = 240.0  # of training between two of them, as is the default
START_S: Final = 15.0  # of a process of training, before its first step
_WARM_UP: Final = 2  # steps that are not counted
_STATE = re.compile(r"step(\d+)\.safetensors")


def measured_step_s(log: Path) -> float:
    """Seconds of a step, from the log of a short run; ValueError where it has too few lines."""
    with naming_damage(log, "delete it"), log.open(newline="", encoding="utf-8") as file:
        rows = [(int(row["step"]), float(row["seconds"])) for row in csv.DictReader(file)]
    if len({step for step, _ in rows}) <= _WARM_UP:
        raise ValueError(f"{log}: {len(rows)} steps are too few to tell the speed; delete it")
    (first, start_s), (last, end_s) = rows[_WARM_UP - 1], rows[-1]
    return (end_s - start_s) / (last - first)


def trained_steps(out: Path) -> int:
    """Steps of the last saved state of a run folder; 0 where there is none."""
    names = (_STATE.fullmatch(path.name) for path in (out / "states").glob("step*"))
    return max((int(name[1]) for name in names if name), default=0)


def last_value(words: Iterable[str], key: str, default: int) -> int:
    """The value of `key=` among the words of a command, where later words win."""
    values = [word.partition("=")[2] for word in words if word.startswith(f"{key}=")]
    return int(values[-1]) if values else default


def expected_s(
    step_s: float, *, n_train: int, n_test: int, steps: int, trained: int
) -> dict[str, float]:
    """Seconds of the stages after the measurement, by name."""
    training_s = max(0, steps - trained) * step_s
    validations = 1 + training_s / VALIDATION_S
    return {
        "train": SIMULATION_STEPS * n_train * step_s,
        "checkpoint": START_S + training_s + validations * VALIDATION_STEPS * step_s,
        "scores": SCORING_STEPS * n_test * step_s,
        "people": SCORING_STEPS * min(n_test, MAX_PEOPLE) * step_s,
        "shipped": SCORING_STEPS * n_test * step_s,
        "shipped-people": SCORING_STEPS * min(n_test, MAX_PEOPLE) * step_s,
    }


def summary(step_s: float, seconds: Mapping[str, float], titles: Mapping[str, str]) -> str:
    """One sentence: what is left in all, and of which stages."""
    parts = ", ".join(f"{titles[name]} {minutes(value)}" for name, value in seconds.items())
    return (
        f"A step of training takes {step_s:.2f} s here: about {minutes(sum(seconds.values()))} "
        f"from now ({parts}); other work on this machine makes it longer"
    )


def minutes(seconds: float) -> str:
    return "under a minute" if seconds < 60 else f"{seconds / 60:.0f} min"
