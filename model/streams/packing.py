"""Packing a timeline into lanes: the content of each position and its loss weight.

Targets carry the playing shift: micro-turn `k` holds on `say` and `audio_out` what sounds
during micro-turn `k + 1`. Every packer is causal in wall-clock order, so packing the first k
micro-turns of a dialogue gives the first k micro-turns of packing all of it.
Shapes: N micro-turns, P positions of a lane.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from microturn.model.streams import mel
from microturn.model.streams.control_tokens import IDLE, LaneText
from microturn.model.streams.lanes import Lanes
from microturn.model.streams.layout import StreamLayout
from microturn.model.streams.text import Tokenizer

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
    """Text and its sample on the wall clock: words, or a `LaneText` to have control tokens too.

    Words whose times are unknown sound somewhere from `sample` to `end_sample`: their lane carries
    no loss weight there. For other text `end_sample` is None.
    """

    text: str | LaneText
    sample: int
    end_sample: int | None = None

    def ids(self, tokenizer: Tokenizer) -> list[int]:
        """Return the ids of its text."""
        if isinstance(self.text, LaneText):
            return tokenizer.encode_lane_text(self.text)
        return tokenizer.encode(self.text)


def pack_user_audio(audio: NDArray[np.float32], layout: StreamLayout) -> NDArray[np.uint8]:
    """Compute dMel ids of the microphone, (N, F, 80)."""
    return mel.dmel(audio, layout)


def pack_agent_audio(
    audio: NDArray[np.float32], layout: StreamLayout
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Compute shifted fine mel of the agent's voice (N, 16, 80) and patch weights (N, P)."""
    return pack_agent_levels(mel.quantise_fine(mel.fine_mel(audio, layout)), layout)


