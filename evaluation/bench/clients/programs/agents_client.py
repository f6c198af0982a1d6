"""A session of openai-agents: `python agents_client.py URL`; see openai_client.py."""

import asyncio
import base64
import json
import sys

from agents import function_tool, set_tracing_disabled
from agents.realtime import RealtimeAgent, RealtimeRunner
from agents.realtime.session import RealtimeSession

PIECE = 4_800  # bytes of 100 ms


def tell(**values: str) -> None:
    print(json.dumps(values), flush=True)


@function_tool
def look_up(question: str) -> str:
    """Answer a question."""
    tell(asked=question)
    return "twelve"


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


async def main(url: str) -> None:
    set_tracing_disabled(True)
    agent = RealtimeAgent(name="Kind", instructions="You are kind.", tools=[look_up])
    address = url.replace("http", "ws", 1) + "/realtime?model=gpt-realtime"
    runner = RealtimeRunner(agent)
    async with await runner.run(model_config={"url": address, "api_key": "none"}) as session:
        listening = asyncio.create_task(listen(session))
        tell(connected="")
        while piece := await asyncio.to_thread(sys.stdin.buffer.read, PIECE):
            await session.send_audio(piece)
        listening.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
