"""Open turns: timing without right words."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from microturn.configs.load import load_config
from microturn.evaluation.config import EvaluateConfig
from microturn.evaluation.evaluate import evaluate
from microturn.evaluation.report.markdown import worlds_of
from microturn.evaluation.report.scores import AgentScores, RunInfo, Scores
from microturn.evaluation.scoring.agent_output import HeardWord, SpokenWord
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.held_out import held_out_set
from microturn.evaluation.suites.open import turns
from microturn.evaluation.suites.registry import load_suite
from microturn.evaluation.suites.score_suite import score_suite
from microturn.evaluation.suites.suite import Measured
from support.hand_made import HandMadeDialogue, word

Numbers = dict[str, Measured]


def open_dialogue(script: HandMadeDialogue) -> HandMadeDialogue:
    """A turn with a pause, an answer with a backchannel in it, and an interruption of another."""
    script.event("pause", 0.8, 1.6, "stay_silent")
    script.turn(0.5, 2.0, "so it goes and goes on and on")
    script.event("user_backchannel", 3.2, 3.6, "resume")
    script.turn(7.0, 8.0, "never ending words of mine and yours")
    script.interrupt(9.6, 10.6)
    return script


def talk(script: HandMadeDialogue, *said: SpokenWord) -> Measured:
    return turns.measure([turns.observe(heard_as_speech(script.scene(script.perform(*said))))])


def heard_as_speech(scored: ScoredDialogue) -> ScoredDialogue:
    """All sound is speech to the detector."""
    return replace(scored, trace=replace(scored.trace, speech=tuple(scored.runs)))


def other_words(script: HandMadeDialogue) -> list[SpokenWord]:
    """The recorded agent's times, with words of one's own."""
    return [word("blah", one.start_s, one.end_s - one.start_s) for one in script.agent]


def test_timing_counts_and_words_do_not(script: HandMadeDialogue) -> None:
    got = talk(script, *other_words(open_dialogue(script)))
    for name in ("taken_in_time", "stopped_in_time", "went_on"):
        assert got[name] == 1.0, name
    assert got["false_starts"] == 0.0
    assert got["turn_latency_s"] == pytest.approx(0.3, abs=0.02)


def test_sound_that_is_no_speech_takes_no_turn(script: HandMadeDialogue) -> None:
    """A voice that hums in time, at words that it writes."""
    scored = script.scene(script.perform(*other_words(open_dialogue(script))))
    got = turns.measure([turns.observe(replace(scored, trace=replace(scored.trace, speech=())))])
    for name in ("taken_in_time", "stopped_in_time", "went_on"):
        assert got[name] == 0.0, name


def test_speech_takes_turns_that_no_recording_of_words_explains(script: HandMadeDialogue) -> None:
    """A checkpoint has a voice of its own: none of its words is found in the set's recordings."""
    open_dialogue(script)
    scored = heard_as_speech(script.scene(script.perform(*other_words(script))))
    unlike = tuple(HeardWord(text="", start_s=a, end_s=b) for a, b in scored.utterances)
    trace = replace(scored.trace, sounds=unlike)
    got = turns.measure([turns.observe(replace(scored, trace=trace))])
    assert got["taken_in_time"] == got["stopped_in_time"] == got["went_on"] == 1.0


def test_a_performance_without_the_detector_is_refused(script: HandMadeDialogue) -> None:
    with pytest.raises(ValueError, match="nobody listened"):
        turns.observe(script.scene(script.perform(*other_words(open_dialogue(script)))))


def test_speech_that_begins_in_a_pause_is_a_false_start(script: HandMadeDialogue) -> None:
    said = other_words(open_dialogue(script))
    got = talk(script, word("blah", 1.0), *said)
    assert got["false_starts"] == 1.0
    assert got["credit"] == 0.0


