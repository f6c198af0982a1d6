"""Beyond the window: what a model still knows, and the words that come back as notes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from microturn.configs.load import ConfigError, load_config
from microturn.inference.config import AgentConfig, NotesConfig, TalkConfig
from microturn.inference.conversation import Conversation
from microturn.inference.micro_turn import MicroTurnOut
from microturn.inference.notes import Notes, check_notes, make_notes
from microturn.inference.transcript import TranscriptWord
from microturn.model.backbone import Backbone
from microturn.model.checkpoint import TINY_LAYOUT, random_checkpoint
from microturn.model.config import ModelConfig, MoEConfig
from microturn.model.streams import SYSTEM, USER, StreamLayout, Tokenizer

WINDOW = 4


# --- the window at depth ---------------------------------------------------------------------
def backbone_of(n_layers: int) -> Backbone:
    config = ModelConfig(
        d_model=48, n_layers=n_layers, n_heads=4, d_ff=64, window=WINDOW, moe=MoEConfig(n_experts=0)
    )
    model = random_checkpoint(1, config=config, layout=TINY_LAYOUT).model
    return model.backbone


def last_streamed(backbone: Backbone, x: Tensor) -> Tensor:
    """The last hidden state of a session that took x (1, T, D) micro-turn by micro-turn."""
    state = backbone.init_state(1, device=x.device, dtype=x.dtype)
    size = backbone.n_positions
    for part in x.split(size, dim=1):
        y, state = backbone.step(part, state)
    return y[:, -1]


@pytest.mark.parametrize("n_layers", [1, 2, 3])
@pytest.mark.usefixtures("one_thread")
@torch.no_grad()
def test_a_layer_deeper_a_window_further(n_layers: int) -> None:
    """A session that has evicted most of its dialogue equals a full forward over all of it, and
    one over the last `layers * (reach - 1) + 1` positions; not a bit comes from further back."""
    backbone = backbone_of(n_layers)
    reach = WINDOW * backbone.n_positions
    field = n_layers * (reach - 1) + 1
    T = 6 * reach  # the ring went round several times
    assert field < T
    x = torch.randn(1, T, 48, generator=torch.Generator().manual_seed(0))
    streamed = last_streamed(backbone, x)
    for seen in (x, x[:, -field:]):
        torch.testing.assert_close(backbone(seen)[:, -1], streamed, rtol=1e-4, atol=1e-5)
    too_short = backbone(x[:, -field // 2 :])[:, -1]
    assert not torch.allclose(too_short, streamed, rtol=1e-4, atol=1e-5)
    before, first = x.clone(), x.clone()
    before[:, : T - field] += 10.0
    first[:, T - field] += 10.0
    assert torch.equal(last_streamed(backbone, before), streamed)
    assert not torch.equal(last_streamed(backbone, first), streamed)


# --- notes -----------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    text = "remember the code four seven thanks okay later twelve green"
    return Tokenizer.train([text] * 100, vocab_size=256)


def said(text: str, at: int, side: str = "user") -> list[TranscriptWord]:
    words = enumerate(text.split())
    return [TranscriptWord(side=side, text=word, micro_turn=at + k) for k, word in words]


def notes_of(tokenizer: Tokenizer, window: int = 10, **more: float) -> Notes:
    config = NotesConfig(enabled=True, **more)  # type: ignore[arg-type]
    return Notes(config, tokenizer=tokenizer, layout=TINY_LAYOUT, window=window)


def given_by(notes: Notes, words: list[TranscriptWord], n: int) -> list[list[int]]:
    """One id per micro-turn, or none; words are known when their time has come."""
    return [notes.next_ids([w for w in words if w.micro_turn <= k], k, max_ids=1) for k in range(n)]


def test_words_come_back_each_time_they_leave_the_window(
    tokenizer: Tokenizer,
) -> None:
    notes = notes_of(tokenizer)
    words = said("remember the code", 3) + said("four seven", 20, "agent")
    stream = given_by(notes, words, 80)
    assert not any(stream[: 3 + 10])
    user = [SYSTEM, USER, *tokenizer.encode("remember the code")]
    agent = [SYSTEM, *tokenizer.encode("four seven")]
    flat = [ids[0] for ids in stream if ids]
    assert flat[: len(user) * 2] == user * 2  # once, and when it was out of the window itself
    starts = [k for k, ids in enumerate(stream) if ids == [SYSTEM]]
    lines = []
    for k in starts[:-1]:
        line = user if stream[k + 1] == [USER] else agent
        assert [i for ids in stream[k : k + len(line)] for i in ids] == line
        lines.append((k + len(line), line))
    for line in (user, agent):
        ends = [k for k, given in lines if given == line]
        assert len(ends) > 1
        assert min(b - a for a, b in zip(ends, ends[1:], strict=False)) >= 10  # seen no longer
    assert notes.lines == ["remember the code", "four seven"]


def test_the_newest_lines_are_kept(tokenizer: Tokenizer) -> None:
    notes = notes_of(tokenizer, lines=2, words=2, pause_s=0.2)
    words = said("remember the code", 0) + said("four", 10) + said("seven", 20)
    given_by(notes, words, 60)
    assert notes.lines == ["four", "seven"]
    short = notes_of(tokenizer, words=2)
    given_by(short, said("remember the code", 0), 40)
    assert short.lines == ["remember the", "code"]


def conversation_of(tokenizer: Tokenizer, notes: NotesConfig | None, window: int) -> Conversation:
    return Conversation(
        TINY_LAYOUT,
        tokenizer,
        agent=None,
        config=AgentConfig(),
        notes=make_notes(
            notes or NotesConfig(), tokenizer=tokenizer, layout=TINY_LAYOUT, window=window
        ),
    )


def heard_by(
    tokenizer: Tokenizer,
    early: str,
    n: int,
    *,
    notes: NotesConfig | None,
    typed: dict[int, str] | None = None,
) -> list[list[int]]:
    """What a conversation puts on text_in whose user said `early` in its first micro-turns."""
    conversation = conversation_of(tokenizer, notes, WINDOW)
    ids = tokenizer.encode(early)
    stream = []
    for k in range(n):
        if typed and k in typed:
            conversation.type_text(typed[k])
        stream.append(conversation.next_text())
        output = MicroTurnOut(
            audio=np.zeros(0, np.float32), tokens={"heard": ids[k : k + 1], "say": []}
        )
        conversation.read_output(output)
    return stream


def test_words_from_before_the_window_reach_the_model_as_text(tokenizer: Tokenizer) -> None:
    """Far beyond what all layers together can see, only notes tell two conversations apart."""
    one, two = (
        heard_by(tokenizer, f"the code {word}", 60, notes=NotesConfig(enabled=True))[-20:]
        for word in ("seven", "twelve")
    )
    assert one != two
    for stream, word in ((one, "seven"), (two, "twelve")):
        flat = [i for ids in stream if ids for i in ids]
        assert set(tokenizer.encode(word)) <= set(flat)
    assert not any(heard_by(tokenizer, "the code seven", 60, notes=None))
    assert not any(heard_by(tokenizer, "the code seven", 60, notes=NotesConfig()))


def test_typed_words_go_first_and_the_interrupted_note_starts_again(tokenizer: Tokenizer) -> None:
    config = NotesConfig(enabled=True)
    plain = heard_by(tokenizer, "remember the code", 40, notes=config)
    start = next(k for k, ids in enumerate(plain) if ids)
    typed = [USER, *tokenizer.encode("green")]
    stream = heard_by(tokenizer, "remember the code", 40, notes=config, typed={start + 2: "green"})
    assert stream[: start + 2] == plain[: start + 2]
    after = [ids[0] for ids in stream[start + 2 :] if ids]
    note = [SYSTEM, USER, *tokenizer.encode("remember the code")]
    assert after[: len(typed) + len(note)] == typed + note


@given(
    st.lists(
        st.tuples(st.sampled_from(["code", "four", "green"]), st.integers(0, 9), st.booleans()),
        max_size=25,
    ),
    st.integers(1, 6),
    st.integers(1, 4),
)
def test_notes_are_bounded_and_depend_on_words_alone(
    tokenizer: Tokenizer, spoken: list[tuple[str, int, bool]], lines: int, positions: int
) -> None:
    layout = replace(TINY_LAYOUT, text_in_positions=positions)
    words, at = [], 0
    for text, pause, agent in spoken:
        at += pause
        words += said(text, at, "agent" if agent else "user")
    streams = []
    for _ in range(2):
        config = NotesConfig(enabled=True, lines=lines)
        notes = Notes(config, tokenizer=tokenizer, layout=layout, window=7)
        stream = []
        for k in range(at + 40):
            known = [w for w in words if w.micro_turn <= k]
            stream.append(notes.next_ids(known, k, max_ids=positions))
            assert len(stream[-1]) <= positions
            assert len(notes.lines) <= lines
        streams.append(stream)
        kept = " ".join(notes.lines).split()
        assert kept == [w.text for w in words][len(words) - len(kept) :]
        assert all(line for line in notes.lines)
    assert streams[0] == streams[1]


def test_notes_need_a_text_lane_and_valid_numbers() -> None:
    deaf = StreamLayout(text_in_positions=0)
    with pytest.raises(ValueError, match="layout.text_in_positions=0; leave notes off"):
        check_notes(NotesConfig(enabled=True), deaf)
    check_notes(NotesConfig(), deaf)
    with pytest.raises(ConfigError, match=r"notes.lines=0 must be at least 1"):
        load_config(TalkConfig, [], ["input=a", "out=b", "notes.lines=0"])
