"""Read texts, repeated sentences, recorded conversations, and what stands before a dialogue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from microturn.configs.load import load_config
from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.conversations.columns import ConversationColumns
from microturn.datagen.corpora.conversations.reader import Conversations
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.dialogue.open.recorded_conversations import RecordedConversations
from microturn.datagen.pipeline import Simulator
from microturn.model.streams.pcm import Audio
from support.open_corpora import recorded_rows, write_conversations

Build = Callable[[DatagenConfig], Simulator]
OPEN = load_config(
    DatagenConfig,
    ["datagen/open.yaml"],
    [
        *("out=unused", "n_micro_turns=120", "channel.overlay_probability=0"),
        *("timing.human.enabled=false", "scenarios.interjections.stop=0.5"),
    ],
)
RATE, STEP = OPEN.layout.sample_rate, OPEN.layout.samples_per_micro_turn


@pytest.fixture(scope="module")
def spoken(config: DatagenConfig, simulator_for: Build) -> Simulator:
    return simulator_for(replace(OPEN, rooms=config.rooms))


def test_a_text_is_read_as_it_arrived(spoken: Simulator) -> None:
    read = stopped = 0
    for index in range(8):
        script = spoken.script(spoken.recipe(index, only="read_aloud")).script
        requests = [event for event in script.timeline.events if event.type == "turn"]
        assert len(requests) == len(script.timeline.text_in)
        for event, arrival in zip(requests, script.timeline.text_in, strict=True):
            assert event.expect is not None
            assert str(arrival.text) == f"<user> {event.text}"
            assert event.text.startswith(event.expect.text)
            assert not script.timeline.speaks("agent", arrival.sample, event.end_sample)
            read += 1
            stopped += event.text != event.expect.text
    assert read > 8
    assert 0 < stopped < read


def test_a_sentence_is_repeated_in_another_voice(spoken: Simulator) -> None:
    rounds = 0
    for index in range(6):
        script = spoken.script(spoken.recipe(index, only="repeat_after")).script
        for event in (event for event in script.timeline.events if event.type == "turn"):
            assert event.expect is not None
            assert event.expect.text == event.text
            answer = next(
                w for w in script.timeline.agent if w.start_sample >= event.expect.window_samples[0]
            )
            assert answer.start_sample >= event.end_sample
            rounds += 1
    assert rounds > 10


@pytest.fixture(scope="module")
def calls(
    config: DatagenConfig, simulator_for: Build, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[bool], Simulator]:
    def build(words: bool) -> Simulator:
        folder = tmp_path_factory.mktemp("calls")
        rows = recorded_rows(Corpus.open(), folder, redacted=True, words=words)
        corpus = f"default,{write_conversations(folder, rows)}"
        changed = replace(OPEN, rooms=config.rooms, corpus=corpus, only=("recorded",))
        return simulator_for(changed)

    return build


def test_the_recorded_agent_is_the_target(calls: Callable[[bool], Simulator]) -> None:
    simulator = calls(True)
    assert simulator.sources is not None
    conversations = simulator.sources.conversations
    found = conversations[0]
    for index in range(3):
        dialogue = simulator.dialogue(index)
        assert dialogue.families == ["recorded"]
        assert dialogue.recipe.cast is not None
        agent = [side.speaker for side in found.sides].index(dialogue.recipe.cast.agent)
        assert dialogue.recipe.voice == found.sides[1 - agent].speaker
        whole = conversations.sound(found, found.sides[agent], 0.0, 30.0)
        clips = [clip for clip in dialogue.script.clips if clip.lane == "agent"]
        places = []
        for clip in clips:
            inner = clip.unit.audio[100:-100]
            at = _place_of(inner[:8000], whole)
            recorded = whole[at : at + len(inner)]
            gain = float(np.dot(inner, recorded) / np.dot(recorded, recorded))
            assert np.allclose(inner, gain * recorded, atol=1e-4)
            places.append(clip.start_sample + 100 - at)
        assert len(set(places)) == 1, "a window on one clock"
        events = [e for e in dialogue.timeline.events if e.type in ("turn", "pause")]
        assert events
        assert all(0 < event.confidence < 1 for event in events)


def _place_of(piece: Audio, whole: Audio) -> int:
    """Where a sound stands in another, whatever its level."""
    energy = np.cumsum(np.square(np.pad(whole, (1, 0)), dtype=np.float64))
    energy = energy[len(piece) :] - energy[: -len(piece)]
    return int(np.argmax(np.correlate(whole, piece, "valid") / np.sqrt(energy + 1e-6)))


def test_nothing_is_learned_where_a_call_is_redacted(calls: Callable[[bool], Simulator]) -> None:
    simulator = calls(True)
    for index in range(4):
        dialogue = simulator.dialogue(index)
        for start, end in dialogue.timeline.without_loss:
            first, last = start // STEP, (end - 1) // STEP
            assert not dialogue.lanes.weights["heard"][first : last + 1].any()
            assert not dialogue.lanes.weights["audio_out"][first - 1 : last].any()
            assert not dialogue.sound.agent[start:end].any()
            assert dialogue.lanes.weights["audio_out"][last + 1 : -1].any()
        assert dialogue.timeline.without_loss
        labels = simulator.labels(dialogue)
        assert labels.without_loss
        assert type(labels).from_json(labels.to_json(), where="here") == labels


def test_a_call_without_words_is_learned_as_sound(calls: Callable[[bool], Simulator]) -> None:
    simulator = calls(False)
    dialogue = simulator.dialogue(0)
    words = (*dialogue.timeline.user, *dialogue.timeline.agent)
    assert words
    assert all(not word.text for word in words)
    weights = dialogue.lanes.weights
    for word in dialogue.timeline.agent:
        first, last = word.start_sample // STEP - 1, (word.end_sample - 1) // STEP - 1
        assert not weights["say"][first : last + 1].any()
        if not any(
            a < word.end_sample and word.start_sample < b + STEP
            for a, b in dialogue.timeline.without_loss
        ):
            assert weights["audio_out"][first : last + 1].any()


def test_a_corpus_without_conversations_is_refused(
    config: DatagenConfig, simulator_for: Build
) -> None:
    changed = replace(OPEN, rooms=config.rooms, only=("recorded",))
    with pytest.raises(ValueError, match="families.recorded: nobody of voices.agent='any' has wha"):
        simulator_for(changed)


def test_people_of_conversations_may_be_chosen(
    config: DatagenConfig, simulator_for: Build, tmp_path: Path
) -> None:
    rows = recorded_rows(Corpus.open(), tmp_path)
    corpus = f"default,{write_conversations(tmp_path, rows)}"
    base = replace(OPEN, rooms=config.rooms, corpus=corpus, only=("recorded",))

    def build(split: str = "train", **voices: object) -> Simulator:
        changed = replace(base.voices, **voices)  # type: ignore[arg-type]
        return simulator_for(replace(base, split=split, voices=changed))

    def agents(simulator: Simulator) -> set[str]:
        casts = [simulator.recipe(index).cast for index in range(8)]
        return {cast.agent for cast in casts if cast}

    assert agents(build(agent="calls-b")) == {"calls-b"}
    with pytest.raises(ValueError, match="nobody in corpus=default,.* is voices.agent='calls-c'"):
        build(agent="calls-c")
    # A conversation of held-out people is for tests; one with somebody else as well is for neither.
    both = ("calls-a", "calls-b")
    assert agents(build("test", unseen=both)) == set(both)
    for split, unseen in (("train", both), ("train", both[:1]), ("test", both[:1])):
        with pytest.raises(ValueError, match=f"nobody of .* for split={split}"):
            build(split, unseen=unseen)
    with pytest.raises(
        ValueError, match="voices.unseen has 'calls-c', who is no speaker of corpus"
    ):
        build(unseen=("calls-c",))


def test_the_voice_and_instructions_come_first_and_are_not_learned(
    config: DatagenConfig, simulator_for: Build, spoken: Simulator
) -> None:
    simulator = simulator_for(
        load_config(
            DatagenConfig,
            ["datagen/open.yaml"],
            [
                *("out=unused", "n_micro_turns=120", "channel.overlay_probability=0"),
                *("voices.voice_prompt_s=[2, 4]", "scenarios.instructed_share=1"),
                *("rooms.n_rooms=2", "rooms.method=tail"),
            ],
        )
    )
    for index in range(4):
        dialogue, plain = simulator.dialogue(index), spoken.script(spoken.recipe(index)).script
        timeline = dialogue.timeline
        ((start, end),) = timeline.without_loss
        assert start == 0
        assert 2.0 * RATE < end < 6.0 * RATE
        prompt = [clip for clip in dialogue.script.clips if clip.start_sample < end]
        assert {clip.lane for clip in prompt} == {"agent"}
        assert dialogue.recipe.cast is not None
        assert {clip.unit.voice for clip in prompt} == {dialogue.recipe.cast.agent}
        assert sum(clip.n_samples for clip in prompt) > 1.5 * RATE
        assert not timeline.speaks("user", 0, end)
        for name in ("heard", "say", "audio_out"):
            assert not dialogue.lanes.weights[name][: end // STEP - 1].any()
            assert dialogue.lanes.weights[name][end // STEP + 1 : -1].any()
        assert str(timeline.text_in[0].text).startswith("<system> ")
        begins = min(w.start_sample for w in timeline.agent if w.start_sample >= end) < min(
            w.start_sample for w in timeline.user
        )
        assert ("you begin" in timeline.text_in[0].text.words) is begins
        assert not plain.timeline.without_loss


def test_a_voice_prompt_has_a_length(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="voices.voice_prompt_s=.* must be two rising numbers"):
        load_config(DatagenConfig, [], ["out=x", "voices.voice_prompt_s=[4, 2]"])
    with pytest.raises(
        ValueError, match=r"\[6.0, 9.0\] leaves less than half of 6 s to the dialogue"
    ):
        load_config(
            DatagenConfig, [], ["out=x", "voices.voice_prompt_s=[6, 9]", "n_micro_turns=30"]
        )


def test_conversations_are_cast_without_reading_their_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten thousand hours have too many words to be read by every worker."""
    rows = recorded_rows(Corpus.open(), tmp_path)
    first, *others = rows
    first["sides"][0]["role"] = "user"
    folder = write_conversations(tmp_path, [first, *others])
    conversations = Conversations([folder])
    told = {
        (side["speaker"], number)
        for number, row in enumerate(rows)
        for side, other in zip(row["sides"], row["sides"][::-1], strict=True)
        if side.get("role") != "user" and other.get("role") != "agent"
    }

    def read(columns: ConversationColumns, number: int) -> None:
        raise AssertionError(f"line {number} was read")

    monkeypatch.setattr(ConversationColumns, "conversation", read)
    cast = RecordedConversations(conversations, OPEN)
    assert {(name, n) for name, places in cast.by_agent.items() for n, _ in places} == told
    assert (first["sides"][0]["speaker"], 0) not in told
