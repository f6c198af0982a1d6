"""Scenes: drawn smoothly, the same for the same dialogue, labelled right, and not to be guessed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.camera_acts import Acts, FigureAct, value_at
from microturn.datagen.dialogue.timeline import Event
from microturn.datagen.pipeline import Simulator
from microturn.datagen.report.check import faults_of_sample, faults_of_set, faults_of_timeline
from microturn.datagen.scenarios import Script
from microturn.datagen.sets.shards import ShardReader
from microturn.datagen.simulate import simulate
from microturn.datagen.video.canvas import Canvas
from microturn.datagen.video.config import VideoConfig
from microturn.datagen.video.figures import ACTIONS, BONES, REPEATED, standing
from microturn.datagen.video.film import film, picture
from microturn.datagen.video.glyphs import GLYPHS, strokes_of
from microturn.datagen.video.world import draw_world
from microturn.model.checkpoint import TINY_LAYOUT
from microturn.model.streams import StreamLayout

Build = Callable[[DatagenConfig], Simulator]
LAYOUT = replace(TINY_LAYOUT, video_rows=2, video_cols=2)
STEP, RATE = LAYOUT.samples_per_micro_turn, LAYOUT.sample_rate
FAMILIES = ("visual_count", "visual_span", "visual_question")


@pytest.fixture(scope="module")
def seeing(config: DatagenConfig) -> DatagenConfig:
    """Long dialogues with nothing but scenes."""
    families = dict.fromkeys(FAMILIES, 1.0)
    return replace(config, families=families, layout=LAYOUT, n_micro_turns=120)


@pytest.fixture(scope="module")
def simulator(seeing: DatagenConfig, simulator_for: Build) -> Simulator:
    return simulator_for(seeing)


def script_of(simulator: Simulator, index: int, family: str = "") -> Script:
    recipe = simulator.recipe(index)
    if family:
        recipe = replace(recipe, families=(family,) * 6)
    script, families, _ = simulator.script(recipe)
    assert not family or set(families) <= {family}
    return script


def due(script: Script, kind: str) -> list[Event]:
    """Events at which the agent has to say something."""
    return [
        event
        for event in script.timeline.events
        if event.type == kind and event.expect is not None and event.expect.act == "say"
    ]


# --- labels ----------------------------------------------------------------------------------
@pytest.mark.parametrize("family", FAMILIES)
@settings(deadline=None, max_examples=25)
@given(index=st.integers(min_value=0, max_value=10**6))
def test_labels_are_consistent(simulator: Simulator, family: str, index: int) -> None:
    script = script_of(simulator, index, family)
    assert list(faults_of_timeline(script.timeline)) == []


@settings(deadline=None, max_examples=25)
@given(index=st.integers(min_value=0, max_value=10**6))
def test_every_whole_repetition_is_counted_and_nothing_else(
    simulator: Simulator, index: int
) -> None:
    """Whole ones reach phase 1 and come back; what is given up before does not count."""
    script = script_of(simulator, index, "visual_count")
    asked = [act for act in script.acts.figure if _inside(act, script.acts.asked)]
    done = []
    for act in asked:
        before = 0.0
        for sample, value in act.phase:
            if value == 0.0 and before == 1.0:
                done.append(sample)
            before = value
    events = due(script, "visual_count")
    assert [event.end_sample for event in events] == done
    numbers = simulator.config.vocabulary.numbers
    counts = iter([event.expect.text for event in events if event.expect])
    for act in asked:
        n = sum(value == 1.0 and after == 0.0 for (_, value), (_, after) in _pairs(act))
        assert tuple(itertools.islice(counts, n)) == numbers[:n]


@settings(deadline=None, max_examples=25)
@given(index=st.integers(min_value=0, max_value=10**6))
def test_the_agent_speaks_after_it_can_have_seen(simulator: Simulator, index: int) -> None:
    """A word is played in the micro-turn after one that has the frame, at the earliest."""
    script = script_of(simulator, index)
    for family in FAMILIES:
        for event in due(script, family):
            assert event.expect is not None
            at = event.expect.window_samples[0]
            said = min(w.start_sample for w in script.timeline.agent if w.start_sample >= at)
            frame = -(-at // STEP) - 1  # the first that shows it
            assert said // STEP >= frame + 2
            assert said < event.expect.window_samples[1]


def _pairs(act: FigureAct) -> list[tuple[tuple[int, float], tuple[int, float]]]:
    holds = [key for i, key in enumerate(act.phase) if i == 0 or key[1] != act.phase[i - 1][1]]
    return list(itertools.pairwise(holds))


def _inside(act: FigureAct, spans: list[tuple[int, int]]) -> bool:
    return any(start <= act.start_sample and act.end_sample <= end for start, end in spans)


def test_counts_and_answers_are_varied(simulator: Simulator) -> None:
    """No constant answer is right often."""
    counted: dict[str, int] = {}
    for index in range(150):
        for event in due(script_of(simulator, index, "visual_question"), "visual_question"):
            assert event.expect is not None
            counted[event.expect.text] = counted.get(event.expect.text, 0) + 1
    assert len(counted) >= 18  # ten numbers and ten letters, near enough
    assert max(counted.values()) < 0.12 * sum(counted.values())


def test_what_nobody_asked_about_is_labelled_silent(
    seeing: DatagenConfig, simulator_for: Build
) -> None:
    spoken = simulator_for(replace(seeing, families={"turn": 1.0, "background": 1.0}))
    scripts = [script_of(spoken, index) for index in range(60)]
    happening = [
        (script, act.start_sample)
        for script in scripts
        for act in (*script.acts.figure, *script.acts.board)
    ]
    assert len(happening) > 5
    silent = 0
    for script, start in happening:
        (event,) = [
            e for e in script.timeline.events if e.speaker == "scene" and e.start_sample == start
        ]
        assert list(faults_of_timeline(script.timeline)) == []
        if event.expect is not None:
            assert event.expect.act == "stay_silent"
            silent += 1
    assert silent


def test_scenes_need_a_layout_with_video(config: DatagenConfig, simulator_for: Build) -> None:
    with pytest.raises(ValueError, match=r"families\.visual_span needs a layout with video"):
        simulator_for(replace(config, families={"visual_span": 1.0}))


# --- pictures --------------------------------------------------------------------------------
def test_shapes_have_their_area_wherever_they_lie() -> None:
    areas = []
    for shift in np.linspace(0, 1, 7):
        canvas = Canvas(np.zeros((40, 40, 3), np.float32))
        canvas.disc((20 + float(shift), 19.5), radius=6.0, colour=(1.0, 1.0, 1.0))
        areas.append(float(canvas.image[..., 0].sum()))
    np.testing.assert_allclose(areas, np.pi * 36, rtol=0.02)
    canvas = Canvas(np.zeros((40, 40, 3), np.float32))
    canvas.box((20.0, 20.0), (8.0, 5.0), angle=0.4, colour=(1.0, 1.0, 1.0))
    assert float(canvas.image[..., 0].sum()) == pytest.approx(160, rel=0.02)


def test_shapes_outside_are_clipped() -> None:
    canvas = Canvas(np.zeros((8, 8, 3), np.float32))
    canvas.disc((-20.0, 3.0), radius=4.0, colour=(1.0, 1.0, 1.0))
    canvas.line((-5.0, 4.0), (30.0, 4.0), radius=1.0, colour=(1.0, 1.0, 1.0))
    assert canvas.image[3:5].min() > 0.4
    assert canvas.image[:2].max() == 0.0


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_every_action_moves_every_bone_smoothly(action: str) -> None:
    joints = set(standing())
    before = ACTIONS[action](0.0)
    for phase in np.linspace(0, 1, 41)[1:]:
        pose = ACTIONS[action](float(phase))
        assert set(pose) == joints
        assert {end for bone in BONES for end in bone} <= joints
        jump = max(np.hypot(*np.subtract(pose[name], before[name])) for name in joints)
        assert jump < 0.06
        before = pose
    moved = ACTIONS[action](0.0), ACTIONS[action](1.0)
    assert max(np.hypot(*np.subtract(moved[1][name], moved[0][name])) for name in joints) > 0.15


def test_signs_can_be_told_apart() -> None:
    drawn = {}
    for text in (*GLYPHS, "10"):
        canvas = Canvas(np.zeros((28, 28, 3), np.float32))
        size = 20.0 if len(text) == 1 else 12.0
        for stroke in strokes_of(text):
            for (ax, ay), (bx, by) in itertools.pairwise(stroke):
                a, b = (14 + size * ax, 14 + size * ay), (14 + size * bx, 14 + size * by)
                canvas.line(a, b, radius=1.3, colour=(1.0, 1.0, 1.0))
        drawn[text] = canvas.image[..., 0].ravel()
    for a, b in itertools.combinations(sorted(drawn), 2):
        if {a, b} == {"0", "O"}:
            continue  # a question asks for a number or a letter, and both have no number zero
        cosine = drawn[a] @ drawn[b] / np.linalg.norm(drawn[a]) / np.linalg.norm(drawn[b])
        assert cosine < 0.94, (a, b)


def test_keys_hold_outside_and_rise_between() -> None:
    keys = ((100, 0.0), (200, 1.0))
    assert value_at(keys, 0) == 0.0
    assert value_at(keys, 999) == 1.0
    values = [value_at(keys, sample) for sample in range(100, 201)]
    assert values == sorted(values)
    assert value_at(keys, 150) == pytest.approx(0.5)


# --- films -----------------------------------------------------------------------------------
def test_a_film_is_a_pure_function_and_its_beginning_needs_no_end(simulator: Simulator) -> None:
    recipe = simulator.recipe(3)
    acts = simulator.script(recipe)[0].acts
    video = simulator.config.video
    whole = film(recipe, video, acts=acts, n_micro_turns=40, layout=LAYOUT)
    again = film(recipe, video, acts=acts, n_micro_turns=40, layout=LAYOUT)
    first = film(recipe, video, acts=acts, n_micro_turns=15, layout=LAYOUT)
    assert whole is not None
    assert whole.shape == (40, 80, 80, 3)
    assert np.array_equal(whole, again)
    assert np.array_equal(whole[:15], first)
    other = film(simulator.recipe(4), video, acts=acts, n_micro_turns=15, layout=LAYOUT)
    assert not np.array_equal(first, other)
    assert film(recipe, video, acts=acts, n_micro_turns=15, layout=TINY_LAYOUT) is None


def test_any_grid_of_patches_can_be_filled(simulator: Simulator) -> None:
    for rows, cols in ((1, 1), (2, 3), (3, 2)):
        layout = StreamLayout(video_rows=rows, video_cols=cols)
        frames = film(
            simulator.recipe(0),
            VideoConfig(off_probability=0.0),
            acts=Acts(),
            n_micro_turns=2,
            layout=layout,
        )
        assert frames is not None
        assert frames.shape == (2, 40 * rows, 40 * cols, 3)
        assert frames.std() > 3


def test_a_camera_may_be_off_when_nothing_is_asked(simulator: Simulator) -> None:
    off = VideoConfig(off_probability=1.0)
    frames = film(simulator.recipe(0), off, acts=Acts(), n_micro_turns=2, layout=LAYOUT)
    assert frames is not None
    assert not frames.any()
    script = script_of(simulator, 0, "visual_count")
    shown = film(simulator.recipe(0), off, acts=script.acts, n_micro_turns=2, layout=LAYOUT)
    assert shown is not None
    assert shown.any()


def test_a_set_stores_the_frames(seeing: DatagenConfig, cache: Path, tmp_path: Path) -> None:
    config = replace(seeing, out=str(tmp_path / "set"), n_dialogues=2, executor="serial")
    simulate(config, cache=cache)
    reader = ShardReader(tmp_path / "set")
    assert list(faults_of_set(reader)) == []
    sample = reader[1]
    frames = sample.frames()["video"]
    assert frames.shape == (120, 80, 80, 3)
    assert np.array_equal(sample.lanes()["video"], frames)
    scene = sample.labels.scene
    assert scene is not None
    assert scene.figure or scene.board
    blind = {name: member for name, member in sample.members.items() if name != "video.npz"}
    faults = faults_of_sample(
        replace(sample, members=blind), layout=reader.layout, tokenizer=reader.tokenizer
    )
    assert list(faults) == ["video.npz is missing"]


def test_a_set_without_the_lane_has_none_of_it(finished_set: ShardReader) -> None:
    sample = finished_set[0]
    assert "video.npz" not in sample.members
    assert "scene" not in sample.json
    assert sample.frames() == {}
    assert "video" not in sample.lanes().arrays


# --- counting needs looking ------------------------------------------------------------------
def _takes(simulator: Simulator, n: int) -> list[tuple[int, FigureAct, Script]]:
    found = []
    for index in itertools.count():
        script = script_of(simulator, index, "visual_count")
        for act in script.acts.figure:
            if _inside(act, script.acts.asked):
                found.append((index, act, script))
                if len(found) == n:
                    return found
    raise AssertionError


def _whole(act: FigureAct) -> int:
    return sum(value == 1.0 and after == 0.0 for (_, value), (_, after) in _pairs(act))


def _peaks(signal: np.ndarray, share: float) -> int:
    """Local maxima above a share of the signal's range."""
    low, high = float(signal.min()), float(signal.max())
    inner = signal[1:-1]
    top = (inner > signal[:-2]) & (inner >= signal[2:]) & (inner > low + share * (high - low))
    return int(top.sum())


