"""People's timing: the laws, how dialogues follow them, and how that is measured and judged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.configs.load import load_config
from microturn.configs.main import main
from microturn.datagen.config import DatagenConfig, HumanTimingConfig
from microturn.datagen.corpora.waveform import joined, voice_spans
from microturn.datagen.dialogue.human_timing import Pace
from microturn.datagen.dialogue.timeline import Timeline
from microturn.datagen.dialogue.turn_taking import (
    TurnTaking,
    measure,
    of_sound,
    of_words,
)
from microturn.datagen.labels.dialogue import DialogueLabels
from microturn.datagen.pipeline import Simulator
from microturn.datagen.report.card import CARD_JSON, card_text, make_card, missed_targets
from microturn.datagen.report.check import faults_of_timeline
from microturn.datagen.report.set_statistics import JOIN_S, VOICE_DB, SetStatistics
from microturn.datagen.report.targets import judged, targets_of
from microturn.datagen.report.timing_tally import TimingTally
from microturn.datagen.scenarios.turns.turn_taking_history import MAX_OVERLAPPED, share_from_here
from microturn.datagen.sets.shards import ShardReader

HUMAN = HumanTimingConfig(enabled=True)
RATE = 16_000
SPANS = st.lists(
    st.tuples(st.integers(0, 500), st.integers(1, 60)).map(lambda p: (p[0], p[0] + p[1])),
    max_size=12,
)


@pytest.fixture(scope="module")
def human_config(config: DatagenConfig) -> DatagenConfig:
    mix = load_config(DatagenConfig, ["datagen/human.yaml"], ["out=unused"])
    return replace(mix, only=("conversation",), rooms=config.rooms)


@pytest.fixture(scope="module")
def human(
    human_config: DatagenConfig, simulator_for: Callable[[DatagenConfig], Simulator]
) -> Simulator:
    return simulator_for(human_config)


@pytest.fixture(scope="module")
def mix(
    human_config: DatagenConfig, simulator_for: Callable[[DatagenConfig], Simulator]
) -> Simulator:
    """The whole of the mix: every spoken scenario."""
    return simulator_for(replace(human_config, only=()))


def timelines(simulator: Simulator, n: int) -> list[Timeline]:
    return [simulator.script(simulator.recipe(i))[0].timeline for i in range(n)]


@cache
def first_labels(simulator: Simulator) -> DialogueLabels:
    return simulator.labels(simulator.dialogue(0))


def labels(simulator: Simulator, timeline: Timeline) -> DialogueLabels:
    """Labels of a timeline that is not rendered, in the setting of the first dialogue."""
    return replace(first_labels(simulator), **vars(timeline.labels(RATE)))


def off_by(simulator: Simulator, n: int) -> dict[str, float]:
    """How far the words of `n` dialogues are off every target, as a share of it."""
    tally = TimingTally()
    for timeline in timelines(simulator, n):
        tally.add(of_words(labels(simulator, timeline), join_s=JOIN_S), RATE)
    measures = tally.measures()
    rows = judged(HUMAN, {"sound": measures, "words": measures})
    return {row["name"]: row["off"] for row in rows}


# --- every scenario beside conversations --------------------------------------------------------
def test_a_mix_of_all_scenarios_keeps_every_target(mix: Simulator) -> None:
    families: set[str] = set()
    for index in range(40):
        families.update(mix.script(mix.recipe(index))[1])
    assert len(families) > 12
    assert max(off_by(mix, 150).values()) <= HUMAN.tolerance


def test_labels_of_the_mix_agree_with_each_other(mix: Simulator) -> None:
    assert [list(faults_of_timeline(timeline)) for timeline in timelines(mix, 20)] == [[]] * 20


def test_what_changes_before_lack_is_made_up_for() -> None:
    assert share_from_here([], 0.4, 10.0) == 0.4
    assert share_from_here([300, 300], 0.4, 8.0) == pytest.approx(0.5)  # 0.4 of 10 in 8
    assert share_from_here([-50, -50], 0.4, 8.0) == pytest.approx(0.25)
    assert share_from_here([300] * 50, 0.4, 2.0) == MAX_OVERLAPPED
    assert share_from_here([-50] * 50, 0.4, 2.0) == 0.0
    assert share_from_here([300], 0.4, 0.0) <= MAX_OVERLAPPED  # nothing ahead


# --- the laws ---------------------------------------------------------------------------------
def pace(index: int) -> Pace:
    return Pace(human=HUMAN, seed=4, index=index, split="train")


def test_few_draws_of_few_dialogues_already_follow_the_laws() -> None:
    paces = [pace(index) for index in range(60)]
    for draw, median in (
        (lambda p: p.gap("user"), HUMAN.gap_median_s),
        (Pace.overlap, HUMAN.overlap_median_s),
        (Pace.pause, HUMAN.pause_median_s),
    ):
        found = [draw(p) for p in paces for _ in range(6)]
        assert np.median(found) == pytest.approx(median, rel=0.08)


def test_every_short_dialogue_has_its_share_of_overlaps() -> None:
    for index in range(200):
        one = pace(index)
        assert sum(one.overlaps() for _ in range(5)) in (1, 2, 3)


def test_a_dialogue_has_a_tempo() -> None:
    logs = np.log([[pace_.gap("user") for _ in range(8)] for pace_ in map(pace, range(300))])
    between = logs.mean(axis=1).var() / logs.var()
    assert between > 0.4  # 1/8 if every draw were on its own


def test_a_pace_is_a_function_of_seed_split_and_index() -> None:
    assert [pace(7).gap("agent") for _ in range(3)] == [pace(7).gap("agent") for _ in range(3)]
    first = replace(pace(7), split="test")
    assert first.gap("agent") != pace(7).gap("agent")


def test_times_keep_their_bounds_and_do_not_pile_up_there() -> None:
    paces = [pace(index) for index in range(400)]
    overlaps = [p.overlap() for p in paces for _ in range(4)]
    pauses = [p.pause() for p in paces for _ in range(4)]
    assert max(overlaps) <= HUMAN.longest_overlap_s
    assert min(pauses) >= HUMAN.min_pause_s
    for times in (overlaps, pauses):
        _, counts = np.unique(np.round(times, 3), return_counts=True)
        assert counts.max() < 0.02 * len(times)


def test_a_median_outside_its_bounds_is_refused() -> None:
    with pytest.raises(ValueError, match=r"pause_median_s=0\.1 must be at least 0\.23"):
        HumanTimingConfig(pause_median_s=0.1)


def test_shares_of_one_variance_cannot_be_more_than_it() -> None:
    with pytest.raises(ValueError, match="more than 1 together"):
        HumanTimingConfig(dialogue_tempo=0.7, speaker_tempo=0.6)


def test_the_targets_fit_together() -> None:
    """The median offset follows from gaps, overlaps and their share; both are as published."""
    targets = {target.name: target.value for target in targets_of(HUMAN)}
    assert 0.08 <= targets["offset_median_s"] <= 0.20
    assert 0.41 <= targets["late_changes"] <= 0.45
    mean_gap = HUMAN.gap_median_s * np.exp(HUMAN.gap_sigma**2 / 2)
    assert mean_gap == pytest.approx(0.40, rel=0.03)
    mean_overlap = HUMAN.overlap_median_s * np.exp(HUMAN.overlap_sigma**2 / 2)
    assert mean_overlap == pytest.approx(0.275, rel=0.02)


# --- dialogues --------------------------------------------------------------------------------
def test_the_human_mix_is_on_target(human: Simulator) -> None:
    off = off_by(human, 40)
    assert max(off.values()) <= HUMAN.tolerance, off


def test_short_dialogues_have_the_same_rates(
    human_config: DatagenConfig, simulator_for: Callable[[DatagenConfig], Simulator]
) -> None:
    off = off_by(simulator_for(replace(human_config, n_micro_turns=80)), 100)
    for name in ("overlapped_changes", "overlap_ratio", "silence_ratio", "backchannel_share"):
        assert off[name] <= HUMAN.tolerance, (name, off)


def test_labels_contradict_neither_each_other_nor_the_words(human: Simulator) -> None:
    for timeline in timelines(human, 30):
        assert list(faults_of_timeline(timeline)) == []


def test_an_answer_never_begins_before_its_question_is_known(human: Simulator) -> None:
    """Counts name their first number in the question; the agent needs a micro-turn after it."""
    n = 0
    for timeline in timelines(human, 20):
        for event in timeline.events:
            if event.type != "turn" or event.expect is None:
                continue
            first, *rest = event.expect.text.split()
            words = [
                w
                for w in timeline.user
                if event.start_sample <= w.start_sample and w.end_sample <= event.end_sample
            ]
            pairs = zip(words, words[1:], strict=False)
            known = [b.end_sample for a, b in pairs if (a.text, b.text) == ("from", first)]
            if not rest or not known:
                continue
            onset = min(
                w.start_sample
                for w in timeline.agent
                if w.start_sample >= event.expect.window_samples[0]
            )
            assert onset - known[-1] >= 0.39 * RATE
            n += 1
    assert n > 50


def test_the_sound_measures_what_the_words_say(human: Simulator) -> None:
    found = []
    for index in range(3):
        dialogue = human.dialogue(index)
        sample = human.labels(dialogue)
        user, agent = dialogue.sound.stems["user"], dialogue.sound.agent.astype(np.float32)
        sound = of_sound(sample, user, agent, threshold_db=VOICE_DB, join_s=JOIN_S)
        words = of_words(sample, join_s=JOIN_S)
        assert abs(sound.turns - words.turns) <= 1
        found.append((sound.silence - words.silence, sound.overlap - words.overlap))
    assert np.abs(np.mean(found, axis=0)).max() < 0.02 * human.config.n_samples


# --- measuring --------------------------------------------------------------------------------
def test_changes_pauses_overlaps_and_backchannels_are_told_apart() -> None:
    user = [(0, 100), (130, 200), (300, 400)]
    agent = [(150, 170), (220, 320), (340, 360)]
    found = measure(user, agent, backchannels=[(150, 172)], n_samples=450)
    assert found.pauses == [30]
    assert found.offsets == [20, -20]  # and what the agent says into the last turn is none
    assert found.overlap == 20 + 20 + 20
    assert found.silence == 30 + 20 + 50
    assert (found.turns, found.backchannels) == (3, 1)


def test_a_voice_is_found_at_any_level() -> None:
    rng = np.random.default_rng(0)
    audio = 1e-5 * rng.standard_normal(RATE, dtype=np.float32)
    audio[4000:8000] += 0.02 * np.sin(np.arange(4000, dtype=np.float32))
    spans = voice_spans(audio, RATE, threshold_db=VOICE_DB, join=800)
    assert np.abs(np.subtract(spans, [(4000, 8000)])).max() <= 80
    assert voice_spans(np.zeros(RATE, np.float32), RATE, threshold_db=VOICE_DB, join=800) == []


@given(SPANS, SPANS)
def test_speech_and_silence_add_up(
    user: list[tuple[int, int]], agent: list[tuple[int, int]]
) -> None:
    user, agent = joined(user, 5), joined(agent, 5)
    found = measure(user, agent, backchannels=[], n_samples=600)
    lanes = np.zeros((2, 600), bool)
    for lane, spans in zip(lanes, (user, agent), strict=True):
        for start, end in spans:
            lane[start:end] = True
    assert found.overlap == (lanes[0] & lanes[1]).sum()
    assert found.silence == 600 - (lanes[0] | lanes[1]).sum()


@given(st.lists(st.integers(-900, 3000), max_size=20), st.integers(0, 20))
def test_tallies_of_shards_add_up(offsets: list[int], cut: int) -> None:
    whole, parts = TimingTally(), TimingTally()
    for tally, pieces in ((whole, [offsets]), (parts, [offsets[:cut], offsets[cut:]])):
        for piece in pieces:
            part = TimingTally()
            part.add(TurnTaking(n_samples=10, offsets=piece), 1000)
            tally.merge(json.loads(json.dumps(part.to_json())))
    assert whole.measures() | {"overlap_ratio": 0} == parts.measures() | {"overlap_ratio": 0}
    if offsets:
        assert whole.measures()["offset_median_s"] == pytest.approx(np.median(offsets) / 1000)


# --- judging ----------------------------------------------------------------------------------
def test_a_set_that_is_off_target_fails_the_check(
    finished_set: ShardReader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(finished_set.folder, tmp_path / "set"))
    card = json.loads((copy / CARD_JSON).read_text())
    assert missed_targets(card) == []  # measured, not judged
    card["human"]["asked_for"] = True
    (copy / CARD_JSON).write_text(json.dumps(card))
    assert main(["inspect", str(copy), "--check"]) == 1
    out = capsys.readouterr().out
    assert "overlapped_changes is " in out
    assert "the target is 0.4, with a tolerance of 10%" in out


def test_what_was_not_measured_is_a_miss() -> None:
    facts = {"seed": 0, "split": "train", "layout_hash": "", "n_micro_turns": 1}
    card = make_card(SetStatistics(), facts, human=HUMAN)
    assert len(missed_targets(card)) == len(targets_of(HUMAN))
    assert "**no**" in card_text(card)


def test_a_target_of_zero_is_judged_by_the_difference_itself() -> None:
    """Nobody overlaps: a share of zero has no tenth to be off by."""
    human = replace(HUMAN, overlapped_changes=0.0)
    name = "overlapped_changes"
    measures = {target.name: target.value for target in targets_of(human)}
    for measured, ok in ((0.04, True), (0.2, False)):
        measures[name] = measured
        row = next(
            r for r in judged(human, {"sound": measures, "words": measures}) if r["name"] == name
        )
        assert (row["off"], row["ok"]) == (measured, ok)
