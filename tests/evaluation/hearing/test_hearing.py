"""`microturn evaluate hearing`: kinds, people, sessions, and what is counted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from microturn.configs.load import ConfigError
from microturn.configs.main import main
from microturn.datagen.config import VoicesConfig
from microturn.evaluation.hearing.config import HearingConfig
from microturn.evaluation.hearing.counts import error_rate, ratio_of_rates
from microturn.evaluation.hearing.hearing import CONSTANT, HeardRecording, with_constant
from microturn.evaluation.hearing.kinds import KINDS, kind_of
from microturn.evaluation.hearing.people import PersonSession, sessions_of
from microturn.model.checkpoint import random_checkpoint, save_checkpoint
from microturn.model.streams import StreamLayout

LAYOUT = StreamLayout()


@pytest.fixture(scope="module")
def sessions() -> list[PersonSession]:
    """Of the people whom the corpus that ships holds out."""
    return sessions_of(HearingConfig(out="", n_each=2), LAYOUT, heard=())


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("seven", "digits"),
        ("stop", "commands"),
        ("oh", None),
        ("h", None),
        ("one oh four", "digit_strings"),
        ("p g h", "spelled_letters"),
        ("i have a dog", "open_speech"),
        ("no one was wounded", "open_speech"),
        ("enter fifty four", None),
        ("september twenty seventh nineteen sixty", None),
        ("good morning", None),
        ("", None),
    ],
)
def test_words_tell_the_kind(text: str, kind: str | None) -> None:
    assert kind in {*KINDS, None}
    assert kind_of(text.split()) == kind


def test_only_held_out_people_speak(sessions: list[PersonSession]) -> None:
    people = {one.person for one in sessions}
    assert people == set(VoicesConfig().unseen)
    some = sessions_of(HearingConfig(out=""), LAYOUT, heard={"skip", "man", "nobody"})
    assert {one.person for one in some} == people - {"skip", "man"}
    with pytest.raises(ValueError, match="corpus=default holds out nobody whom this checkpoint"):
        sessions_of(HearingConfig(out=""), LAYOUT, heard=people)


def test_no_kind_of_a_person_has_more_than_its_share(sessions: list[PersonSession]) -> None:
    by_person: dict[tuple[str, str], list[str]] = {}
    for session in sessions:
        for one in session.recordings:
            assert one.utterance.speaker == session.person
            by_person.setdefault((one.utterance.speaker, one.kind), []).append(one.utterance.id)
    assert max(len(ids) for ids in by_person.values()) == 2
    assert all(len(set(ids)) == len(ids) for ids in by_person.values())


def test_recordings_sound_where_they_stand(sessions: list[PersonSession]) -> None:
    session = next(one for one in sessions if len(one.recordings) > 2)
    rate = LAYOUT.sample_rate
    held_out = session.as_dialogue()
    audio = held_out.load_user()
    assert len(audio) == round(held_out.dialogue.duration_s * rate)
    assert len(audio) % LAYOUT.samples_per_micro_turn == 0

    def level(start_s: float, end_s: float) -> float:
        return float(np.sqrt(np.mean(audio[round(start_s * rate) : round(end_s * rate)] ** 2)))

    for played in session.recordings:
        assert level(played.start_s, played.end_s) > 100 * level(
            played.end_s + 0.1, played.end_s + 1.5
        )
    texts = [word.text for word in held_out.dialogue.user_words]
    assert texts == [word for played in session.recordings for word in played.words]


def test_words_belong_to_the_recording_before_them(sessions: list[PersonSession]) -> None:
    session = next(one for one in sessions if len(one.recordings) > 2)
    second, third = session.recordings[1:3]
    words = [(0.0, "early"), (second.start_s, "b"), (third.start_s - 0.1, "late"), (1e6, "end")]
    found = session.divided(words)
    assert found[0] == ["early"]
    assert found[1] == ["b", "late"]
    assert found[2:] == [[]] * (len(found) - 3) + [["end"]]


def test_rates_are_of_words_and_their_intervals_of_people() -> None:
    rate = error_rate([(1, 10), (3, 10), (0, 0), (2, 20)], seed=0)
    assert rate.value == pytest.approx(6 / 40)
    assert (rate.n_errors, rate.n_words, rate.n_clusters) == (6, 40, 3)
    alike = error_rate([(5, 10)] * 20, seed=0)
    apart = error_rate([(0, 10), (10, 10)] * 10, seed=0)
    assert alike.value == apart.value == 0.5
    widths = [one.ci95[1] - one.ci95[0] for one in (alike, apart) if one.ci95]
    assert len(widths) == 2
    assert widths[0] < 0.6 * widths[1]
    assert error_rate([(3, 2), (5, 4)], seed=0).value == pytest.approx(8 / 6)
    assert error_rate([], seed=0).value is None


def test_a_ratio_needs_errors_of_both() -> None:
    first, second = [(2, 10), (1, 10), (3, 10), (2, 10)], [(1, 10), (1, 10), (1, 10), (1, 10)]
    value, ci95 = ratio_of_rates(first, second, seed=0)
    assert value == pytest.approx(2.0)
    assert ci95 is not None
    assert ci95[0] < 2.0 < ci95[1]
    assert ratio_of_rates(first, [(0, 10)] * 4, seed=0) == (None, None)
    assert ratio_of_rates(first, [(0, 10)] * 3 + [(1, 10)], seed=0) == (pytest.approx(8.0), None)


def test_one_word_always_is_the_best_of_its_kind() -> None:
    def recording(kind: str, *said: str) -> HeardRecording:
        return HeardRecording(id="", person="", corpus="", kind=kind, said=said, words={})

    got = with_constant(
        [recording("digits", "two"), recording("digits", "one"), recording("digits", "two")]
        + [recording("commands", "go")]
    )
    assert [one.words[CONSTANT] for one in got] == [["two"]] * 3 + [["go"]]
    assert [one.errors(CONSTANT) for one in got] == [0, 1, 0, 0]


def test_the_command_writes_what_each_listener_made_of_each_recording(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    loaded = random_checkpoint()
    save_checkpoint(checkpoint, loaded.model, loaded.tokenizer)
    out, words = tmp_path / "out", ["n_each=1", "batch_size=4", "device=cpu"]
    assert main(["evaluate", "hearing", f"checkpoint={checkpoint}", f"out={out}", *words]) == 0
    result = json.loads((out / "hearing.json").read_text())
    lines = [json.loads(line) for line in (out / "recordings.jsonl").read_text().split("\n")[:-1]]
    assert result["n_people"] == len(VoicesConfig().unseen)
    assert not result["training_is_known"]
    digits = result["kinds"]["digits"]
    of_digits = [one for one in lines if one["kind"] == "digits"]
    assert digits["n_recordings"] == len(of_digits) == digits["rates"]["heard"]["n_words"]
    assert result["kinds"]["open_speech"]["rates"]["list_of_words"] is None
    assert all(
        set(one["words"]) == {"heard", "list_of_words", "english", "one_word"} for one in lines
    )
    english = result["kinds"]["open_speech"]["rates"]["english"]
    assert english["n_errors"] > 0
    right = [one for one in lines if set(one["words"]["english"]) & set(one["said"])]
    assert right  # some words of actors are understood
    assert "| open speech |" in (out / "hearing.md").read_text()


def test_wrong_values_are_refused() -> None:
    with pytest.raises(ConfigError, match="gap_s=0.1 must be at least 0.5"):
        HearingConfig(out="", gap_s=0.1)
