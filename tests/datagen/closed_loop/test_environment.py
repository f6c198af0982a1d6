"""The closed loop: with the planned agent it is the planned dialogue, with others it reacts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microturn.datagen.acoustics.echo import Loudspeaker
from microturn.datagen.acoustics.mix import delayed
from microturn.datagen.closed_loop.environment import Environment
from microturn.datagen.closed_loop.micro_turn import MicroTurn, Occurrence, Played
from microturn.datagen.dialogue.timeline import Event, Timeline
from microturn.datagen.labels.event_types import (
    BACKGROUND_SPEECH,
    ECHO,
    INTERRUPTION,
    RESULT,
    TURN,
    USER_BACKCHANNEL,
)
from microturn.datagen.live import LiveSource
from microturn.model.streams.pcm import Audio

BLOCK, RATE = 3_200, 16_000
SILENT = Played(audio=np.zeros(BLOCK, np.float32))
LISTS = ("user", "agent", "background", "intended", "controls", "events", "text_in")
STEP = 1 / 32768


def episode(
    environment: Environment, outputs: list[Played]
) -> tuple[list[MicroTurn], list[Occurrence]]:
    """Everything that is heard and happens; silence once the outputs are over."""
    heard, occurred, done = [environment.reset()], [], False
    while not done:
        k = len(heard) - 1
        output = outputs[k] if k < len(outputs) else SILENT
        observed, occurrences, done = environment.step(output)
        heard.append(observed)
        occurred += occurrences
    return heard, occurred


def late(outputs: list[Played], micro_turns: int) -> list[Played]:
    """The same, as much later."""
    return [SILENT] * micro_turns + outputs[: len(outputs) - micro_turns]


def sound_of(heard: list[MicroTurn]) -> Audio:
    return np.concatenate([one.audio for one in heard])


def of_type(timeline: Timeline, kind: str) -> list[Event]:
    return [event for event in timeline.events if event.type == kind]


def index_with(source: LiveSource, kind: str, n: int = 1) -> int:
    """A dialogue with an event of a type."""
    for index in range(200):
        if len(of_type(source.simulator.rendered(index).timeline, kind)) >= n:
            return index
    raise AssertionError(kind)


def check_oracle(source: LiveSource, index: int) -> None:
    """The planned agent makes the closed loop the planned dialogue."""
    planned = source.simulator.dialogue(index)
    environment = Environment(source, index)
    heard, occurred = episode(environment, environment.recorded())
    offline = planned.sound.user / np.float32(32768)
    difference = np.abs(sound_of(heard) - offline)
    if planned.conditions.line.law is None:
        assert difference.max() <= STEP
    else:  # where both lie on two sides of an edge between steps of G.711
        assert np.mean(difference > STEP) < 1e-3
    timeline = environment.timeline()
    for name in LISTS:
        assert getattr(timeline, name) == getattr(planned.timeline, name), name
    lane = planned.lanes.arrays["text_in"]
    for one, ids in zip(heard, lane, strict=True):
        assert [*one.text_in] == [i for i in ids if i]
    assert {one.kind for one in occurred} <= {"came"}
    assert environment.never == ()


@given(index=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_the_planned_agent_makes_it_the_planned_dialogue(demo: LiveSource, index: int) -> None:
    check_oracle(demo, index)


@given(index=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_so_it_is_in_every_closed_family(everything: LiveSource, index: int) -> None:
    check_oracle(everything, index)


@given(index=st.integers(0, 10**6))
@settings(max_examples=6, deadline=None)
def test_so_it_is_in_conversations_over_bad_lines(people: LiveSource, index: int) -> None:
    check_oracle(people, index)


@given(index=st.integers(0, 10**6))
@settings(max_examples=6, deadline=None)
def test_so_it_is_in_open_speech(open_speech: LiveSource, index: int) -> None:
    check_oracle(open_speech, index)


def test_an_agent_that_is_silent_has_no_echo(everything: LiveSource) -> None:
    for index in range(8):
        environment = Environment(everything, index)
        episode(environment, [])
        assert of_type(environment.timeline(), ECHO) == []


def test_an_impulse_comes_back_as_the_offline_echo(everything: LiveSource) -> None:
    """Sample by sample, through loudspeaker, room, canceller and delay."""
    source, impulse = everything, np.zeros(BLOCK, np.float32)
    impulse[777] = 0.9
    tried = 0
    for index in range(12):
        environment = Environment(source, index)
        rendered = source.simulator.rendered(index)
        channel, conditions = rendered.recipe.channel, rendered.conditions
        if channel.echo_db is None or conditions.echo is None:
            continue
        tried += 1
        heard, _ = episode(environment, [SILENT, SILENT, Played(audio=impulse)])
        quiet, _ = episode(Environment(source, index), [])
        agent = np.zeros(source.config.n_samples, np.float32)
        agent[3 * BLOCK + 777] = 0.9
        renderer = source.simulator.renderer
        taps = round(conditions.echo.taps_ms * RATE / 1000)
        speaker = Loudspeaker(renderer.speaker_response(rendered.recipe), taps=taps)
        echo = delayed(
            speaker.echo(agent, conditions.echo, sample_rate=RATE),
            renderer.echo_lag(rendered.recipe, conditions),
            gain_db=channel.echo_db,
        )
        first, last = 3 * BLOCK, 5 * BLOCK  # the user may do something else later
        back = (sound_of(heard) - sound_of(quiet))[first:last]
        assert np.abs(back - rendered.sound.limit * echo[first:last]).max() <= STEP
    assert tried >= 2


def test_two_agents_that_behave_alike_get_the_same_user(demo: LiveSource) -> None:
    first, second = Environment(demo, 3), Environment(demo, 3)
    outputs = late(first.recorded(), 2)
    one, other = (sound_of(episode(e, outputs)[0]) for e in (first, second))
    assert np.array_equal(one, other)
    again = sound_of(episode(first, outputs)[0])
    assert np.array_equal(one, again), "reset() begins the same dialogue anew"
    until = 20 * BLOCK  # before the user could know that the agent has gone silent
    quiet = sound_of(episode(second, outputs[:19])[0])
    assert np.array_equal(one[:until], quiet[:until])


@pytest.mark.parametrize("kind", [INTERRUPTION, USER_BACKCHANNEL])
def test_what_is_said_into_the_agents_words_moves_with_them(demo: LiveSource, kind: str) -> None:
    index = index_with(demo, kind)
    environment = Environment(demo, index)
    outputs = environment.recorded()
    episode(environment, outputs)
    planned = of_type(environment.timeline(), kind)[0]
    episode(environment, late(outputs, 2))
    moved = of_type(environment.timeline(), kind)[0]
    assert moved.start_sample - planned.start_sample == 2 * BLOCK
    assert moved.expect is not None
    assert planned.expect is not None
    widths = [e.window_samples[1] - e.window_samples[0] for e in (moved.expect, planned.expect)]
    assert widths[0] == widths[1]


def test_nobody_interrupts_an_agent_that_is_silent(demo: LiveSource) -> None:
    environment = Environment(demo, index_with(demo, INTERRUPTION))
    _, occurred = episode(environment, [])
    timeline = environment.timeline()
    assert of_type(timeline, INTERRUPTION) == []
    never = [one.event.type for one in environment.never if one.event is not None]
    assert INTERRUPTION in never, "it is counted"
    assert {one.kind for one in occurred} & {"asked_again", "gave_up"}


def test_a_user_asks_again_with_the_same_words(demo: LiveSource) -> None:
    """The second request is a turn of its own, and the plan says that it was asked once."""
    for index in range(40):
        environment = Environment(demo, index)
        _, occurred = episode(environment, [])
        again = [one for one in occurred if one.kind == "asked_again"]
        if not again:
            continue
        texts = [event.text for event in of_type(environment.timeline(), TURN)]
        if len(set(texts)) < len(texts):
            first = of_type(environment.timeline(), TURN)[0]
            assert again[0].sample - first.end_sample >= 2.0 * RATE, "after some patience"
            return
    raise AssertionError("nobody asked again")


def test_a_result_comes_after_the_agent_has_asked_for_it(demo: LiveSource) -> None:
    index = index_with(demo, RESULT)
    environment = Environment(demo, index)
    outputs = environment.recorded()
    heard, _ = episode(environment, outputs)
    read = [k for k, one in enumerate(heard) if one.text_in]
    heard, _ = episode(environment, late(outputs, 1))
    assert [k - 1 for k, one in enumerate(heard) if one.text_in] == read
    heard, _ = episode(environment, [replace(output, say=()) for output in outputs])
    assert not any(one.text_in for one in heard)
    assert of_type(environment.timeline(), RESULT) == []
    assert RESULT in [one.event.type for one in environment.never if one.event is not None]


def test_a_voice_in_the_room_waits_for_nobody(demo: LiveSource) -> None:
    environment = next(e for i in range(40) if (e := Environment(demo, i)).plan.overlays)
    episode(environment, [])
    came = [event.start_sample for event in of_type(environment.timeline(), BACKGROUND_SPEECH)]
    assert {one.clip.start_sample for one in environment.plan.overlays} <= {*came}


def test_an_agent_that_never_stops_is_talked_over(demo: LiveSource) -> None:
    rng = np.random.default_rng(0)
    loud = Played(audio=(0.1 * rng.standard_normal(BLOCK)).astype(np.float32))
    n_turns = 0
    for index in range(6):
        environment = Environment(demo, index)
        episode(environment, [loud] * demo.n_micro_turns)
        n_turns += len(of_type(environment.timeline(), TURN))
    assert n_turns > 6, "more than one each: somebody goes on over the agent"


def test_frames_are_seen(open_source: Callable[..., LiveSource]) -> None:
    source = open_source("datagen/demo.yaml", "layout.video_rows=2", "layout.video_cols=2")
    environment = Environment(source, 0)
    frames = source.simulator.dialogue(0).lanes.arrays["video"]
    heard, _ = episode(environment, environment.recorded())
    assert all(np.array_equal(one.given["video"], f) for one, f in zip(heard, frames, strict=True))


def test_mistakes_of_callers_are_named(
    demo: LiveSource, open_source: Callable[..., LiveSource]
) -> None:
    environment = Environment(demo, 0)
    with pytest.raises(ValueError, match="reset"):
        environment.step(SILENT)
    environment.reset()
    with pytest.raises(ValueError, match=r"\(7,\).*\(3200,\)"):
        environment.step(Played(audio=np.zeros(7, np.float32)))
    episode(environment, [])
    with pytest.raises(ValueError, match="over"):
        environment.step(SILENT)
    seeing = open_source("datagen/demo.yaml", "only=[visual_count]", "layout.video_rows=2",
                         "layout.video_cols=2")  # fmt: skip
    with pytest.raises(ValueError, match="families.visual_count"):
        Environment(seeing, 0)
