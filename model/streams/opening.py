"""What stands before a conversation: the voice that the agent has, and its instructions.

The voice is sound of the agent on its own lanes while the user is silent; instructions are a text
on `text_in`. Simulation places both in the first micro-turns of a dialogue, without loss weight;
a session reads the same lanes before its first micro-turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from microturn.model.streams.control_tokens import EOS, LaneText, instructions_text
from microturn.model.streams.lanes import Lanes
from microturn.model.streams.layout import StreamLayout
from microturn.model.streams.levels import (
    AGENT_FADE_S,
    AGENT_LEVEL_DB,
    CUT_FADE_S,
    TRIM_DB,
    energy_edges,
    fade,
    faded_out,
    level_gain,
)
from microturn.model.streams.packing import TimedToken, pack_dialogue
from microturn.model.streams.pcm import Audio, from_pcm16, to_pcm16
from microturn.model.streams.text import Tokenizer, normalise

VOICE_FROM: Final = 2  # micro-turn in which the voice begins: its text is written before it sounds
MIN_VOICE_S: Final = 2.0  # the shortest prompt of training, with `voices.voice_prompt_s=[2, 4]`
MAX_VOICE_S: Final = 4.0  # of a longer recording the beginning
SILENT_DB: Final = -60.0  # a recording below this level, re full scale, has no voice in it


@dataclass(frozen=True, kw_only=True)
class VoicePrompt:
    """Speech of a voice as simulation places it, and its words."""

    audio: Audio  # trimmed, at the agent's level
    text: str = ""  # empty: nobody knows what is said


def text_micro_turns(n_ids: int, layout: StreamLayout) -> int:
    """How many micro-turns a text of so many ids takes on `text_in`."""
    return -(-n_ids // max(layout.text_in_positions, 1))


def voice_micro_turns(end_sample: int, layout: StreamLayout) -> int:
    """How many micro-turns a voice takes that falls silent at a sample: one more is silent."""
    return -(-end_sample // layout.samples_per_micro_turn) + 1


def cut_voice(audio: Audio, *, name: str, text: str, layout: StreamLayout) -> VoicePrompt:
    """Make a voice prompt of a recording (n,) at the rate of the layout, as simulation does.

    Of a longer recording it is the first 4 s, and the share of the words that belongs to them.
    Raises ValueError, with the name, for one that is silent or has less than 2 s of sound.
    """
    rate = layout.sample_rate
    peak = float(np.abs(audio).max(initial=0.0))
    if peak < 10 ** (SILENT_DB / 20):
        raise ValueError(f"{name} is silent; a voice needs at least {MIN_VOICE_S:g} s of speech")
    first, last = energy_edges(audio, rate, threshold_db=TRIM_DB)
    trimmed = audio[first:last].copy()
    if len(trimmed) < MIN_VOICE_S * rate:
        raise ValueError(
            f"{name} has {len(trimmed) / rate:.1f} s of sound; a voice needs at least "
            f"{MIN_VOICE_S:g} s of speech"
        )
    trimmed *= level_gain(trimmed, AGENT_LEVEL_DB)
    fade(trimmed, round(AGENT_FADE_S * rate))
    n = round(MAX_VOICE_S * rate)
    words = text.split()
    if len(trimmed) > n:
        words = words[: -(-len(words) * n // len(trimmed))]
        trimmed = faded_out(trimmed[:n], round(CUT_FADE_S * rate))
    return VoicePrompt(audio=trimmed, text=normalise(" ".join(words)))


def pack_opening(
    *, voice: VoicePrompt | None, instructions: str, layout: StreamLayout, tokenizer: Tokenizer
) -> Lanes:
    """Pack the lanes of what stands before a conversation, as `pack_dialogue` does.

    As long as the longer of voice and instructions; without both it has no micro-turn.
    """
    n, step = 0, layout.samples_per_micro_turn
    text_in: list[TimedToken] = []
    say: list[TimedToken] = []
    if instructions:
        text_in.append(TimedToken(text=instructions_text(instructions), sample=0))
        n = text_micro_turns(len(text_in[0].ids(tokenizer)), layout)
    agent = np.zeros(0, np.float32)
    if voice is not None:
        start = VOICE_FROM * step
        end = start + len(voice.audio)
        agent = np.concatenate([np.zeros(start, np.float32), voice.audio])
        say.append(TimedToken(text=voice.text, sample=start, end_sample=end))
        say.append(TimedToken(text=LaneText(before=(EOS,)), sample=-(-end // step) * step))
        n = max(n, voice_micro_turns(end, layout))
    # One micro-turn more: the last one of a dialogue has no sound to make.
    agent = np.concatenate([agent, np.zeros((n + 1) * step - len(agent), np.float32)])
    return pack_dialogue(
        user_audio=np.zeros(len(agent), np.float32),
        agent_audio=from_pcm16(to_pcm16(agent)),
        heard=(),
        say=say,
        text_in=text_in,
        layout=layout,
        tokenizer=tokenizer,
    ).head(n)
