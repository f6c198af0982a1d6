"""On a GPU: a graph for every number of rows, on any thread, and no allocation afterwards."""

from queue import Queue
from threading import Thread

import numpy as np
import pytest
import torch

from microturn.inference.config import ServeConfig
from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.rows import RowBatch
from microturn.inference.serve.engine import LiveEngine
from microturn.inference.serve.report import MicroTurnReport, Problem
from microturn.inference.sessions import Session, Sessions
from microturn.model.checkpoint import LoadedCheckpoint, experts_to_, random_checkpoint
from microturn.model.config import FlowConfig, ModelConfig, MoEConfig
from microturn.model.vocoders.config import VocoderConfig

pytestmark = pytest.mark.gpu

PATIENCE_S = 60.0
# Sinks, layers that reach further than the others, sound by the learned vocoder.
WITH_EVERYTHING = ModelConfig(
    d_model=64,
    n_layers=4,
    n_heads=4,
    d_ff=64,
    window=4,
    global_every=2,
    global_window=12,
    n_sinks=3,
    moe=MoEConfig(n_experts=4, d_expert=16),
    flow=FlowConfig(width=32, depth=2, steps=2),
    vocoder=VocoderConfig(kind="istft", width=32, layers=2),
)


def on_gpu(config: ModelConfig | None, *, half: bool = True) -> LoadedCheckpoint:
    loaded = random_checkpoint(2, config=config)
    model = loaded.model.to("cuda")
    if half:
        experts_to_(model, torch.bfloat16)
    return LoadedCheckpoint(model, loaded.layout, loaded.tokenizer)


@pytest.fixture(scope="module", params=[None, WITH_EVERYTHING], ids=["plain", "everything"])
def checkpoint(request: pytest.FixtureRequest) -> LoadedCheckpoint:
    return on_gpu(request.param)


def micro_turn(k: int) -> MicroTurnIn:
    rng = np.random.default_rng(k)
    return MicroTurnIn(audio=(0.1 * rng.standard_normal(3_200)).astype(np.float32))


def script(sessions: Sessions) -> list[MicroTurnOut]:
    """One to five sessions, a fork, a way back."""
    made: list[MicroTurnOut] = []
    live: list[Session] = []
    for k in range(16):
        if len(live) < 4:
            live.append(sessions.open())
        turns = {session: micro_turn(100 * k + row) for row, session in enumerate(live)}
        made += sessions.step_sessions(turns).values()
    live.append(sessions.fork(live[0]))
    sessions.rewind(live[1], to=12)
    for k in range(16, 24):
        turns = {session: micro_turn(100 * k + row) for row, session in enumerate(live)}
        made += sessions.step_sessions(turns).values()
    return made


def graphs_of(checkpoint: LoadedCheckpoint) -> RowBatch:
    return RowBatch(checkpoint, 5, rewind=4)


def assert_same(some: list[MicroTurnOut], others: list[MicroTurnOut]) -> None:
    for a, b in zip(some, others, strict=True):
        assert (a.heard, a.say) == (b.heard, b.say)
        assert np.array_equal(a.audio, b.audio)


def test_graphs_of_all_sizes_give_the_outputs_of_launching(checkpoint: LoadedCheckpoint) -> None:
    graphs, eager = (
        script(Sessions(RowBatch(checkpoint, 5, rewind=4, graph=graph))) for graph in (True, False)
    )
    assert_same(graphs, eager)


def test_nothing_is_allocated_after_the_capture(checkpoint: LoadedCheckpoint) -> None:
    sessions = Sessions(RowBatch(checkpoint, 4, rewind=4))
    pair = {sessions.open(): micro_turn(0), sessions.open(): micro_turn(1)}
    sessions.step_sessions(pair)
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    for _ in range(10):
        sessions.step_sessions(pair)
    assert torch.cuda.memory_stats()["allocation.all.allocated"] == before


def test_a_gpu_gives_the_outputs_of_a_cpu() -> None:
    """Every kernel against the model in PyTorch, through 16 micro-turns; all weights in fp32.

    Griffin-Lim's phases amplify the last bit, the learned vocoder's do not.
    """
    there, here = on_gpu(WITH_EVERYTHING, half=False), random_checkpoint(2, config=WITH_EVERYTHING)
    a, b = RowBatch(there, 1), RowBatch(here, 1)
    for k in range(16):
        inputs = {0: micro_turn(k)}
        made, expected = a.step_rows(inputs)[0], b.step_rows(inputs)[0]
        assert (made.heard, made.say) == (expected.heard, expected.say)
        error = np.linalg.norm(made.audio - expected.audio)
        assert error < 1e-3 * np.linalg.norm(expected.audio)


def test_the_engine_replays_on_its_own_thread(checkpoint: LoadedCheckpoint) -> None:
    """What `serve` does: captured on the main thread, run on the engine's."""
    engine = LiveEngine(RowBatch(checkpoint, 2), ServeConfig(max_waiting_micro_turns=4))
    engine.start()
    delivered: Queue[MicroTurnReport | Problem] = Queue()
    session, alone = engine.join(delivered.put), RowBatch(checkpoint, 2)
    for k in range(12):
        audio = micro_turn(k).audio
        session.push_audio(audio)
        report = delivered.get(timeout=PATIENCE_S)
        assert isinstance(report, MicroTurnReport), report
        expected = alone.step_rows({0: MicroTurnIn(audio=audio)})[0]
        assert np.array_equal(report.output.audio, expected.audio)
    engine.stop()


def test_a_graph_is_captured_while_another_thread_works(checkpoint: LoadedCheckpoint) -> None:
    """What listening during training does beside loaders, and a second engine beside the first."""
    batch, alone = RowBatch(checkpoint, 1), RowBatch(checkpoint, 1)
    captured: Queue[list[MicroTurnOut]] = Queue()
    other = Thread(target=lambda: captured.put(script(Sessions(graphs_of(checkpoint)))))
    other.start()
    made: list[MicroTurnOut] = []
    while other.is_alive():
        made += batch.step_rows({0: micro_turn(len(made))}).values()
    assert_same(captured.get_nowait(), script(Sessions(graphs_of(checkpoint))))
    assert_same(made, [alone.step_rows({0: micro_turn(k)})[0] for k in range(len(made))])
