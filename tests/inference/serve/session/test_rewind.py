"""A client takes back the last micro-turns: what follows is as if they had never been heard."""

import asyncio
import json
from typing import Any

import numpy as np
import pytest

from microturn.inference.audio import encode_pcm16
from microturn.inference.config import ServeConfig
from microturn.inference.micro_turn import Gap, MicroTurnIn
from microturn.inference.rows import RowBatch
from microturn.inference.serve.engine import LiveEngine
from microturn.inference.serve.input_queue import InputQueue
from microturn.inference.serve.report import MicroTurnReport, Report, WentBack
from microturn.inference.sessions import Sessions
from microturn.model.streams import StreamLayout
from tests.support.sleeping_server import Running, very_small_checkpoint
from tests.support.wire.socket_talk import (
    Message,
    TalkingClient,
    begin,
    conversation_of,
    noise,
    server_with,
    wait_until,
)


def rewind(n: int) -> str:
    return json.dumps({"type": "rewind", "micro_turns": n})


async def never_heard(server: Running) -> list[Message]:
    client = TalkingClient(server)
    async with client.connect() as socket:
        await client.greet(socket)
        await client.say(socket, noise(0, 7))
        await client.say(socket, noise(2, 8))
        await client.close(socket)
    return client.received


async def took_back(server: Running) -> list[Message]:
    """Take five micro-turns back, three of which were words of another voice, and typed text."""
    client = TalkingClient(server)
    async with client.connect() as socket:
        await client.greet(socket)
        await client.say(socket, noise(0, 9))
        await client.send(socket, '{"type": "text", "text": "one two"}')
        await client.say(socket, noise(1, 3))
        await client.send(socket, bytes(700))  # a part of a micro-turn goes, too
        await client.send(socket, rewind(5))
        went = await client.until(socket, "rewound")
        assert went == {"type": "rewound", "micro_turn": 7, "time_s": 1.4}
        del client.received[1:]
        await client.say(socket, noise(2, 8))
        await client.close(socket)
    return client.received


def test_what_was_taken_back_was_never_heard() -> None:
    with server_with(rewind=6) as server:
        expected = conversation_of(asyncio.run(never_heard(server)))
        wait_until(lambda: server.n_sessions == 0)
        found = conversation_of(asyncio.run(took_back(server)))
    assert isinstance(expected[0], dict)
    assert expected[0]["max_rewind"] == 6
    place = [isinstance(e, dict) and e.get("micro_turn") == 7 for e in expected].index(True)
    assert found[1:] == expected[place:]
    assert sum(isinstance(message, bytes) for message in found) == 8
    assert any(isinstance(e, dict) and e["type"] == "word" for e in found)


def test_what_is_not_kept_cannot_be_taken_back() -> None:
    async def go_too_far(server: Running) -> None:
        client = TalkingClient(server)
        async with client.connect() as socket:
            await client.greet(socket)
            await client.say(socket, noise(0, 7))
            await client.send(socket, rewind(5))
            error = await client.until(socket, "error")
            sentence = "cannot go back 5 micro-turns: 4 are kept at this moment"
            assert error == {"type": "error", "code": "cannot_rewind", "message": sentence}
            for wrong in ("0", "-1", "1.5", "true", '"1"', "null"):
                await client.send(socket, f'{{"type": "rewind", "micro_turns": {wrong}}}')
                error = await client.until(socket, "error")
                assert error["message"] == (
                    "message 'rewind' needs a number from 1 on in 'micro_turns'"
                )
            await client.say(socket, noise(2, 8))
            await client.close(socket)
        said = [e for e in conversation_of(client.received) if not is_error(e)]
        wait_until(lambda: server.n_sessions == 0)
        assert said == conversation_of(await never_heard(server))  # and no harm was done

    with server_with(rewind=4) as server:
        asyncio.run(go_too_far(server))


def is_error(event: object) -> bool:
    return isinstance(event, dict) and event["type"] == "error"


def test_a_server_that_keeps_nothing_says_how_to_start_it() -> None:
    async def ask(server: Running) -> None:
        client, socket = await begin(server)
        await client.send(socket, rewind(1))
        error = await client.until(socket, "error")
        assert error["message"].endswith("start it with rewind_s=10")
        await client.close(socket)

    with server_with() as server:
        asyncio.run(ask(server))


def test_one_may_go_back_again_and_again_but_not_before_the_beginning() -> None:
    async def go_back(server: Running) -> list[Message]:
        client = TalkingClient(server)
        async with client.connect() as socket:
            await client.greet(socket)
            await client.say(socket, noise(3, 2))
            await client.send(socket, rewind(2))
            assert (await client.until(socket, "rewound"))["micro_turn"] == 0
            await client.say(socket, np.concatenate([noise(0, 2), noise(4, 1)]))
            await client.send(socket, rewind(1))
            assert (await client.until(socket, "rewound"))["micro_turn"] == 2
            await client.say(socket, noise(5, 2))
            await client.send(socket, rewind(2))
            assert (await client.until(socket, "rewound"))["micro_turn"] == 2
            await client.send(socket, rewind(3))
            assert "2 are kept" in (await client.until(socket, "error"))["message"]
            n = len(client.received)
            await client.say(socket, noise(0, 7)[2 * 3_200 :])
            await client.say(socket, noise(2, 8))
            await client.close(socket)
        return client.received[n:]

    with server_with(rewind=4) as server:
        found = conversation_of(asyncio.run(go_back(server)))
        wait_until(lambda: server.n_sessions == 0)
        expected = conversation_of(asyncio.run(never_heard(server)))
    place = [isinstance(e, dict) and e.get("micro_turn") == 2 for e in expected].index(True)
    assert found == expected[place:]


