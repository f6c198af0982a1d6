"""An environment that has been played, as the scorers see a dialogue and an agent."""

from __future__ import annotations

from collections.abc import Callable

from microturn.datagen.closed_loop.environment import Environment
from microturn.datagen.closed_loop.micro_turn import Episode, MicroTurn, Output
from microturn.datagen.live import LiveSource
from microturn.datagen.sets.shards import key_of
from microturn.evaluation.config import ActivityConfig, WindowConfig
from microturn.evaluation.scoring.agent_output import AgentOutput, Delivery, Trace, words_of_lane
from microturn.evaluation.scoring.dialogue import Dialogue
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.model.streams import DELEGATE


def play(environment: Environment, answer: Callable[[MicroTurn], Output]) -> Episode:
    """Play an episode to its end; `answer` is the agent, called once in each micro-turn."""
    heard, done = environment.reset(), False
    while not done:
        heard, _, done = environment.step(answer(heard))
    return environment.episode()


def output_of(episode: Episode, source: LiveSource) -> AgentOutput:
    """Return what the agent of an episode of a source has done."""
    layout = source.layout
    return AgentOutput(
        audio=episode.agent_audio,
        sample_rate=layout.sample_rate,
        words=words_of_lane(episode.say, source.tokenizer, layout, shift=1),
        delegates_s=tuple(
            (row + 1) * layout.micro_turn_s
            for row, ids in enumerate(episode.say)
            if DELEGATE in ids
        ),
        deliveries=tuple(
            Delivery(time_s=time_s, scripted_s=time_s, text=str(result.text))
            for result in episode.results
            for time_s in (result.sample / layout.sample_rate,)
        ),
    )


def scored(
    episode: Episode,
    source: LiveSource,
    *,
    activity: ActivityConfig | None = None,
    windows: WindowConfig | None = None,
) -> ScoredDialogue:
    """Return the lookups from which `scoring.events.score` makes the outcomes of an episode."""
    trace = Trace.of(output_of(episode, source), activity or ActivityConfig())
    dialogue = Dialogue.of(key_of(episode.index), episode.labels)
    return ScoredDialogue(dialogue, trace, windows or WindowConfig())
