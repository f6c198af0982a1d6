"""Every scenario of configs/datagen/everything.yaml obeys the rules, whatever the seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microturn.configs.load import load_config
from microturn.datagen.config import DatagenConfig, TimingConfig
from microturn.datagen.dialogue.rules import (
    CUE_EARLY_S,
    CUE_LATE_S,
    LISTEN_S,
    OVER_S,
    RESPOND_S,
    RESULT_S,
    STOP_S,
    TRANSLATE_S,
)
from microturn.datagen.dialogue.timeline import Event, Timeline
from microturn.datagen.dialogue.units import Unit, UnitBank
from microturn.datagen.labels.event_types import EVENT_TYPES
from microturn.datagen.labels.time_classes import UNKNOWN
from microturn.datagen.pipeline import Simulator
from microturn.datagen.report.check import faults_of_timeline
from microturn.datagen.report.set_statistics import SetStatistics
from microturn.datagen.scenarios import REGISTRY, words_of

Build = Callable[[DatagenConfig], Simulator]
EVERYTHING = load_config(DatagenConfig, ["datagen/everything.yaml"], ["out=unused"])
FAMILIES = tuple(name for name in EVERYTHING.weights if not name.startswith("visual_"))
INDICES = st.integers(min_value=0, max_value=10**6)
# How long after the end of the event its expectation lasts, for acts that answer something said.
AFTER_S: dict[tuple[str, str], Fraction] = {
    ("turn", "respond"): RESPOND_S,
    ("self_correction", "respond"): RESPOND_S,
    ("recall", "respond"): RESPOND_S,
    ("forbidden", "respond"): RESPOND_S,
    ("forbidden", "refuse"): RESPOND_S,
    ("delegation", "delegate"): RESPOND_S,
    ("interjection", "say"): OVER_S,
    ("spoken_cue", "say"): OVER_S,
    ("translation", "say"): TRANSLATE_S,
}
LENGTH_S: dict[tuple[str, str], Fraction] = {
    **AFTER_S,
    ("agent_backchannel", "backchannel"): LISTEN_S,
    ("interruption", "stop"): STOP_S,
    ("timed_cue", "say"): CUE_EARLY_S + CUE_LATE_S,
    ("recall", "say"): CUE_EARLY_S + CUE_LATE_S,
    ("delegation", "say"): CUE_EARLY_S + CUE_LATE_S,
    ("result", "say"): RESULT_S,
}


def test_every_act_with_a_deadline_has_the_length_of_its_window() -> None:
    free = ("stay_silent", "resume")  # as long as what happens
    kinds = [kind for kind in EVENT_TYPES.values() if kind.suite != "visual"]
    assert set(LENGTH_S) == {(k.name, act) for k in kinds for act in k.acts if act not in free}


@pytest.fixture(scope="module", params=["train", "test"])
def everything(
    request: pytest.FixtureRequest, config: DatagenConfig, simulator_for: Build
) -> Simulator:
    return simulator_for(replace(EVERYTHING, split=request.param, rooms=config.rooms))


@pytest.fixture(scope="module")
def trained(config: DatagenConfig, simulator_for: Build) -> Simulator:
    return simulator_for(replace(EVERYTHING, rooms=config.rooms))


def timeline_of(simulator: Simulator, family: str, index: int) -> Timeline:
    recipe = simulator.recipe(index)
    script, families, _ = simulator.script(replace(recipe, families=(family,) * 8))
    assert set(families) == {family}
    return script.timeline


def events_of(timeline: Timeline, kind: str, act: str = "") -> list[Event]:
    return [
        event
        for event in timeline.events
        if event.type == kind
        and (not act or (event.expect is not None and event.expect.act == act))
    ]


def expected(event: Event) -> tuple[str, int, int]:
    assert event.expect is not None
    return event.expect.text, *event.expect.window_samples


def said_in(timeline: Timeline, first: int, last: int) -> list[str]:
    return [word.text for word in timeline.agent if first <= word.start_sample < last]


def test_every_family_has_a_weight_and_a_scenario() -> None:
    assert set(FAMILIES) <= set(REGISTRY)
    assert len(FAMILIES) >= 17


@pytest.mark.parametrize("family", FAMILIES)
@settings(deadline=None, max_examples=10)
@given(index=INDICES)
def test_events_and_windows_obey_the_rules(everything: Simulator, family: str, index: int) -> None:
    timeline = timeline_of(everything, family, index)
    rate = everything.config.layout.sample_rate
    assert list(faults_of_timeline(timeline)) == []
    for event in timeline.events:
        assert 0 <= event.start_sample <= event.end_sample <= timeline.n_samples
        if event.expect is None:
            continue
        first, last = event.expect.window_samples
        assert 0 <= first < last <= timeline.n_samples
        kind = (event.type, event.expect.act)
        if kind in LENGTH_S:
            assert last - first == LENGTH_S[kind] * rate
        else:
            assert event.expect.act in ("stay_silent", "resume"), kind
        if kind in AFTER_S and first != event.start_sample:
            assert first == event.end_sample or kind == ("recall", "say")
        if event.expect.act == "stay_silent":
            assert not timeline.speaks("agent", first, last)
        if event.expect.act == "resume":
            assert timeline.speaks("agent", first, last)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_word_of_a_family_is_one_token(trained: Simulator, family: str) -> None:
    """But whole lines of other speakers, which nobody chose, and words of unknown times."""
    for index in range(5):
        timeline = timeline_of(trained, family, index)
        words = [w for w in timeline.user if w.voice.startswith("asterisk")] + timeline.agent
        words = [w for w in words if w.times != UNKNOWN]
        longer = {w.text for w in words if len(trained.tokenizer.encode(w.text)) > 1}
        assert not longer


@settings(deadline=None, max_examples=15)
@given(index=INDICES)
def test_a_correction_is_answered_and_the_mistake_is_not(trained: Simulator, index: int) -> None:
    timeline = timeline_of(trained, "self_correction", index)
    markers = trained.config.scenarios.corrections
    for event in events_of(timeline, "self_correction"):
        assert any(f" {marker} " in event.text for marker in markers)
        words = [
            word
            for word in timeline.user
            if event.start_sample <= word.start_sample < event.end_sample
        ]
        pauses = [b.start_sample - a.end_sample for a, b in zip(words, words[1:], strict=False)]
        assert max(pauses) < 0.2 * trained.config.layout.sample_rate  # no chance to answer early
        assert not timeline.speaks("agent", event.start_sample, event.end_sample)


@settings(deadline=None, max_examples=15)
@given(index=INDICES)
def test_the_agent_listens_audibly_and_leaves_the_floor(trained: Simulator, index: int) -> None:
    timeline = timeline_of(trained, "agent_backchannel", index)
    points = events_of(timeline, "agent_backchannel")
    assert points
    for event in points:
        text, first, last = expected(event)
        assert said_in(timeline, first, last) == text.split()
        assert not timeline.speaks("user", event.start_sample, event.end_sample)
        assert timeline.speaks("user", event.end_sample, event.end_sample + 1)  # the user goes on


@settings(deadline=None, max_examples=15)
@given(index=INDICES)
def test_a_mistake_is_corrected_while_the_user_speaks(trained: Simulator, index: int) -> None:
    timeline = timeline_of(trained, "interjection", index)
    orders = [order.split() for order in trained.config.scenarios.recitals.values()]
    for event in events_of(timeline, "interjection", "say"):
        text, first, last = expected(event)
        order = next(order for order in orders if text in order and event.text in order)
        assert (order.index(text) + 1) % len(order) == order.index(event.text)
        word = next(w for w in timeline.agent if first <= w.start_sample < last)
        assert word.text == text
        assert timeline.speaks("user", last, timeline.n_samples)  # the user goes on


@settings(deadline=None, max_examples=15)
@given(index=INDICES)
def test_a_periodic_cue_keeps_time_and_ends_at_stop(trained: Simulator, index: int) -> None:
    timeline = timeline_of(trained, "repeated_cue", index)
    cues = events_of(timeline, "timed_cue", "say")
    stops = events_of(timeline, "timed_cue", "stay_silent")
    assert cues
    assert stops
    for before, after in zip(cues, cues[1:], strict=False):
        if after.start_sample == after.end_sample:
            seconds = Fraction(expected(after)[1] - expected(before)[1], 16_000)
            assert seconds.denominator == 1
    for stop in stops:
        assert stop.text
        assert not timeline.speaks("agent", stop.start_sample, expected(stop)[2])


@settings(deadline=None, max_examples=15)
@given(index=INDICES)
def test_a_spoken_cue_is_answered_over_the_user_and_nothing_else_is(
    trained: Simulator, index: int
) -> None:
    timeline = timeline_of(trained, "spoken_cue", index)
    cues = events_of(timeline, "spoken_cue", "say")
    assert len(timeline.agent) == len(cues) > 0
    for event in cues:
        text, first, last = expected(event)
        assert said_in(timeline, first, last) == [text]
        assert timeline.speaks("user", last - 1600, timeline.n_samples)


def test_translations_overlap_what_is_translated(trained: Simulator) -> None:
    overlapping = items = 0
    for index in range(12):
        timeline = timeline_of(trained, "translation", index)
        assert any(
            not word.text.isascii() or word.voice[:11] != "asterisk-en" for word in timeline.user
        )
        for event in events_of(timeline, "translation"):
            text, first, last = expected(event)
            word = next(w for w in timeline.agent if first <= w.start_sample < last)
            assert word.text == text
            items += 1
            overlapping += timeline.speaks("user", word.start_sample, word.end_sample)
    assert overlapping > items / 2


@settings(deadline=None, max_examples=25)
@given(index=INDICES)
def test_an_errand_ends_in_its_result_or_is_called_off(trained: Simulator, index: int) -> None:
    timeline = timeline_of(trained, "errand", index)
    tokens = [control.token for control in timeline.controls]
    errands = events_of(timeline, "delegation", "delegate")
    results = events_of(timeline, "result")
    assert tokens.count("<delegate>") == len(errands) == len(results) + tokens.count("<cancel>")
    arrivals = [text for text in timeline.text_in if text.text.is_result]
    for event, arrival in zip(results, arrivals, strict=True):
        _, first, last = expected(event)
        word = next(w for w in timeline.agent if first <= w.start_sample < last)
        assert word.start_sample > arrival.sample
        assert not timeline.speaks("user", word.start_sample, word.end_sample)
    for event in events_of(timeline, "delegation", "say"):
        text, first, last = expected(event)
        assert " ".join(said_in(timeline, first, timeline.n_samples)).startswith(text)
        before = first - round(2.5 * trained.config.layout.sample_rate)
        assert not timeline.speaks("user", before, last)


def test_an_errand_has_fillers_questions_and_cancellations(trained: Simulator) -> None:
    seen: set[str] = set()
    for index in range(30):
        timeline = timeline_of(trained, "errand", index)
        seen |= {event.type + "/" + event.expect.act for event in timeline.events if event.expect}
        seen |= {control.token for control in timeline.controls}
    assert {"delegation/say", "turn/respond", "result/say", "<cancel>"} <= seen


def test_every_kind_of_recall_occurs_and_is_right(trained: Simulator) -> None:
    texts = {"respond": 0, "say": 0}
    for index in range(40):
        timeline = timeline_of(trained, "recall", index)
        for event in events_of(timeline, "recall"):
            assert event.expect is not None
            texts[event.expect.act] += 1
            if event.text in trained.config.scenarios.slots:
                told = f"{event.text} is {event.expect.text}"
                earlier = [
                    other.text
                    for other in timeline.events
                    if other.start_sample < event.start_sample
                ]
                assert [text for text in earlier if text.startswith(f"{event.text} is ")][
                    -1
                ] == told
            if event.text == "last":
                before = [
                    word.text for word in timeline.agent if word.start_sample < event.start_sample
                ]
                n = len(event.expect.text.split())
                assert " ".join(before[-n:]) == event.expect.text
    assert texts["respond"] > 10
    assert texts["say"] > 0


def test_half_of_what_looks_forbidden_is(trained: Simulator) -> None:
    options = trained.config.scenarios
    acts = {"refuse": 0, "respond": 0}
    for index in range(20):
        for event in events_of(timeline_of(trained, "forbidden", index), "forbidden"):
            assert event.expect is not None
            acts[event.expect.act] += 1
            refused = event.expect.act == "refuse"
            assert (event.expect.text == options.refusal) is refused
            assert event.text.endswith(("password", "dollars")) is refused
    assert min(acts.values()) > 0.3 * sum(acts.values())


def test_the_yield_time_of_an_interrupted_agent_can_be_drawn(trained: Simulator) -> None:
    rate, step = 16_000, trained.config.layout.samples_per_micro_turn
    late = set()
    for index in range(30):
        timeline = timeline_of(trained, "interruption", index)
        for event in events_of(timeline, "interruption"):
            cuts = [
                w.end_sample
                for w in timeline.agent
                if w.start_sample < event.start_sample + STOP_S * rate
            ]
            eos = [c.sample for c in timeline.controls if c.sample > event.start_sample]
            assert max(cuts, default=0) <= event.start_sample + 0.65 * rate
            late.add((eos[0] - event.start_sample) // step)
    assert len(late) >= 2
    for wrong in ((0.1, 0.4), (0.5, 0.4), (0.3, 0.7)):
        with pytest.raises(ValueError, match="timing.yield_after_s=.* must be two rising numbers"):
            TimingConfig(yield_after_s=wrong)


def test_a_word_can_be_cut_out_of_a_prompt(trained: Simulator) -> None:
    voice = trained.bank.user_voices[0]
    unit = trained.bank.user("repeat", voice)
    assert unit.text == "repeat"
    assert unit.source.startswith("asterisk-en/")
    assert unit.licence
    assert unit.voice == voice
    assert 0.2 * 16_000 < unit.n_samples < 0.8 * 16_000
    assert max(abs(unit.audio[0]), abs(unit.audio[-1])) < 0.002
    with pytest.raises(ValueError, match="has no recording of 'xylophone' by voices.user"):
        trained.bank.user("xylophone", voice)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("scenarios.slots=[xylophone]", "no recording of 'xylophone'"),
        ("scenarios.message_phrases=[xylophone]", "has none of scenarios.message_phrases"),
        ("scenarios.languages=[xx]", "has no words of scenarios.languages"),
        ("scenarios.forbidden=['your {what}']", r"may hold words and \{number\} only"),
        ("scenarios.n_cue_names=[2,3]", "scenarios.n_cue_names=.* at least 6"),
        ("scenarios.recitals={more: one alpha}", "scenarios.cue_names has 'alpha', which"),
    ],
)
def test_what_a_scenario_lacks_is_named(
    config: DatagenConfig, simulator_for: Build, override: str, message: str
) -> None:
    def build() -> None:
        chosen = load_config(DatagenConfig, ["datagen/everything.yaml"], ["out=x", override])
        simulator_for(replace(chosen, rooms=config.rooms))

    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("family", sorted({*FAMILIES, "overlap"}))
def test_a_family_needs_no_more_than_it_says(
    trained: Simulator, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A word that is drawn and not declared would end a run in its middle."""
    chosen = replace(trained.config, only=(family,), families={family: 1.0})
    needed, said = words_of(chosen, trained.bank), {"agent": set(), "user": set()}
    for name, texts in said.items():
        whole = getattr(UnitBank, name)

        def heard(
            bank: UnitBank, text: str, *rest: str, whole: Any = whole, texts: Any = texts
        ) -> Unit:
            texts.add(text)
            return whole(bank, text, *rest)

        monkeypatch.setattr(UnitBank, name, heard)
    for index in range(5):
        timeline_of(trained, family, index)
    assert said["agent"] <= set(needed.agent)
    assert said["user"] <= set(needed.user)


