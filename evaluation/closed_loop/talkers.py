"""The agents that talk with users who react, by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from microturn.configs.devices import choose_device
from microturn.datagen.closed_loop.environment import Environment
from microturn.evaluation.agents.assistants import (
    EndpointingTalker,
    HalfDuplexTalker,
    longest_line,
)
from microturn.evaluation.agents.baselines import BASELINES, AlwaysTalking, Silent
from microturn.evaluation.agents.closed_loop import play
from microturn.evaluation.agents.panel import PANEL, panel_of
from microturn.evaluation.agents.performance import RecordedWords
from microturn.evaluation.agents.talking import (
    Replayed,
    StreamedTalker,
    Talker,
    dialogue_of,
    output_so_far,
)
from microturn.evaluation.closed_loop.users import ReactingUsers
from microturn.evaluation.config import EvaluateConfig
from microturn.evaluation.runner import CHECKPOINT
from microturn.evaluation.scoring.agent_output import AgentOutput


def talkers_of(config: EvaluateConfig) -> list[str]:
    """Names of the agents that are reported, then of the members of the panel."""
    names = [CHECKPOINT] if config.checkpoint else []
    if config.baseline:
        names.append(config.baseline)
    elif config.baselines:
        names += reversed(BASELINES)
    return [*names, *(PANEL if config.panel else ())]


class Talkers:
    """Agents by name; each is made once, when it is first asked for."""

    def __init__(self, config: EvaluateConfig, users: ReactingUsers) -> None:
        self._config, self._users = config, users
        self._made: dict[str, Talker] = {}

    def __getitem__(self, name: str) -> Talker:
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def _make(self, name: str) -> Talker:
        config, users = self._config, self._users
        match name:
            case "checkpoint":
                return self._checkpoint()
            case "oracle":
                return _Planned()
            case "half_duplex":
                return HalfDuplexTalker(voice=self._words, silence_s=config.silence_ms / 1000)
            case "endpointing":
                return EndpointingTalker(
                    voice=self._words,
                    line=longest_line((one.dialogue for one in users.planned), self._words),
                    silence_s=config.silence_ms / 1000,
                )
            case "always":
                return self._replayed(
                    AlwaysTalking.from_dialogues(lambda: iter(users.planned), config.activity)
                )
            case "silent":
                return self._replayed(Silent())
            case _:
                return self._replayed(self._panel[name])

    def _checkpoint(self) -> Talker:
        from microturn.inference.rows import RowBatch
        from microturn.model.checkpoint import load_checkpoint

        config = self._config
        loaded = load_checkpoint(config.checkpoint, choose_device(config.device))
        n_rows = min(config.batch_size, self._users.n)
        return StreamedTalker(RowBatch(loaded, n_rows, seed=config.seed))

    @cached_property
    def _words(self) -> RecordedWords:
        return RecordedWords.of(lambda: iter(self._users.planned))

    @cached_property
    def _panel(self) -> dict[str, Any]:
        return {**panel_of(tuple(PANEL), lambda: iter(self._users.planned))}

    def _replayed(self, agent: Any) -> Talker:
        """An agent of recorded dialogues that plays what it does in the planned one."""

        def made_for(environment: Environment) -> AgentOutput:
            planned = self._users.planned[environment.index]
            output: AgentOutput = next(agent.perform([planned]))
            return output

        return Replayed(made_for=made_for)


class _Planned:
    """Does what is planned."""

    def talk(self, environments: Sequence[Environment]) -> Iterator[AgentOutput]:
        for environment in environments:
            turns = iter(environment.recorded())
            play(environment, lambda _, turns=turns: next(turns))  # type: ignore[misc]
            heard = dialogue_of(environment).user_words
            yield replace(output_so_far(environment), heard=heard)
