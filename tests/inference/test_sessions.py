"""Sessions as handles: no session changes a bit of another (fp32, one thread)."""

import gc
import itertools
import tracemalloc
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.rows import RowBatch
from microturn.inference.sessions import Session, Sessions, SessionsFull
from microturn.model.checkpoint import TINY_LAYOUT, LoadedCheckpoint, random_checkpoint
from microturn.model.config import ModelConfig
from microturn.model.streams import StreamLayout
from microturn.model.vocoders.config import VocoderConfig
from support.small_model import SMALL

N_ROWS, REWIND = 4, 6
MODELS = {
    "griffin_lim": (replace(SMALL, vocoder=VocoderConfig(kind="griffin_lim")), TINY_LAYOUT),
    "istft": (SMALL, TINY_LAYOUT),
    "wide": (
        replace(SMALL, n_sinks=2, global_every=2, global_window=9, n_attention_only=1),
        StreamLayout(),
    ),
    "tiny": (replace(ModelConfig(), window=5), TINY_LAYOUT),
}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module", params=list(MODELS))
def checkpoint(request: pytest.FixtureRequest) -> LoadedCheckpoint:
    config, layout = MODELS[request.param]
    return random_checkpoint(11, config=config, layout=layout)


@pytest.fixture(scope="module")
def small() -> LoadedCheckpoint:
    """The quickest one: without the rounds of Griffin-Lim."""
    return random_checkpoint(11, config=SMALL)


def micro_turn(checkpoint: LoadedCheckpoint, seed: int, **more: Any) -> MicroTurnIn:
    rng = np.random.default_rng(seed)
    samples = checkpoint.layout.samples_per_micro_turn
    audio = (0.1 * rng.standard_normal(samples)).astype(np.float32)
    return MicroTurnIn(audio=audio, **more)


def strange(checkpoint: LoadedCheckpoint, seed: int, kind: str) -> MicroTurnIn:
    """A micro-turn of one kind of input, valid or strange."""
    turn = micro_turn(checkpoint, seed)
    match kind:
        case "nothing":
            return replace(turn, audio=np.zeros_like(turn.audio))
        case "nan":
            return replace(turn, audio=np.full_like(turn.audio, np.nan))
        case "garbage":
            noise = np.random.default_rng(seed).integers(0, 256, 4 * len(turn.audio), np.uint8)
            return replace(turn, audio=noise.view(np.float32))
        case "missing":
            return replace(turn, missing_input=True)
        case "text":
            return replace(turn, text_in=checkpoint.tokenizer.encode("hello")[:1])
    return turn


def same(a: list[MicroTurnOut], b: list[MicroTurnOut]) -> bool:
    return len(a) == len(b) and all(
        x.heard == y.heard and x.say == y.say and np.array_equal(x.audio, y.audio)
        for x, y in zip(a, b, strict=True)
    )


@dataclass
class History:
    """Inputs and outputs of a session."""

    inputs: list[MicroTurnIn] = field(default_factory=list)
    outputs: list[MicroTurnOut] = field(default_factory=list)


def alone(checkpoint: LoadedCheckpoint, turns: list[MicroTurnIn]) -> list[MicroTurnOut]:
    """The same input to a session that has the model for itself, in a ring of the same length."""
    sessions = Sessions(RowBatch(checkpoint, 1, rewind=REWIND))
    session = sessions.open()
    return [sessions.step_session(session, turn) for turn in turns]


KINDS = ["speech", "speech", "nothing", "nan", "garbage", "missing", "text"]
SCRIPT: list[tuple[str, Any]] = [
    ("open", 0),
    ("append", ["speech", "nothing", "speech", "speech"]),
    ("open", 0),
    ("append", ["nan", "nothing", "garbage", "speech"]),
    ("skip", 5),
    ("append", ["missing", "nothing", "text", "speech"]),
    ("fork", 0),
    ("append", ["speech", "speech", "speech", "missing"]),
    ("rewind", 3),
    ("append", ["speech", "nothing", "speech", "speech"]),
    ("close", 1),
    ("open", 0),
    *[("append", ["speech", "nothing", "speech", "garbage"])] * 4,  # beyond the window
]
STEP = st.one_of(
    st.tuples(st.just("append"), st.lists(st.sampled_from(KINDS), min_size=4, max_size=4)),
    st.tuples(st.just("skip"), st.integers(0, 15)),
    st.tuples(st.sampled_from(["open", "close", "fork"]), st.integers(0, 7)),
    st.tuples(st.just("rewind"), st.integers(0, REWIND)),
)


