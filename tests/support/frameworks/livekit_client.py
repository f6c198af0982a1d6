"""A session of LiveKit's GPTLiveModel, with a tool: `python livekit_client.py URL IN.raw`.

IN.raw is 16-bit mono PCM of 16 kHz. Prints one JSON object a line: `{"heard": text}`,
`{"said": text}` and `{"audio": base64}` of 24 kHz PCM.
"""

import asyncio
import base64
import json
import sys
from pathlib import Path

from livekit import rtc
from livekit.agents import llm
from livekit.plugins.openai.realtime import GPTLiveModel

RATE, PIECE = 16_000, 3_200  # bytes of 100 ms


def tell(**values: str) -> None:
    print(json.dumps(values), flush=True)


@llm.function_tool
async def weather(place: str) -> str:
    """Look up the weather."""
    return f"sunny in {place}"


async def main(url: str, pcm: bytes) -> None:
    model = GPTLiveModel(base_url=url, api_key="none")
    session = model.session()

    async def listen() -> None:
        async for piece in session.audio_stream:
            tell(audio=base64.b64encode(bytes(piece.frame.data)).decode())

    session.on("transcript_delta", lambda event: tell(said=event.text))
    session.on("error", lambda event: tell(error=str(event.error)))
    session.on(
        "input_audio_transcription_completed",
        lambda event: tell(heard=event.transcript) if event.is_final else None,
    )
    # What AgentSession does with an Agent of these instructions and this tool.
    await session._update_session(
        instructions="You are kind.", chat_ctx=llm.ChatContext(), tools=[weather]
    )
    listening = asyncio.create_task(listen())
    for start in range(0, len(pcm), PIECE):
        data = pcm[start : start + PIECE]
        await asyncio.sleep(0.1)  # as a microphone does
        session.push_audio(rtc.AudioFrame(data, RATE, 1, len(data) // 2))
    await asyncio.sleep(1)
    await session.aclose()
    listening.cancel()
    await model.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]).read_bytes()))
