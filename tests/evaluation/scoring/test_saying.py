"""Written words count where the sound says them; other sound is speech without a word."""

from dataclasses import replace

import numpy as np

from microturn.evaluation.config import ActivityConfig
from microturn.evaluation.scoring.agent_output import AgentOutput, HeardWord, SpokenWord, Trace
from microturn.evaluation.scoring.events import score
from microturn.evaluation.scoring.outcomes import SoundOutcome, StopOutcome, TurnOutcome
from microturn.evaluation.scoring.saying import Saying, is_written
from microturn.evaluation.scoring.scene import ScoredDialogue
from support.hand_made import HandMadeDialogue, word


def heard(text: str, start_s: float, *, share: float = 1.0) -> HeardWord:
    return HeardWord(text=text, start_s=start_s, end_s=start_s + 0.36 * share, share=share)


def saying(written: list[SpokenWord], sounds: list[HeardWord], *breaks_s: float) -> list[str]:
    found = Saying.of(written, sounds, lead_s=0.8, breaks_s=breaks_s)
    return [word.text for word in found.words]


def scene(script: HandMadeDialogue, said: AgentOutput, *sounds: HeardWord) -> ScoredDialogue:
    trace = Trace.of(said, ActivityConfig(), sounds=sounds)
    return ScoredDialogue(script.dialogue(), trace, script.scene(said).windows)


def test_a_word_counts_where_its_sound_says_it() -> None:
    one, two = word("one", 1.0), word("two", 1.4)
    assert saying([one, two], [heard("one", 1.1), heard("two", 1.5)]) == ["one", "two"]
    assert saying([one, two], [heard("two", 1.1), heard("one", 2.3)]) == ["[two]", "[one]"]
    assert saying([one], [heard("", 1.0)]) == ["[?]"]
    assert saying([one], []) == []
    assert saying([], [heard("one", 1.0)]) == ["[one]"]


def test_a_sound_answers_one_word_in_its_stretch() -> None:
    twice = [word("one", 1.0), word("one", 1.4)]
    assert saying(twice, [heard("one", 1.1)]) == ["one"]
    assert saying([word("one", 1.0)], [heard("one", 1.9)]) == ["[one]"]  # after the lead of text
    assert saying([word("one", 1.0)], [heard("one", 0.8)]) == ["[one]"]  # before it was written


def test_a_part_of_a_word_counts_where_there_is_a_reason_to_break_off() -> None:
    part = heard("seven", 1.1, share=0.4)
    assert saying([word("seven", 1.0)], [part]) == ["[seven]"]
    assert saying([word("seven", 1.0)], [part], 1.0) == ["seven"]


def test_words_without_text_are_no_answer_and_spoil_one(script: HandMadeDialogue) -> None:
    script.turn(1.0, 3.0, "seven")
    said = script.perform(word("seven", 3.3), word("seven", 3.9))
    right = scene(script, script.perform(word("seven", 3.3)), heard("seven", 3.3))
    more = scene(
        script, replace(said, words=said.words[:1]), heard("seven", 3.3), heard("eight", 3.9)
    )
    none = scene(script, replace(said, words=()), heard("seven", 3.3))
    noise = scene(script, said, heard("", 3.3))
    rights = []
    for one in (right, more, none, noise):
        (outcome,) = (o for o in score(one) if isinstance(o, TurnOutcome))
        rights.append((outcome.right, outcome.in_window))
    assert rights == [(True, True), (False, True), (False, False), (False, False)]
    assert not is_written("[seven]")


def test_noise_is_no_speech_that_could_be_interrupted(script: HandMadeDialogue) -> None:
    script.says("one two three four five", 1.0)
    script.interrupt(2.0, 3.0)
    said = script.recorded()
    for sounds, stopped in (
        (tuple(heard(w.text, w.start_s) for w in said.words), True),
        ((), False),
    ):
        noise = sounds or (heard("", 1.0),)
        (outcome,) = (o for o in score(scene(script, said, *noise)) if isinstance(o, StopOutcome))
        assert outcome.in_time is stopped


def test_the_share_of_said_words_leaves_out_what_an_interruption_swallowed(
    script: HandMadeDialogue,
) -> None:
    script.event("interruption", 5.0, 6.0, "stop", window=(5.0, 5.8))
    said = script.perform(word("low", 2.0), word("mid", 4.8), word("high", 8.0))
    one = scene(script, said, heard("low", 2.0), heard("low", 8.0))
    (outcome,) = (o for o in score(one) if isinstance(o, SoundOutcome))
    assert (outcome.n_right, outcome.n_judged) == (1, 2)


def test_a_late_word_begins_where_it_sounds_not_at_the_noise_before_it(
    script: HandMadeDialogue,
) -> None:
    said = script.perform(word("hum", 1.0), word("seven", 1.5))
    audio = np.where(said.audio != 0, said.audio, 0).astype(np.float32)
    written = replace(said, audio=audio, words=(word("seven", 1.0),))
    one = scene(script, written, heard("", 1.0), heard("seven", 1.5))
    (seven,) = (w for w in one.words if is_written(w.text))
    assert abs(one.onset_of(seven) - 1.5) < 0.02
