"""Scores of the validation that streams: a few dialogues by events, one drawn and kept."""

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


def stream_and_score(
    agent: Agent, samples: Sequence[HeldOutDialogue], *, stem: Path, seed: int = 0
) -> dict[str, Any]:
    """Suites as in scores.json; writes STEM.png and STEM.wav of the first dialogue."""
    windows, activity = WindowConfig(), ActivityConfig()
    outcomes = []
    for i, (sample, performance) in enumerate(zip(samples, agent.perform(samples), strict=True)):
        scene = ScoredDialogue(sample.dialogue, Trace.of(performance, activity), windows)
        outcomes.append(score(scene))
        if i == 0:
            user, rate = sample.load_user(), sample.sample_rate
            draw_dialogue(stem.with_suffix(".png"), scene, user, performance.audio, rate)
            write_mix(stem.with_suffix(".wav"), user, performance.audio, rate)
    return suites.to_json(suites.aggregate(outcomes, seed=seed))
