"""Allowances of one client on a clock of the test, and its outbox."""

import asyncio

import pytest

from microturn.inference.config import ServeConfig
from microturn.inference.serve.codec import ServerMessage
from microturn.inference.serve.outbox import (
    MAX_WAITING_AUDIO,
    MAX_WAITING_BYTES,
    MAX_WAITING_MESSAGES,
    Outbox,
)
from microturn.inference.serve.pace import MAX_ERRORS, MESSAGES_PER_S, REQUESTS_PER_S, ClientPace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def pace_of(clock: Clock, *, ahead_s: float = 2.0) -> ClientPace:
    return ClientPace(ServeConfig(audio_ahead_s=ahead_s), clock=clock)


def test_audio_may_be_ahead_by_its_allowance_and_then_as_fast_as_the_clock() -> None:
    clock = Clock()
    pace = pace_of(clock)
    for _ in range(10):
        pace.take_audio(0.2)
    with pytest.raises(ValueError, match="audio came 2 s ahead of real time; this message was not"):
        pace.take_audio(0.2)
    for _ in range(1_000):  # two hundred seconds as they are recorded
        clock.now += 0.2
        pace.take_audio(0.2)
    clock.now += 3_600.0  # a pause saves up no more than the allowance
    for _ in range(10):
        pace.take_audio(0.2)
    with pytest.raises(ValueError, match="ahead of real time"):
        pace.take_audio(0.2)


def test_audio_of_any_speed_is_taken_without_an_allowance() -> None:
    pace = pace_of(Clock(), ahead_s=0.0)
    for _ in range(10_000):
        pace.take_audio(0.2)


def test_messages_and_requests_come_in_bursts_of_two_seconds() -> None:
    clock = Clock()
    pace = pace_of(clock)
    for take, per_s, sentence in (
        (pace.take_message, MESSAGES_PER_S, "more than 200 messages a second; this one was not"),
        (pace.take_request, REQUESTS_PER_S, "more than 10 texts, cancels and frames a second"),
    ):
        for _ in range(int(2 * per_s)):
            take()
        with pytest.raises(ValueError, match=sentence):
            take()
        clock.now += 1.0
        for _ in range(int(per_s)):
            take()
        with pytest.raises(ValueError, match=sentence):
            take()


def test_a_wrong_message_is_forgiven_in_time() -> None:
    clock = Clock()
    pace = pace_of(clock)
    for _ in range(100):  # one every ten seconds, for ever
        assert pace.take_error()
        clock.now += 10.0
    assert [pace.take_error() for _ in range(MAX_ERRORS)] == [True] * (MAX_ERRORS - 1) + [False]


def text_of(n_bytes: int) -> ServerMessage:
    return ServerMessage(payload="x" * n_bytes)


def test_an_outbox_takes_in_no_more_than_it_may_hold() -> None:
    many, large = Outbox(), Outbox()
    for _ in range(MAX_WAITING_MESSAGES):
        many.put(text_of(10))
    assert not many.is_overflowing
    for _ in range(10_000):
        many.put(text_of(10))
    assert many.is_overflowing
    large.put(text_of(MAX_WAITING_BYTES - 5))
    large.put(text_of(6))
    assert large.is_overflowing
    for outbox, n in ((many, MAX_WAITING_MESSAGES), (large, 1)):
        outbox.finish([text_of(3)])
        waiting = asyncio.run(all_of(outbox))
        assert len(waiting) == n + 1
        assert waiting[-1].n_bytes == 3


def test_only_audio_is_dropped_and_the_last_message_stays_the_last() -> None:
    outbox = Outbox()
    for k in range(MAX_WAITING_AUDIO + 3):
        outbox.put(ServerMessage(payload=f"about {k}"))
        outbox.put(ServerMessage(payload=bytes([k]), is_audio=True))
    outbox.finish([ServerMessage(payload="closed")])
    outbox.put(ServerMessage(payload="too late"))
    waiting = asyncio.run(all_of(outbox))
    assert outbox.dropped == 3
    assert [m.payload for m in waiting if m.is_audio] == [
        bytes([k]) for k in range(3, MAX_WAITING_AUDIO + 3)
    ]
    assert [m.payload for m in waiting[:4]] == ["about 0", "about 1", "about 2", "about 3"]
    assert waiting[-1].payload == "closed"


async def all_of(outbox: Outbox) -> list[ServerMessage]:
    messages = []
    while (message := await outbox.get()) is not None:
        messages.append(message)
    return messages
