"""Checks a shard set: digests, labels against the rules, and stored lanes against the audio."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from microturn.datagen.dialogue.timeline import Event, Expect, Timeline
from microturn.datagen.pack import heard_tokens, say_tokens, text_in_tokens
from microturn.datagen.sets.shards import ShardReader, StoredDialogue, sha256_of
from microturn.model.streams import LayoutError, StreamLayout, Tokenizer, pack_dialogue
from microturn.model.streams.layout import FEATURES, STREAMS


def faults_of_set(reader: ShardReader) -> Iterator[str]:
    """Yield a sentence for every fault of a set."""
    for shard in reader.shards:
        if sha256_of(reader.folder / shard.name) != shard.sha256:
            yield f"{reader.folder / shard.name}: the digest is not that of index.json"
    for sample in reader:
        for fault in faults_of_sample(sample, layout=reader.layout, tokenizer=reader.tokenizer):
            yield f"{sample.source}: {fault}"


def faults_of_sample(
    sample: StoredDialogue, *, layout: StreamLayout, tokenizer: Tokenizer
) -> Iterator[str]:
    """Yield the faults of one dialogue."""
    labels = sample.labels
    n_samples = labels.n_micro_turns * layout.samples_per_micro_turn
    rate = layout.sample_rate
    timeline = Timeline.from_labels(labels, sample_rate=rate, n_samples=n_samples)
    if labels.layout_hash != layout.hash:
        yield f"layout_hash is {labels.layout_hash}, not {layout.hash}"
    for name, audio in (("user.flac", sample.user()), ("agent.flac", sample.agent())):
        if len(audio) != n_samples:
            yield f"{name} has {len(audio)} samples, not {n_samples}"
            return
    yield from faults_of_timeline(timeline)
    faults = list(_faults_of_members(sample, layout))
    yield from faults or _faults_of_lanes(sample, timeline, layout, tokenizer)


def _faults_of_members(sample: StoredDialogue, layout: StreamLayout) -> Iterator[str]:
    """Yield lanes that are missing, and given lanes without a front end of a wrong shape."""
    missing = layout.members - {FEATURES} - set(sample.members)
    yield from (f"{name} is missing" for name in sorted(missing))
    if STREAMS in missing:
        return
    for name, array in sample.given().items():
        try:
            layout.check_ready(name, array, sample.labels.n_micro_turns)
        except LayoutError as error:
            yield str(error)


def faults_of_timeline(timeline: Timeline) -> Iterator[str]:
    """Yield contradictions within and between labels."""
    for lane in ("user", "agent", "background"):
        for word in timeline.words(lane):
            first, last = word.start_sample, word.end_sample
            if not 0 <= first < last <= timeline.n_samples:
                yield f"{lane} says {word.text!r} at {first}..{last}, outside the dialogue"
    agent = sorted(timeline.agent, key=lambda word: word.start_sample)
    for before, after in zip(agent, agent[1:], strict=False):
        if after.start_sample < before.end_sample:
            yield f"the agent says {before.text!r} and {after.text!r} at once"
    for event in timeline.events:
        yield from _faults_of_event(event, timeline)


def _faults_of_event(event: Event, timeline: Timeline) -> Iterator[str]:
    first, last = event.start_sample, event.end_sample
    if not 0 <= first <= last <= timeline.n_samples:
        yield f"event {event.type} at {first}..{last} is outside the dialogue"
    if event.expect is None:
        return
    first, last = event.expect.window_samples
    name = f"event {event.type} at {event.start_sample}"
    if not 0 <= first < last <= timeline.n_samples:
        yield f"{name}: window {first}..{last} is outside the dialogue"
    fault = _fault_of_act(event.expect, timeline)
    if fault is not None:
        yield f"{name}: {fault}"


def _fault_of_act(expect: Expect, timeline: Timeline) -> str | None:
    """Return how the recorded agent differs from what is expected of it; None where it does not."""
    first, last = expect.window_samples
    match expect.act:
        case "stay_silent":
            speaks = timeline.speaks("agent", first, last)
            return "the agent speaks where it should stay silent" if speaks else None
        case "stop":
            speaks = timeline.speaks("agent", last - 1, last)
            return "the agent still speaks when the window closes" if speaks else None
        case "resume":
            speaks = timeline.speaks("agent", first, last)
            return None if speaks else "the agent is silent where it should go on"
        case "respond" | "say" | "delegate" | "backchannel" | "refuse":
            return _fault_of_words(expect, timeline)
        case _:
            raise ValueError(
                f"expect.act={expect.act!r} cannot be checked; add it to datagen/report/check.py"
            )


def _fault_of_words(expect: Expect, timeline: Timeline) -> str | None:
    first, last = expect.window_samples
    if not any(first <= word.start_sample < last for word in timeline.agent):
        return "the agent says nothing in the window"
    spoken = " ".join(word.text for word in timeline.agent if word.start_sample >= first)
    if expect.text and not f"{spoken} ".startswith(f"{expect.text} "):
        return f"the agent says {spoken[:40]!r}, not {expect.text!r}"
    return None


def _faults_of_lanes(
    sample: StoredDialogue, timeline: Timeline, layout: StreamLayout, tokenizer: Tokenizer
) -> Iterator[str]:
    """Yield lanes that differ from those computed from the stored audio and labels.

    Frames come from the recipe and are not drawn again.
    """
    stored = sample.tokens()
    missing_input = np.zeros(sample.labels.n_micro_turns, np.bool_)
    missing_input[list(sample.labels.channel.network.missing_micro_turns)] = True
    packed = pack_dialogue(
        user_audio=sample.user(),
        agent_audio=sample.agent(),
        heard=heard_tokens(timeline),
        say=say_tokens(timeline, layout),
        text_in=list(text_in_tokens(timeline)),
        layout=layout,
        tokenizer=tokenizer,
        missing_input=missing_input,
        given=sample.given(),
        without_loss=timeline.without_loss,
    )
    for name, array in packed.members()[STREAMS].items():
        if not np.array_equal(stored[name], array):
            yield f"{STREAMS}: lane {name} is not what the labels give"
    if FEATURES in sample.members:
        lanes = sample.lanes()
        for spec in layout.lane_specs:
            same = np.array_equal(lanes[spec.name], packed[spec.name])
            if spec.member == FEATURES and not same:
                yield f"{FEATURES}: {spec.name} is not what the front end computes"
