"""Instructions of a client in its `hello`, beside those of the server."""

import json

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from microturn.inference.audio import decode_pcm16, encode_pcm16
from microturn.inference.config import ServeConfig
from microturn.inference.micro_turn import MicroTurnIn
from microturn.inference.opening import read_opening
from microturn.inference.rows import RowBatch
from microturn.inference.serve.engine import LiveEngine
from microturn.inference.serve.protocol import PROTOCOL_VERSION
from microturn.inference.serve.server import create_app
from microturn.inference.tick import OpenedRow
from microturn.model.checkpoint import LoadedCheckpoint

HELLO = {"type": "hello", "protocol": PROTOCOL_VERSION}


def microphone(n: int, samples: int) -> list[bytes]:
    rng = np.random.default_rng(9)
    return [encode_pcm16((0.1 * rng.standard_normal(samples)).astype("f4")) for _ in range(n)]


def answers(batch: RowBatch, sent: list[bytes], opened: OpenedRow | None) -> list[bytes]:
    batch.reset(0, opened)
    turns = [MicroTurnIn(audio=decode_pcm16(data)) for data in sent]
    return [encode_pcm16(batch.step_rows({0: turn})[0].audio) for turn in turns]


def test_a_client_instructs_its_own_session(checkpoint: LoadedCheckpoint) -> None:
    torch.set_num_threads(1)
    batch, alone = RowBatch(checkpoint, 2), RowBatch(checkpoint, 1)
    opening = read_opening(batch, instructions="eight")
    sent = microphone(4, batch.layout.samples_per_micro_turn)
    own = answers(alone, sent, read_opening(alone, instructions="three <please> four").row)
    of_server = answers(alone, sent, opening.row)
    assert own != of_server
    engine = LiveEngine(batch, ServeConfig(), opening=opening)
    with TestClient(create_app(engine, ServeConfig())) as http:
        for asks, expected in (({"instructions": "Three, please, four!"}, own), ({}, of_server)):
            with http.websocket_connect("/ws") as socket:
                socket.send_text(json.dumps({**HELLO, **asks}))
                for data in sent:
                    socket.send_bytes(data)
                sounds: list[bytes] = []
                while len(sounds) < len(sent):
                    message = socket.receive()
                    sounds += [message["bytes"]] if message.get("bytes") else []
            assert sounds == expected


@pytest.mark.parametrize(
    ("instructions", "sentence"),
    [
        ("?!", "there are no words in instructions="),
        ("three qu\u00e9?", "cannot spell 'qu\u00e9' in instructions"),
        (7, "message 'hello' needs a text in 'instructions'"),
        ("three " * 100, "sees at most 8 at once; shorten them"),
    ],
)
def test_instructions_that_cannot_be_read_are_an_error(
    checkpoint: LoadedCheckpoint, instructions: object, sentence: str
) -> None:
    engine = LiveEngine(RowBatch(checkpoint, 1), ServeConfig())
    with (
        TestClient(create_app(engine, ServeConfig())) as http,
        http.websocket_connect("/ws") as socket,
    ):
        assert json.loads(socket.receive()["text"])["type"] == "hello"
        socket.send_text(json.dumps({**HELLO, "instructions": instructions}))
        error = json.loads(socket.receive()["text"])
        assert error["type"] == "error"
        assert sentence in error["message"]


def test_instructions_after_the_first_audio_come_too_late(checkpoint: LoadedCheckpoint) -> None:
    batch = RowBatch(checkpoint, 1)
    session = LiveEngine(batch, ServeConfig()).join(lambda _: None)
    session.push_audio(np.zeros(batch.layout.samples_per_micro_turn, np.float32))
    with pytest.raises(ValueError, match="the conversation has begun"):
        session.instruct("three")
