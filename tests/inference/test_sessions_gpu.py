"""On a GPU: one graph for every number of rows, and no allocation once they are captured."""

import numpy as np
import pytest
import torch

from microturn.inference.session import SessionBatch, TurnOutput
from microturn.inference.sessions import MicroTurn, Session, Sessions
from microturn.model.checkpoint import LoadedCheckpoint, experts_to_, random_checkpoint

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def checkpoint() -> LoadedCheckpoint:
    loaded = random_checkpoint(2)
    model = loaded.model.to("cuda")
    experts_to_(model, torch.bfloat16)
    return LoadedCheckpoint(model, loaded.layout, loaded.tokenizer)


def micro_turn(k: int) -> MicroTurn:
    rng = np.random.default_rng(k)
    return MicroTurn(audio=(0.1 * rng.standard_normal(3_200)).astype(np.float32))


def script(sessions: Sessions) -> list[TurnOutput]:
    """One to five sessions, a fork, a way back."""
    made: list[TurnOutput] = []
    live: list[Session] = []
    for k in range(12):
        if len(live) < 4:
            live.append(sessions.open())
        turns = {session: micro_turn(100 * k + row) for row, session in enumerate(live)}
        made += sessions.append_all(turns).values()
    live.append(sessions.fork(live[0]))
    sessions.rewind(live[1], 9)
    for k in range(12, 16):
        turns = {session: micro_turn(100 * k + row) for row, session in enumerate(live)}
        made += sessions.append_all(turns).values()
    return made


def test_graphs_of_all_sizes_say_what_launching_says(checkpoint: LoadedCheckpoint) -> None:
    graphs, eager = (
        script(Sessions(SessionBatch(checkpoint, 5, rewind=4, graph=graph)))
        for graph in (True, False)
    )
    for a, b in zip(graphs, eager, strict=True):
        assert (a.heard, a.say) == (b.heard, b.say)
        assert np.array_equal(a.audio, b.audio)


def test_nothing_is_allocated_after_the_capture(checkpoint: LoadedCheckpoint) -> None:
    sessions = Sessions(SessionBatch(checkpoint, 4, rewind=4))
    pair = {sessions.open(): micro_turn(0), sessions.open(): micro_turn(1)}
    sessions.append_all(pair)
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    for _ in range(10):
        sessions.append_all(pair)
    assert torch.cuda.memory_stats()["allocation.all.allocated"] == before
