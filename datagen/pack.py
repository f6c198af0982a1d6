"""Packs timeline and audio into lanes, the inputs and targets of the model per micro-turn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microturn.datagen.acoustics.render import RenderedAudio
from microturn.datagen.dialogue.timeline import Timeline
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
    timed = [(control.sample, 0, control.token) for control in timeline.controls]
    timed += [(word.start_sample, 1, word.text) for word in timeline.agent]
    groups: dict[int, list[tuple[int, str]]] = {}
    for sample, _, text in sorted(timed, key=lambda item: (item[0], item[1])):
        groups.setdefault(layout.micro_turn_of(sample), []).append((sample, text))
    return [
        TimedToken(text=" ".join(text for _, text in group), sample=group[0][0])
        for group in groups.values()
    ]


def heard_tokens(timeline: Timeline) -> list[TimedToken]:
    """Return the user's words, each at its end."""
    return [TimedToken(text=word.text, sample=word.end_sample) for word in timeline.user]


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
    )
