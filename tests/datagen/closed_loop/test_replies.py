"""What a user takes for the answer: by sound alone, in steps of 10 ms."""

from __future__ import annotations

from microturn.datagen.closed_loop.plan import STEP, PlannedReply
from microturn.datagen.closed_loop.replies import HeardReply, ReplyListener

RATE = 16_000
GATE_S = 2.0


def heard(*spans_s: tuple[float, float]) -> HeardReply:
    """The reply to a request that ends at 2 s, of an agent that sounds in these spans."""
    planned = PlannedReply(
        number=0,
        onset=round(2.3 * RATE),
        end=round(2.8 * RATE),
        cause=0,
        errand=-1,
        gate=round(GATE_S * RATE),
        n_early=0,
        longest_gap=0,
    )
    listener = ReplyListener(
        [planned], rate=RATE, silence=round(0.5 * RATE), patience=lambda _: 2 * RATE
    )
    listener.expect(iter(listener.replies), 0)
    for step in range(400):
        at_s = step * STEP / RATE
        listener.listen(any(start <= at_s < end for start, end in spans_s))
    return listener.replies[0]


def test_a_reply_begins_after_a_silence() -> None:
    assert heard((2.3, 2.4)).onset == 2.3 * RATE
    assert heard().onset is None


def test_the_end_of_other_words_is_no_reply() -> None:
    assert heard((1.0, 2.1)).onset is None
    assert heard((1.0, 1.8), (2.0, 2.15)).onset is None
    assert heard((1.0, 2.3)).onset == GATE_S * RATE


def test_a_short_reply_is_noticed_behind_a_click() -> None:
    """Else the user would ask again, and one request would be answered twice."""
    assert heard((1.85, 1.9), (2.2, 2.3)).onset == 2.2 * RATE