def test_who_breaks_off_at_a_backchannel_has_not_gone_on(script: HandMadeDialogue) -> None:
    said = [w for w in other_words(open_dialogue(script)) if not 3.2 < w.start_s < 6.9]
    got = talk(script, *said)
    assert (got["went_on"], got["stopped_in_time"]) == (0.0, 1.0)


def test_who_talks_on_has_not_stopped(script: HandMadeDialogue) -> None:
    open_dialogue(script)
    more = [word("blah", 10.2 + 0.4 * i) for i in range(4)]
    got = talk(script, *other_words(script), *more)
    assert (got["went_on"], got["stopped_in_time"], got["credit"]) == (1.0, 0.0, 0.0)


def test_silence_is_worth_nothing(script: HandMadeDialogue) -> None:
    got = talk(open_dialogue(script))
    assert (got["false_starts"], got["taken_in_time"], got["credit"]) == (0.0, 0.0, 0.0)


def test_an_answer_into_the_last_words_is_in_time_where_it_was_recorded_so(
    script: HandMadeDialogue,
) -> None:
    """People overlap: the window of a placed event may open before the turn is over."""
    script.event("turn", 1.0, 2.0, "respond", answer="alpha", window=(1.7, 2.8))
    script.says("alpha", 1.7)
    got = talk(script, word("alpha", 1.7))
    assert (got["taken_in_time"], got["early_replies"]) == (1.0, 0.0)
    got = talk(script, word("alpha", 1.4))
    assert (got["taken_in_time"], got["early_replies"]) == (0.0, 1.0)


def test_the_oracle_is_right_and_who_is_silent_is_not(
    numbers_of: Callable[[str, int], Numbers],
) -> None:
    got = numbers_of("open_turns", 6)
    assert (got["oracle"]["credit"] or 0.0) > 0.75
    assert not got["silent"]["credit"]


def test_a_set_of_ones_own_is_scored_by_speech_too(suite_cache: Path, tmp_path: Path) -> None:
    """The same dialogues, as a folder, have the numbers of the suite."""
    folder = held_out_set(
        load_suite("open_turns"), suite_cache, n_dialogues=6, workers=1
    ).reader.folder
    words = ["suites=[open_turns]", "baseline=oracle", "n_pictures=0", f"out={tmp_path}"]
    words += [f"data={folder}", f"cache={suite_cache}", "workers=1"]
    assert evaluate(load_config(EvaluateConfig, [], words)) == 0
    scores = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    found = scores["suites"]["open_turns"]["details"]
    assert found["taken_in_time"]["value"] == pytest.approx(10 / 11)  # Silero hears one reply not
    assert found["stopped_in_time"]["value"] == 1.0
    assert found["unasked_per_min"]["value"] == 0.0


def test_every_word_of_a_reader_belongs_to_an_answer(
    held_out: Callable[[str, int], list[HeldOutDialogue]],
) -> None:
    """What the agent says after a pause, unasked, is more of what it was asked for."""
    for sample in held_out("open_turns", 6):
        due = [
            text
            for event in sample.dialogue.events
            if event.act in ("respond", "backchannel")
            for text in event.expected
        ]
        assert sorted(due) == sorted(word.text for word in sample.dialogue.agent_words)


@pytest.mark.parametrize(
    ("names", "worlds"),
    [
        (("open_turns", "read_aloud"), "open speech"),
        (("turn", "echo"), "closed-domain twins"),
        (("echo", "open_turns"), "closed-domain twins and open speech"),
    ],
)
def test_tables_say_which_world_their_suites_are_of(names: tuple[str, ...], worlds: str) -> None:
    suites = {name: score_suite(load_suite(name), [], seed=0) for name in names}
    info = RunInfo(
        data="",
        checkpoint="",
        checkpoint_sha256="",
        seed=0,
        words="",
        through="",
        versions={},
        sets={},
    )
    agents = {"oracle": AgentScores(suites=suites, events={}, timing={})}
    assert worlds_of(Scores(info=info, agents=agents)) == worlds
