"""Realtime over a WebSocket: what a client of `client.realtime` says and hears.

The protocol has turns, responses and items, the model has none of them. They are made here: a
response is open while the model speaks, an item of the user while words are heard. Times are
milliseconds on the clock of the client's audio.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import secrets
from collections.abc import Iterator, Sequence
from typing import Final, assert_never

from microturn.inference.agent.cards import card_to_json
from microturn.inference.agent.delegation import CardEvent, DelegationEvent
from microturn.inference.conversation import ContextKind, ConversationEvent, WordEvent
from microturn.inference.serve.codec import (
    ClientMessage,
    Codec,
    ContextText,
    DelegateToClient,
    EndKind,
    Instructions,
    Json,
    MicrophoneAudio,
    ServedModel,
    ServerMessage,
    TypedText,
    Unplayed,
    WrongMessage,
)
from microturn.inference.serve.realtime.client_events import (
    BufferAppend,
    FunctionOutput,
    InputImage,
    ItemCreate,
    ItemDelete,
    ItemRetrieve,
    ItemTruncate,
    RealtimeUpdate,
    ResponseCancel,
    ResponseCreate,
    read_event,
    written,
)
from microturn.inference.serve.realtime.items import Items, message
from microturn.inference.serve.realtime.listening import HeardItems
from microturn.inference.serve.realtime.pictures import show_picture
from microturn.inference.serve.realtime.responses import Response
from microturn.inference.serve.realtime.session_config import (
    RATE,
    ChosenFunction,
    FunctionTool,
    choose_function,
    describe_session,
)
from microturn.inference.serve.realtime.turns import AGENT_QUIET, Turns, is_said_from
from microturn.inference.serve.report import ContextTaken, Done, MicroTurnReport
from microturn.inference.serve.wire.event_reader import EventError
from microturn.inference.serve.wire.event_writer import EventWriter, error_values
from microturn.inference.serve.wire.sound import LoudspeakerSound, MicrophoneSound

PATH: Final = "/v1/realtime"
ALIAS_PREFIX: Final = "gpt-realtime"  # clients' own defaults are taken for the model of this server
_OWN_TICKET: Final = "\0"  # begins the id of an event to which the client gave none


class RealtimeCodec:
    """The protocol of `/v1/realtime` on one connection."""

    def __init__(self, served: ServedModel) -> None:
        self._served, self._layout = served, served.layout
        self._events, self._items = EventWriter(), Items()
        self._id = f"sess_{secrets.token_urlsafe(16)}"
        layout = self._layout
        self._microphone = MicrophoneSound(
            rate=RATE,
            layout_rate=layout.sample_rate,
            samples_per_micro_turn=layout.samples_per_micro_turn,
        )
        self._loudspeaker = LoudspeakerSound(rate=RATE, layout_rate=layout.sample_rate)
        self._instructions = ""
        self._tools: list[FunctionTool] = []
        self._function: FunctionTool | None = None  # what delegations call, None: our own agent
        self._chosen: str | None = None  # the function that tool_choice names
        self._calls: set[str] = set()  # ids of the calls so far
        self._waiting: dict[str, Json] = {}  # items that the conversation is about to take in
        self._n_waiting = 0
        self._listening = HeardItems(self._events, self._items, micro_turn_ms=layout.micro_turn_ms)
        self._speaking = Turns(quiet=AGENT_QUIET)
        self._response: Response | None = None
        self._n_responses = 0
        self._is_hushed = False  # the client cancelled what the model still says
        self._metadata: Json | None = None  # for the next response
        self._last_error = ""

    # --- client to server ----------------------------------------------------------------------
    def subprotocol(self, offered: Sequence[str]) -> str | None:
        return "realtime" if "realtime" in offered else None

    def decode(self, data: str | bytes) -> Iterator[ClientMessage | ServerMessage]:
        event = read_event(data)
        try:
            match event:
                case BufferAppend():
                    yield from self._hear(event)
                case RealtimeUpdate():
                    yield from self._update(event)
                case ItemCreate():
                    yield from self._create_item(event)
                case ItemRetrieve(item_id=item_id):
                    yield self._retrieve(item_id)
                case ItemDelete():
                    yield from self._delete(event)
                case ItemTruncate():
                    yield from self._truncate(event)
                case ResponseCreate():
                    yield from self._ask_for_response(event)
                case ResponseCancel():
                    yield from self._cancel(event)
                case _:
                    assert_never(event)
        except EventError as error:
            error.event_id = event.event_id
            raise

    def _hear(self, event: BufferAppend) -> Iterator[MicrophoneAudio]:
        try:
            pieces = self._microphone.push(
                base64.b64decode(event.audio, validate=True), muted=False
            )
        except (binascii.Error, ValueError) as error:
            sentence = f"{event.type}: audio is not base64 of 16-bit PCM ({error})"
            raise EventError("invalid_audio", sentence, param="audio") from error
        for piece in pieces:
            yield MicrophoneAudio(audio=piece)

    def _update(self, event: RealtimeUpdate) -> Iterator[ClientMessage | ServerMessage]:
        """Take a change of the session, all of it or nothing."""
        config, notices = event.session, list[str]()
        own = self._served.name
        if config.model not in (None, own) and not str(config.model).startswith(ALIAS_PREFIX):
            sentence = f"there is no model {str(config.model)[:80]!r} here; {own!r} is the one"
            raise EventError("model_not_found", sentence, param="session.model")
        if config.tools is not None or config.tool_choice is not None:
            tools = self._tools if config.tools is None else config.tools
            chosen = config.tool_choice if isinstance(config.tool_choice, ChosenFunction) else None
            if self._function is not None and not tools:
                sentence = "functions of the client can be changed and not be taken back"
                raise EventError("immutable", sentence, param="session.tools")
            function = choose_function(tools, chosen) if tools else None
            if function is not None and self._function is None:
                yield DelegateToClient()
            self._tools, self._function = tools, function
            self._chosen = chosen.name if chosen else None
        text = (config.instructions or "").strip()
        if text and text != self._instructions:
            yield Instructions(text=text, on_refusal=notices.append)
            if not notices:
                self._instructions = text
        yield self._events.write("session.updated", session=self._resource())
        for why in notices:
            yield from self._add(self._notice(f"The instructions were not read: {why}"))

    def _create_item(self, event: ItemCreate) -> Iterator[ClientMessage | ServerMessage]:
        item = event.item
        if isinstance(item, FunctionOutput):
            if item.call_id not in self._calls:
                sentence = f"no function was called as {item.call_id[:80]!r}"
                raise EventError("invalid_value", sentence, param="item.call_id")
            yield self._context(event, "commentary", item.result(), call_id=item.call_id)
            return
        for index, part in enumerate(item.content):
            if isinstance(part, InputImage):
                param = f"item.content.{index}.image_url"
                yield show_picture(self._layout, part.image_url, role=item.role, param=param)
            elif item.role == "user":
                yield TypedText(text=part.text)
        if item.role == "user":
            yield from self._add(written(item, self._items))
            return
        text = " ".join(part.text for part in item.content if not isinstance(part, InputImage))
        yield self._context(event, "instructions", text, call_id=None)

    def _context(
        self, event: ItemCreate, kind: ContextKind, text: str, *, call_id: str | None
    ) -> ContextText:
        """Return text for the conversation; its item is told of once that was taken."""
        self._n_waiting += 1
        ticket = event.event_id or f"{_OWN_TICKET}{self._n_waiting}"
        self._waiting[ticket] = written(event.item, self._items)
        return ContextText(kind=kind, text=text, delegation_id=call_id, event_id=ticket)

    def _retrieve(self, item_id: str) -> ServerMessage:
        item = self._items.get(item_id)
        if item is None:
            sentence = f"there is no item {item_id[:80]!r}; the newest ones are kept"
            raise EventError("item_retrieve_invalid_item_id", sentence, param="item_id")
        return self._events.write("conversation.item.retrieved", item=item)

    def _truncate(self, event: ItemTruncate) -> Iterator[ClientMessage | ServerMessage]:
        """Note what of an item was played; more than there is means all of it."""
        spoken = self._items.spoken(event.item_id)
        if spoken is None:
            sentence = f"there is no audio of an item {event.item_id[:80]!r}"
            raise EventError("item_truncate_invalid_item_id", sentence, param="item_id")
        piece_ms = self._layout.micro_turn_ms
        unplayed = spoken.truncate(math.ceil(event.audio_end_ms / piece_ms))
        yield Unplayed(micro_turns=tuple(unplayed))
        self._items.change(spoken.to_json("incomplete" if unplayed else "completed"))
        yield self._events.write(
            "conversation.item.truncated",
            item_id=event.item_id,
            content_index=0,
            audio_end_ms=min(event.audio_end_ms, len(spoken.micro_turns) * piece_ms),
        )

    def _delete(self, event: ItemDelete) -> Iterator[ClientMessage | ServerMessage]:
        """Drop an item of which nothing was played."""
        spoken = self._items.remove_spoken(event.item_id)
        if spoken is None:
            sentence = (
                f"{event.item_id[:80]!r} is no audio of the agent, and the model does not forget "
                "what it heard"
            )
            raise EventError("item_delete_invalid_item_id", sentence, param="item_id")
        yield Unplayed(micro_turns=tuple(spoken.micro_turns))
        yield self._events.write("conversation.item.deleted", item_id=event.item_id)

    def _ask_for_response(self, event: ResponseCreate) -> Iterator[ClientMessage]:
        """Note the wish: the model decides itself when it speaks, and the next response is it."""
        settings = event.response
        if settings is not None:
            self._metadata = settings.metadata
            if settings.instructions:
                yield ContextText(
                    kind="instructions",
                    text=settings.instructions,
                    delegation_id=None,
                    event_id=event.event_id,
                )

    def _cancel(self, event: ResponseCancel) -> Iterator[ServerMessage]:
        response = self._response
        if response is None or event.response_id not in (None, response.id):
            # LiveKit knows the error by these words of the protocol's own server.
            sentence = "Cancellation failed: no such response is under way"
            raise EventError("response_cancel_not_active", sentence, param="response_id")
        self._response, self._is_hushed = None, True
        yield from response.close("client_cancelled")

    # --- server to client ----------------------------------------------------------------------
    def greeting(self, session: str, *, warning: str) -> list[ServerMessage]:
        created = self._events.write("session.created", session=self._resource())
        return [created, *(self._add(self._notice(warning)) if warning else ())]

    def encode_report(
        self, report: MicroTurnReport, *, dropped_output: int
    ) -> list[ServerMessage | Unplayed]:
        at = report.micro_turn
        written = list[ServerMessage | Unplayed](self._listening.advance(report))
        if self._listening.is_open and self._response is not None:
            self._response.is_interrupted = True
        # Words of a response that ends here come before its end, words of the next one after it.
        later = [event for event in report.events if is_said_from(event, at)]
        for event in report.events:
            if event not in later:
                written += self._event(event)
        written += self._speak(report)
        for event in later:
            written += self._event(event)
        return written

    def _speak(self, report: MicroTurnReport) -> Iterator[ServerMessage | Unplayed]:
        """Open and close responses, and write the sound that belongs to them."""
        sound, at = report.output.audio, report.micro_turn
        pcm = self._loudspeaker.push(sound)
        turn = self._speaking.advance(report.output.say, sound)
        if turn == "begins":
            yield from self._close()
            self._is_hushed = False
            yield self._open()
        if self._is_hushed:
            yield Unplayed(micro_turns=(at,))
        elif self._response is not None:
            yield from self._response.speak(pcm, at)
        if turn == "ends":
            self._is_hushed = False
            yield from self._close()

    def _open(self) -> ServerMessage:
        self._n_responses += 1
        metadata, self._metadata = self._metadata, None
        self._response = Response(self._n_responses, self._events, self._items, metadata=metadata)
        return self._response.open()

    def _close(self) -> Iterator[ServerMessage]:
        if self._response is not None:
            interrupted = self._response.is_interrupted and self._listening.is_open
            yield from self._response.close("turn_detected" if interrupted else None)
        self._response = None

    def _event(self, event: ConversationEvent) -> Iterator[ServerMessage]:
        match event:
            case WordEvent(word=word) if word.side == "user":
                yield self._listening.hear(word.text)
            case WordEvent(word=word) if self._response is not None:
                yield from self._response.say(word.text, word.micro_turn - 1)
            case CardEvent(card=card):
                part = {"type": "output_text", "text": json.dumps(card_to_json(card))}
                yield from self._add(message(self._items.new_id(), "assistant", [part]))
            case DelegationEvent() if self._function is not None:
                if event.event.status == "accepted":
                    yield from self._call(self._function, event)

    def _call(self, function: FunctionTool, event: DelegationEvent) -> Iterator[ServerMessage]:
        name, call_id = function.argument(), event.event.delegation_id
        self._calls.add(call_id)
        arguments = json.dumps({} if name is None else {name: event.about}, ensure_ascii=False)
        alone = self._response is None
        if alone:
            yield self._open()
        assert self._response is not None
        yield from self._response.call(call_id, function.name, arguments)
        if alone:
            yield from self._response.close()
            self._response = None

    def encode_dropped_output(
        self, micro_turns: Sequence[int], *, n_dropped: int
    ) -> list[ServerMessage]:
        ms = self._layout.micro_turn_ms
        spans = ", ".join(f"{at * ms} to {(at + 1) * ms} ms" for at in micro_turns)
        sentence = f"the sound at {spans} was dropped: the client reads too slowly"
        return [self._error(EventError("output_dropped", sentence))]

    @property
    def token(self) -> str:
        return ""  # the protocol cannot return

    def welcome_back(self, *, n_read: int, n_lost: int) -> list[ServerMessage]:
        return []

    def become_twin(self, other: Codec) -> None:
        raise ValueError("this protocol has no twins")

    def encode_done(self, done: Done) -> list[ServerMessage]:
        ticket = done.event_id if isinstance(done, ContextTaken) else None
        item = self._waiting.pop(ticket or "", None)
        return list(self._add(item)) if item is not None else []

    def encode_error(self, error: WrongMessage) -> list[ServerMessage]:
        self._waiting.pop(error.event_id or "", None)
        if (error.event_id or "").startswith(_OWN_TICKET):
            error.event_id = None
        if not isinstance(error, EventError):
            error = EventError("invalid_request", str(error), event_id=error.event_id)
        return [self._error(error)]

    def farewell(self, reason: str, *, kind: EndKind) -> list[ServerMessage]:
        if kind == "asked" or reason == self._last_error:
            return []
        code = "session_expired" if kind == "expired" else "server_error"
        return [self._error(EventError(code, reason))]

    def _error(self, error: EventError) -> ServerMessage:
        self._last_error = str(error)
        values = error_values(error)
        if error.event_id is not None:
            values["event_id"] = error.event_id
        return self._events.write("error", error=values)

    # --- parts of events -----------------------------------------------------------------------
    def _add(self, item: Json) -> Iterator[ServerMessage]:
        """Add a whole item to the conversation."""
        before = self._items.add(item)
        for kind in ("added", "done"):
            yield self._events.write(
                f"conversation.item.{kind}", item=item, previous_item_id=before
            )

    def _notice(self, sentence: str) -> Json:
        """Write what is not as the client may think; the protocol has no event for that."""
        part = {"type": "input_text", "text": sentence}
        return message(self._items.new_id(), "system", [part])

    def _resource(self) -> Json:
        return describe_session(
            self._id,
            model=self._served.name,
            instructions=self._instructions,
            tools=self._tools,
            chosen=self._chosen,
        )
