"""A validation that listens: a few dialogues streamed, scored by events, one drawn and kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from microturn.evaluation.agents.baselines import Agent
from microturn.evaluation.config import ActivityConfig, WindowConfig
from microturn.evaluation.report.pictures import draw_dialogue, write_mix
from microturn.evaluation.scoring.agent_output import Trace
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.evaluation.scoring.events import score
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites import event_metrics as suites


def listen(
    agent: Agent, samples: Sequence[HeldOutDialogue], folder: Path, name: str, *, seed: int = 0
) -> dict[str, Any]:
    """Suites as in scores.json; writes FOLDER/NAME.png and NAME.wav of the first dialogue."""
    windows, activity = WindowConfig(), ActivityConfig()
    outcomes = []
    for i, (sample, performance) in enumerate(zip(samples, agent.perform(samples), strict=True)):
        scene = ScoredDialogue(sample.dialogue, Trace.of(performance, activity), windows)
        outcomes.append(score(scene))
        if i == 0:
            user, rate = sample.load_user(), sample.sample_rate
            draw_dialogue(folder / f"{name}.png", scene, user, performance.audio, rate)
            write_mix(folder / f"{name}.wav", user, performance.audio, rate)
    return suites.to_json(suites.aggregate(outcomes, seed=seed))
