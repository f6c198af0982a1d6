"""Listening by program: finds nothing wrong with what ships, and every fault that is put in."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from microturn.configs.load import load_config
from microturn.datagen.acoustics.render import RenderedAudio
from microturn.datagen.config import DatagenConfig, VerifyAudioConfig
from microturn.datagen.report.verify_audio import (
    Heard,
    Listener,
    RenderedTake,
    Studio,
    listen_to,
    run_listen,
)

EVERYTHING = load_config(DatagenConfig, ["datagen/everything.yaml"], ["out=unused"])
HUMAN = load_config(DatagenConfig, ["datagen/human.yaml"], ["out=unused"])
FAMILIES = tuple(EVERYTHING.weights)


@pytest.fixture(scope="module")
def studio(config: DatagenConfig, cache: Path) -> Studio:
    return Studio(replace(EVERYTHING, rooms=config.rooms), cache)


@pytest.fixture(scope="module")
def talk(config: DatagenConfig, cache: Path) -> Studio:
    """Conversations in the timing of people, which fill dialogues of their own."""
    return Studio(replace(HUMAN, rooms=config.rooms), cache)


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener(EVERYTHING.layout.sample_rate)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_scenario_sounds_as_its_transcript_says(
    studio: Studio, listener: Listener, family: str
) -> None:
    heard = listen_to(studio, listener, scenario=family, dialogues=2, align_every=2)
    assert heard.faults == []
    assert heard.segments
    assert heard.words["user"]


def test_every_family_that_ships_is_listened_to() -> None:
    """Every configuration draws from the two that are listened to."""
    shipped = {
        name
        for file in ("demo", "smoke", "visual", "everything", "human")
        for name in load_config(DatagenConfig, [f"datagen/{file}.yaml"], ["out=unused"]).weights
    }
    assert shipped == {*FAMILIES, "conversation"}


def test_a_conversation_sounds_as_its_transcript_says(talk: Studio, listener: Listener) -> None:
    heard = listen_to(talk, listener, scenario="conversation", dialogues=1, align_every=1)
    assert heard.faults == []
    assert min(heard.words["user"], heard.words["agent"]) > 20


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("family", [*FAMILIES, "conversation"])
def test_a_hundred_dialogues_of_every_scenario(
    studio: Studio, talk: Studio, listener: Listener, family: str
) -> None:
    where = talk if family == "conversation" else studio
    heard = listen_to(where, listener, scenario=family, dialogues=100, align_every=10)
    assert heard.faults == []


def _muted_word(take: RenderedTake) -> RenderedAudio:
    word = take.timeline.agent[1]
    agent = take.sound.agent.copy()
    agent[word.start : word.end] = 0
    return replace(take.sound, agent=agent)


def _muted_user(take: RenderedTake) -> RenderedAudio:
    stems = dict(take.sound.stems)
    stems["user"] = np.zeros_like(stems["user"])
    return replace(take.sound, stems=stems)


def _stray_sound(take: RenderedTake) -> RenderedAudio:
    agent = take.sound.agent.copy()
    agent[:200] = 50  # before anybody speaks
    return replace(take.sound, agent=agent)


def _clipped(take: RenderedTake) -> RenderedAudio:
    user = take.sound.user.copy()
    user[1000] = -32768
    return replace(take.sound, user=user)


def _click(take: RenderedTake) -> RenderedAudio:
    clip = next(clip for clip in take.script.clips if clip.lane == "agent")
    agent = take.sound.agent.copy()
    agent[clip.start] = 3000
    return replace(take.sound, agent=agent)


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (_muted_word, "agent says '.*' at .* s, but at -200 dB"),
        (_muted_user, "user says '.*' at .* s, but at -200 dB"),
        (_stray_sound, "the agent sounds at 0.00 s without a word"),
        (_clipped, "the user clips"),
        (_click, "agent clicks by 0.09. around"),
    ],
)
def test_a_fault_is_heard(
    studio: Studio, listener: Listener, spoil: Callable[[RenderedTake], RenderedAudio], fault: str
) -> None:
    take = studio.take("user_backchannel", 0)
    heard = Heard()
    listener.listen(replace(take, sound=spoil(take)), heard, align=False)
    assert any(re.search(fault, found) for found in heard.faults), heard.faults


def test_words_in_the_wrong_place_are_noticed(studio: Studio, listener: Listener) -> None:
    take = studio.take("interjection", 0)
    stems = dict(take.sound.stems)
    stems["user"] = np.roll(stems["user"], 16_000)
    right, wrong = Heard(), Heard()
    listener.listen(take, right, align=True)
    listener.listen(replace(take, sound=replace(take.sound, stems=stems)), wrong, align=True)
    assert (right.share("user") or 0.0) > 0.9
    assert (wrong.share("user") or 0.0) < 0.5


def test_a_scenario_without_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="scenarios has 'quarrel', which datagen/everything.yaml"):
        run_listen(VerifyAudioConfig(scenarios=("quarrel",)))


def test_what_only_asks_for_needs_no_weight(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in the configurations of benchmarks, which draw one scenario and give no weights."""
    file = tmp_path / "one.yaml"
    file.write_text(
        f"only: [spoken_cue]\ncache: {cache}\nn_micro_turns: 80\n"
        "families: {spoken_cue: 0.0}\nrooms: {n_rooms: 2, max_order: 6}\n"
    )
    assert run_listen(VerifyAudioConfig(config=str(file), dialogues=1, align_every=0)) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("spoken_cue")
