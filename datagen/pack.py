"""Script and sound to lanes: what the model reads and has to produce, micro-turn by micro-turn."""

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
    """Words and control tokens of the agent; those of one micro-turn together, in order.

    A word belongs to the time at which it starts to sound. Control tokens come first.
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
    """The user's words, each at its end."""
    return [TimedToken(text=word.text, sample=word.end_sample) for word in timeline.user]


def text_in_tokens(timeline: Timeline) -> Iterable[TimedToken]:
    return (TimedToken(text=item.text, sample=item.sample) for item in timeline.text_in)


def pack(
    timeline: Timeline,
    sound: RenderedAudio,
    *,
    layout: StreamLayout,
    tokenizer: Tokenizer,
    hear: bool = True,
    given: Mapping[str, NDArray[Any]] | None = None,
    memory: FineMelCache | None = None,
) -> Lanes:
    """All lanes of a dialogue, computed from the very samples that are stored.

    `given` holds the arrays of lanes that are neither sound nor text, by name.
    hear=False leaves out `audio_in`, the larger part of the work. memory changes nothing but the
    time that it takes.
    """
    unread = np.empty(len(sound.user), np.float32)
    return pack_dialogue(
        user_audio=from_pcm16(sound.user) if hear else unread,
        agent_audio=from_pcm16(sound.agent) if memory is None else unread,
        heard=heard_tokens(timeline),
        say=say_tokens(timeline, layout),
        text_in=list(text_in_tokens(timeline)),
        layout=layout,
        tokenizer=tokenizer,
        with_audio_in=hear,
        agent_levels=None if memory is None else memory(sound.agent),
        missing_input=sound.missing_input,
        given=given,
    )
