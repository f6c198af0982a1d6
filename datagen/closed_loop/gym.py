"""The closed loop as a Gymnasium environment; needs the extra `gym`.

    env = ClosedLoopEnv(source, indices=range(1000), reward=reward)  # of a finished `Episode`
    observation, info = env.reset(seed=1)

Observations and actions are dictionaries: sound of one micro-turn, and token ids, 0 for `<idle>`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from microturn.datagen.closed_loop.environment import Environment
from microturn.datagen.closed_loop.micro_turn import Episode, MicroTurn, Played
from microturn.datagen.live import LiveSource
from microturn.model.streams import IDLE


class ClosedLoopEnv(gymnasium.Env):  # type: ignore[misc]
    """Episodes of drawn dialogues; the reward comes with the last micro-turn, and is 0 before."""

    def __init__(
        self, source: LiveSource, indices: Sequence[int], reward: Callable[[Episode], float]
    ) -> None:
        """`indices` are the dialogues that `reset` draws from."""
        if not len(indices):
            raise ValueError("there are no indices of dialogues to draw from")
        self._source, self._indices, self._reward = source, indices, reward
        layout, n_ids = source.layout, len(source.tokenizer)
        sound = spaces.Box(-1.0, 1.0, (layout.samples_per_micro_turn,), np.float32)
        seen = {
            "audio": sound,
            "text_in": spaces.MultiDiscrete([n_ids] * layout.text_in_positions),
            "missing_input": spaces.Discrete(2),
        }
        for spec in layout.ready_lanes:
            seen[spec.name] = spaces.Box(0, 255, spec.shape, np.uint8)
        self.observation_space = spaces.Dict(seen)
        said = spaces.MultiDiscrete([n_ids] * layout.say_positions)
        self.action_space = spaces.Dict({"audio": sound, "say": said})
        self._environment = Environment(source, int(indices[0]))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin a drawn dialogue, or that of `options={"index": ...}`."""
        super().reset(seed=seed)
        drawn = self._indices[int(self.np_random.integers(len(self._indices)))]
        index = int((options or {}).get("index", drawn))
        self._environment = Environment(self._source, index)
        return self._observed(self._environment.reset()), {"index": index}

    def step(
        self, action: dict[str, Any]
    ) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Play what the agent made of the last micro-turn."""
        say = [int(token) for token in action["say"] if token != IDLE]
        heard, occurrences, done = self._environment.step(Played(audio=action["audio"], say=say))
        reward = float(self._reward(self._environment.episode())) if done else 0.0
        return self._observed(heard), reward, done, False, {"occurrences": occurrences}

    def episode(self) -> Episode:
        """Return what has happened so far."""
        return self._environment.episode()

    def _observed(self, heard: MicroTurn) -> dict[str, Any]:
        text_in = np.full(self._source.layout.text_in_positions, IDLE, np.int64)
        text_in[: len(heard.text_in)] = heard.text_in
        return {
            "audio": heard.audio,
            "text_in": text_in,
            "missing_input": np.int64(heard.missing_input),
            **heard.given,
        }
