"""The rules never ask for anything that could not be known in time."""

from hypothesis import given
from hypothesis import strategies as st

from microturn.datagen.dialogue.rules import CUE_LATE_S, STOP_S, YIELD_S, Rules
from microturn.model.streams import StreamLayout

LAYOUT = StreamLayout()
RULES = Rules(LAYOUT)
STEP, RATE = LAYOUT.samples_per_micro_turn, LAYOUT.sample_rate
SAMPLES = st.integers(min_value=1, max_value=60 * RATE)


@given(SAMPLES)
def test_a_reply_begins_between_one_and_two_micro_turns_after_the_turn(end: int) -> None:
    latency = RULES.boundary(RULES.reply(end)) - end
    assert STEP <= latency <= 2 * STEP


@given(SAMPLES)
def test_the_agent_gives_way_within_the_window_of_an_interruption(onset: int) -> None:
    silent = RULES.boundary(RULES.give_way(onset))
    assert YIELD_S * RATE <= silent - onset < YIELD_S * RATE + STEP
    assert silent - onset < STOP_S * RATE


@given(SAMPLES, st.integers(min_value=1, max_value=9))
def test_a_cue_is_never_early_and_inside_its_window(end: int, seconds: int) -> None:
    lateness = RULES.boundary(RULES.cue(end, seconds)) - end - seconds * RATE
    assert 0 <= lateness < STEP < CUE_LATE_S * RATE


@given(SAMPLES, st.booleans())
def test_words_keep_their_distance(end: int, on_grid: bool) -> None:
    start = Rules(LAYOUT, agent_on_grid=on_grid).next_word(end)
    assert start - end >= 0.04 * RATE
    assert not on_grid or start % STEP == 0
