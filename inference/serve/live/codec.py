"""GPT-Live over a WebSocket: what a client of `client.live` says and hears.

The session of the engine begins with the connection; that of the protocol begins with
`session.start` and has an id that nobody can guess.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Final, assert_never

from microturn.inference.agent.cards import card_to_json
from microturn.inference.agent.delegation import CardEvent, DelegationEvent, ResultEvent
from microturn.inference.conversation import (
    ContextKind,
    ConversationEvent,
    UtteranceEndEvent,
    WordEvent,
)
from microturn.inference.serve.codec import (
    ClientMessage,
    Close,
    Codec,
    ContextText,
    DelegateToClient,
    EndKind,
    Instructions,
    Json,
    MicrophoneAudio,
    ServedModel,
    ServerMessage,
    WrongMessage,
)
from microturn.inference.serve.live.backend_events import BackendStream
from microturn.inference.serve.live.client_events import (
    AudioAppend,
    ForkStart,
    Mute,
    SessionClose,
    SessionStart,
    SessionUpdated,
    TextAppend,
    read_event,
    read_fork_event,
)
from microturn.inference.serve.live.notices import check_model, notices_of, update_notices
from microturn.inference.serve.live.server_events import CLOSE_REASONS, LiveWriter, Target
from microturn.inference.serve.live.session_config import (
    DEFAULT_RATE,
    AudioConfig,
    BackendSettings,
    ClientDelegation,
    ResponsesDelegation,
    ResponsesUpdate,
    SessionConfig,
)
from microturn.inference.serve.report import BecameTwin, ContextTaken, Done, MicroTurnReport
from microturn.inference.serve.wire.event_reader import EventError
from microturn.inference.serve.wire.sound import LoudspeakerSound, MicrophoneSound

PATH: Final = "/v1/live/sessions"
_USAGE_S: Final = 5.0  # between two reports of usage
_NEVER: Final = 2**31 - 1  # the last second that every reader of a Unix time can write


class LiveCodec:
    """The protocol of `/v1/live/sessions` on one connection."""

    def __init__(self, served: ServedModel) -> None:
        self._served, self._layout = served, served.layout
        self._events = LiveWriter()
        self._id = f"live_{secrets.token_urlsafe(16)}"
        self._config: SessionConfig | None = None  # None before session.start
        self._inherited: SessionConfig | None = None  # of the session that this is a twin of
        self._source: LiveCodec | None = None  # its codec, until both have the same past
        self._held: list[ServerMessage] = []  # answers before session.start
        self._delegation: ClientDelegation | ResponsesDelegation = ClientDelegation()
        self._expires_at = 0
        self._set_rate(DEFAULT_RATE)
        self._is_muted = False
        self._n_micro_turns = 0
        self._usage_micro_turn = self._layout.round_to_micro_turns(_USAGE_S)
        self._has_words = {"user": False, "agent": False}
        self._backends: dict[str, BackendStream] = {}
        self._warning = ""

    def _set_rate(self, rate: int) -> None:
        layout = self._layout
        self._microphone = MicrophoneSound(
            rate=rate,
            layout_rate=layout.sample_rate,
            samples_per_micro_turn=layout.samples_per_micro_turn,
        )
        self._loudspeaker = LoudspeakerSound(rate=rate, layout_rate=layout.sample_rate)

    # --- client to server ----------------------------------------------------------------------
    def subprotocol(self, offered: Sequence[str]) -> str | None:
        return None

    def decode(self, data: str | bytes) -> Iterator[ClientMessage | ServerMessage]:
        event = read_event(data) if self._inherited is None else read_fork_event(data)
        if isinstance(event, SessionStart | ForkStart):
            if self._config is not None:
                sentence = "the session has started already; open another connection"
                raise EventError(
                    "session_already_started", sentence, param="type", event_id=event.event_id
                )
            if isinstance(event, SessionStart):
                yield from self._start(event)
            else:
                yield from self._start_twin(event)
            return
        if self._config is None:
            sentence = f"{event.type} came before session.start; send that first"
            raise EventError("session_not_started", sentence, param="type", event_id=event.event_id)
        match event:
            case AudioAppend():
                yield from self._hear(event)
            case Mute():
                self._is_muted = event.type == "session.input_audio.mute"
                done = "session.input_audio." + ("muted" if self._is_muted else "unmuted")
                yield self._events.write(done, client_event_id=event.event_id)
            case TextAppend():
                yield self._context(event)
            case SessionUpdated():
                yield from self._update(event)
            case SessionClose():
                yield Close()
            case _:
                assert_never(event)

    def _start(self, event: SessionStart) -> Iterator[ClientMessage | ServerMessage]:
        """Begin the session; it has not begun until the engine took everything before the end."""
        config, event_id = event.session, event.event_id
        check_model(config.model, own=self._served.name, event_id=event_id)
        notices = notices_of(config, model=self._served.name)
        if self._warning:
            notices.append(("slow_machine", self._warning))
        if not isinstance(config.delegation, ResponsesDelegation):
            yield DelegateToClient()
        if config.instructions and config.instructions.strip():
            yield Instructions(
                text=config.instructions,
                on_refusal=lambda why: notices.append(("instructions_not_read", why)),
            )
        self._config = config
        self._delegation = config.delegation or self._delegation
        self._expires_at = self._expiry()
        self._set_rate(config.rate)
        started = "session.started"
        yield self._events.write(started, client_event_id=event_id, session=self._resource())
        for code, message in notices:
            yield self._events.info(code, message, client_event_id=event_id)

    def _start_twin(self, event: ForkStart) -> Iterator[ServerMessage]:
        """Begin the session of a twin, as the other one but for what the client gives."""
        given, config = event.session, self._inherited
        assert config is not None
        change = given.delegation
        if change is not None:
            self._change_delegation(change, event_id=event.event_id)
        form = given.audio.format if given.audio else None
        if form is not None and form.rate != config.rate:
            self._set_rate(form.rate)
            output = config.audio.output if config.audio else None
            audio = AudioConfig(format=form, output=output)
            config = config.model_copy(update={"audio": audio})
        if given.store is not None:
            config = config.model_copy(update={"store": given.store})
        self._config, self._expires_at = config, self._expiry()
        notices = update_notices(change) if change is not None else []
        if self._warning:
            notices.append(("slow_machine", self._warning))
        yield self._events.write(
            "session.started", client_event_id=event.event_id, session=self._resource()
        )
        for code, message in notices:
            yield self._events.info(code, message, client_event_id=event.event_id)
        yield from self._held
        self._held = []

    def _expiry(self) -> int:
        longest_s = self._served.longest_s
        return int(time.time() + longest_s) if longest_s else _NEVER

    def _hear(self, event: AudioAppend) -> Iterator[MicrophoneAudio]:
        try:
            data = base64.b64decode(event.audio, validate=True)
            pieces = self._microphone.push(data, muted=self._is_muted)
        except (binascii.Error, ValueError) as error:
            sentence = f"{event.type}: audio is not base64 of 16-bit PCM ({error})"
            raise EventError(
                "invalid_audio", sentence, param="audio", event_id=event.event_id
            ) from error
        for piece in pieces:
            yield MicrophoneAudio(audio=piece)

    def _context(self, event: TextAppend) -> ContextText:
        if event.delegation_id is not None and self._target == "responses":
            sentence = (
                "the agent of this server owns the delegations; send null, or use type client"
            )
            raise EventError(
                "invalid_value", sentence, param="delegation_id", event_id=event.event_id
            )
        return ContextText(
            kind=_CONTEXT_KINDS[event.type],
            text=event.content,
            delegation_id=event.delegation_id,
            event_id=event.event_id,
        )

    def _update(self, event: SessionUpdated) -> Iterator[ServerMessage]:
        change = event.session.delegation
        if change is not None:
            self._change_delegation(change, event_id=event.event_id)
        yield self._events.write(
            "session.updated", client_event_id=event.event_id, session=self._resource()
        )
        for code, message in update_notices(change) if change is not None else ():
            yield self._events.info(code, message, client_event_id=event.event_id)

    def _change_delegation(
        self, change: ClientDelegation | ResponsesUpdate, *, event_id: str | None
    ) -> None:
        if change.type != self._delegation.type:
            raise EventError(
                "immutable",
                f"delegation is {self._delegation.type} and cannot become {change.type}",
                param="session.delegation.type",
                event_id=event_id,
            )
        given = change.model_dump(exclude_none=True, exclude={"responses"})
        if isinstance(change, ResponsesUpdate) and isinstance(
            self._delegation, ResponsesDelegation
        ):
            settings = change.responses or BackendSettings()
            new = settings.model_dump(exclude_none=True)
            given["responses"] = self._delegation.responses.model_copy(update=new)
        self._delegation = self._delegation.model_copy(update=given)

    # --- server to client ----------------------------------------------------------------------
    def greeting(self, session: str, *, warning: str) -> list[ServerMessage]:
        self._warning = warning
        return []  # the client speaks first

    def encode_report(self, report: MicroTurnReport, *, dropped_output: int) -> list[ServerMessage]:
        self._n_micro_turns = report.micro_turn + 1
        messages = [self._events.audio(self._loudspeaker.push(report.output.audio))]
        for event in report.events:
            messages += self._event(event)
        messages += self._losses(report)
        if self._n_micro_turns % self._usage_micro_turn == 0:
            messages.append(self._events.write("session.usage.updated", usage=self._usage()))
        if self._config is None:  # a twin that answers what the other one has heard already
            self._held += messages
            return []
        return messages

    def encode_dropped_output(
        self, micro_turns: Sequence[int], *, n_dropped: int
    ) -> list[ServerMessage]:
        spans = ", ".join(self._span(at, at + 1) for at in micro_turns)
        sentence = f"the answer at {spans} was dropped: the client reads too slowly"
        return [self._events.info("output_dropped", sentence)]

    @property
    def token(self) -> str:
        return self._id if self._config else ""

    def welcome_back(self, *, n_read: int, n_lost: int) -> list[ServerMessage]:
        state = {"input_samples": self._microphone.n_samples, "lost_events": n_lost}
        return [self._events.info("resumed", json.dumps(state))]

    def become_twin(self, other: Codec) -> None:
        assert isinstance(other, LiveCodec)
        assert other._config is not None
        self._source, self._inherited, self._delegation = other, other._config, other._delegation
        self._set_rate(other._config.rate)
        self._microphone, self._is_muted = deepcopy(other._microphone), other._is_muted

    def encode_done(self, done: Done) -> list[ServerMessage]:
        if isinstance(done, BecameTwin) and self._source is not None:
            source, self._source = self._source, None
            if self._loudspeaker.rate == source._loudspeaker.rate:
                self._loudspeaker = deepcopy(source._loudspeaker)
            self._has_words, self._backends = dict(source._has_words), deepcopy(source._backends)
        if not isinstance(done, ContextTaken):
            return []  # this protocol asks for nothing else
        at_ms = self._ms(done.micro_turn)
        kind = f"session.{done.kind}.appended"
        return [
            self._events.write(kind, client_event_id=done.event_id, start_ms=at_ms, end_ms=at_ms)
        ]

    def encode_error(self, error: WrongMessage) -> list[ServerMessage]:
        if not isinstance(error, EventError):
            error = EventError("invalid_request", str(error), event_id=error.event_id)
        return [self._events.error(error)]

    def farewell(self, reason: str, *, kind: EndKind) -> list[ServerMessage]:
        if self._config is None:
            return []
        closed = self._events.write(
            "session.closed",
            reason=CLOSE_REASONS[kind],
            session=self._resource(),
            usage=self._usage(),
        )
        return [closed]

    def _event(self, event: ConversationEvent) -> Iterator[ServerMessage]:
        match event:
            case WordEvent(word=word):
                # A heard word ended by its boundary, a word of the agent begins there.
                end = word.micro_turn + (word.side == "agent")
                space = " " if self._has_words[word.side] else ""
                self._has_words[word.side] = True
                yield self._events.write(
                    f"session.{'input' if word.side == 'user' else 'output'}_transcript.delta",
                    delta=space + word.text,
                    start_ms=self._ms(end - 1),
                    end_ms=self._ms(end),
                )
            case DelegationEvent():
                yield from self._delegation_step(event)
            case CardEvent(card=card):
                yield self._events.info("card", json.dumps(card_to_json(card)))
            case ResultEvent() | UtteranceEndEvent():
                return  # the protocol has no event for what the model reads, nor for turns

    def _delegation_step(self, event: DelegationEvent) -> Iterator[ServerMessage]:
        step, name = event.event, event.event.delegation_id
        if step.status == "accepted":
            yield self._events.delegation(
                name, target=self._target, offset_ms=self._ms(event.micro_turn)
            )
        if self._target == "responses":
            stream = self._backends.setdefault(name, BackendStream(name, model=self._served.name))
            for nested in stream.events(step):
                yield self._events.write("response.event", event=nested, delegation_id=name)
        elif step.status in ("failed", "cancelled"):
            yield self._events.info(f"delegation_{step.status}", f"delegation {name}: {step.text}")

    def _losses(self, report: MicroTurnReport) -> Iterator[ServerMessage]:
        """Tell of dropped micro-turns before this one, and of its own missing input."""
        at = report.micro_turn
        if report.n_passed:
            span = self._span(at - report.n_passed, at)
            yield self._events.info("input_dropped", f"{span} got no answer: too much audio waited")
        if report.is_missing:
            span = self._span(at, at + 1)
            yield self._events.info("input_missing", f"{span} went on without their audio")

    def _span(self, start: int, end: int) -> str:
        return f"{self._ms(start)} to {self._ms(end)} ms"

    # --- parts of events -----------------------------------------------------------------------
    @property
    def _target(self) -> Target:
        return self._delegation.type

    def _ms(self, n_micro_turns: int) -> int:
        return n_micro_turns * self._layout.micro_turn_ms

    def _usage(self) -> Json:
        return {"seconds": self._ms(self._n_micro_turns) // 1000}

    def _resource(self) -> Json:
        """Write the session as it is, the server's own choices included."""
        config = self._config
        assert config is not None
        return {
            "id": self._id,
            "expires_at": self._expires_at,
            "model": self._served.name,
            "status": "active",
            "audio": {"format": {"type": "audio/pcm", "rate": config.rate}},
            "delegation": self._delegation.model_dump(exclude_none=True),
            "store": bool(config.store),
            **config.model_dump(
                exclude_none=True, include={"instructions", "safety_identifier", "input"}
            ),
        }


_CONTEXT_KINDS: Final[dict[str, ContextKind]] = {
    "session.instructions.append": "instructions",
    "session.thinking.append": "thinking",
    "session.commentary.append": "commentary",
}
