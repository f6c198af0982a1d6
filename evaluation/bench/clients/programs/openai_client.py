"""The `openai` client: `python openai_client.py live|realtime|models URL`.

Like all programs of this folder it reads 16-bit mono PCM of 24 kHz, in real time, from its input,
and writes one JSON object a line: `{"connected": ""}` when it waits for sound, `{"heard": text}`,
`{"said": text}`, `{"asked": text}` where it is to do work, `{"interrupted": ""}`,
`{"audio": base64}` of 24 kHz PCM and `{"error": text}`. It ends when its input does.
"""

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

from openai import AsyncOpenAI

PIECE = 4_800  # bytes of 100 ms
ANSWER = "twelve"
LOOK_UP: Any = {
    "type": "function",
    "name": "look_up",
    "description": "Answers a question.",
    "parameters": {
        "type": "object",
        "properties": {"question": {"type": "string"}},
        "required": ["question"],
    },
}


def tell(**values: str) -> None:
    print(json.dumps(values), flush=True)


async def pieces() -> AsyncIterator[str]:
    while piece := await asyncio.to_thread(sys.stdin.buffer.read, PIECE):
        yield base64.b64encode(piece).decode()


async def talk_live(client: AsyncOpenAI) -> None:
    async with client.live.connect() as live:
        await live.session.start(session={"model": "gpt-live-1", "delegation": {"type": "client"}})

        async def send() -> None:
            async for piece in pieces():
                await live.session.input_audio.append(audio=piece)
            await live.session.close()

        async for event in live:
            if event.type == "session.started":
                tell(connected="")
                sending = asyncio.create_task(send())
            elif event.type == "session.output_audio.delta":
                tell(audio=event.delta)
            elif event.type == "session.input_transcript.delta":
                tell(heard=event.delta)
            elif event.type == "session.output_transcript.delta":
                tell(said=event.delta)
            elif event.type == "session.delegation.created":
                tell(asked="")
                name = event.delegation.id
                await live.session.commentary.append(content=ANSWER, delegation_id=name)
            elif event.type == "error":
                tell(error=event.error.message)
            elif event.type == "session.closed":
                break
        await sending


async def talk_realtime(client: AsyncOpenAI) -> None:
    async with client.realtime.connect(model="gpt-realtime") as realtime:
        await realtime.session.update(session={"type": "realtime", "tools": [LOOK_UP]})

        async def send() -> None:
            async for piece in pieces():
                await realtime.input_audio_buffer.append(audio=piece)
            await realtime.close()

        async for event in realtime:
            if event.type == "session.updated":
                tell(connected="")
                sending = asyncio.create_task(send())
            elif event.type == "response.output_audio.delta":
                tell(audio=event.delta)
            elif event.type == "conversation.item.input_audio_transcription.delta":
                tell(heard=event.delta or "")
            elif event.type == "response.output_audio_transcript.delta":
                tell(said=event.delta)
            elif event.type == "response.function_call_arguments.done":
                tell(asked=json.loads(event.arguments)["question"])
                await realtime.conversation.item.create(
                    item={
                        "type": "function_call_output",
                        "call_id": event.call_id,
                        "output": ANSWER,
                    }
                )
            elif event.type == "response.done" and event.response.status == "cancelled":
                tell(interrupted="")
            elif event.type == "error":
                tell(error=event.error.message)
        await sending


async def list_models(client: AsyncOpenAI) -> None:
    (model,) = [model async for model in client.models.list()]
    assert await client.models.retrieve(model.id) == model
    tell(connected="")


async def main(kind: str, url: str) -> None:
    talks = {"live": talk_live, "realtime": talk_realtime, "models": list_models}
    async with AsyncOpenAI(api_key="none", base_url=url, max_retries=0) as client:
        await talks[kind](client)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