def _shortcuts(frames: np.ndarray) -> list[float]:
    """What can be known about a film without looking at what is in it."""
    light = frames.mean(axis=(1, 2, 3))
    motion = np.abs(np.diff(frames.astype(np.float32), axis=0)).mean(axis=(1, 2, 3))
    spectrum = np.abs(np.fft.rfft(motion - motion.mean()))
    found = [float(len(frames)), float(motion.sum()), float(light.std())]
    found += [float(_peaks(signal, share)) for signal in (light, motion) for share in (0.3, 0.6)]
    return [*found, float(np.argmax(spectrum[1:]) + 1)]


def test_brightness_and_frame_differences_do_not_count(simulator: Simulator) -> None:
    """The best of the shortcuts, each fitted on one half of the films, fails on the other.

    The length of a film is itself one of them: it gives away something, never the number.
    """
    takes = _takes(simulator, 90)
    features, counts = [], []
    for index, act, script in takes:
        recipe, shown = (
            simulator.recipe(index),
            range(act.start_sample // STEP, act.end_sample // STEP),
        )
        world = draw_world(simulator.config.video, recipe.rng("video/world"), height=80, width=80)
        frames = [
            picture(
                world, script.acts, sample=(k + 1) * STEP, sample_rate=RATE, height=80, width=80
            )
            for k in shown
        ]
        features.append(_shortcuts(np.stack(frames)))
        counts.append(_whole(act))
    x, y = np.array(features), np.array(counts)
    half = len(y) // 2
    exact = {}
    columns = [[i] for i in range(x.shape[1])] + [list(range(x.shape[1]))]
    for chosen in columns:
        design = np.column_stack([x[:, chosen], np.ones(len(y))])
        weights = np.linalg.lstsq(design[:half], y[:half], rcond=None)[0]
        exact[tuple(chosen)] = float(np.mean(np.rint(design[half:] @ weights) == y[half:]))
    assert max(exact.values()) < 0.65, exact
    without_length = [share for chosen, share in exact.items() if 0 not in chosen]
    assert max(without_length) < 0.45, exact


def test_who_looks_counts_right(simulator: Simulator) -> None:
    """At one frame per micro-turn the figure itself tells how often it did the exercise.

    The phase of every frame is the one whose picture is nearest; a repetition is a rise above
    three quarters that comes back.
    """
    phases = np.linspace(0, 1, 6)
    right = 0
    takes = _takes(simulator, 6)
    for index, act, script in takes:
        recipe, video = simulator.recipe(index), simulator.config.video
        frames = film(recipe, video, acts=script.acts, n_micro_turns=120, layout=LAYOUT)
        assert frames is not None
        world = draw_world(video, recipe.rng("video/world"), height=80, width=80)
        ready, last = act.phase[0][0], act.phase[-1][0]
        high, count = False, 0
        for k in range(ready // STEP, min(last // STEP + 1, 120)):
            sample = (k + 1) * STEP
            posed = [_posed(act, float(phase), sample) for phase in phases]
            drawn = [
                picture(world, acts, sample=sample, sample_rate=RATE, height=80, width=80)
                for acts in posed
            ]
            errors = [np.abs(255 * np.clip(p, 0, 1) - frames[k]).mean() for p in drawn]
            phase = phases[int(np.argmin(errors))]
            if phase > 0.7:
                high = True
            elif phase < 0.3 and high:
                high, count = False, count + 1
        right += count == _whole(act)
    assert right == len(takes)


def _posed(act: FigureAct, phase: float, sample: int) -> Acts:
    blend = ((sample - 1, 1.0), (sample + 1, 1.0))
    return Acts(figure=[FigureAct(action=act.action, phase=((0, phase),), blend=blend)])


def test_repetitions_of_all_kinds_are_drawn(simulator: Simulator) -> None:
    assert {act.action for _, act, _ in _takes(simulator, 80)} == set(REPEATED)
