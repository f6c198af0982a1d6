"""An environment that has been played, as the scorers see a dialogue and an agent."""

from __future__ import annotations

from collections.abc import Callable

from microturn.datagen.closed_loop.environment import Environment
from microturn.datagen.closed_loop.micro_turn import MicroTurn, Output
from microturn.evaluation.config import ActivityConfig, WindowConfig
from microturn.evaluation.scoring.agent_output import AgentOutput, Delivery, Trace, words_of_lane
from microturn.evaluation.scoring.dialogue import Dialogue
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.model.streams import DELEGATE


def play(environment: Environment, answer: Callable[[MicroTurn], Output]) -> None:
    """Play an episode to its end; `answer` is the agent, called once in each micro-turn."""
    heard, done = environment.reset(), False
    while not done:
        heard, _, done = environment.step(answer(heard))


def output_of(environment: Environment) -> AgentOutput:
    """Return what the agent of an episode has done."""
    layout, tokenizer = environment.layout, environment.source.tokenizer
    say = environment.say
    return AgentOutput(
        audio=environment.agent_audio(),
        sample_rate=layout.sample_rate,
        words=words_of_lane(say, tokenizer, layout, shift=1),
        delegates_s=tuple(
            (row + 1) * layout.micro_turn_s for row, ids in enumerate(say) if DELEGATE in ids
        ),
        deliveries=tuple(
            Delivery(time_s=time_s, scripted_s=time_s, text=str(arrival.text))
            for arrival in environment.deliveries
            for time_s in (arrival.sample / layout.sample_rate,)
        ),
    )


def dialogue_of(environment: Environment) -> Dialogue:
    """Return what has happened around the agent, and what it asked of it."""
    return Dialogue.of(f"{environment.index:06d}", environment.labels())


def scored(
    environment: Environment,
    *,
    activity: ActivityConfig | None = None,
    windows: WindowConfig | None = None,
) -> ScoredDialogue:
    """Return the lookups from which `scoring.events.score` makes the outcomes of an episode."""
    trace = Trace.of(output_of(environment), activity or ActivityConfig())
    return ScoredDialogue(dialogue_of(environment), trace, windows or WindowConfig())
