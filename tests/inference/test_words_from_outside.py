"""Whatever a person, a client, a back end or the model itself writes: text_in gets words of it.

Each door is tried with texts that hold control tokens in many spellings.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from microturn.inference.agent.agent import AgentEvent, Emit, Job, Status
from microturn.inference.agent.package import ContextPackage
from microturn.inference.audio import encode_pcm16
from microturn.inference.config import AgentConfig, NotesConfig, ServeConfig
from microturn.inference.conversation import Conversation
from microturn.inference.micro_turn import MicroTurnOut
from microturn.inference.notes import make_notes
from microturn.inference.opening import read_opening
from microturn.inference.serve.engine import LiveEngine
from microturn.inference.serve.protocol import PROTOCOL_VERSION
from microturn.inference.serve.server import create_app
from microturn.inference.transcript import Side, TranscriptWord
from microturn.model.checkpoint import LoadedCheckpoint, random_checkpoint
from microturn.model.config import FlowConfig, ModelConfig, MoEConfig
from microturn.model.streams import (
    BG,
    BG_END,
    CONTROL_TOKENS,
    DELEGATE,
    EOS,
    IDLE,
    SYSTEM,
    USER,
    Lanes,
    normalise,
)
from support.hostile.words import SPELT, TEXTS, WORDS, WatchedBatch, control_ids

WITH_WORDS = TEXTS.filter(normalise)
HELLO = {"type": "hello", "protocol": PROTOCOL_VERSION}
few = settings(deadline=None, max_examples=25)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def hears_letters() -> LoadedCheckpoint:
    """A checkpoint whose tokenizer spells the names of control tokens, and all letters."""
    config = ModelConfig(
        d_model=32,
        n_layers=1,
        n_heads=2,
        d_ff=32,
        window=200,
        moe=MoEConfig(n_experts=2, d_expert=8),
        flow=FlowConfig(width=16, depth=1, steps=1),
    )
    return random_checkpoint(0, words=(*WORDS, "abcdefghijklmnopqrstuvwxyz", "i'm"), config=config)


def spelt(checkpoint: LoadedCheckpoint, text: str) -> bool:
    return bool(normalise(text)) and not checkpoint.tokenizer.unspellable(text)


def text_of(conversation: Conversation) -> list[int]:
    given_ids: list[int] = []
    while ids := conversation.next_text():
        given_ids += ids
    return given_ids


class Answers:
    """A back end that answers at once, with texts of somebody else."""

    def __init__(self, text: str, end: Status) -> None:
        self.text, self.end = text, end

    def submit(self, package: ContextPackage, emit: Emit) -> Job:
        steps: tuple[Status, ...] = ("accepted", "progress", "partial", "partial", self.end)
        for seq, status in enumerate(steps):
            name = package.delegation_id
            emit(AgentEvent(delegation_id=name, seq=seq, status=status, text=self.text))
        return self

    def cancel(self) -> None:
        pass

    def close(self) -> None:
        pass


@few
@given(result=TEXTS, typed=WITH_WORDS, end=st.sampled_from(["final", "failed"]))
def test_results_and_typed_text(
    hears_letters: LoadedCheckpoint, result: str, typed: str, end: Status
) -> None:
    layout, tokenizer = hears_letters.layout, hears_letters.tokenizer
    config = AgentConfig(settle_s=0, latency_s=0, progress=True)
    conversation = Conversation(layout, tokenizer, agent=Answers(result, end), config=config)
    said = {"heard": [], "say": [DELEGATE]}
    conversation.read_output(MicroTurnOut(audio=np.zeros(0, np.float32), tokens=said))
    # Results and progress, each of words that the tokenizer spells: no other control token.
    names = {BG: "(", SYSTEM: "p", BG_END: ")"}
    given_ids = text_of(conversation)
    form = "".join(names.get(i, "w" if i >= len(CONTROL_TOKENS) else "?") for i in given_ids)
    assert re.fullmatch(r"(\(pw+\))?(\(w+\))*", form)
    assert given_ids, "a result, a part of it, or that it failed"
    if spelt(hears_letters, typed):
        conversation.type_text(typed)
        assert text_of(conversation) == [USER, *tokenizer.encode(normalise(typed))]
    else:
        with pytest.raises(ValueError, match=r"cannot spell .* in text; use other words"):
            conversation.type_text(typed)
        assert text_of(conversation) == []


@few
@given(words=st.lists(WITH_WORDS, min_size=1, max_size=4), side=st.sampled_from(["user", "agent"]))
def test_notes(hears_letters: LoadedCheckpoint, words: list[str], side: Side) -> None:
    """A transcript that holds anything, as a hostile tokenizer could make it."""
    tokenizer, layout = hears_letters.tokenizer, hears_letters.layout
    notes = make_notes(NotesConfig(enabled=True), tokenizer=tokenizer, layout=layout, window=5)
    assert notes is not None
    heard = [TranscriptWord(side=side, text=text, micro_turn=0) for text in words]
    ids = [i for k in range(60) for i in notes.next_ids(heard, k, max_ids=1)]
    line = [SYSTEM, *([USER] if side == "user" else []), *tokenizer.encode(" ".join(words))]
    assert ids[: len(line)] == line[: len(ids)]
    assert set(control_ids(ids)) <= {SYSTEM, USER}


@settings(deadline=None, max_examples=12)
@given(instructions=TEXTS, voice_text=TEXTS)
def test_instructions_and_the_words_of_a_voice(
    hears_letters: LoadedCheckpoint,
    recording_file: Path,
    instructions: str,
    voice_text: str,
) -> None:
    """The door of `talk` and `serve`; what the model cannot read is refused, not left out."""
    batch, encode = WatchedBatch(hears_letters), hears_letters.tokenizer.encode
    options = {"instructions": instructions, "voice_text": voice_text}
    if not all(not text or spelt(hears_letters, text) for text in options.values()):
        with pytest.raises(ValueError, match=r"in (instructions|voice_text)"):
            read_opening(batch, voice=str(recording_file), **options)
        assert not batch.opened
        return
    read_opening(batch, voice=str(recording_file), **options)
    (lanes,) = batch.opened
    text = [SYSTEM, *encode(instructions)] if instructions else []
    assert ids_of(lanes, "text_in") == text
    *said, end = ids_of(lanes, "say")
    assert said == encode(voice_text)[: len(said)]
    assert end == EOS
    assert bool(said) == bool(voice_text)


def ids_of(lanes: Lanes, lane: str) -> list[int]:
    return [i for i in lanes[lane].reshape(-1).tolist() if i != IDLE]


@settings(deadline=None, max_examples=6)
@given(typed=st.lists(TEXTS, min_size=1, max_size=6), instructions=SPELT.filter(normalise))
def test_the_socket(hears_letters: LoadedCheckpoint, typed: list[str], instructions: str) -> None:
    """Typed text and instructions of a client, through a real server; all else is an error."""
    batch, layout = WatchedBatch(hears_letters), hears_letters.layout
    tokenizer = batch.tokenizer
    silence = encode_pcm16(np.zeros(layout.samples_per_micro_turn, np.float32))
    read = [text for text in typed if spelt(hears_letters, text)]
    expected = [i for text in read for i in (USER, *tokenizer.encode(text))]
    n = 1 + -(-len(expected) // layout.text_in_positions)
    errors = 0
    engine = LiveEngine(batch, ServeConfig())
    with TestClient(create_app(engine, ServeConfig())) as http, http.websocket_connect("/ws") as ws:
        ws.send_text(json.dumps({**HELLO, "instructions": instructions}))
        for text in typed:
            ws.send_text(json.dumps({"type": "text", "text": text}))
        played = 0
        while played < n:
            ws.send_bytes(silence)
            while "bytes" not in (message := ws.receive()) or message["bytes"] is None:
                errors += json.loads(message["text"])["type"] == "error"
            played += 1
    assert errors == len(typed) - len(read)
    assert batch.text[: len(expected)] == expected
    (lanes,) = batch.opened
    assert ids_of(lanes, "text_in") == [SYSTEM, *tokenizer.encode(instructions)]
