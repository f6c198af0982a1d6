"""Packs timeline and audio into lanes, the inputs and targets of the model per micro-turn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microturn.datagen.acoustics.render import RenderedAudio
from microturn.datagen.dialogue.timeline import Timeline
from microturn.datagen.labels.time_classes import UNKNOWN
from microturn.model.streams import (
    FineMelCache,
    Lanes,
    StreamLayout,
    TimedToken,
    Tokenizer,
    pack_dialogue,
)
from microturn.model.streams.pcm import from_pcm16


def say_tokens(timeline: Timeline, layout: StreamLayout) -> list[TimedToken]:
    """Group words and control tokens of the agent by micro-turn, in order.

    A word belongs to the micro-turn of its onset. Control tokens come first.
    """
    timed: list[tuple[int, int, str, int | None]] = [
        (control.sample, 0, control.token, None) for control in timeline.controls
    ]
    timed += [
        (word.start_sample, 1, word.text, word.end_sample if word.times == UNKNOWN else None)
        for word in timeline.agent
    ]
    groups: dict[int, list[tuple[int, str, int | None]]] = {}
    for sample, _, text, end in sorted(timed, key=lambda item: (item[0], item[1])):
        groups.setdefault(layout.micro_turn_of(sample), []).append((sample, text, end))
    return [
        TimedToken(
            text=" ".join(text for _, text, _ in group),
            sample=group[0][0],
            end_sample=max((end for _, _, end in group if end is not None), default=None),
        )
        for group in groups.values()
    ]


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
