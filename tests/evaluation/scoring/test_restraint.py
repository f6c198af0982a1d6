"""Words beyond what was asked for cost the credit of the answer that they stand beside."""

from __future__ import annotations

import pytest

from support.hand_made import HandMadeDialogue


@pytest.mark.parametrize(
    ("answer", "said", "clean"),
    [
        ("seven", "seven", True),
        ("seven", "oh seven", True),  # one word of another kind may slip
        ("seven", "oh oh seven", False),
        ("seven", "seven seven", False),  # the answer twice is not the answer
        ("four five", "four five", True),
        ("four five", "four four five", False),
        ("no no", "no no", True),  # asked for twice
        ("no no", "no no no", False),
    ],
)
def test_an_answer_is_said_once(
    script: HandMadeDialogue, answer: str, said: str, clean: bool
) -> None:
    script.turn(1.0, 2.0, answer)
    performed = HandMadeDialogue()
    performed.says(said, 2.3)
    scene = script.scene(performed.recorded())
    assert scene.clean(script.events[0]) is clean
