"""What a client may ask for in `session.start`: strict, so that nothing is taken and then ignored.

The fields are those of GPT-Live; one that this server does not have is no field here, and pydantic
names it.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from microturn.inference.serve.wire.event_reader import Strict

MAX_HISTORY: Final = 128  # messages
MAX_INSTRUCTIONS: Final = 65_536  # characters
DEFAULT_RATE: Final = 24_000

# Settings of a Responses backend that our own agent does not have; the client is told so.
UNUSED_BACKEND_SETTINGS: Final = (
    "max_output_tokens",
    "parallel_tool_calls",
    "reasoning",
    "service_tier",
    "text",
    "tool_choice",
    "tools",
)


class PcmFormat(Strict):
    """Raw mono 16-bit little-endian PCM."""

    type: Literal["audio/pcm"]
    rate: Literal[16_000, 24_000]


class CustomVoice(Strict):
    id: str


class AudioOutput(Strict):
    voice: str | CustomVoice | None = None


class AudioConfig(Strict):
    format: PcmFormat | None = None
    output: AudioOutput | None = None

    @property
    def voice(self) -> str | None:
        voice = self.output.voice if self.output else None
        return voice.id if isinstance(voice, CustomVoice) else voice


class BackendSettings(Strict):
    """The settings of a Responses backend, all of them optional."""

    model: str | None = None
    instructions: Annotated[str, Field(max_length=MAX_INSTRUCTIONS)] | None = None
    max_output_tokens: int | None = None
    parallel_tool_calls: bool | None = None
    reasoning: dict[str, Any] | None = None
    service_tier: str | None = None
    text: dict[str, Any] | None = None
    tool_choice: str | dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None

    def unused(self) -> list[str]:
        """Name the settings that were given and have no effect here."""
        return [name for name in UNUSED_BACKEND_SETTINGS if getattr(self, name)]


class ResponsesBackend(BackendSettings):
    """A Responses backend from the start: it has a model."""

    model: str


class ClientDelegation(Strict):
    """The client's own program answers what the model delegates."""

    type: Literal["client"] = "client"
    acknowledgement_delay_ms: Annotated[int, Field(ge=0)] | None = None


class ResponsesDelegation(Strict):
    """The agent of this server answers."""

    type: Literal["responses"]
    responses: ResponsesBackend
    acknowledgement_delay_ms: Annotated[int, Field(ge=0)] | None = None


class ResponsesUpdate(Strict):
    type: Literal["responses"]
    responses: BackendSettings | None = None
    acknowledgement_delay_ms: Annotated[int, Field(ge=0)] | None = None


Delegation = Annotated[ClientDelegation | ResponsesDelegation, Field(discriminator="type")]
DelegationUpdate = Annotated[ClientDelegation | ResponsesUpdate, Field(discriminator="type")]


class TextPart(Strict):
    type: Literal["input_text", "output_text", "text"] | None = None
    text: str


class HistoryMessage(Strict):
    """A message from before the session."""

    role: Literal["developer", "user", "assistant"]
    content: Annotated[list[TextPart], Field(min_length=1, max_length=1)]
    type: Literal["message"] | None = None
    id: str | None = None
    status: Literal["incomplete", "completed"] | None = None


class SessionConfig(Strict):
    """`session` of `session.start`."""

    model: str
    audio: AudioConfig | None = None
    delegation: Delegation | None = None
    input: Annotated[list[HistoryMessage], Field(max_length=MAX_HISTORY)] | None = None
    instructions: Annotated[str, Field(max_length=MAX_INSTRUCTIONS)] | None = None
    safety_identifier: str | None = None
    store: bool | None = None
    triggers: Annotated[list[Any], Field(max_length=0)] | None = None

    @property
    def rate(self) -> int:
        """Sample rate of the client, both ways."""
        chosen = self.audio.format if self.audio else None
        return chosen.rate if chosen else DEFAULT_RATE


class ForkAudio(Strict):
    format: PcmFormat | None = None


class ForkConfig(Strict):
    """`session` of `session.start` of a fork: what shall differ from the session that it forks."""

    audio: ForkAudio | None = None
    delegation: ResponsesUpdate | None = None
    store: bool | None = None


class SessionUpdate(Strict):
    """`session` of `session.update`."""

    delegation: DelegationUpdate | None = None
    triggers: Annotated[list[Any], Field(max_length=0)] | None = None
