"""`lk agent console` for an agent of LiveKit: `python livekit_console.py FILE`.

Runs the agent of a file as that program does, with this program's input in place of the microphone.
Input and output are those of the clients of `microturn bench clients`.
"""

import asyncio
import base64
import json
import struct
import sys

import numpy as np
from livekit.protocol.agent_pb import agent_session

RATE, PIECE = 48_000, 4_800  # of the console; bytes of 100 ms at 24 kHz
Message = agent_session.AgentSessionMessage
IO = Message.ConsoleIO


def tell(**values: str) -> None:
    print(json.dumps(values), flush=True)


def send(writer: asyncio.StreamWriter, message: Message) -> None:
    data = message.SerializeToString()
    writer.write(struct.pack(">I", len(data)) + data)


async def speak(writer: asyncio.StreamWriter) -> None:
    while piece := await asyncio.to_thread(sys.stdin.buffer.read, PIECE):
        samples = np.frombuffer(piece, np.int16).repeat(RATE // 24_000)
        frame = IO.AudioFrame(
            data=samples.tobytes(),
            sample_rate=RATE,
            num_channels=1,
            samples_per_channel=len(samples),
        )
        send(writer, Message(audio_input=frame))


async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Tell what comes until the input is over."""
    speaking: asyncio.Task[None] | None = None
    while speaking is None or not speaking.done():
        (size,) = struct.unpack(">I", await reader.readexactly(4))
        message = Message.FromString(await reader.readexactly(size))
        kind = message.WhichOneof("message")
        if kind == "audio_output":
            tell(audio=base64.b64encode(message.audio_output.data).decode())
        elif kind == "audio_playback_clear":
            tell(interrupted="")
        elif kind == "audio_playback_flush":
            send(writer, Message(audio_playback_finished=IO.AudioPlaybackFinished()))
        elif kind == "event":
            tell_event(message.event)
            if speaking is None and message.event.HasField("agent_state_changed"):
                tell(connected="")
                speaking = asyncio.create_task(speak(writer))


def tell_event(event: agent_session.AgentSessionEvent) -> None:
    heard, added = event.user_input_transcribed, event.conversation_item_added
    if heard.is_final:
        tell(heard=heard.transcript)
    if added.item.message.role == agent_session.ASSISTANT:
        tell(said="".join(part.text for part in added.item.message.content))
    if event.error.message:
        tell(error=event.error.message)


async def main(file: str) -> None:
    connected: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Future()

    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set_result((reader, writer))

    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        words = ["-m", "livekit.agents", "console", file, "--connect-addr", f"{host}:{port}"]
        agent = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=sys.stderr)
        try:
            await listen(*await connected)
        finally:
            agent.kill()
            await agent.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
