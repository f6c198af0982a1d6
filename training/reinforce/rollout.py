"""Conversations of a model with users that react: what it read and said, as lanes to learn from.

`say` is sampled at a temperature, `<idle>` as any other token; `heard` is chosen without chance and
the voice follows by the flow head, as in a session. B rows, N micro-turns, P positions of a lane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.model.batch import LaneBatch
from microturn.model.choice import Sampling
from microturn.model.model import InputTensors, InteractionModel
from microturn.model.streams import IDLE
from microturn.model.streams.mel import dmel_rows
from microturn.training.reinforce.environment import Observed, User

SAMPLED: Final = "say"  # the lane of the policy


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """What a model and its users did. Teacher forcing on `lanes` and `patches` computes it again.

    `lanes` hold what the model read and chose; its `audio_out` is idle, the voice is in `patches`.
    """

    lanes: LaneBatch  # weights of `say`: 1 where the conversation was not over
    patches: Tensor  # (B, N, P, patch_dim) own voice, standardised
    microphone: NDArray[np.float32]  # sound of the first conversation, for pictures
    voice: NDArray[np.float32]  # the agent's in it, when it was played

    @property
    def real(self) -> Tensor:
        """(B, N) 1 before the end of a conversation, 0 after it."""
        return self.lanes.weights[SAMPLED][..., 0]


class _Recorder:
    """Collects the micro-turns of a rollout."""

    def __init__(self) -> None:
        self.lanes: dict[str, list[Tensor]] = {}
        self.missing: list[Tensor] = []
        self.real: list[NDArray[np.bool_]] = []
        self.patches: list[Tensor] = []
        self.microphone: list[NDArray[np.float32]] = []
        self.voice: list[NDArray[np.float32]] = []

    def add(self, name: str, value: Tensor) -> None:
        self.lanes.setdefault(name, []).append(value)


@torch.no_grad()
def roll_out(
    model: InteractionModel,
    users: Sequence[User],
    *,
    seeds: Sequence[int],
    temperature: float | None,
    max_micro_turns: int,
) -> Rollout:
    """Let a model talk with B users until all conversations are over, or for so many micro-turns.

    seeds: of each row's chance; equal users and equal seeds give equal conversations, whatever the
    other rows are (CPU, fp32, one thread). temperature None: no chance in the words; then a row is
    a session of `RowBatch(seed=...)` bit for bit.
    """
    was_training = model.training
    model.eval()
    try:
        with torch.autocast(model.unembed.weight.device.type, enabled=False):  # as a session
            return _roll_out(model, users, seeds, temperature, max_micro_turns)
    finally:
        model.train(was_training)


def _roll_out(
    model: InteractionModel,
    users: Sequence[User],
    seeds: Sequence[int],
    temperature: float | None,
    max_micro_turns: int,
) -> Rollout:
    layout, device = model.layout, model.unembed.weight.device
    state, voice = model.init_state(len(users)), model.vocoder.init_state(len(users))
    tails = np.zeros((len(users), layout.samples_per_frame), np.float32)
    silence = np.zeros(layout.samples_per_micro_turn, np.float32)
    inputs: list[Observed] = [user.reset() for user in users]
    live = np.ones(len(users), np.bool_)
    kept = _Recorder()
    say = layout.lane(SAMPLED)
    for k in range(max_micro_turns):
        audio = np.stack([one.audio for one in inputs])
        dmel = dmel_rows(np.concatenate([tails, audio], axis=1), layout)
        tails = audio[:, -layout.samples_per_frame :]
        given = {
            name: torch.from_numpy(array).to(device)
            for name, array in _given(layout.given_lanes, inputs, dmel).items()
        }
        missing = torch.tensor([one.missing_input for one in inputs], device=device)
        noise, uniform = _draw([(seed, k) for seed in seeds], model, say.positions)
        output, state = model.step(
            InputTensors(given, missing),
            state,
            noise.to(device),
            sampling=None
            if temperature is None
            else Sampling(temperature, {SAMPLED: uniform.to(device)}),
        )
        sound, voice = model.vocoder.step(output.log_mel, voice)
        for name, value in {**given, **output.tokens}.items():
            kept.add(name, value)
        kept.missing.append(missing)
        kept.real.append(live.copy())
        kept.patches.append(output.patches)
        spoken = sound.cpu().numpy()
        kept.microphone.append(audio[0])
        kept.voice.append(spoken[0])
        ids = {name: tokens.tolist() for name, tokens in output.tokens.items()}
        for row, user in enumerate(users):
            if not live[row]:
                inputs[row] = MicroTurnIn(audio=silence)
                continue
            tokens = {name: [i for i in each[row] if i != IDLE] for name, each in ids.items()}
            made = MicroTurnOut(audio=spoken[row].copy(), tokens=tokens)
            inputs[row], _, over = user.step(made)
            live[row] = not over
        if not live.any():
            break
    return _rollout(model, kept)


def _given(
    lanes: Sequence[Any], inputs: Sequence[Observed], dmel: NDArray[np.uint8]
) -> dict[str, NDArray[Any]]:
    """Lay out a micro-turn of input by lane, (B, *shape)."""
    arrays: dict[str, NDArray[Any]] = {}
    for spec in lanes:
        if spec.kind == "dmel":
            arrays[spec.name] = dmel
            continue
        array = spec.idle(len(inputs))
        for row, one in enumerate(inputs):
            if spec.name == "text_in":
                array[row, : len(one.text_in)] = one.text_in
            elif spec.name in one.given:
                array[row] = one.given[spec.name]
        arrays[spec.name] = array.astype(np.int64) if spec.kind == "tokens" else array
    return arrays


def _draw(
    keys: Sequence[tuple[int, int]], model: InteractionModel, n_tokens: int
) -> tuple[Tensor, Tensor]:
    """Draw the noise of the voice (B, P, patch_dim), and a number per token (B, n_tokens)."""
    shape = (model.layout.audio_out_positions, model.layout.patch_dim)
    chances = [np.random.Generator(np.random.Philox(key=np.array(k, np.uint64))) for k in keys]
    noise = [chance.standard_normal(shape, dtype=np.float32) for chance in chances]
    uniform = [chance.random(n_tokens, dtype=np.float32) for chance in chances]
    return torch.from_numpy(np.stack(noise)), torch.from_numpy(np.stack(uniform))


def _rollout(model: InteractionModel, kept: _Recorder) -> Rollout:
    device, layout = kept.missing[0].device, model.layout
    real = torch.from_numpy(np.stack(kept.real, axis=1)).float().to(device)
    B, N = real.shape
    lanes = {name: torch.stack(values, dim=1) for name, values in kept.lanes.items()}
    voice = layout.lane("audio_out")
    lanes["audio_out"] = torch.zeros(B, N, *voice.shape, dtype=torch.uint8, device=device)
    weights = {
        spec.name: torch.zeros(B, N, spec.positions, device=device) for spec in layout.made_lanes
    }
    weights[SAMPLED] = real[..., None].expand(B, N, layout.lane(SAMPLED).positions)
    return Rollout(
        lanes=LaneBatch(
            lanes=lanes,
            weights=weights,
            missing_input=torch.stack(kept.missing, dim=1),
            real=None if bool(real.all()) else real,
        ),
        patches=torch.stack(kept.patches, dim=1),
        microphone=np.concatenate(kept.microphone),
        voice=np.concatenate([np.zeros_like(kept.voice[0]), *kept.voice[:-1]]),
    )
