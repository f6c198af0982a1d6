"""Packing a timeline into lanes: what each position of each micro-turn holds, and its loss weight.

Targets carry the playing shift: micro-turn `k` holds on `say` and `audio_out` what sounds
during micro-turn `k + 1`. Every packer is causal in wall-clock order, so packing the first k
micro-turns of a dialogue gives the first k micro-turns of packing all of it.
Shapes: N micro-turns, P positions of a lane.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from microturn.model.streams import mel
from microturn.model.streams.layout import StreamLayout
from microturn.model.streams.text import IDLE, Tokenizer
from microturn.model.streams.video import pack_video

# Loss weights after JoyAI-VL-Interaction (arXiv 2606.14777): the step into speech counts most,
# the first idle after it is the decision to stop, and long idling must not drown both.
ONSET_WEIGHT: Final = 1.5
FIRST_IDLE_WEIGHT: Final = 1.0
IDLE_WEIGHT: Final = 0.4
SILENT_PATCH_WEIGHT: Final = 0.2
# A patch is silent when no band of it rises above this log10 magnitude.
SILENT_LOG_MEL: Final = -3.0


@dataclass(frozen=True, kw_only=True)
class TimedToken:
    """Text (words or a control token) and the sample on the wall clock that it belongs to."""

    text: str
    sample: int


@dataclass(frozen=True, kw_only=True)
class Lanes:
    """One dialogue as arrays; everything a model reads or has to produce."""

    audio_in: NDArray[np.uint8]  # (N, F, 80) dMel ids of the microphone
    late: NDArray[np.bool_]  # (N,) the input of this micro-turn did not arrive
    text_in: NDArray[np.int32]  # (N, P)
    heard: NDArray[np.int32]  # (N, P)
    heard_weight: NDArray[np.float32]  # (N, P)
    say: NDArray[np.int32]  # (N, P)
    say_weight: NDArray[np.float32]  # (N, P)
    audio_out: NDArray[np.uint8]  # (N, 16, 80) quantised fine log-mel, shifted
    audio_out_weight: NDArray[np.float32]  # (N, P)
    video: NDArray[np.uint8] | None = None  # (N, H, W, 3), where the layout has the lane

    @property
    def n_micro_turns(self) -> int:
        return len(self.late)

    def head(self, n: int) -> Lanes:
        """The first `n` micro-turns."""
        lanes = {f.name: getattr(self, f.name) for f in fields(self)}
        kept: dict[str, Any] = {k: v if v is None else v[:n] for k, v in lanes.items()}
        return Lanes(**kept)

    def token_arrays(self) -> dict[str, NDArray[np.generic]]:
        """What `streams.npz` stores: integer lanes and weights."""
        names = [f.name for f in fields(self) if f.name not in ("audio_in", "audio_out", "video")]
        return {name: getattr(self, name) for name in names}

    def feature_arrays(self) -> dict[str, NDArray[np.uint8]]:
        """What `features.npz` stores: dMel two per byte, fine mel one byte per channel."""
        return {"audio_in": mel.pack_nibbles(self.audio_in), "audio_out": self.audio_out}

    def video_arrays(self) -> dict[str, NDArray[np.uint8]]:
        """What `video.npz` stores; nothing when there is no video lane."""
        return {} if self.video is None else {"frames": self.video}

    @classmethod
    def from_arrays(
        cls,
        tokens: Mapping[str, NDArray[np.generic]],
        features: Mapping[str, NDArray[np.uint8]],
        video: Mapping[str, NDArray[np.uint8]] | None = None,
    ) -> Lanes:
        """Inverse of `token_arrays`, `feature_arrays` and `video_arrays`."""
        arrays = {name: np.asarray(value) for name, value in tokens.items()}
        return cls(
            audio_in=mel.unpack_nibbles(features["audio_in"]),
            audio_out=np.asarray(features["audio_out"]),
            video=np.asarray(video["frames"]) if video else None,
            **arrays,
        )


def pack_user_audio(audio: NDArray[np.float32], layout: StreamLayout) -> NDArray[np.uint8]:
    """dMel ids of the microphone, (N, F, 80)."""
    return mel.dmel(audio, layout)


def pack_agent_audio(
    audio: NDArray[np.float32], layout: StreamLayout
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Shifted fine mel of the agent's voice (N, 16, 80) and patch weights (N, P)."""
    return pack_agent_levels(mel.quantise_fine(mel.fine_mel(audio, layout)), layout)


