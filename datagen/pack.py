"""Packs timeline and audio into lanes, the inputs and targets of the model per micro-turn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microturn.datagen.acoustics.render import RenderedAudio
from microturn.datagen.dialogue.timeline import Control, Timeline, Word
from microturn.datagen.labels.time_classes import UNKNOWN
from microturn.model.streams import (
    FineMelCache,
    Lanes,
    LaneText,
    StreamLayout,
    TimedToken,
    Tokenizer,
    control_id,
    pack_dialogue,
)
from microturn.model.streams.pcm import from_pcm16


def say_tokens(timeline: Timeline, layout: StreamLayout) -> list[TimedToken]:
    """Group words and control tokens of the agent by micro-turn, in order.

    A word belongs to the micro-turn of its onset. Control tokens come first.
    """
    controls: dict[int, list[Control]] = {}
    for control in sorted(timeline.controls, key=lambda item: item.sample):
        controls.setdefault(layout.micro_turn_of(control.sample), []).append(control)
    words: dict[int, list[Word]] = {}
    for word in sorted(timeline.agent, key=lambda item: item.start_sample):
        words.setdefault(layout.micro_turn_of(word.start_sample), []).append(word)
    return [
        _say_token(controls.get(micro_turn, []), words.get(micro_turn, []))
        for micro_turn in sorted({*controls, *words})
    ]


def _say_token(controls: list[Control], words: list[Word]) -> TimedToken:
    """Join what belongs to one micro-turn; its time is that of the first of it."""
    unknown = (word.end_sample for word in words if word.times == UNKNOWN)
    return TimedToken(
        text=LaneText(
            words=" ".join(word.text for word in words),
            before=tuple(control_id(control.token) for control in controls),
        ),
        sample=min([c.sample for c in controls[:1]] + [w.start_sample for w in words[:1]]),
        end_sample=max(unknown, default=None),
    )


def heard_tokens(timeline: Timeline) -> list[TimedToken]:
    """Return the user's words, each at its end; those of unknown times without their text."""
    return [
        TimedToken(text="", sample=word.start_sample, end_sample=word.end_sample)
        if word.times == UNKNOWN
        else TimedToken(text=word.text, sample=word.end_sample)
        for word in timeline.user
    ]


def text_in_tokens(timeline: Timeline) -> Iterable[TimedToken]:
    return (TimedToken(text=item.text, sample=item.sample) for item in timeline.text_in)


def pack(
    timeline: Timeline,
    sound: RenderedAudio,
    *,
    layout: StreamLayout,
    tokenizer: Tokenizer,
    with_audio_in: bool = True,
    given: Mapping[str, NDArray[Any]] | None = None,
    mel_cache: FineMelCache | None = None,
) -> Lanes:
    """Compute all lanes of a dialogue from the samples that are stored.

    `given` holds the arrays of lanes that are neither audio nor text, by name.
    with_audio_in=False omits `audio_in`, the larger part of the work. `mel_cache` saves time and
    does not change the result.
    """
    unread = np.empty(len(sound.user), np.float32)
    return pack_dialogue(
        user_audio=from_pcm16(sound.user) if with_audio_in else unread,
        agent_audio=from_pcm16(sound.agent) if mel_cache is None else unread,
        heard=heard_tokens(timeline),
        say=say_tokens(timeline, layout),
        text_in=list(text_in_tokens(timeline)),
        layout=layout,
        tokenizer=tokenizer,
        with_audio_in=with_audio_in,
        agent_levels=None if mel_cache is None else mel_cache(sound.agent),
        missing_input=sound.missing_input,
        given=given,
        without_loss=timeline.without_loss,
    )
