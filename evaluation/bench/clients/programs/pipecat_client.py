"""A pipecat pipeline: `python pipecat_client.py live|realtime URL`; see openai_client.py."""

import asyncio
import base64
import json
import sys
from typing import Any

from pipecat.adapters.schemas.function_schema import FunctionSchema
from pipecat.adapters.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    LLMContextFrame,
    OutputAudioRawFrame,
    ProposedUserStartedSpeakingFrame,
    TranscriptionFrame,
    TTSTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineTask
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.llm_service import FunctionCallParams
from pipecat.services.openai.live.llm import OpenAILiveLLMService
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.services.openai.responses.llm import OpenAIResponsesLLMService

RATE, PIECE = 24_000, 4_800  # bytes of 100 ms


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
        elif isinstance(frame, ProposedUserStartedSpeakingFrame) and (
            direction is FrameDirection.UPSTREAM
        ):
            tell(interrupted="")
        await self.push_frame(frame, direction)


async def look_up(params: FunctionCallParams) -> None:
    tell(asked=params.arguments["question"])
    await params.result_callback("twelve")


def live_service(url: str) -> OpenAILiveLLMService:
    """The service whose delegations the server's own agent answers."""
    return OpenAILiveLLMService(
        api_key="none",
        base_url=url + "/live/sessions",
        settings=OpenAILiveLLMService.Settings(voice="marin", system_instruction="You are kind."),
        delegation=OpenAILiveLLMService.ResponsesDelegation(
            settings=OpenAIResponsesLLMService.Settings(model="gpt-5.6-luna")
        ),
    )


def realtime_service(url: str) -> tuple[OpenAIRealtimeLLMService, LLMContext]:
    llm = OpenAIRealtimeLLMService(api_key="none", base_url=url + "/realtime")
    llm.register_function("look_up", look_up)
    question: dict[str, Any] = {"question": {"type": "string"}}
    schema = FunctionSchema("look_up", "Answers a question.", question, ["question"])
    return llm, LLMContext(tools=ToolsSchema([schema]))


async def main(kind: str, url: str) -> None:
    url = url.replace("http", "ws", 1)
    llm, context = (live_service(url), LLMContext()) if kind == "live" else realtime_service(url)
    before, after = Listener(), Listener()
    task = PipelineTask(Pipeline([before, llm, after]), idle_timeout_secs=None)
    running = asyncio.create_task(PipelineRunner(handle_sigint=False).run(task))
    await task.queue_frame(LLMContextFrame(context))
    await asyncio.sleep(1)  # its connection is its own
    tell(connected="")
    while piece := await asyncio.to_thread(sys.stdin.buffer.read, PIECE):
        frame = InputAudioRawFrame(piece, sample_rate=RATE, num_channels=1)
        await task.queue_frame(frame)
    await task.queue_frame(EndFrame())
    await running


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