def test_all_missing_words_are_named_at_once_and_only_those_of_drawn_families(
    config: DatagenConfig, simulator_for: Build
) -> None:
    lacking = ["vocabulary.letters={x: xylophone, y: yam}", "vocabulary.greetings=[ahoy]"]
    counting = ["families={}", "families.user_backchannel=1.0"]
    chosen = load_config(DatagenConfig, [], ["out=x", *lacking, *counting])
    simulator_for(replace(chosen, rooms=config.rooms))  # it counts and greets nobody
    asking = load_config(DatagenConfig, [], ["out=x", *lacking, *counting, "families.turn=1.0"])
    with pytest.raises(ValueError, match="no recording of") as caught:
        simulator_for(replace(asking, rooms=config.rooms))
    said = str(caught.value)
    assert "'xylophone', 'yam', 'ahoy' by voices.agent='asterisk-en'" in said
    assert "of 'ahoy' by voices.user='asterisk-en', needed by families.turn; take" in said
    assert "user_backchannel" not in said


def test_only_draws_what_it_names(config: DatagenConfig, simulator_for: Build) -> None:
    simulator = simulator_for(replace(EVERYTHING, only=("recall",), rooms=config.rooms))
    for index in range(3):
        assert set(simulator.script(simulator.recipe(index))[1]) == {"recall"}
    with pytest.raises(ValueError, match="only=quarrel is no scenario; known are agent_"):
        simulator_for(replace(EVERYTHING, only=("quarrel",)))


def test_the_data_card_counts_events_of_every_kind(trained: Simulator) -> None:
    statistics, rate = SetStatistics(), trained.config.layout.sample_rate
    setting = trained.labels(trained.dialogue(0))
    for family in FAMILIES:
        for index in range(6):
            timeline = timeline_of(trained, family, index)
            statistics.add(replace(setting, **vars(timeline.labels(rate)), families=(family,)))
    expected_acts = statistics.to_json()["counts"]["expected"]
    assert {"forbidden: refuse", "timed_cue: nothing", "timed_cue: stay_silent"} <= set(
        expected_acts
    )
