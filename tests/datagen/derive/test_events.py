"""Turns, pauses, backchannels and interruptions of recorded speech, by rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from microturn.datagen.derive.backchannel_forms import FORMS, is_backchannel
from microturn.datagen.derive.config import DeriveConfig
from microturn.datagen.derive.events import derive_events
from microturn.datagen.derive.speech_units import SpokenSide
from microturn.datagen.labels.dialogue import EventLabel, WordLabel
from microturn.datagen.labels.time_classes import UNKNOWN

DURATION_S = 20.0


def said(text: str, start_s: float, end_s: float) -> list[WordLabel]:
    """Words of equal length without a silence between them."""
    texts = text.split()
    step_s = (end_s - start_s) / len(texts)
    return [
        WordLabel(text=word, start_s=start_s + i * step_s, end_s=start_s + (i + 1) * step_s)
        for i, word in enumerate(texts)
    ]


def derived(
    user: list[WordLabel], agent: list[WordLabel], *, language: str = "en"
) -> tuple[EventLabel, ...]:
    return derive_events(
        SpokenSide(words=tuple(user)),
        SpokenSide(words=tuple(agent)),
        duration_s=DURATION_S,
        language=language,
    )


def only(events: tuple[EventLabel, ...], kind: str, speaker: str = "user") -> EventLabel:
    (event,) = [event for event in events if (event.type, event.speaker) == (kind, speaker)]
    return event


QUESTION = said("what day is it today", 1.0, 3.0)


@pytest.mark.parametrize(
    ("onset_s", "window_s"),
    [
        (3.1, (2.9, 3.8)),  # 0.2 s before the recorded answer
        (3.2, (3.0, 3.8)),
        (3.9, (3.0, 4.3)),  # 0.4 s after it
        (2.7, (2.5, 3.8)),
    ],
)
def test_an_answer_counts_around_the_recorded_one(
    onset_s: float, window_s: tuple[float, float]
) -> None:
    events = derived(QUESTION, said("it is friday already", onset_s, onset_s + 2.0))
    turn = only(events, "turn")
    assert (turn.start_s, turn.end_s, turn.text) == (1.0, 3.0, "what day is it today")
    assert turn.act == "respond"
    assert turn.window_s == pytest.approx(window_s)
    assert turn.expect is not None
    assert turn.expect.text == ""
    assert 0.5 < turn.confidence <= DeriveConfig().words_confidence
    assert [event.type for event in events] == ["turn"]


def test_a_turn_that_nobody_answers_is_no_event() -> None:
    assert derived(QUESTION, []) == ()


def test_what_the_agent_ends_expects_nothing_of_it() -> None:
    events = derived(said("on friday", 3.5, 4.5), said("when do you leave", 1.0, 3.0))
    assert only(events, "turn", "agent").expect is None


def test_a_silence_inside_a_turn_is_a_pause_from_a_third_of_a_second_on() -> None:
    user = [*said("i would like", 1.0, 2.0), *said("a", 2.25, 2.5), *said("ticket", 3.1, 3.6)]
    events = derived(user, said("where to", 4.0, 5.0))
    pause = only(events, "pause")
    assert (pause.start_s, pause.end_s, pause.act) == (2.5, 3.1, "stay_silent")
    assert only(events, "turn").start_s == 1.0


def test_no_silence_is_expected_in_a_pause_that_the_agent_fills() -> None:
    user = [*said("so i went to the shop", 1.0, 4.0), *said("and bought some bread", 5.0, 7.0)]
    events = derived(user, said("uh-huh", 4.3, 4.7))
    assert only(events, "pause").expect is None
    backchannel = only(events, "agent_backchannel", "agent")
    assert (backchannel.act, backchannel.window_s) == ("backchannel", (3.8, 4.8))


STORY = said("one two three four five six seven eight nine ten", 1.0, 9.0)


def test_a_listener_s_word_is_a_backchannel_and_the_agent_goes_on() -> None:
    events = derived(said("oh yeah", 4.0, 4.6), STORY)
    backchannel = only(events, "user_backchannel")
    assert (backchannel.act, backchannel.window_s) == ("resume", (4.0, 5.6))
    assert len(events) == 1


@pytest.mark.parametrize(
    "words",
    [
        said("no friday", 4.0, 4.6),  # no form
        said("yeah yeah yeah", 4.0, 5.2),  # too long
        [*said("yeah", 4.0, 4.5), *said("but listen to me now", 4.8, 6.0)],  # goes on
    ],
)
def test_what_is_no_backchannel_into_the_agent_s_words_is_an_overlap(
    words: list[WordLabel],
) -> None:
    events = derived(words, STORY)
    assert {event.type for event in events} == {"overlap"}
    assert all(event.act == "resume" for event in events)


def test_a_backchannel_is_never_followed_by_the_floor() -> None:
    events = derived([*said("yeah", 9.2, 9.5), *said("i will go there", 11.0, 12.0)], STORY)
    assert [event.type for event in events] == ["turn", "pause"]
    assert only(events, "turn", "agent").end_s == 9.0


def test_an_interruption_is_expected_to_stop_the_agent_as_the_recorded_one() -> None:
    events = derived(said("wait that is not what i asked", 4.0, 7.0), said("one two", 1.0, 4.6))
    interruption = only(events, "interruption")
    assert (interruption.start_s, interruption.end_s) == (4.0, 7.0)
    assert (interruption.act, interruption.window_s) == ("stop", (4.0, 4.9))


def test_a_short_overlap_is_a_change_of_speaker_and_no_interruption() -> None:
    events = derived(said("and then what happened", 4.3, 7.0), said("one two", 1.0, 4.6))
    assert [event.type for event in events] == ["turn"]


def test_one_word_interrupts_if_the_agent_leaves_the_floor_because_of_it() -> None:
    user = [*said("stop", 4.0, 4.3), *said("what time is it", 5.3, 6.3)]
    events = derived(user, said("one two three", 1.0, 4.6))
    assert only(events, "interruption").window_s == (4.0, 4.9)
    assert only(derived(user[:1], said("one two three", 1.0, 4.6)), "interruption").start_s == 4.0


def test_the_agent_s_interruptions_expect_nothing() -> None:
    events = derived(said("i was about to say", 1.0, 4.6), said("no no wait a bit", 4.0, 6.0))
    assert only(events, "interruption", "agent").expect is None
    sure = only(derived(said("i was about to say", 1.0, 4.6), said("ah well", 4.7, 6.0)), "turn")
    assert only(events, "turn").confidence < sure.confidence  # had the user yielded?


def test_sides_that_change_places_change_speakers_alone() -> None:
    user = [*QUESTION, *said("mhm", 5.0, 5.3), *said("stop it now please", 7.5, 9.0)]
    agent = said("it is friday and a very fine day indeed", 3.2, 8.1)
    swapped = {"user": "agent", "agent": "user"}
    kinds = {"user_backchannel": "agent_backchannel", "agent_backchannel": "user_backchannel"}

    def seen(events: tuple[EventLabel, ...], *, swap: bool) -> set[tuple[object, ...]]:
        return {
            (
                kinds.get(event.type, event.type) if swap else event.type,
                swapped[event.speaker] if swap else event.speaker,
                *(event.start_s, event.end_s, event.confidence),
            )
            for event in events
        }

    events = derived(user, agent)
    assert {event.type for event in events} == {"turn", "user_backchannel", "interruption"}
    assert seen(events, swap=True) == seen(derived(agent, user), swap=False)


def test_activity_alone_gives_the_same_events_with_less_confidence() -> None:
    user = [*QUESTION, *said("mhm", 5.0, 5.3)]
    agent = said("it is friday and a very fine day indeed", 3.2, 8.1)
    by_words = derived(user, agent)
    by_sound = derive_events(
        SpokenSide(spans=((1.0, 3.0), (5.0, 5.3))),
        SpokenSide(spans=((3.2, 8.1),)),
        duration_s=DURATION_S,
    )
    assert [(e.type, e.start_s, e.end_s) for e in by_sound] == [
        (e.type, e.start_s, e.end_s) for e in by_words
    ]
    for heard, read in zip(by_sound, by_words, strict=True):
        assert heard.text == ""
        assert heard.confidence < read.confidence


def test_a_sound_that_the_other_waits_for_is_an_answer() -> None:
    user = SpokenSide(spans=((1.0, 3.0), (5.0, 7.0)))

    def kinds(end_s: float) -> list[str]:
        agent = SpokenSide(spans=((3.2, end_s),))
        return [event.type for event in derive_events(user, agent, duration_s=DURATION_S)]

    assert kinds(3.6) == ["turn", "turn"]
    user = SpokenSide(spans=((1.0, 3.0), (3.9, 7.0)))
    assert kinds(3.6) == ["pause", "agent_backchannel"]


def test_words_of_unknown_times_are_one_stretch() -> None:
    question = WordLabel(text="what day is it today", start_s=1.0, end_s=3.0, times=UNKNOWN)
    turn = only(derived([question], said("friday", 3.2, 4.0)), "turn")
    known = only(derived(QUESTION, said("friday", 3.2, 4.0)), "turn")
    assert dataclasses.replace(turn, confidence=known.confidence) == known
    assert turn.confidence < known.confidence


def test_spans_say_when_and_words_what() -> None:
    label = WordLabel(text="oh yeah", start_s=3.0, end_s=6.0, times=UNKNOWN)
    events = derive_events(
        SpokenSide(words=(label,), spans=((4.0, 4.6),)),
        SpokenSide(words=tuple(STORY)),
        duration_s=DURATION_S,
        language="en",
    )
    backchannel = only(events, "user_backchannel")
    assert (backchannel.start_s, backchannel.end_s, backchannel.text) == (4.0, 4.6, "oh yeah")


def test_words_beyond_the_dialogue_are_refused() -> None:
    with pytest.raises(ValueError, match=r"user speaks from 19.000 to 21.000 s, outside a dialogu"):
        derived(said("too late", 19.0, 21.0), [])


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Uh-huh.", "en-US"),
        ("Oh, okay!", "eng"),
        ("that’s right", "English"),
        ("Ja, genau.", "de"),
        ("D'accord", "fr"),
        ("Угу", "ru"),
        ("tak jo", "cs"),
        ("eh sì", "it"),
        ("sí, claro", "es"),
        ("precies ja", "nl"),
        ("ouais", ""),  # of any language, where none is stated
    ],
)
def test_forms_are_known_in_every_spelling(text: str, language: str) -> None:
    assert is_backchannel(text, language)


def test_other_words_are_no_forms() -> None:
    assert not is_backchannel("yeah but", "en")
    assert not is_backchannel("genau", "en")
    assert not is_backchannel("", "en")
    assert is_backchannel("yes joe", "en", ("yes joe",))
    assert set(FORMS) == {"en", "es", "fr", "it", "ru", "cs", "nl", "de"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"own_silence_s": 0.0}, "derive.own_silence_s=0.0 must be positive"),
        ({"late_answer_s": -1.0}, "derive.late_answer_s=-1.0 must not be negative"),
        ({"pause_s": 0.1}, "derive.join_s=0.18, derive.pause_s=0.1 .* must rise"),
        ({"words_confidence": 1.0}, "derive.words_confidence=1.0 .* only a placed event"),
    ],
)
def test_thresholds_without_a_meaning_are_refused(changes: dict[str, float], message: str) -> None:
    make: Callable[..., DeriveConfig] = DeriveConfig
    with pytest.raises(ValueError, match=message):
        make(**changes)
