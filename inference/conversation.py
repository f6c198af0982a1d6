"""One live conversation: the words of a session and its background work.

Rows work on audio and token ids. This is the layer above a row: it turns ids into words with times,
hands the conversation to the background agent when the model says `<delegate>`, and feeds results
back through `text_in`. `talk` and `serve` both use it.
"""

from __future__ import annotations

from collections import deque
from copy import copy
from dataclasses import dataclass, replace
from typing import Final, Literal

from microturn.inference.agent.agent import BackgroundAgent
from microturn.inference.agent.client_agent import ClientAgent
from microturn.inference.agent.delegation import (
    CardEvent,
    ConversationRecord,
    Delegation,
    DelegationEvent,
    ResultEvent,
)
from microturn.inference.agent.delegations import Delegations
from microturn.inference.agent.package import TypedMessage
from microturn.inference.agent.speakable import Speakable
from microturn.inference.config import AgentConfig
from microturn.inference.micro_turn import MicroTurnOut
from microturn.inference.notes import Notes
from microturn.inference.transcript import PLAYED_AFTER, Transcript, TranscriptWord, WordStream
from microturn.model.streams import (
    CANCEL,
    DELEGATE,
    EOS,
    LaneText,
    StreamLayout,
    Tokenizer,
    instructions_text,
    progress_text,
    result_text,
    typed_text,
)

ContextKind = Literal["instructions", "thinking", "commentary"]

_MAX_TEXT_TOKENS: Final = 512  # waiting text beyond this is refused
_MAX_UNPLAYED: Final = 64  # micro-turns, more than a word stays open


@dataclass(frozen=True, kw_only=True)
class WordEvent:
    """A word is complete; its own time is in `word`."""

    word: TranscriptWord


@dataclass(frozen=True, kw_only=True)
class UtteranceEndEvent:
    """The model wrote `<eos>`: the agent's utterance is over at the start of `micro_turn`."""

    micro_turn: int


ConversationEvent = WordEvent | DelegationEvent | CardEvent | ResultEvent | UtteranceEndEvent


