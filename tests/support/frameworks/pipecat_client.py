"""A pipecat pipeline around OpenAILiveLLMService: `python pipecat_client.py URL IN.raw`.

IN.raw is 16-bit mono PCM of 16 kHz. Prints one JSON object a line: `{"heard": text}`,
`{"said": text}` and `{"audio": base64}` of 24 kHz PCM.
"""

import asyncio
import base64
import json
import sys
from pathlib import Path

from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    LLMContextFrame,
    OutputAudioRawFrame,
    TranscriptionFrame,
    TTSTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineTask
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.live.llm import OpenAILiveLLMService
from pipecat.services.openai.responses.llm import OpenAIResponsesLLMService

RATE, PIECE = 16_000, 3_200  # bytes of 100 ms


def tell(**values: str) -> None:
    print(json.dumps(values), flush=True)


class Listener(FrameProcessor):
    """Tells what passes it on its way to the loudspeaker, or back to the microphone."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, OutputAudioRawFrame):
            tell(audio=base64.b64encode(frame.audio).decode())
        elif isinstance(frame, TranscriptionFrame):
            tell(heard=frame.text)
        elif isinstance(frame, TTSTextFrame):
            tell(said=frame.text)
        elif isinstance(frame, ErrorFrame):
            tell(error=frame.error)
        await self.push_frame(frame, direction)


async def main(url: str, pcm: bytes) -> None:
    llm = OpenAILiveLLMService(
        api_key="none",
        base_url=url.replace("http", "ws", 1) + "/live/sessions",
        settings=OpenAILiveLLMService.Settings(voice="marin", system_instruction="You are kind."),
        delegation=OpenAILiveLLMService.ResponsesDelegation(
            settings=OpenAIResponsesLLMService.Settings(model="gpt-5.6-luna")
        ),
    )
    started = asyncio.Event()

    @llm.event_handler("on_session_started")
    async def begin(*_: object) -> None:
        started.set()

    task = PipelineTask(Pipeline([Listener(), llm, Listener()]), idle_timeout_secs=None)
    running = asyncio.create_task(PipelineRunner(handle_sigint=False).run(task))
    await task.queue_frame(LLMContextFrame(LLMContext()))
    await started.wait()
    for start in range(0, len(pcm), PIECE):
        frame = InputAudioRawFrame(pcm[start : start + PIECE], sample_rate=RATE, num_channels=1)
        await task.queue_frame(frame)
        await asyncio.sleep(0.1)  # as a microphone does
    await asyncio.sleep(1)
    await task.queue_frame(EndFrame())
    await running


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]).read_bytes()))
