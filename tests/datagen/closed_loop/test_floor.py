"""An agent that speaks into the words of a user: some go on, some leave it the floor."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from microturn.datagen.closed_loop.environment import Environment
from microturn.datagen.closed_loop.micro_turn import MicroTurn, Played
from microturn.datagen.dialogue.timeline import Event, Timeline
from microturn.datagen.labels.event_types import PAUSE, SELF_CORRECTION
from microturn.datagen.live import LiveSource
from microturn.evaluation.agents.closed_loop import play, scored
from microturn.evaluation.scoring.interaction import interaction_of
from microturn.model.streams.pcm import Audio

RATE, BLOCK = 16_000, 3_200
SILENT = Played(audio=np.zeros(BLOCK, np.float32))
NOISE = np.random.default_rng(0).standard_normal(BLOCK).astype(np.float32)
LOUD = Played(audio=0.1 * NOISE)
Open = Callable[..., LiveSource]


@pytest.fixture
def asking(open_source: Open) -> Open:
    """Nothing but requests, in a quiet place without echo."""

    def build(*options: str) -> LiveSource:
        quiet = ("channel.noise_probability=0", "channel.echo_probability=0", "split=test")
        keys = [f"timing.reactions.{option}" for option in options]
        calm = ("timing.pause_probability=0", "channel.overlay_probability=0")
        return open_source(
            "datagen/demo.yaml", "only=[self_correction]", "split=test", *quiet, *calm, *keys
        )

    return build


def barging(environment: Environment, at: int, n: int) -> tuple[Timeline, Audio]:
    """Play an agent that only speaks in `n` micro-turns from the sample `at` on."""
    heard: list[MicroTurn] = []
    first = at // BLOCK

    def answer(one: MicroTurn) -> Played:
        heard.append(one)
        return LOUD if first <= len(heard) < first + n else SILENT

    play(environment, answer)
    return environment.timeline(), np.concatenate([one.audio for one in heard])


def long_turn(source: LiveSource) -> tuple[int, Event]:
    """A request of at least 3 s with which a dialogue begins."""
    for index in range(40):
        turns = [
            e for e in source.simulator.rendered(index).timeline.events if e.type == SELF_CORRECTION
        ]
        if turns and turns[0].end_sample - turns[0].start_sample > 3.0 * RATE:
            return index, turns[0]
    raise AssertionError


def barged_in(source: LiveSource) -> tuple[Environment, Event, Timeline, Audio]:
    """The agent speaks for 0.8 s into a request, from half a second after its beginning on."""
    index, turn = long_turn(source)
    environment = Environment(source, index)
    at = turn.start_sample + RATE // 2 + BLOCK
    return environment, turn, *barging(environment, at, 4)


def of_type(timeline: Timeline, kind: str) -> list[Event]:
    return [event for event in timeline.events if event.type == kind]


def test_who_leaves_the_floor_stops_and_asks_again(asking: Open) -> None:
    source = asking("yield_share=1", "rest_share=0")
    environment, turn, timeline, heard = barged_in(source)
    kinds = [one.kind for one in environment.occurrences]
    assert kinds[:3] == ["yielded", "came", "asked_again"]
    pause, whole = of_type(timeline, PAUSE)[0], of_type(timeline, SELF_CORRECTION)[0]
    assert turn.start_sample + RATE // 2 < pause.start_sample < turn.end_sample
    assert pause.expect is not None
    assert pause.expect.act == "stay_silent"
    # All of it, later: nobody is asked to answer what had no end.
    moved = whole.start_sample - turn.start_sample
    assert whole.text == turn.text
    assert whole.start_sample == pause.end_sample
    assert whole.end_sample - turn.end_sample == moved
    assert whole.expect is not None
    assert turn.expect is not None
    assert whole.expect.window_samples[0] - turn.expect.window_samples[0] == moved
    # The voice is gone, but for the room.
    gone = heard[pause.start_sample + RATE // 4 : pause.end_sample]
    spoken = heard[turn.start_sample : pause.start_sample]
    assert np.abs(gone).max() < 0.1 * np.abs(spoken).max()


def test_a_word_is_said_to_its_end(asking: Open) -> None:
    _, turn, timeline, _ = barged_in(asking("yield_share=1", "rest_share=0"))
    stop = of_type(timeline, PAUSE)[0].start_sample
    said = [word for word in timeline.user if word.start_sample < stop]
    assert max(word.end_sample for word in said) <= stop
    assert not any(word.cut for word in said)
    assert 0 < len(said) < len(turn.text.split())


def test_some_say_the_rest_only(asking: Open) -> None:
    source = asking("yield_share=1", "rest_share=1")
    environment, turn, timeline, _ = barged_in(source)
    pause, whole = of_type(timeline, PAUSE)[0], of_type(timeline, SELF_CORRECTION)[0]
    assert whole.start_sample == turn.start_sample
    assert whole.end_sample > turn.end_sample
    assert whole.expect is not None
    assert whole.expect.window_samples[0] >= whole.end_sample
    said = [word.text for word in timeline.user if word.start_sample < whole.end_sample]
    assert " ".join(said) == turn.text, "each word once"
    after = [word for word in timeline.user if word.start_sample >= pause.end_sample]
    assert after[0].text == said[len([w for w in timeline.user if w.end_sample <= stop_of(pause)])]
    came = [one.event.type for one in environment.occurrences if one.event and one.kind == "came"]
    assert came[:2] == [PAUSE, SELF_CORRECTION]


def stop_of(pause: Event) -> int:
    return pause.start_sample


def test_others_go_on(asking: Open) -> None:
    environment, turn, timeline, _ = barged_in(asking("yield_share=0"))
    assert "yielded" not in [one.kind for one in environment.occurrences]
    first = of_type(timeline, SELF_CORRECTION)[0]
    assert (first.start_sample, first.end_sample) == (turn.start_sample, turn.end_sample)
    assert of_type(timeline, PAUSE) == []


def test_nobody_gives_way_before_a_reaction(asking: Open) -> None:
    stops = []
    for reaction_s in (0.2, 0.7):
        source = asking("yield_share=1", f"reaction_s=[{reaction_s},{reaction_s}]")
        environment, turn, timeline, _ = barged_in(source)
        began = (turn.start_sample + RATE // 2 + BLOCK) // BLOCK * BLOCK
        stops += [e.start_sample - began for e in of_type(timeline, PAUSE)[:1]]
    assert stops[0] >= 0.2 * RATE
    assert all(stop >= 0.7 * RATE for stop in stops[1:])


def test_a_short_sound_breaks_nobody_off(asking: Open) -> None:
    source = asking("yield_share=1", "reaction_s=[0.5,0.5]")
    index, turn = long_turn(source)
    environment = Environment(source, index)
    barging(environment, turn.start_sample + RATE // 2 + BLOCK, 1)
    assert "yielded" not in [one.kind for one in environment.occurrences]


def test_it_counts_as_an_interruption_of_the_agent(asking: Open) -> None:
    for share in (0, 1):
        source = asking(f"yield_share={share}", "rest_share=0")
        index, turn = long_turn(source)
        begins = (turn.start_sample + RATE // 2 + BLOCK) // BLOCK
        numbers = iter(range(1, 10**6))
        answer = partial(_loud_in, numbers, range(begins, begins + 4))
        outcome = interaction_of(scored(play(Environment(source, index), answer), source))
        assert outcome.n_agent_interrupts == 1


def _loud_in(numbers: object, loud: range, heard: MicroTurn) -> Played:
    return LOUD if next(numbers) in loud else SILENT  # type: ignore[call-overload]


def test_two_that_barge_in_alike_get_the_same_user(asking: Open) -> None:
    source = asking()
    first, second = (barged_in(source) for _ in range(2))
    assert np.array_equal(first[3], second[3])
    assert first[2].events == second[2].events


def test_a_request_that_no_longer_fits_never_comes(asking: Open) -> None:
    source = asking("yield_share=1")
    index, turn = long_turn(source)
    environment = Environment(source, index)
    n = source.config.n_micro_turns
    timeline, _ = barging(environment, turn.start_sample + RATE // 2 + BLOCK, n)
    last = of_type(timeline, PAUSE)[-1]
    assert last.expect is not None
    gone = [one for one in environment.never if one.event is not None]
    assert gone or [one.kind for one in environment.occurrences].count("asked_again")