class Conversation:
    """Transcript, delegations and waiting text of one session.

    Call `next_text` before and `read_output` after each micro-turn. With `wait_for_agent` a result
    arrives exactly at its time on the clock of the conversation, however fast that runs. With
    `notes` the words beyond the model's window come back on `text_in`. `speakable` are the words
    that the voice can say, None: any.
    """

    def __init__(
        self,
        layout: StreamLayout,
        tokenizer: Tokenizer,
        *,
        agent: BackgroundAgent | None,
        config: AgentConfig,
        name: str = "",
        wait_for_agent: bool = False,
        notes: Notes | None = None,
        speakable: frozenset[str] | None = None,
        instructions: str = "",
    ) -> None:
        self.layout = layout
        self.record = ConversationRecord(instructions=instructions)
        self.micro_turn = 0  # index of the next micro-turn
        self._tokenizer = tokenizer
        self.notes = notes
        self._client_agent = ClientAgent()
        self._delegations = Delegations(
            agent,
            config,
            record=self.record,
            layout=layout,
            voice=Speakable(
                count_tokens=lambda words: len(tokenizer.encode(words)),
                can_spell=lambda words: not tokenizer.unspellable(words),
                words=speakable,
            ),
            name=name,
            wait=wait_for_agent,
        )
        self._heard = WordStream(tokenizer, "user")
        self._said = WordStream(tokenizer, "agent")
        self._waiting_text: deque[int] = deque()
        self._events: list[ConversationEvent] = []
        self._unplayed: deque[int] = deque(maxlen=_MAX_UNPLAYED)  # newest boundaries without sound

    @property
    def transcript(self) -> Transcript:
        return self.record.transcript

    @property
    def delegations(self) -> list[Delegation]:
        return self._delegations.all

    # --- going back, and twins ------------------------------------------------------------------
    def copy(self) -> Conversation:
        """Return the conversation as it is now; what its agent works on is the same work."""
        kept = copy(self)
        record = self.record
        words = list(record.transcript.words)
        kept.record = replace(record, transcript=Transcript(words=words), typed=list(record.typed))
        kept.notes = None if self.notes is None else self.notes.copy()
        kept._delegations = self._delegations.copy(kept.record)
        kept._heard, kept._said = self._heard.copy(), self._said.copy()
        kept._waiting_text, kept._events = deque(self._waiting_text), list(self._events)
        kept._unplayed = deque(self._unplayed, maxlen=_MAX_UNPLAYED)
        return kept

    def go_back_to(self, earlier: Conversation) -> None:
        """Leave off for an earlier copy, which goes on: work that was begun since then ends."""
        self._delegations.go_back_to(earlier._delegations)

    def twin(self, name: str) -> Conversation:
        """Return a conversation of its own with the same past; it shares the work under way."""
        twin = self.copy()
        twin._client_agent = self._client_agent.twin()
        twin._delegations.become_twin(name, client=twin._client_agent)
        return twin

    # --- between micro-turns -------------------------------------------------------------------
    def next_text(self) -> list[int]:
        """Return the ids of `text_in` for the next micro-turn, first in first out."""
        self._delegations.advance(self.micro_turn)
        self._take_events()
        n = self.layout.text_in_positions
        if self._waiting_text:
            if self.notes is not None:
                self.notes.interrupt()
            return [self._waiting_text.popleft() for _ in range(min(n, len(self._waiting_text)))]
        if self.notes is None:
            return []
        return self.notes.next_ids(self.transcript.words, self.micro_turn, max_ids=n)

    def read_output(self, output: MicroTurnOut) -> list[ConversationEvent]:
        """Read the tokens of the micro-turn that just ran; returns the events since the last."""
        self._keep(self._heard.add_ids(output.heard, self.micro_turn))
        self._keep(self._said.add_ids(output.say, self.micro_turn))
        for token_id in output.say:
            if token_id == DELEGATE:
                self._delegations.open()
            elif token_id == CANCEL:
                self._delegations.cancel_latest()
            elif token_id == EOS:
                over = UtteranceEndEvent(micro_turn=self.micro_turn + PLAYED_AFTER)
                self._events.append(over)
        self._take_events()
        self.micro_turn += 1
        return self._pop_events()

    def pass_over(self, n: int) -> None:
        """Let `n` micro-turns pass that the model made nothing in: the clock goes on."""
        self._keep(self._heard.flush())
        self._keep(self._said.flush())
        self.micro_turn += n

    def finish(self) -> list[ConversationEvent]:
        """End the conversation; returns the words still open and the end of unfinished work."""
        self._keep(self._heard.flush())
        self._keep(self._said.flush())
        self._delegations.finish()
        self._take_events()
        return self._pop_events()

    # --- requests of the user ------------------------------------------------------------------
    def type_text(self, text: str) -> None:
        """Queue typed text for `text_in`.

        Raises ValueError when too much waits already, and for text that the model cannot read.
        """
        self._queue_text(typed_text(text), name="text")
        self.record.typed.append(TypedMessage(text=text, micro_turn=self.micro_turn))

    def delegate_to_client(self) -> None:
        """Let the client answer delegations, with `add_context`, in place of the agent."""
        self._delegations.delegate_to(self._client_agent)

    def add_context(self, kind: ContextKind, text: str, *, delegation_id: str | None) -> None:
        """Add text that is neither said nor typed by the user.

        Commentary is for the voice: the answer to a delegation of the client's, or a result without
        one. Thinking is progress of such a delegation; instructions are read as such. Raises
        ValueError for what the model cannot read or say, and for an unknown id.
        """
        if delegation_id is not None and delegation_id not in self._client_agent.told:
            raise ValueError(f"no delegation {delegation_id[:40]!r} was handed to the client")
        own = delegation_id if self._delegations.is_open(delegation_id) else None
        match kind:
            case "commentary" if own is not None and self._client_agent.answer(own, text):
                pass
            case "thinking" if own is not None:
                self._client_agent.tell_progress(own, text)
            case "commentary":
                line = self._delegations.speakable(text)
                self._queue_text(result_text(line), name="commentary")
            case "instructions":
                self._queue_text(instructions_text(text), name="instructions")
            case "thinking":
                raise ValueError(
                    "thinking is read of a delegation that is under way only; name one, or append "
                    "commentary"
                )

    def _queue_text(self, text: LaneText, *, name: str) -> None:
        self._tokenizer.check_words(text.words, name=name)
        ids = self._tokenizer.encode_lane_text(text)
        if not self.layout.text_in_positions:
            raise ValueError("this model has no text input; its layout has text_in_positions=0")
        if len(self._waiting_text) + len(ids) > _MAX_TEXT_TOKENS:
            raise ValueError(
                f"{len(self._waiting_text)} text tokens wait already; send less than "
                f"{_MAX_TEXT_TOKENS} at a time"
            )
        self._waiting_text.extend(ids)

    def cancel(self, delegation_id: str) -> None:
        """End a delegation by its id; raises ValueError for an id that is not under way."""
        self._delegations.cancel(delegation_id)

    def mark_unplayed(self, micro_turn: int) -> None:
        """Note that the sound of a micro-turn never reached the user: its words were not said."""
        self._unplayed.append(micro_turn + PLAYED_AFTER)  # its word may still be open
        self.transcript.mark_unplayed(micro_turn + PLAYED_AFTER)

    # --- events --------------------------------------------------------------------------------
    def _take_events(self) -> None:
        """Take the news of delegations; what is for the model waits for `text_in`."""
        for event in self._delegations.pop_events():
            self._events.append(event)
            if isinstance(event, ResultEvent):
                make = progress_text if event.status == "progress" else result_text
                self._waiting_text.extend(self._tokenizer.encode_lane_text(make(event.text)))

    def _keep(self, words: list[TranscriptWord]) -> None:
        self.transcript.words += words
        for micro_turn in self._unplayed:
            self.transcript.mark_unplayed(micro_turn)
        self._events += [WordEvent(word=word) for word in words]

    def _pop_events(self) -> list[ConversationEvent]:
        events, self._events = self._events, []
        return events
