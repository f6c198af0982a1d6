"""Read aloud: the words of a text, as far as it was read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.evaluation.suites.open.read_aloud import measure, observe
from microturn.evaluation.suites.suite import Measured
from support.hand_made import HandMadeDialogue, word

Numbers = dict[str, Measured]


def read(script: HandMadeDialogue, said: Sequence[SpokenWord]) -> Measured:
    return measure([observe(script.scene(script.perform(*said)))])


def test_a_text_is_judged_as_far_as_it_was_read(script: HandMadeDialogue) -> None:
    script.turn(0.5, 2.0, "so it goes and goes on and on")
    script.turn(7.0, 8.0, "never ending words of mine and yours")
    script.interrupt(9.6, 10.6)
    right = read(script, script.agent)
    assert (right["word_error_rate"], right["credit"], right["stopped_in_time"]) == (0.0, 1.0, 1.0)
    wrong = read(script, [word("blah", w.start_s) if w.text == "goes" else w for w in script.agent])
    n_read = sum(w.start_s < 9.6 for w in script.agent)
    assert wrong["word_error_rate"] == pytest.approx(2 / n_read)


def test_who_writes_and_is_silent_has_read_nothing(script: HandMadeDialogue) -> None:
    script.turn(0.5, 2.0, "so it goes")
    got = read(script, ())
    assert (got["credit"], got["word_error_rate"], got["begun_in_time"]) == (0.0, 1.0, 0.0)


def test_the_oracle_reads_and_who_is_silent_does_not(
    numbers_of: Callable[[str, int], Numbers],
) -> None:
    got = numbers_of("read_aloud", 6)
    assert (got["oracle"]["credit"] or 0.0) > 0.75
    assert got["oracle"]["word_error_rate"] == 0.0
    assert not got["silent"]["credit"]
