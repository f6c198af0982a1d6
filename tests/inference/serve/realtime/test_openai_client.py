"""The `openai` client, unmodified, talks over a real socket; every event passes its own types."""

import asyncio
import json

import numpy as np
import pytest

from microturn.evaluation.bench.clients.ruled import REPEATS, TONE
from microturn.model.streams.pcm import Audio
from support.live_talk import at_24_khz, silence
from support.wire.realtime_talk import Event, Talk, talking

pytestmark = pytest.mark.clients

LOOK_UP: Event = {
    "type": "function",
    "name": "look_up",
    "description": "Answers a question.",
    "parameters": {
        "type": "object",
        "properties": {"question": {"type": "string"}},
        "required": ["question"],
    },
}


async def ask(talk: Talk, recording: Audio) -> Event:
    """Ask aloud; returns the call of the client's function."""
    await talk.send(np.concatenate([at_24_khz(recording), silence(1)]))
    return await talk.until("response.function_call_arguments.done")


def test_words_a_function_call_and_an_interruption(url: str, recording: Audio) -> None:
    async def converse() -> tuple[Talk, Event]:
        async with talking(url) as talk:
            connection = talk.connection
            await connection.session.update(session={"type": "realtime", "tools": [LOOK_UP]})  # type: ignore[list-item]
            await talk.until("session.updated")
            call = await ask(talk, recording)
            await connection.conversation.item.create(
                item={"type": "function_call_output", "call_id": call["call_id"], "output": "11"}
            )
            await talk.until("conversation.item.done", lambda e: "output" in e["item"])
            await connection.response.create(response={"metadata": {"n": "1"}})
            await talk.send(np.concatenate([silence(3), at_24_khz(recording), silence(1)]))
            done = await talk.until("response.done", lambda e: e["response"]["metadata"])
            item = done["response"]["output"][0]
            await connection.conversation.item.truncate(
                item_id=item["id"], content_index=0, audio_end_ms=390
            )
            await talk.until("conversation.item.truncated")
            await connection.conversation.item.retrieve(item_id=item["id"])
            await talk.until("conversation.item.retrieved")
            await connection.conversation.item.delete(item_id=item["id"])
            await talk.until("conversation.item.deleted")
            await connection.conversation.item.delete(item_id=item["id"], event_id="again")
            await talk.until("error")
            return talk, call

    talk, call = asyncio.run(converse())
    assert (call["name"], json.loads(call["arguments"])) == (
        "look_up",
        {"question": "eight plus three"},
    )
    heard = talk.of_type("conversation.item.input_audio_transcription.completed")[0]
    assert heard["transcript"] == "eight plus three"
    assert 0 < heard["usage"]["seconds"] < len(recording) / 16_000
    moment, answer = (event["response"] for event in talk.of_type("response.done"))
    kinds = {item["type"]: item for item in moment["output"]}
    assert moment["status"] == "completed"
    assert kinds["message"]["content"][0]["transcript"] == "one moment please"
    assert kinds["function_call"]["call_id"] == call["call_id"]
    assert answer["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    (item,) = answer["output"]
    said = item["content"][0]["transcript"].split()
    assert set(said) == {"eleven"}
    assert 2 < len(said) < REPEATS
    sound = talk.audio(item["id"])
    spoken_s = np.count_nonzero(sound > TONE / 2) / 24_000
    assert spoken_s == pytest.approx(0.2 * len(said), abs=0.01)
    (truncated,) = talk.of_type("conversation.item.truncated")
    assert truncated["audio_end_ms"] == 390
    (retrieved,) = talk.of_type("conversation.item.retrieved")
    assert retrieved["item"]["content"][0]["transcript"] == "eleven eleven"
    assert talk.of_type("conversation.item.deleted")[0]["item_id"] == item["id"]
    (error,) = talk.of_type("error")
    assert (error["error"]["code"], error["error"]["event_id"]) == (
        "item_delete_invalid_item_id",
        "again",
    )


def test_the_agent_of_the_server_answers_without_functions(url: str, recording: Audio) -> None:
    async def converse() -> Talk:
        async with talking(url) as talk:
            await talk.send(np.concatenate([at_24_khz(recording), silence(1)]))
            await talk.until("response.done")
            for _ in range(100):  # the agent takes time of the clock, and is another process
                await talk.send(silence(0.2))
                try:
                    async with asyncio.timeout(0.1):
                        await talk.until(
                            "response.output_audio_transcript.delta",
                            lambda event: "eleven" in event["delta"],
                        )
                    break
                except TimeoutError:
                    continue
            response_id = talk.of_type("response.created")[-1]["response"]["id"]
            await talk.connection.response.cancel(response_id=response_id)
            await talk.until("response.done")
            await talk.connection.response.cancel(event_id="again")
            await talk.until("error")
            return talk

    talk = asyncio.run(converse())
    details = talk.of_type("response.done")[-1]["response"]["status_details"]
    assert details == {"type": "cancelled", "reason": "client_cancelled"}
    (error,) = talk.of_type("error")
    assert (error["error"]["code"], error["error"]["event_id"]) == (
        "response_cancel_not_active",
        "again",
    )
    assert not talk.of_type("response.function_call_arguments.done")