def test_a_session_changes_no_bit_of_another(checkpoint: LoadedCheckpoint) -> None:
    """Opened, closed, missing, sitting out, rewound, forked, garbage: each equals itself alone."""
    check_script(checkpoint, SCRIPT, seed=0)


@settings(max_examples=10)
@given(st.lists(STEP, min_size=4, max_size=16), st.integers(0, 1_000))
def test_random_scripts_leave_the_bits_of_other_sessions(
    small: LoadedCheckpoint, steps: list[tuple[str, Any]], seed: int
) -> None:
    check_script(small, steps, seed)


def check_script(checkpoint: LoadedCheckpoint, steps: list[tuple[str, Any]], seed: int) -> None:
    sessions = Sessions(RowBatch(checkpoint, N_ROWS, rewind=REWIND))
    live: dict[Session, History] = {sessions.open(): History()}
    gone: list[History] = []
    for number, (what, detail) in enumerate([("append", KINDS[:4]), *steps]):
        pick = list(live)[detail % len(live)] if isinstance(detail, int) and live else None
        match what:
            case "open" if len(live) < N_ROWS:
                live[sessions.open()] = History()
            case "close" if pick is not None:
                sessions.close(pick)
                gone.append(live.pop(pick))
            case "fork" if pick is not None and len(live) < N_ROWS:
                history = live[pick]
                live[sessions.fork(pick)] = History(list(history.inputs), list(history.outputs))
            case "rewind" if live:
                pick = list(live)[number % len(live)]
                to = max(sessions.oldest(pick), sessions.micro_turns(pick) - detail)
                sessions.rewind(pick, to=to)
                del live[pick].inputs[to:], live[pick].outputs[to:]
            case "append" | "skip":
                mask = detail if what == "skip" else 15
                kinds = detail if what == "append" else ["speech"] * N_ROWS
                turns = {
                    session: strange(checkpoint, 10_000 * seed + 10 * number + index, kinds[index])
                    for index, session in enumerate(live)
                    if mask >> index & 1
                }
                for session, output in sessions.step_sessions(turns).items():
                    live[session].inputs.append(turns[session])
                    live[session].outputs.append(output)
    for history in [*gone, *live.values()]:
        assert same(history.outputs, alone(checkpoint, history.inputs))
        assert all(np.isfinite(output.audio).all() for output in history.outputs)


def test_a_batch_equals_each_session_alone(checkpoint: LoadedCheckpoint) -> None:
    turns = [[micro_turn(checkpoint, 100 * row + k) for k in range(7)] for row in range(7)]
    sessions = Sessions(RowBatch(checkpoint, 7, rewind=REWIND))
    handles = [sessions.open() for _ in turns]
    ticks = [
        sessions.step_sessions(dict(zip(handles, together, strict=True)))
        for together in zip(*turns, strict=True)
    ]
    for row in (0, 3, 6):
        assert same([outputs[handles[row]] for outputs in ticks], alone(checkpoint, turns[row]))


def test_a_fork_differs_only_by_its_input(small: LoadedCheckpoint) -> None:
    sessions = Sessions(RowBatch(small, 2, rewind=REWIND))
    one = sessions.open()
    for k in range(9):
        sessions.step_session(one, micro_turn(small, k))
    two = sessions.fork(one)
    assert sessions.micro_turns(two) == 9
    same_turn = micro_turn(small, 9)
    both = sessions.step_sessions({one: same_turn, two: same_turn})
    assert same([both[one]], [both[two]])
    apart = sessions.step_sessions({one: micro_turn(small, 10), two: micro_turn(small, 11)})
    assert not same([apart[one]], [apart[two]])
    sessions.rewind(two, to=5)  # the twin has the past of the first
    again = [sessions.step_session(two, micro_turn(small, k)) for k in range(5, 9)]
    assert same(again, alone(small, [micro_turn(small, k) for k in range(9)])[5:])


# --- what is refused -------------------------------------------------------------------------
def test_a_rewind_beyond_the_limits_is_refused_with_the_limits(small: LoadedCheckpoint) -> None:
    sessions = Sessions(RowBatch(small, 1, rewind=3))
    one = sessions.open()
    for k in range(8):
        sessions.step_session(one, micro_turn(small, k))
    with pytest.raises(ValueError, match=r"micro-turn 9: the session has made 8 micro-turns"):
        sessions.rewind(one, to=9)
    with pytest.raises(ValueError, match=r"micro-turn -1: the session has made 8"):
        sessions.rewind(one, to=-1)
    with pytest.raises(ValueError, match=r"keep their last 3 micro-turns, .* kept here is 5"):
        sessions.rewind(one, to=4)
    sessions.rewind(one, to=5)
    with pytest.raises(ValueError, match="the oldest kept here is 5"):
        sessions.rewind(one, to=4)  # going back does not make what is older come back
    sessions.step_session(one, micro_turn(small, 5))
    sessions.rewind(one, to=5)
    sessions.rewind(one, to=5)  # being there already is fine
    never = Sessions(RowBatch(small, 1))
    only = never.open()
    never.step_session(only, micro_turn(small, 0))
    with pytest.raises(ValueError, match="sessions of rewind=0 keep their last 0 micro-turns"):
        never.rewind(only, to=0)


