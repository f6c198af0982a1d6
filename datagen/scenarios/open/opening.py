"""What stands before an open dialogue, without loss weight: instructions, and the agent's voice.

Instructions are a text on `text_in`, written from what is drawn. The voice prompt is other speech
of the agent's voice on its own lane, while the user is silent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.script import Script
from microturn.datagen.dialogue.timeline import TextArrival
from microturn.datagen.dialogue.units import Unit
from microturn.datagen.labels.event_types import AGENT_BACKCHANNEL
from microturn.datagen.labels.time_classes import UNKNOWN
from microturn.datagen.scenarios.base import DialogueContext, SegmentBuilder
from microturn.datagen.scenarios.open.agent_words import broken_off, text_fits
from microturn.model.streams import (
    LaneText,
    StreamLayout,
    Tokenizer,
    instructions_text,
    normalise,
)
from microturn.model.streams.opening import (
    VOICE_FROM,
    text_micro_turns,
    voice_micro_turns,
)

MIN_PIECE_S: Final = 0.5  # of a line in a voice prompt
TASKS: Final = {
    "narration": "read",
    "listening": "listen",
    "scripted": "talk",
    "recorded": "talk",
    "read_aloud": "read what is written",
    "repeat_after": "repeat",
}
BEGINNERS: Final = ("you begin", "the user begins")
LISTENERS: Final = ("never", "sometimes", "often")  # how the agent says that it listens
OFTEN_PER_MINUTE: Final = 4.0


def instructed_micro_turns(tokenizer: Tokenizer, layout: StreamLayout, language: str) -> int:
    """How many micro-turns the longest instructions take, whatever the dialogue brings."""
    longest = max(
        len(tokenizer.encode_lane_text(_written([task], language, beginner, listener)))
        for task in (" ".join(sorted(set(TASKS.values()))),)
        for beginner in BEGINNERS
        for listener in LISTENERS
    )
    return text_micro_turns(longest, layout)


def open_with(segment: SegmentBuilder, script: Script, *, instructs: bool, prompt_s: float) -> int:
    """Place the voice prompt and keep the time of both free; returns where the dialogue begins."""
    end = 0
    if instructs:
        layout, tokenizer = segment.context.config.layout, segment.context.tokenizer
        end = instructed_micro_turns(tokenizer, layout, _language(segment.context))
    if prompt_s > 0:
        end = max(end, _place_prompt(segment, prompt_s))
        script.extend(segment.script)
    if end:
        script.timeline.without_loss.append((0, segment.rules.boundary(end)))
    return segment.rules.boundary(end)


def instruct(context: DialogueContext, script: Script, families: Sequence[str]) -> None:
    """Write the instructions of a dialogue from what was drawn for it."""
    timeline, rate = script.timeline, context.rules.rate
    start = max((end for _, end in timeline.without_loss[:1]), default=0)
    speech = {
        side: [word.start_sample for word in timeline.words(side) if word.start_sample >= start]
        for side in ("agent", "user")
    }
    agent_first = min(speech["agent"], default=timeline.n_samples)
    user_first = min(speech["user"], default=timeline.n_samples)
    listens = sum(event.type == AGENT_BACKCHANNEL for event in timeline.events)
    per_minute = 60.0 * listens * rate / max(timeline.n_samples - start, 1)
    listener = LISTENERS[0 if not listens else 1 if per_minute < OFTEN_PER_MINUTE else 2]
    tasks = sorted({TASKS[name] for name in families if name in TASKS})
    text = _written(tasks, _language(context), BEGINNERS[user_first <= agent_first], listener)
    timeline.text_in.append(TextArrival(text=text, sample=0))


def draws_opening(config: DatagenConfig) -> bool:
    """Whether dialogues of open speech may begin with a voice prompt or instructions."""
    return config.voices.voice_prompt_s[1] > 0 or config.scenarios.instructed_share > 0


def _written(tasks: Sequence[str], language: str, beginner: str, listener: str) -> LaneText:
    task = " ".join(tasks)
    text = f"{task} in {language} {beginner} say {listener} that you listen"
    return instructions_text(normalise(text))


def _language(context: DialogueContext) -> str:
    """The language tag of the agent."""
    assert context.sources is not None, "a dialogue of open speech"
    assert context.cast is not None, "a dialogue of open speech"
    speaker = context.sources.speech.agent(context.cast.agent)
    return speaker.language if speaker is not None and speaker.language else "any language"


def _place_prompt(segment: SegmentBuilder, prompt_s: float) -> int:
    """The agent says lines that fill the prompt; returns the micro-turn after it."""
    context, rules = segment.context, segment.rules
    assert context.sources is not None, "a dialogue of open speech"
    assert context.cast is not None, "a dialogue of open speech"
    speech = context.sources.speech
    speaker = speech.agent(context.cast.agent)
    lines = [
        line
        for chapter in (() if speaker is None else speaker.chapters)
        for line in chapter
        if line.duration_s >= MIN_PIECE_S
    ]
    if not lines:
        return 0
    stop = rules.boundary(VOICE_FROM + rules.next_boundary(rules.samples(prompt_s)))
    at = rules.boundary(VOICE_FROM)
    planned: list[tuple[Unit, int]] = []
    for number in segment.rng.permutation(len(lines)):
        if at >= stop:
            break
        unit = speech.agent_unit(lines[int(number)].id)
        planned.append((unit, at))
        at = rules.next_word(at + unit.n_samples)
    end = segment.sound(planned, stop=broken_off(planned, stop, rate=rules.rate)).end_sample
    timeline = segment.timeline
    timeline.intended.clear()  # nobody interrupted it
    if not text_fits([timeline], context):  # its text has no loss weight: written as far as it fits
        timeline.agent[:] = [replace(word, times=UNKNOWN) for word in timeline.agent]
    return voice_micro_turns(end, context.config.layout)
