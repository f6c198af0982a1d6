"""What a client may ask for in `session.update`: strict, so that nothing is taken and then ignored.

The fields are those of Realtime; one that this server does not have is no field here, and pydantic
names it. What clients send unasked is taken, and `session.updated` says what holds.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, field_validator

from microturn.inference.serve.codec import Json
from microturn.inference.serve.wire.event_reader import EventError, Strict

RATE: Final = 24_000  # the protocol's only one of PCM
MAX_INSTRUCTIONS: Final = 65_536  # characters
_MAX_TOOLS: Final = 128


class RealtimePcm(Strict):
    """Raw mono 16-bit little-endian PCM."""

    type: Literal["audio/pcm"]
    rate: Literal[24_000] | None = None


class Transcription(Strict):
    model: str | None = None
    language: str | None = None
    prompt: str | None = None


class ServerVad(Strict):
    type: Literal["server_vad"]
    threshold: float | None = None
    prefix_padding_ms: int | None = None
    silence_duration_ms: int | None = None
    create_response: Literal[True] | None = None
    interrupt_response: Literal[True] | None = None


class SemanticVad(Strict):
    type: Literal["semantic_vad"]
    eagerness: Literal["low", "medium", "high", "auto"] | None = None
    create_response: Literal[True] | None = None
    interrupt_response: Literal[True] | None = None


_TurnDetection = Annotated[ServerVad | SemanticVad, Field(discriminator="type")]


class AudioInput(Strict):
    format: RealtimePcm | None = None
    transcription: Transcription | None = None
    noise_reduction: None = None
    turn_detection: _TurnDetection = SemanticVad(type="semantic_vad")

    @field_validator("turn_detection", mode="before")
    @classmethod
    def _refuse_none(cls, value: object) -> object:
        if value is None:
            raise ValueError("the model takes turns itself and cannot leave them to the client")
        return value


class VoiceId(Strict):
    id: str


class RealtimeOutput(Strict):
    format: RealtimePcm | None = None
    voice: str | VoiceId | None = None
    speed: Annotated[float, Field(ge=1, le=1)] | None = None


class RealtimeAudio(Strict):
    input: AudioInput | None = None
    output: RealtimeOutput | None = None


class FunctionTool(Strict):
    """A function of the client."""

    type: Literal["function"]
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None

    def argument(self) -> str | None:
        """Name the parameter that takes the user's words, None without parameters.

        Raises ValueError where it takes anything else.
        """
        schema = self.parameters or {}
        found = schema.get("properties")
        properties: dict[str, Any] = found if isinstance(found, dict) else {}
        required = schema.get("required") or (list(properties) if len(properties) == 1 else [])
        if not required:
            return None
        name = required[0] if isinstance(required, list) and len(required) == 1 else ""
        declared = properties.get(name)
        if not isinstance(declared, dict) or declared.get("type", "string") != "string":
            raise ValueError(
                f"the model hands over the user's words and nothing else: function "
                f"{self.name[:80]!r} has to require one string, or nothing"
            )
        return str(name)


class ChosenFunction(Strict):
    type: Literal["function"]
    name: str


class RealtimeSession(Strict):
    """`session` of `session.update`."""

    type: Literal["realtime"]
    model: str | None = None
    audio: RealtimeAudio | None = None
    instructions: Annotated[str, Field(max_length=MAX_INSTRUCTIONS)] | None = None
    output_modalities: Annotated[list[Literal["audio"]], Field(max_length=1)] | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=_MAX_TOOLS)] | None = None
    tool_choice: Literal["auto"] | ChosenFunction | None = None
    max_output_tokens: Literal["inf"] | None = None
    tracing: Literal["auto"] | dict[str, Any] | None = None
    include: Annotated[list[str], Field(max_length=0)] | None = None


def choose_function(tools: list[FunctionTool], chosen: ChosenFunction | None) -> FunctionTool:
    """Return the function that delegations call; raises EventError where that is not one."""
    names = [tool.name for tool in tools]
    if chosen is not None and chosen.name not in names:
        raise EventError(
            "invalid_value",
            f"tool_choice names {chosen.name[:80]!r}, which is none of session.tools",
            param="session.tool_choice.name",
        )
    if chosen is None and len(tools) > 1:
        raise EventError(
            "unsupported_value",
            "the model delegates without naming a function: give one function, or name the one "
            "to call in tool_choice",
            param="session.tools",
        )
    tool = next(tool for tool in tools if chosen is None or tool.name == chosen.name)
    try:
        tool.argument()
    except ValueError as error:
        raise EventError("unsupported_value", str(error), param="session.tools") from error
    return tool


def describe_session(
    name: str, *, model: str, instructions: str, tools: list[FunctionTool], chosen: str | None
) -> Json:
    """Write the session as it is, which says what of the client's wishes does not hold."""
    pcm: Json = {"type": "audio/pcm", "rate": RATE}
    turns: Json = {"type": "semantic_vad", "create_response": True, "interrupt_response": True}
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": name,
        "model": model,
        "output_modalities": ["audio"],
        "instructions": instructions,
        "tools": [tool.model_dump(exclude_none=True) for tool in tools],
        "tool_choice": {"type": "function", "name": chosen} if chosen else "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "audio": {
            "input": {
                "format": pcm,
                "transcription": {"model": model},
                "noise_reduction": None,
                "turn_detection": turns,
            },
            "output": {"format": pcm, "voice": model, "speed": 1.0},
        },
    }