def test_a_session_too_many_and_a_closed_session_are_refused(small: LoadedCheckpoint) -> None:
    sessions = Sessions(RowBatch(small, 2))
    one, two = sessions.open(), sessions.open()
    with pytest.raises(SessionsFull, match="all 2 sessions are in use; close one first"):
        sessions.open()
    with pytest.raises(SessionsFull):
        sessions.fork(one)
    sessions.close(one)
    for wrong in (
        lambda: sessions.close(one),
        lambda: sessions.step_session(one, micro_turn(small, 0)),
        lambda: sessions.rewind(one, to=0),
        lambda: sessions.fork(one),
    ):
        with pytest.raises(ValueError, match="session s1 is closed or not one of these"):
            wrong()
    assert len(sessions) == 1
    three = sessions.open()
    assert sessions.n_rows_computed([two, three]) == 2
    assert sessions.n_rows_computed([three]) == 1  # the lowest free row


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"audio": np.zeros(7, np.float32)}, r"audio of row 0 has shape \(7,\)"),
        ({"text_in": [4, 4]}, "2 text tokens, a micro-turn holds 1"),
        ({"text_in": [9_999]}, r"text tokens \[9999\] are no ids of this tokenizer"),
        ({"text_in": [-1]}, "are no ids"),
        ({"given": {"video": np.zeros((40, 40, 3), np.uint8)}}, "video"),
    ],
)
def test_refused_input_changes_no_session(
    small: LoadedCheckpoint, change: dict[str, Any], sentence: str
) -> None:
    turns = [micro_turn(small, k) for k in range(6)]
    sessions = Sessions(RowBatch(small, 2, rewind=REWIND))
    one, two = sessions.open(), sessions.open()
    outputs = []
    for turn in turns:
        with pytest.raises(ValueError, match=sentence):
            sessions.step_sessions({two: turn, one: replace(turn, **change)})
        outputs.append(sessions.step_sessions({one: turn, two: turn})[one])
    assert same(outputs, alone(small, turns))


# --- memory ----------------------------------------------------------------------------------
def test_no_memory_is_kept_from_micro_turn_to_micro_turn(small: LoadedCheckpoint) -> None:
    """Of the audio of 80 micro-turns Python keeps less than four in one of three tries (its free
    lists still fill up now and then; what is kept for good is kept in each), and no memory that
    torch allocates for a micro-turn is left after it."""
    sessions = Sessions(RowBatch(small, 2, rewind=REWIND))
    pair = {sessions.open(): micro_turn(small, k) for k in range(2)}

    def run(n: int) -> None:
        for _ in range(n):
            sessions.step_sessions(pair)

    tracemalloc.start()
    try:
        run(60)  # caches, rings and free lists fill
        kept = []
        for _ in range(4):
            gc.collect()
            kept.append(tracemalloc.get_traced_memory()[0])
            run(40)
    finally:
        tracemalloc.stop()
    grown = [after - before for before, after in itertools.pairwise(kept)]
    assert min(grown) < 4 * 4 * small.layout.samples_per_micro_turn
    assert left_behind(lambda: run(1)) == 0


def left_behind(work: Any) -> int:
    """Bytes of torch's CPU allocator that live on after `work`."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as trace:
        work()
    events = [e for e in trace.profiler.kineto_results.events() if e.name() == "[memory]"]  # type: ignore[union-attr]
    assert events
    return sum(event.nbytes() for event in events)


def test_no_state_moves_in_memory(small: LoadedCheckpoint) -> None:
    """The slabs of the start are those of the end, after opening, closing, forks and rewinds."""
    sessions = Sessions(RowBatch(small, 2, rewind=REWIND))
    tick = sessions.batch.tick
    addresses = [tensor.data_ptr() for tensor in tick.slabs]
    one = sessions.open()
    for k in range(8):
        sessions.step_session(one, micro_turn(small, k))
    two = sessions.fork(one)
    sessions.rewind(one, to=5)
    sessions.step_sessions({one: micro_turn(small, 8), two: micro_turn(small, 9)})
    sessions.close(one)
    assert [tensor.data_ptr() for tensor in tick.slabs] == addresses