def pack_agent_levels(
    on_clock: NDArray[np.uint8], layout: StreamLayout
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Shift levels of the fine mel on the wall clock (N, 16, 80) and weigh patches (N, P).

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
    """Place each word of the user at the first free position after its end, (n, P).

    `sample` of a word is its end. Words that do not fit before the dialogue ends are left out.
    """
    lane = np.full((n, layout.heard_positions), IDLE, np.int32)
    flat = lane.reshape(-1)
    free = 0
    for word in sorted(words, key=lambda w: w.sample):
        micro_turn = layout.micro_turn_of(max(word.sample - 1, 0))
        position = max(free, micro_turn * layout.heard_positions)
        for token_id in word.ids(tokenizer):
            if position < len(flat):
                flat[position] = token_id
            position += 1
        free = position
    return lane


def pack_say(
    tokens: Iterable[TimedToken], n: int, layout: StreamLayout, tokenizer: Tokenizer
) -> NDArray[np.int32]:
    """Place the agent's words at, or for want of positions before, their micro-turn, (n, P).

    `sample` is the start of a word's sound, or the time of a control token. Text leads or
    equals audio: a word whose tokens do not fit into its own micro-turn starts earlier. Words of
    unknown times follow one another from the onset of the first, as far as they fit.
    """
    lane = np.full((n, layout.say_positions), IDLE, np.int32)
    flat = lane.reshape(-1)
    limit: float = float("inf")  # exclusive end of the space that later tokens have left
    for token in sorted(tokens, key=lambda t: t.sample)[::-1]:  # ties keep their order
        ids = token.ids(tokenizer)
        micro_turn = layout.micro_turn_of(token.sample) - 1  # made one before it is played
        # At the first position of its micro-turn, or as late as all of it still fits.
        last_fit = min((micro_turn + 1) * layout.say_positions, limit) - len(ids)
        if token.end_sample is not None:
            last_fit = min(micro_turn * layout.say_positions, limit)
            end = layout.micro_turn_of(token.end_sample - 1) * layout.say_positions
            ids = ids[: max(int(min(end, limit) - last_fit), 0)]
        start = int(min(micro_turn * layout.say_positions, last_fit))
        if start < 0:
            raise ValueError(
                f"the agent cannot say '{token.text}' at sample {token.sample}: it would have to "
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
    """Place arriving text first in, first out, from the micro-turn of its arrival on, (n, P)."""
    lane = np.full((n, layout.text_in_positions), IDLE, np.int32)
    flat = lane.reshape(-1)
    free = 0
    for message in sorted(messages, key=lambda m: m.sample):
        start = max(free, layout.micro_turn_of(message.sample) * layout.text_in_positions)
        ids = message.ids(tokenizer)
        kept = ids[: max(0, len(flat) - start)]
        flat[start : start + len(kept)] = kept
        free = start + len(ids)
    return lane


def token_weights(lane: NDArray[np.int32]) -> NDArray[np.float32]:
    """Compute the loss weight of each position of a made lane, same shape."""
    flat = lane.reshape(-1)
    idle = flat == IDLE
    after_idle = np.concatenate([[True], idle[:-1]])
    weight = np.ones(len(flat), np.float32)
    weight[~idle & after_idle] = ONSET_WEIGHT
    weight[idle & ~after_idle] = FIRST_IDLE_WEIGHT
    weight[idle & after_idle] = IDLE_WEIGHT
    return weight.reshape(lane.shape)


def ignore_unknown_(
    weight: NDArray[np.float32], tokens: Iterable[TimedToken], layout: StreamLayout, *, shift: int
) -> None:
    """Set the weight of a lane to 0 while words of unknown times sound, (N, P).

    `shift` is 1 for a lane that holds what sounds one micro-turn later, else 0.
    """
    for token in tokens:
        if token.end_sample is not None:
            first = layout.micro_turn_of(token.sample) - shift
            last = layout.micro_turn_of(token.end_sample - 1) - shift
            weight[max(first, 0) : last + 1] = 0.0


def pack_dialogue(
    *,
    user_audio: NDArray[np.float32],
    agent_audio: NDArray[np.float32],
    heard: Sequence[TimedToken],
    say: Sequence[TimedToken],
    text_in: Sequence[TimedToken],
    layout: StreamLayout,
    tokenizer: Tokenizer,
    missing_input: NDArray[np.bool_] | None = None,
    given: Mapping[str, NDArray[Any]] | None = None,
    with_audio_in: bool = True,
    agent_levels: NDArray[np.uint8] | None = None,
    without_loss: Sequence[tuple[int, int]] = (),
) -> Lanes:
    """Pack all lanes of one dialogue from channels of the same whole number of micro-turns.

    `given` holds the arrays of further given lanes by name, such as the frames of `video`; a lane
    without one is idle. with_audio_in=False leaves `audio_in` empty, for callers that need the
    token arrays only; agent_levels, if given, are the levels of the fine mel and replace
    `agent_audio`, whose samples are then not read. `without_loss` are spans of samples in which no
    lane has a loss weight.
    """
    if len(user_audio) != len(agent_audio):
        raise ValueError(f"user has {len(user_audio)} samples but agent has {len(agent_audio)}")
    n = len(user_audio) // layout.samples_per_micro_turn
    say_lane = pack_say(say, n, layout, tokenizer)
    heard_lane = pack_heard(heard, n, layout, tokenizer)
    heard_weight, say_weight = token_weights(heard_lane), token_weights(say_lane)
    ignore_unknown_(heard_weight, heard, layout, shift=0)
    ignore_unknown_(say_weight, say, layout, shift=1)
    say_weight[-1:] = 0.0  # would sound after the end: nothing is known about it
    if agent_levels is None:
        agent_levels = mel.quantise_fine(mel.fine_mel(agent_audio, layout))
    audio_out, audio_out_weight = pack_agent_levels(agent_levels, layout)
    for first, last in without_loss:
        span = TimedToken(text="", sample=first, end_sample=last)
        ignore_unknown_(heard_weight, [span], layout, shift=0)
        ignore_unknown_(say_weight, [span], layout, shift=1)
        ignore_unknown_(audio_out_weight, [span], layout, shift=1)
    packed: dict[str, NDArray[Any]] = {
        "audio_in": pack_user_audio(user_audio if with_audio_in else user_audio[:0], layout),
        "text_in": pack_text_in(text_in, n, layout, tokenizer),
        "heard": heard_lane,
        "say": say_lane,
        "audio_out": audio_out,
    }
    return Lanes(
        layout=layout,
        arrays=packed | pack_given(given or {}, n, layout),
        weights={
            "heard": heard_weight,
            "say": say_weight,
            "audio_out": audio_out_weight,
        },
        missing_input=np.zeros(n, np.bool_) if missing_input is None else missing_input,
    )


def pack_given(
    given: Mapping[str, NDArray[Any]], n: int, layout: StreamLayout
) -> dict[str, NDArray[Any]]:
    """Return `n` micro-turns of the input lanes without a front end, idle without an array.

    Raises LayoutError for an array of another shape, and for a lane that the layout lacks.
    """
    for name, array in given.items():
        layout.check_ready(name, array, n)
    return {
        spec.name: given[spec.name] if spec.name in given else spec.idle(n)
        for spec in layout.ready_lanes
    }
