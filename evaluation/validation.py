"""Scores of a few streamed dialogues while a model is trained, and one of them as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from microturn.evaluation.agents.baselines import Agent
from microturn.evaluation.config import ActivityConfig, WindowConfig
from microturn.evaluation.report.pictures import draw_dialogue, write_mix
from microturn.evaluation.scoring.agent_output import Trace
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.evaluation.scoring.events import score
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.speech.voice import AgentVoice
from microturn.evaluation.suites.event_suites import score_events
from microturn.evaluation.suites.score_suite import SuiteScore


def stream_and_score(
    agent: Agent, dialogues: Sequence[HeldOutDialogue], *, stem: Path, seed: int = 0
) -> dict[str, SuiteScore]:
    """Score every suite of events; writes STEM.png and STEM.wav of the first dialogue."""
    windows, activity = WindowConfig(), ActivityConfig()
    voice = AgentVoice.of(dialogues, activity)
    outcomes = []
    for i, (dialogue, output) in enumerate(zip(dialogues, agent.perform(dialogues), strict=True)):
        trace = Trace.of(output, activity, sounds=voice.listen(output))
        scored = ScoredDialogue(dialogue.dialogue, trace, windows)
        outcomes.append(score(scored))
        if i == 0:
            user, rate = dialogue.load_user(), dialogue.sample_rate
            draw_dialogue(
                stem.with_suffix(".png"), scored, user=user, agent=output.audio, rate=rate
            )
            write_mix(stem.with_suffix(".wav"), user=user, agent=output.audio, rate=rate)
    return score_events(outcomes, seed=seed)
