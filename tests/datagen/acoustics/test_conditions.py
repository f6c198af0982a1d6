"""The signal path between talkers and the agent in whole dialogues: physics and labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from microturn.datagen.acoustics import mix
from microturn.datagen.acoustics.config import (
    AcousticsConfig,
    EchoConfig,
    LineConfig,
    NetworkConfig,
    PlacesConfig,
    RecordingsConfig,
    StretchConfig,
)
from microturn.datagen.acoustics.noise import NoiseBeds
from microturn.datagen.acoustics.recordings import decoded, fingerprints, looped, recordings
from microturn.datagen.acoustics.responses import SPEED_OF_SOUND
from microturn.datagen.acoustics.talkers import talker_positions
from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.expectations import expectation_during
from microturn.datagen.dialogue.timeline import Event, Expect, Timeline, Word
from microturn.datagen.labels.setting import LineLabel
from microturn.datagen.pipeline import SimulatedDialogue, Simulator
from microturn.datagen.report.check import faults_of_set, faults_of_timeline
from microturn.datagen.sets.shards import ShardReader
from microturn.datagen.simulate import simulate
from microturn.model.streams.pcm import from_pcm16

Build = Callable[[DatagenConfig], Simulator]
RATE = 16_000
EVERYTHING = AcousticsConfig(
    places=PlacesConfig(far_user_probability=0.5, third_voice_probability=1.0),
    stretch=StretchConfig(probability=1.0),
    echo=EchoConfig(room_probability=1.0, cancel_probability=0.5),
    line=LineConfig(clip_probability=0.5, drift_probability=1.0, telephone_probability=0.5),
    network=NetworkConfig(loss_probability=1.0, stall_probability=1.0),
)


def with_everything(config: DatagenConfig, **acoustics: Any) -> DatagenConfig:
    channel = replace(config.channel, echo_probability=1.0, overlay_probability=0.8)
    effects = replace(EVERYTHING, **acoustics)
    return replace(config, channel=channel, acoustics=effects, stems=True)


@pytest.fixture(scope="module")
def loud(config: DatagenConfig, simulator_for: Build) -> Simulator:
    return simulator_for(with_everything(config))


@pytest.fixture(scope="module")
def dialogues(loud: Simulator) -> list[SimulatedDialogue]:
    return [loud.dialogue(index) for index in range(10)]


def test_nothing_happens_unless_it_is_switched_on(
    config: DatagenConfig, simulator_for: Build
) -> None:
    simulator = simulator_for(replace(config, stems=True))
    for index in range(4):
        dialogue = simulator.dialogue(index)
        assert not dialogue.sound.missing_input.any()
        assert {"line", "stretches"}.isdisjoint(dialogue.sound.stems)
        channel = dialogue.sound.channel
        assert channel.line == LineLabel()
        assert channel.network.lost_s == channel.stretches == ()
        assert channel.echo_path is None
        assert not any(event.speaker == "channel" for event in dialogue.timeline.events)


def test_what_is_said_does_not_depend_on_the_channel(
    simulator: Simulator, dialogues: list[SimulatedDialogue]
) -> None:
    for index, dialogue in enumerate(dialogues[:4]):
        plain = simulator.script(simulator.recipe(index))[0].timeline
        assert plain.user == dialogue.timeline.user
        assert plain.agent == dialogue.timeline.agent


def test_the_microphone_is_the_sum_of_its_stems(dialogues: list[SimulatedDialogue]) -> None:
    for dialogue in dialogues:
        total = sum(dialogue.sound.stems.values())
        assert "line" in dialogue.sound.stems
        assert np.abs(from_pcm16(dialogue.sound.user) - total).max() <= 0.51 / 32768


def test_labels_are_consistent(dialogues: list[SimulatedDialogue]) -> None:
    seen = set()
    for dialogue in dialogues:
        assert list(faults_of_timeline(dialogue.timeline)) == []
        seen |= {event.type for event in dialogue.timeline.events if event.speaker == "channel"}
    assert seen == {"noise", "music", "echo", "packet_loss"}


def test_every_drawn_parameter_is_in_the_json(
    loud: Simulator, dialogues: list[SimulatedDialogue]
) -> None:
    for dialogue in dialogues:
        conditions, sample = dialogue.conditions, loud.labels(dialogue)
        json.dumps(sample.to_json(), allow_nan=False)
        channel = sample.channel
        assert [item.snr_db for item in channel.stretches] == [
            stretch.snr_db for stretch in conditions.stretches
        ]
        assert conditions.echo is not None
        assert channel.echo_path is not None
        assert channel.echo_path.drive == conditions.echo.drive
        assert channel.echo_path.erle_db == conditions.echo.erle_db
        assert channel.line.drift_ppm == conditions.line.drift_ppm
        assert channel.network.loss_rate == conditions.network.loss_rate
        missing = np.flatnonzero(dialogue.lanes.missing_input).tolist()
        assert list(channel.network.missing_micro_turns) == missing


def test_no_two_talkers_share_a_response(
    loud: Simulator, dialogues: list[SimulatedDialogue]
) -> None:
    most = 0
    for dialogue in dialogues:
        talkers = dialogue.sound.room.talkers
        places = {(talker.room, talker.place) for talker in talkers}
        assert len(places) == len(talkers)
        most = max(most, len(talkers))
        for talker in talkers:
            flight = talker.distance_m / SPEED_OF_SOUND * 1000
            assert talker.flight_ms == pytest.approx(flight, abs=0.5 / RATE * 1000)
        beside = [t for t in talkers if t.place.startswith("beside")]
        low, high = loud.config.acoustics.places.third_voice_db
        assert all(low <= level <= high for t in beside for level in t.level_db)
    assert most >= 3
    assert {d.sound.room.talkers[0].place[:3] for d in dialogues} == {"nea", "far"}


def test_more_voices_than_places_are_next_door_and_then_refused(loud: Simulator) -> None:
    recipe = loud.recipe(0)
    clip = next(c for c in loud.script(recipe)[0].clips if c.lane == "background")
    rooms = loud.renderer._rooms
    n_places = len(rooms) * len(rooms[0].far)
    clips = [replace(clip, unit=replace(clip.unit, voice=f"v{k}")) for k in range(n_places + 1)]
    positions = talker_positions(recipe.channel, clips[:-1], rooms=rooms, far_user=False)
    assert len({position.key for position in positions}) == n_places + 1  # and the user's
    with pytest.raises(ValueError, match=r"more voices than the bank has places; raise rooms\."):
        talker_positions(recipe.channel, clips, rooms=rooms, far_user=False)


def test_stretches_have_the_snr_asked_for(config: DatagenConfig, simulator_for: Build) -> None:
    channel = replace(config.channel, zero_probability=0.0)
    acoustics = AcousticsConfig(stretch=EVERYTHING.stretch)
    noisy = simulator_for(replace(config, channel=channel, acoustics=acoustics, stems=True))
    for index in range(5):
        dialogue = noisy.dialogue(index)
        stems = dialogue.sound.stems
        user = mix.active_power(
            stems["user"], [(w.start_sample, w.end_sample) for w in dialogue.timeline.user]
        )
        outside = np.ones(len(stems["user"]), np.bool_)
        for stretch in dialogue.conditions.stretches:
            noise = mix.active_power(
                stems["stretches"], [(stretch.start_sample, stretch.end_sample)]
            )
            assert 10 * np.log10(user / noise) == pytest.approx(stretch.snr_db, abs=0.1)
            outside[stretch.start_sample : stretch.end_sample] = False
        assert not stems["stretches"][outside].any()


def rendered(simulator: Simulator, index: int, **echo: Any) -> tuple[SimulatedDialogue, np.ndarray]:
    """A dialogue with nothing but an echo path, loud, and its echo stem."""
    recipe = simulator.recipe(index)
    channel = replace(recipe.channel, echo_db=-20.0, echo_ms=50.0, zero_s=0.0, gain_db=-8.0)
    recipe = replace(recipe, channel=channel)
    script, families, conditions = simulator.script(recipe)
    assert conditions.echo is not None
    path = replace(conditions.echo, **echo)
    changed = replace(conditions, echo=path)
    sound = simulator.renderer.render(recipe, script, conditions=changed)
    lanes = simulator.dialogue(index).lanes
    dialogue = SimulatedDialogue(
        recipe=recipe,
        script=script,
        families=families,
        conditions=changed,
        sound=sound,
        lanes=lanes,
    )
    return dialogue, sound.stems["echo"]


@pytest.fixture(scope="module")
def echoing(config: DatagenConfig, simulator_for: Build) -> Simulator:
    acoustics = AcousticsConfig(echo=EVERYTHING.echo)
    return simulator_for(replace(with_everything(config), acoustics=acoustics))


def test_the_echo_arrives_after_equipment_and_flight(echoing: Simulator) -> None:
    """The lag of the direct sound, measured by correlation with the agent's channel."""
    for index in range(3):
        dialogue, echo = rendered(echoing, index, drive=0.0, erle_db=None)
        agent = from_pcm16(dialogue.sound.agent).astype(np.float64)
        n = 1 << (2 * len(agent) - 1).bit_length()
        spectrum = np.fft.rfft(agent, n)
        power = np.abs(spectrum) ** 2
        # Deconvolution: the response of the way from loudspeaker to microphone itself.
        way = np.fft.irfft(np.fft.rfft(echo, n) * spectrum.conj() / (power + 1e-4 * power.max()), n)
        way = np.abs(way[: RATE // 4])
        first = int(np.argmax(way > 0.5 * way.max()))
        metres = dialogue.sound.channel.echo_path.loudspeaker_m
        expected = 0.05 * RATE + metres / SPEED_OF_SOUND * RATE
        assert first == pytest.approx(expected, abs=3.0)


def test_the_echo_is_silent_when_the_agent_is(echoing: Simulator) -> None:
    for index in range(4):
        for erle_db in (None, 20.0):
            dialogue, echo = rendered(echoing, index, drive=1.0, erle_db=erle_db)
            room = echoing.renderer._rooms[dialogue.sound.room.id]
            lag_ms = dialogue.sound.channel.echo_path.lag_ms
            lag, tail = round(lag_ms * RATE / 1000), len(room.loudspeaker.response)
            may_sound = np.zeros(len(echo), np.bool_)
            for start, end in dialogue.timeline.stretches("agent"):
                may_sound[start + lag : end + lag + tail] = True
            assert np.abs(echo[~may_sound]).max(initial=0.0) < 1e-6  # -120 dB: rounding
            assert np.abs(echo[may_sound]).max() > 1e-4


def test_a_canceller_reaches_its_erle(echoing: Simulator) -> None:
    """A canceller as long as the room that has converged leaves its ERLE of a linear echo."""
    whole, quick = 400.0, 1e-3
    for index in range(3):
        _, echo = rendered(echoing, index, drive=0.0, erle_db=None)
        _, left = rendered(echoing, index, drive=0.0, erle_db=24.0, converge_s=quick, taps_ms=whole)
        reduction = 10 * np.log10(np.sum(np.square(echo)) / np.sum(np.square(left)))
        assert reduction == pytest.approx(24.0, abs=0.5)
        _, short = rendered(echoing, index, drive=0.0, erle_db=60.0, converge_s=quick, taps_ms=8.0)
        _, bent = rendered(echoing, index, drive=2.0, erle_db=60.0, converge_s=quick, taps_ms=whole)
        for rest in (short, bent):  # late reflections and distortion stay
            assert np.sum(np.square(rest)) > 10 * np.sum(np.square(echo)) * 1e-6


def test_a_canceller_learns_while_the_agent_speaks(echoing: Simulator) -> None:
    recipe = replace(echoing.recipe(2), families=("user_backchannel",) * 6)
    script, _, conditions = echoing.script(recipe)
    assert conditions.echo is not None
    spans = [(word.start_sample, word.end_sample) for word in script.timeline.agent]
    assert len(spans) > 3

    def level(span: tuple[int, int], erle_db: float | None) -> float:
        path = replace(conditions.echo, erle_db=erle_db, drive=0.0, converge_s=1.0)
        changed = replace(conditions, echo=path)
        channel = replace(recipe.channel, echo_db=-20.0, echo_ms=0.0, zero_s=0.0)
        stems = echoing.renderer.render(
            replace(recipe, channel=channel), script, conditions=changed
        ).stems
        return mix.active_power(stems["echo"], [span])

    first, last = spans[0], spans[-1]
    reductions = [level(span, None) / level(span, 30.0) for span in (first, last)]
    assert reductions[1] > 4 * reductions[0]


def test_stalls_are_where_no_user_speaks_and_mark_missing_input(
    dialogues: list[SimulatedDialogue], loud: Simulator
) -> None:
    step = loud.config.layout.samples_per_micro_turn
    n_missing = 0
    for dialogue in dialogues:
        marked = np.flatnonzero(dialogue.lanes.missing_input)
        n_missing += len(marked)
        assert np.array_equal(dialogue.lanes.missing_input, dialogue.sound.missing_input)
        spans = dialogue.conditions.network.lost
        for k in marked:
            missing = sum(
                max(0, min(end, (k + 1) * step) - max(start, k * step)) for start, end in spans
            )
            assert missing >= step / 2
            first, last = int(k) * step, int(k + 1) * step
            if any(
                start < last and end > first for start, end in dialogue.conditions.network.stalls
            ):
                assert not dialogue.timeline.speaks("user", first, last)
        events = [e for e in dialogue.timeline.events if e.type == "packet_loss"]
        assert [(e.start_sample, e.end_sample) for e in events] == list(
            dialogue.conditions.network.stalls
        )
    assert n_missing > 10


def test_words_survive_line_and_network(dialogues: list[SimulatedDialogue]) -> None:
    """Where a user's words are, what arrives is loud and quiet when what was sent is."""

    def envelope(audio: np.ndarray) -> np.ndarray:
        return np.sqrt(np.square(audio[: len(audio) // 160 * 160]).reshape(-1, 160).mean(axis=1))

    likeness = []
    for dialogue in dialogues:
        stems = dialogue.sound.stems
        sent = sum(stem for name, stem in stems.items() if name != "line")
        got = from_pcm16(dialogue.sound.user)
        for start, end in dialogue.timeline.stretches("user", join=RATE // 5):
            pair = envelope(sent[start:end]), envelope(got[start:end])
            likeness.append(float(np.corrcoef(*pair)[0, 1]))
    assert len(likeness) > 20
    assert np.median(likeness) > 0.9
    assert np.mean(np.array(likeness) > 0.5) > 0.9


def timeline_of(agent: list[tuple[int, int]], *events: Event) -> Timeline:
    words = [Word(text="a", start_sample=s, end_sample=e, source="x", voice="x") for s, e in agent]
    return Timeline(n_samples=160_000, agent=words, events=list(events))


def test_what_is_expected_around_a_disturbance() -> None:
    def expected(timeline: Timeline, start: int, end: int) -> Expect | None:
        return expectation_during(timeline, start, end, rate=RATE, tail=1600)

    quiet = expected(timeline_of([]), 16_000, 32_000)
    assert quiet == Expect(act="stay_silent", window_samples=(16_000, 33_600))
    counting = [(k * 16_000, k * 16_000 + 9600) for k in range(6)]
    timeline = timeline_of(counting)
    assert expected(timeline, 20_000, 40_000) == Expect(
        act="resume", window_samples=(20_000, 40_000)
    )
    assert expected(timeline, 87_000, 99_000) is None  # it has nothing left to say
    stop = Event(
        type="interruption",
        start_sample=30_000,
        end_sample=40_000,
        speaker="user",
        expect=Expect(act="stop", window_samples=(30_000, 42_800)),
    )
    assert expected(timeline_of(counting, stop), 20_000, 40_000) is None
    answer = replace(
        stop, type="turn", expect=Expect(act="respond", window_samples=(30_000, 42_800))
    )
    assert expected(timeline_of([], answer), 20_000, 40_000) is None


def test_a_set_with_everything_on_is_whole(
    config: DatagenConfig, cache: Path, tmp_path: Path
) -> None:
    out = tmp_path / "set"
    small = replace(with_everything(config), out=str(out), n_dialogues=2, workers=1, stems=True)
    simulate(small, cache=cache)
    reader = ShardReader(out)
    assert list(faults_of_set(reader)) == []
    sample = next(iter(reader))
    assert {"stem_line.flac", "stem_stretches.flac"} <= set(sample.members)
    assert sample.tokens()["late"].any()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two recordings at other rates, one in stereo, in a subfolder."""
    root = tmp_path / "noises"
    (root / "in").mkdir(parents=True)
    rng = np.random.default_rng(0)
    soundfile.write(root / "a.wav", 0.1 * rng.standard_normal((44_100, 2)), 44_100)
    soundfile.write(root / "in" / "b.flac", 0.1 * rng.standard_normal(12_000), 8000)
    (root / "notes.txt").write_text("not a recording")
    return root


def test_a_folder_of_recordings_becomes_a_kind_of_bed(
    config: DatagenConfig, simulator_for: Build, folder: Path
) -> None:
    channel = replace(config.channel, noise_probability=1.0, noise_kinds=("recorded",))
    acoustics = AcousticsConfig(recordings=RecordingsConfig(noise=str(folder)))
    simulator = simulator_for(replace(config, channel=channel, acoustics=acoustics, stems=True))
    files = set()
    for index in range(6):
        sound = simulator.dialogue(index).sound
        files.add(sound.channel.noise_file)
        assert sound.channel.noise == "recorded"
        assert np.mean(np.square(sound.stems["noise"])) > 0
    assert files == {"a.wav", "b.flac"}
    joined = NoiseBeds(simulator.bank, ("pink",), folders=acoustics.recordings)
    assert joined.kinds == ("pink", "recorded")


def test_recordings_have_unit_power_at_our_rate_and_go_round_without_a_click(folder: Path) -> None:
    found = recordings(str(folder), "key")
    for recording in found:
        bed = decoded(recording, RATE)
        assert len(bed) == pytest.approx(RATE * recording.n_frames / recording.sample_rate, rel=0.1)
        assert np.mean(np.square(bed)) == pytest.approx(1.0, rel=0.1)
    ramp = looped(np.linspace(-1, 1, 8000, dtype=np.float32), 800)
    assert np.abs(np.diff(np.concatenate([ramp, ramp]))).max() < 0.05  # it was 2


def test_other_recordings_are_another_set(folder: Path) -> None:
    before = fingerprints(RecordingsConfig(noise=str(folder)))
    soundfile.write(folder / "c.wav", np.zeros(8000), 8000)
    assert fingerprints(RecordingsConfig(noise=str(folder))) != before
    assert fingerprints(RecordingsConfig()) == {}


def test_folders_that_cannot_be_used_are_named(folder: Path, simulator: Simulator) -> None:
    with pytest.raises(ValueError, match="is not a folder"):
        recordings(str(folder / "nowhere"), "acoustics.recordings.noise")
    empty = folder / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="holds no recording"):
        recordings(str(empty), "acoustics.recordings.noise")
    (folder / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"broken\.wav cannot be read .*; take it out"):
        recordings(str(folder), "acoustics.recordings.noise")
    (folder / "broken.wav").unlink()
    soundfile.write(folder / "short.wav", np.zeros(100), 8000)
    with pytest.raises(ValueError, match=r"short\.wav is shorter than 0\.25 s"):
        recordings(str(folder), "acoustics.recordings.noise")
    with pytest.raises(ValueError, match="needs acoustics.recordings.noise=FOLDER"):
        NoiseBeds(simulator.bank, ("recorded",))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: LineConfig(laws=("x",)), "acoustics.line.laws has 'x'; known values are mu, a"),
        (lambda: NetworkConfig(concealments=()), "acoustics.network.concealments is empty"),
        (lambda: NetworkConfig(packet_ms=0), "acoustics.network.packet_ms=0 must be positive"),
        (
            lambda: NetworkConfig(missing_share=0),
            "acoustics.network.missing_share=0 must be above 0",
        ),
    ],
)
def test_impossible_settings_are_refused(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()