def pack_agent_levels(
    on_clock: NDArray[np.uint8], layout: StreamLayout
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The same from the levels of the fine mel on the wall clock (N, 16, 80).

    The last micro-turn has no target (it would play after the end) and weight 0.
    """
    shifted = np.zeros_like(on_clock)
    shifted[:-1] = on_clock[1:]
    loudest = shifted.reshape(len(shifted), layout.audio_out_positions, -1).max(axis=-1)
    speaking = mel.dequantise_fine(loudest) > SILENT_LOG_MEL  # (N, P)
    flat = speaking.reshape(-1)
    just_stopped = np.zeros_like(flat)
    just_stopped[1:] = flat[:-1] & ~flat[1:]
    weight = np.where(flat | just_stopped, 1.0, SILENT_PATCH_WEIGHT).astype(np.float32)
    weight = weight.reshape(speaking.shape)
    weight[-1:] = 0.0
    return shifted, weight


def pack_heard(
    words: Iterable[TimedToken], n: int, layout: StreamLayout, tokenizer: Tokenizer
) -> NDArray[np.int32]:
    """Each word of the user at the first free position once it has ended, (n, P).

    `sample` of a word is its end. Words that do not fit before the dialogue ends are left out.
    """
    lane = np.full((n, layout.heard_positions), IDLE, np.int32)
    flat = lane.reshape(-1)
    free = 0
    for word in sorted(words, key=lambda w: w.sample):
        micro_turn = layout.micro_turn_of(max(word.sample - 1, 0))
        position = max(free, micro_turn * layout.heard_positions)
        for token_id in tokenizer.encode(word.text):
            if position < len(flat):
                flat[position] = token_id
            position += 1
        free = position
    return lane


def pack_say(
    tokens: Iterable[TimedToken], n: int, layout: StreamLayout, tokenizer: Tokenizer
) -> NDArray[np.int32]:
    """The agent's words at (or, when positions run out, before) the micro-turn that plays them.

    `sample` is where a word starts to sound, or the time of a control token. Text leads or
    equals audio: a word whose tokens do not fit into its own micro-turn starts earlier.
    """
    lane = np.full((n, layout.say_positions), IDLE, np.int32)
    flat = lane.reshape(-1)
    limit: float = float("inf")  # exclusive end of the space that later tokens have left
    for token in sorted(tokens, key=lambda t: t.sample)[::-1]:  # ties keep their order
        ids = tokenizer.encode(token.text)
        made_in = layout.micro_turn_of(token.sample) - 1
        # At the first position of its micro-turn, or as late as all of it still fits.
        last_fit = min((made_in + 1) * layout.say_positions, limit) - len(ids)
        start = int(min(made_in * layout.say_positions, last_fit))
        if start < 0:
            raise ValueError(
                f"the agent cannot say {token.text!r} at sample {token.sample}: it would have to "
                "decide before the dialogue begins"
            )
        if start >= len(flat):
            continue
        flat[start : start + len(ids)] = ids[: len(flat) - start]
        limit = start
    return lane


def pack_text_in(
    messages: Iterable[TimedToken], n: int, layout: StreamLayout, tokenizer: Tokenizer
) -> NDArray[np.int32]:
    """Text that arrives, first in first out, from the micro-turn in which it arrived on, (n, P)."""
    lane = np.full((n, layout.text_in_positions), IDLE, np.int32)
    flat = lane.reshape(-1)
    free = 0
    for message in sorted(messages, key=lambda m: m.sample):
        start = max(free, layout.micro_turn_of(message.sample) * layout.text_in_positions)
        ids = tokenizer.encode(message.text)
        kept = ids[: max(0, len(flat) - start)]
        flat[start : start + len(kept)] = kept
        free = start + len(ids)
    return lane


def token_weights(lane: NDArray[np.int32]) -> NDArray[np.float32]:
    """Loss weight of every position of an output lane, same shape."""
    flat = lane.reshape(-1)
    idle = flat == IDLE
    after_idle = np.concatenate([[True], idle[:-1]])
    weight = np.ones(len(flat), np.float32)
    weight[~idle & after_idle] = ONSET_WEIGHT
    weight[idle & ~after_idle] = FIRST_IDLE_WEIGHT
    weight[idle & after_idle] = IDLE_WEIGHT
    return weight.reshape(lane.shape)


def pack_dialogue(
    *,
    user_audio: NDArray[np.float32],
    agent_audio: NDArray[np.float32],
    heard: Sequence[TimedToken],
    say: Sequence[TimedToken],
    text_in: Sequence[TimedToken],
    layout: StreamLayout,
    tokenizer: Tokenizer,
    late: NDArray[np.bool_] | None = None,
    video: NDArray[np.uint8] | None = None,
    hear: bool = True,
    agent_levels: NDArray[np.uint8] | None = None,
) -> Lanes:
    """All lanes of one dialogue; both channels have the same whole number of micro-turns.

    video (N, H, W, 3) is what is seen; without it a layout with the lane sees black.
    hear=False leaves `audio_in` empty, for those who only want the token arrays; agent_levels are
    the levels of the fine mel of `agent_audio`, which is not read where they are known.
    """
    if len(user_audio) != len(agent_audio):
        raise ValueError(f"user has {len(user_audio)} samples but agent has {len(agent_audio)}")
    n = len(user_audio) // layout.samples_per_micro_turn
    heard_lane = pack_heard(heard, n, layout, tokenizer)
    say_lane = pack_say(say, n, layout, tokenizer)
    say_weight = token_weights(say_lane)
    say_weight[-1:] = 0.0  # would sound after the end: nothing is known about it
    if agent_levels is None:
        agent_levels = mel.quantise_fine(mel.fine_mel(agent_audio, layout))
    audio_out, audio_out_weight = pack_agent_levels(agent_levels, layout)
    return Lanes(
        audio_in=pack_user_audio(user_audio if hear else user_audio[:0], layout),
        late=np.zeros(n, np.bool_) if late is None else late,
        text_in=pack_text_in(text_in, n, layout, tokenizer),
        heard=heard_lane,
        heard_weight=token_weights(heard_lane),
        say=say_lane,
        say_weight=say_weight,
        audio_out=audio_out,
        audio_out_weight=audio_out_weight,
        video=pack_video(video, n, layout),
    )
