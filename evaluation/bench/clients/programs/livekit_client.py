"""LiveKit's AgentSession: `python livekit_client.py live|realtime URL`; see openai_client.py."""

import asyncio
import base64
import json
import sys
import time

from livekit import rtc
from livekit.agents import Agent, AgentSession, function_tool, utils
from livekit.agents.voice import io
from livekit.plugins.openai.realtime import GPTLiveModel, RealtimeModel

RATE, PIECE = 24_000, 4_800  # bytes of 100 ms


def tell(**values: str) -> None:
    print(json.dumps(values), flush=True)


class PipedMicrophone(io.AudioInput):
    """Sound from the input of this program."""

    def __init__(self) -> None:
        super().__init__(label="input")
        self.is_over = asyncio.Event()

    async def __anext__(self) -> rtc.AudioFrame:
        piece = await asyncio.to_thread(sys.stdin.buffer.read, PIECE)
        if not piece:
            self.is_over.set()
            raise StopAsyncIteration
        return rtc.AudioFrame(piece, RATE, 1, len(piece) // 2)


class PipedLoudspeaker(io.AudioOutput):
    """Tells what it is given, and plays it in no time."""

    def __init__(self) -> None:
        capabilities = io.AudioOutputCapabilities(pause=False)
        super().__init__(label="output", capabilities=capabilities, sample_rate=RATE)
        self.played_s = 0.0

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if not self.played_s:
            self.on_playback_started(created_at=time.time())
        self.played_s += frame.duration
        tell(audio=base64.b64encode(bytes(frame.data)).decode())

    def finish(self, *, interrupted: bool) -> None:
        played_s, self.played_s = self.played_s, 0.0
        if played_s:
            self.on_playback_finished(playback_position=played_s, interrupted=interrupted)

    def flush(self) -> None:
        super().flush()
        self.finish(interrupted=False)

    def clear_buffer(self) -> None:
        tell(interrupted="")
        self.finish(interrupted=True)


class PipedTranscript(io.TextOutput):
    """Tells the words of the agent."""

    def __init__(self) -> None:
        super().__init__(label="transcript", next_in_chain=None)

    async def capture_text(self, text: str) -> None:
        tell(said=text)

    def flush(self) -> None:
        pass


@function_tool
async def look_up(question: str) -> str:
    """Answer a question."""
    tell(asked=question)
    return "twelve"


async def main(kind: str, url: str) -> None:
    # The tool of GPT-Live would be called by the backend model, which is the server's agent here.
    make = GPTLiveModel if kind == "live" else RealtimeModel
    async with utils.http_context.open():
        session = AgentSession(llm=make(base_url=url, api_key="none"))
        microphone = PipedMicrophone()
        session.input.audio = microphone
        session.output.audio = PipedLoudspeaker()
        session.output.transcription = PipedTranscript()
        session.on("error", lambda event: tell(error=str(event.error)))
        session.on(
            "user_input_transcribed",
            lambda event: tell(heard=event.transcript) if event.is_final else None,
        )
        await session.start(Agent(instructions="You are kind.", tools=[look_up]))
        tell(connected="")
        await microphone.is_over.wait()
        await session.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
