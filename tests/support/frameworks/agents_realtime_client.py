"""A session of openai-agents: `python agents_client.py URL IN.raw`.

IN.raw is 16-bit mono PCM of 24 kHz. Prints one JSON object a line: `{"heard": text}`,
`{"said": text}`, `{"asked": text}` of the tool, `{"interrupted": ""}` and `{"audio": base64}`.
"""

import asyncio
import base64
import json
import sys
from pathlib import Path

from agents import function_tool, set_tracing_disabled
from agents.realtime import RealtimeAgent, RealtimeRunner
from agents.realtime.session import RealtimeSession

PIECE, PIECE_S = 4_800, 0.1  # bytes


def tell(**values: str) -> None:
    print(json.dumps(values), flush=True)


@function_tool
def look_up(question: str) -> str:
    """Answer a question."""
    tell(asked=question)
    return "eleven"


async def listen(session: RealtimeSession) -> None:
    async for event in session:
        if event.type == "audio":
            tell(audio=base64.b64encode(event.audio.data).decode())
        elif event.type == "audio_interrupted":
            tell(interrupted="")
        elif event.type == "error":
            tell(error=str(event.error))
        elif event.type == "raw_model_event":
            raw = event.data
            if raw.type == "input_audio_transcription_completed":
                tell(heard=raw.transcript)
            elif raw.type == "transcript_delta":
                tell(said=raw.delta)


async def main(url: str, pcm: bytes) -> None:
    set_tracing_disabled(True)
    agent = RealtimeAgent(name="Kind", instructions="You are kind.", tools=[look_up])
    address = url.replace("http", "ws", 1) + "/realtime?model=gpt-realtime"
    runner = RealtimeRunner(agent)
    async with await runner.run(model_config={"url": address, "api_key": "none"}) as session:
        listening = asyncio.create_task(listen(session))
        started = asyncio.get_running_loop().time()
        for index, start in enumerate(range(0, len(pcm), PIECE)):
            await session.send_audio(pcm[start : start + PIECE])
            due = started + (index + 1) * PIECE_S
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
        await asyncio.sleep(1)
        listening.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]).read_bytes()))
