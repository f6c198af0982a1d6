"""The events of what the user says: an item is open while words are heard."""

from __future__ import annotations

from collections.abc import Iterator

from microturn.inference.serve.codec import Json, ServerMessage
from microturn.inference.serve.realtime.items import Items, message
from microturn.inference.serve.realtime.turns import USER_QUIET, Turns
from microturn.inference.serve.report import MicroTurnReport
from microturn.inference.serve.wire.event_writer import EventWriter

_TRANSCRIPTION = "conversation.item.input_audio_transcription"


class HeardItems:
    """Items of the user, made of the words that the model hears."""

    def __init__(self, events: EventWriter, items: Items, *, micro_turn_ms: int) -> None:
        self._events, self._items, self._micro_turn_ms = events, items, micro_turn_ms
        self._turns = Turns(quiet=USER_QUIET)
        self._next_id = items.new_id()
        self._before: str | None = None  # id of the item before
        self._words: list[str] = []
        self._began = self._heard = 0  # micro-turns of the first and the last word

    @property
    def is_open(self) -> bool:
        return self._turns.is_open

    def advance(self, report: MicroTurnReport) -> Iterator[ServerMessage]:
        """Take in one micro-turn, before its words."""
        yield from self._losses(report)
        at, ids = report.micro_turn, report.output.heard
        turn = self._turns.advance(ids)
        if ids and turn in ("begins", "goes on"):
            self._heard = at
        if turn == "begins":
            self._began = at
            yield self._events.write(
                "input_audio_buffer.speech_started",
                audio_start_ms=at * self._micro_turn_ms,
                item_id=self._next_id,
            )
            item = self._item("in_progress")
            self._before = self._items.add(item)
            yield self._about_item("conversation.item.added", item)
        elif turn == "ends":
            yield from self._end()

    def hear(self, word: str) -> ServerMessage:
        """Write a word."""
        delta = f" {word}" if self._words else word
        self._words.append(word)
        return self._events.write(
            f"{_TRANSCRIPTION}.delta", item_id=self._next_id, content_index=0, delta=delta
        )

    def _losses(self, report: MicroTurnReport) -> Iterator[ServerMessage]:
        """Tell of sound that was not heard, as a transcription that failed."""
        at = report.micro_turn
        if report.n_passed:
            yield self._failed("input_dropped", at - report.n_passed, at, "too much audio waited")
        if report.is_missing:
            yield self._failed("input_missing", at, at + 1, "the audio came too late")

    def _end(self) -> Iterator[ServerMessage]:
        end_ms = (self._heard + 1) * self._micro_turn_ms
        item = self._item("completed")
        self._items.change(item)
        yield self._events.write(
            "input_audio_buffer.speech_stopped", audio_end_ms=end_ms, item_id=self._next_id
        )
        yield self._events.write(
            "input_audio_buffer.committed", item_id=self._next_id, previous_item_id=self._before
        )
        yield self._about_item("conversation.item.done", item)
        yield self._events.write(
            f"{_TRANSCRIPTION}.completed",
            item_id=self._next_id,
            content_index=0,
            transcript=" ".join(self._words),
            usage={"type": "duration", "seconds": end_ms / 1000 - self._began_s},
        )
        self._next_id, self._words = self._items.new_id(), []

    @property
    def _began_s(self) -> float:
        return self._began * self._micro_turn_ms / 1000

    def _item(self, status: str) -> Json:
        transcript = " ".join(self._words) if status == "completed" else None
        part: Json = {"type": "input_audio", "transcript": transcript}
        return message(self._next_id, "user", [part], status=status)

    def _about_item(self, kind: str, item: Json) -> ServerMessage:
        return self._events.write(kind, item=item, previous_item_id=self._before)

    def _failed(self, code: str, start: int, end: int, why: str) -> ServerMessage:
        span = f"{start * self._micro_turn_ms} to {end * self._micro_turn_ms} ms"
        error = {"type": "server_error", "code": code, "message": f"{span} was not heard: {why}"}
        return self._events.write(
            f"{_TRANSCRIPTION}.failed", item_id=self._next_id, content_index=0, error=error
        )