# --- the engine, step by step ----------------------------------------------------------------
class Steps:
    """An engine that makes a micro-turn when the test says so."""

    def __init__(self, **settings: Any) -> None:
        batch = RowBatch(very_small_checkpoint(), 1, rewind=6)
        self.engine = LiveEngine(batch, ServeConfig(**settings))
        self.reports: list[Report] = []
        self.session = self.engine.join(self.reports.append)

    def hear(self, samples: np.ndarray, *, steps: int) -> None:
        for start in range(0, len(samples), 3_200):
            self.session.push_audio(samples[start : start + 3_200])
        for _ in range(steps):
            assert self.engine.step()

    def go_back(self, n: int) -> int:
        done = self.session.go_back(n)
        self.engine._settle(self.engine._clients[0])
        done.result(timeout=0)
        assert isinstance(report := self.reports.pop(), WentBack)
        return report.micro_turn

    def sound(self) -> dict[int, bytes]:
        return {
            report.micro_turn: encode_pcm16(report.output.audio)
            for report in self.reports
            if isinstance(report, MicroTurnReport)
        }


def expected_sound(samples: np.ndarray) -> dict[int, bytes]:
    steps = Steps(max_waiting_micro_turns=100, max_behind_ms=0.0)
    steps.hear(samples, steps=len(samples) // 3_200)
    return steps.sound()


@pytest.mark.parametrize("n_back", [1, 3, 5])
def test_audio_that_still_waits_is_taken_back_first(n_back: int) -> None:
    steps = Steps(max_waiting_micro_turns=100, max_behind_ms=0.0)
    steps.hear(noise(0, 6), steps=3)
    assert steps.go_back(n_back) == 6 - n_back
    kept = noise(0, 6)[: (6 - n_back) * 3_200]
    new = noise(2, 2)
    steps.hear(new, steps=2 + max(0, 3 - n_back))
    assert steps.sound() == {
        **(expected_sound(noise(0, 6)[: 3 * 3_200])),
        **expected_sound(np.concatenate([kept, new])),
    }


def test_micro_turns_without_an_answer_are_taken_back_as_well() -> None:
    """Overload drops two; the second of them is taken back, and the one that still waits."""
    steps = Steps(max_waiting_micro_turns=2, max_behind_ms=0.0)
    steps.hear(noise(0, 2), steps=2)
    steps.hear(noise(1, 3), steps=0)
    assert steps.go_back(2) == 3
    steps.hear(noise(2, 1), steps=1)

    sessions = Sessions(RowBatch(very_small_checkpoint(), 1, rewind=6))
    session = sessions.open()
    for piece in np.split(noise(0, 2), 2):
        sessions.step_session(session, MicroTurnIn(audio=piece))
    gap = Gap(n=1, newest=[MicroTurnIn(audio=noise(1, 3)[:3_200])])
    sessions.pass_over({session: gap})
    answer = sessions.step_session(session, MicroTurnIn(audio=noise(2, 1)))
    assert sorted(steps.sound()) == [0, 1, 3]
    assert steps.sound()[3] == encode_pcm16(answer.audio)
    assert steps.go_back(2) == 2  # into the stretch that was dropped
    steps.hear(noise(2, 1), steps=1)
    assert steps.sound()[2] == expected_sound(np.concatenate([noise(0, 2), noise(2, 1)]))[2]


def test_the_wall_clock_goes_on_from_where_the_session_went_back_to() -> None:
    queue = InputQueue(StreamLayout(), max_waiting=3, missing_after_s=0.1)
    sound = np.zeros(3_200, np.float32)
    for k in range(3):
        queue.push_audio(sound, 0.2 * k)
        assert queue.next_input(0.2 * k).index == k
    queue.rewind(1)
    assert queue.missing_at() is None  # until audio comes again
    queue.push_audio(sound, 100.0)
    assert queue.next_input(100.0).index == 1
    assert queue.missing_at() == pytest.approx(100.0 + 0.2 + 0.1)


def test_a_long_stretch_without_an_answer_is_taken_back_whole_or_not_at_all() -> None:
    queue = InputQueue(StreamLayout(), max_waiting=1, max_passed=2)
    for k in range(5):
        queue.push_audio(np.full(3_200, k / 10, np.float32), 0.0)
    assert (queue.n_read, queue.index, queue.end) == (0, 4, 5)
    with pytest.raises(ValueError, match="micro-turn 3 is in a long stretch"):
        queue.rewind(3)
    assert queue.end == 5
    queue.rewind(4)
    assert (queue.n_read, queue.index, queue.end) == (0, 4, 4)
    queue.rewind(0)
    assert (queue.n_read, queue.index, queue.end) == (0, 0, 0)
