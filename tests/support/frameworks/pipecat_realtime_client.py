"""A pipecat pipeline around Realtime: `python pipecat_realtime_client.py URL IN.raw`.

IN.raw is 16-bit mono PCM of 24 kHz. Prints one JSON object a line: `{"heard": text}`,
`{"said": text}`, `{"asked": text}` of the function, `{"interrupted": ""}` and `{"audio": base64}`.
"""

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

from pipecat.adapters.schemas.function_schema import FunctionSchema
from pipecat.adapters.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    LLMContextFrame,
    ProposedUserStartedSpeakingFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineTask
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.llm_service import FunctionCallParams
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService

RATE, PIECE, PIECE_S = 24_000, 4_800, 0.1  # bytes


def tell(**values: str) -> None:
    print(json.dumps(values), flush=True)


class Listener(FrameProcessor):
    """Tells what passes it on its way to the loudspeaker, or back to the microphone."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            tell(audio=base64.b64encode(frame.audio).decode())
        elif isinstance(frame, TranscriptionFrame):
            tell(heard=frame.text)
        elif isinstance(frame, TTSTextFrame):
            tell(said=frame.text)
        elif isinstance(frame, ErrorFrame):
            tell(error=frame.error)
        elif (
            isinstance(frame, ProposedUserStartedSpeakingFrame)
            and direction is FrameDirection.UPSTREAM
        ):
            tell(interrupted="")
        await self.push_frame(frame, direction)


async def look_up(params: FunctionCallParams) -> None:
    tell(asked=params.arguments["question"])
    await params.result_callback("eleven")


async def main(url: str, pcm: bytes) -> None:
    llm = OpenAIRealtimeLLMService(
        api_key="none", base_url=url.replace("http", "ws", 1) + "/realtime"
    )
    llm.register_function("look_up", look_up)
    question: dict[str, Any] = {"question": {"type": "string"}}
    schema = FunctionSchema("look_up", "Answers a question.", question, ["question"])
    context = LLMContext(tools=ToolsSchema([schema]))
    before, after = Listener(), Listener()
    task = PipelineTask(Pipeline([before, llm, after]), idle_timeout_secs=None)
    running = asyncio.create_task(PipelineRunner(handle_sigint=False).run(task))
    await task.queue_frame(LLMContextFrame(context))
    await asyncio.sleep(1)
    for start in range(0, len(pcm), PIECE):
        frame = InputAudioRawFrame(pcm[start : start + PIECE], sample_rate=RATE, num_channels=1)
        await task.queue_frame(frame)
        await asyncio.sleep(PIECE_S)
    await asyncio.sleep(1)
    await task.queue_frame(EndFrame())
    await running


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]).read_bytes()))
