"""Dialogues as members of the panel play them, ready to be scored."""

from collections.abc import Iterator, Sequence

from microturn.evaluation.agents.baselines import Agent, baseline
from microturn.evaluation.agents.panel import PANEL, panel_of
from microturn.evaluation.config import ActivityConfig, WindowConfig
from microturn.evaluation.scoring.agent_output import Trace
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.speech.silero import speech_spans
from microturn.evaluation.speech.voice import AgentVoice

# Whose sound is listened to, which costs time: who is right without it scores no less.
_HEARD = ("oracle", "hisser")


def played_by_all(
    samples: Sequence[HeldOutDialogue],
) -> Iterator[tuple[str, list[ScoredDialogue]]]:
    """The oracle, then every member of the panel."""
    activity = ActivityConfig()
    voice = AgentVoice.of(samples, activity)
    agents: dict[str, Agent] = {
        "oracle": baseline("oracle", lambda: iter(samples), config=activity),
        **panel_of(tuple(PANEL), lambda: iter(samples)),
    }
    for name, agent in agents.items():
        scenes = []
        for sample, output in zip(samples, agent.perform(samples), strict=True):
            trace = Trace.of(
                output,
                activity,
                sounds=voice.listen(output) if name in _HEARD else None,
                missing_input=sample.load_missing_input(),
                speech=speech_spans(output.audio, output.sample_rate),
            )
            scenes.append(ScoredDialogue(sample.dialogue, trace, WindowConfig()))
        yield name, scenes
