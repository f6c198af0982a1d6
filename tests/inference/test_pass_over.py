"""Micro-turns that nobody answers: the model reads them in one pass and its clock goes on."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from microturn.inference.load import shipped_model
from microturn.inference.micro_turn import Gap, MicroTurnIn, MicroTurnOut
from microturn.inference.rows import RowBatch
from microturn.inference.sessions import Sessions
from microturn.model.batch import LaneBatch
from microturn.model.checkpoint import TINY_LAYOUT, LoadedCheckpoint, random_checkpoint
from microturn.model.model import InputTensors
from microturn.model.streams import IDLE, LayoutError, pack_user_audio
from support.small_model import SMALL

LAYOUT = replace(TINY_LAYOUT, video_rows=1, video_cols=1)
SAMPLES = LAYOUT.samples_per_micro_turn
REWIND, SEED = 6, 3
BEFORE, GAP, AFTER = 7, 4, 8


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def checkpoint() -> LoadedCheckpoint:
    return random_checkpoint(11, config=SMALL, layout=LAYOUT)


def turns_of(seed: int, n: int) -> list[MicroTurnIn]:
    rng = np.random.default_rng(seed)
    audio = (0.1 * rng.standard_normal((n, SAMPLES))).astype(np.float32)
    frames = rng.integers(0, 256, (n, 40, 40, 3), np.uint8)
    return [
        MicroTurnIn(
            audio=np.zeros_like(audio[k]) if k % 5 == 4 else audio[k],
            missing_input=k % 5 == 4,
            given={"video": frames[k]},
        )
        for k in range(n)
    ]


def batch_of(checkpoint: LoadedCheckpoint, n_rows: int = 1, *, rewind: int = REWIND) -> RowBatch:
    return RowBatch(checkpoint, n_rows, seed=SEED, rewind=rewind)


def run(batch: RowBatch, turns: list[MicroTurnIn], row: int = 0) -> list[MicroTurnOut]:
    return [batch.step_rows({row: turn})[row] for turn in turns]


def same(a: list[MicroTurnOut], b: list[MicroTurnOut]) -> bool:
    return len(a) == len(b) and all(
        x.tokens == y.tokens and np.array_equal(x.audio, y.audio) for x, y in zip(a, b, strict=True)
    )


def test_a_session_goes_on_as_a_model_that_heard_the_gap_and_was_silent_in_it(
    checkpoint: LoadedCheckpoint,
) -> None:
    model, turns = checkpoint.model, turns_of(1, BEFORE + GAP + AFTER)
    batch = batch_of(checkpoint)
    outputs = run(batch, turns[:BEFORE])
    batch.pass_over({0: Gap(n=GAP, newest=turns[BEFORE : BEFORE + GAP])})
    assert batch.micro_turns[0] == BEFORE + GAP
    outputs += run(batch, turns[BEFORE + GAP :])

    dmel = torch.from_numpy(
        pack_user_audio(np.concatenate([turn.audio for turn in turns]), LAYOUT)
    )[None]
    video = torch.from_numpy(np.stack([turn.given["video"] for turn in turns]))[None]
    missing = torch.tensor([[turn.missing_input for turn in turns]])
    idle = {
        spec.name: torch.from_numpy(spec.idle(len(turns))[None]).long()
        for spec in LAYOUT.lane_specs
        if spec.kind == "tokens"
    }
    levels = torch.zeros(1, len(turns), LAYOUT.fine_frames_per_micro_turn, LAYOUT.n_mels)
    patches = model.patches(levels)
    given = {"audio_in": dmel, "video": video, "text_in": idle["text_in"]}
    found: list[dict[str, list[int]]] = []
    with torch.inference_mode():
        state = model.init_state(1)
        for k in range(len(turns)):
            piece = slice(k, k + 1)
            if BEFORE <= k < BEFORE + GAP:
                lanes = {name: lane[:, piece] for name, lane in (given | idle).items()}
                heard = LaneBatch(lanes, {}, missing[:, piece])
                _, state = model.prefill(heard, patches[:, piece], state)
                continue
            key = np.random.Philox(key=[SEED, k])
            shape = (1, LAYOUT.audio_out_positions, LAYOUT.patch_dim)
            noise = np.random.Generator(key).standard_normal(shape, dtype=np.float32)
            inputs = InputTensors({n: lane[:, k] for n, lane in given.items()}, missing[:, k])
            result, state = model.step(inputs, state, torch.from_numpy(noise))
            patches[:, k] = result.patches
            found.append(
                {n: [i for i in ids[0].tolist() if i != IDLE] for n, ids in result.tokens.items()}
            )
        # Nothing was played in the gap, and the voice begins anew after it.
        mel = torch.cat([model.log_mel(part) for part in patches[0].split(1)], 0)
        pieces = [mel[:BEFORE], mel[BEFORE + GAP :]]
        sounds = [model.vocoder(piece.flatten(0, 1)[None])[0].numpy() for piece in pieces]
    assert [output.tokens for output in outputs] == found
    ours = np.concatenate([output.audio for output in outputs])
    np.testing.assert_allclose(ours, np.concatenate(sounds), rtol=0, atol=1e-7)


@pytest.mark.parametrize("rewind", [0, REWIND])
def test_the_gap_of_one_changes_no_bit_of_another(
    checkpoint: LoadedCheckpoint, rewind: int
) -> None:
    turns, other = turns_of(1, 20), turns_of(2, 20)
    expected = [run(batch_of(checkpoint, rewind=rewind), other)]
    alone = batch_of(checkpoint, rewind=rewind)
    first = run(alone, turns[:7])
    alone.pass_over({0: Gap(n=5, newest=turns[7:12])})
    expected.append(first + run(alone, turns[12:]))
    sessions = Sessions(batch_of(checkpoint, 3, rewind=rewind))
    steady, gapped = sessions.open(), sessions.open()
    got: list[list[MicroTurnOut]] = [[], []]
    for k in range(20):
        inputs = {steady: other[k]}
        if k == 11:
            sessions.pass_over({gapped: Gap(n=5, newest=turns[7:12])})
        if not 7 <= k < 12:
            inputs[gapped] = turns[k]
        outputs = sessions.step_sessions(inputs)
        got[0].append(outputs[steady])
        got[1] += [outputs[gapped]] if gapped in outputs else []
    assert same(got[0], expected[0])
    assert same(got[1], expected[1])
    assert sessions.micro_turns(gapped) == 20


def test_a_session_goes_back_to_before_its_gap_and_into_it(checkpoint: LoadedCheckpoint) -> None:
    turns = turns_of(1, 20)
    batch = batch_of(checkpoint)
    run(batch, turns[:7])
    batch.pass_over({0: Gap(n=4, newest=turns[7:11])})
    expected = run(batch, turns[11:13])
    batch.rewind(0, to=11)
    assert same(run(batch, turns[11:13]), expected)
    batch.rewind(0, to=9)  # as if only two had been passed over
    shorter = batch_of(checkpoint)
    run(shorter, turns[:7])
    shorter.pass_over({0: Gap(n=2, newest=turns[7:9])})
    assert same(run(batch, turns[9:13]), run(shorter, turns[9:13]))
    batch.rewind(0, to=7)
    assert same(run(batch, turns[7:13]), run(batch_of(checkpoint), turns[:13])[7:])


def test_of_a_gap_longer_than_the_model_looks_back_the_end_is_read(
    checkpoint: LoadedCheckpoint,
) -> None:
    """What was before it is forgotten, the count of micro-turns is not."""
    assert batch_of(checkpoint).reach == SMALL.window
    newest, after = turns_of(5, SMALL.window), turns_of(6, 1 + REWIND)
    outputs = []
    for past in (1, 2):
        batch = batch_of(checkpoint, 2)
        run(batch, turns_of(past, 11), row=1)
        batch.pass_over({1: Gap(n=100, newest=newest)})
        assert batch.micro_turns.tolist() == [0, 111]
        with pytest.raises(ValueError, match="the oldest kept here is 111"):
            batch.rewind(1, to=110)
        first = run(batch, after, row=1)
        batch.rewind(1, to=112)
        assert same(run(batch, after[1:], row=1), first[1:])
        outputs.append(first)
    assert same(*outputs)


def test_a_wrong_gap_is_refused_and_changes_nothing(checkpoint: LoadedCheckpoint) -> None:
    turns = turns_of(1, 12)
    batch = batch_of(checkpoint)
    run(batch, turns[:3])
    short = replace(turns[3], audio=turns[3].audio[1:])
    blind = replace(turns[3], given={"video": np.zeros((8, 8, 3), np.uint8)})
    with pytest.raises(ValueError, match="1 inputs for 2 micro-turns; pass those of the last 5"):
        batch.pass_over({0: Gap(n=2, newest=turns[3:4])})
    with pytest.raises(ValueError, match="a micro-turn needs"):
        batch.pass_over({0: Gap(n=2, newest=[turns[3], short])})
    with pytest.raises(LayoutError, match="video is uint8"):
        batch.pass_over({0: Gap(n=2, newest=[turns[3], blind])})
    batch.pass_over({0: Gap(n=0, newest=[])})
    assert same(run(batch, turns[3:]), run(batch_of(checkpoint), turns)[3:])


@pytest.mark.parametrize("rewind", [0, REWIND])
@pytest.mark.parametrize(
    "lengths",
    [{0: 3, 1: 3, 2: 3}, {0: 4, 1: 1, 2: 2}, {0: 2, 2: 5}, {1: 1, 2: 40}, {2: 2, 0: 2}, {1: 0}],
    ids=str,
)
def test_gaps_of_several_rows_in_one_pass_have_the_bits_of_one_after_the_other(
    checkpoint: LoadedCheckpoint, lengths: dict[int, int], rewind: int
) -> None:
    """Of equal and of other lengths, of neighbours and of rows with another one between them."""
    turns = [turns_of(row, 30) for row in range(3)]
    together, alone = (batch_of(checkpoint, 3, rewind=rewind) for _ in range(2))
    for k in range(BEFORE):
        for batch in (together, alone):
            batch.step_rows({row: turns[row][k] for row in range(3)})
    reach = together.reach
    gaps = {
        row: Gap(n=n, newest=turns[row][BEFORE : BEFORE + min(n, reach)])
        for row, n in lengths.items()
    }
    together.pass_over(gaps)
    for row, gap in gaps.items():
        alone.pass_over({row: gap})
    for k in range(20, 20 + AFTER):
        inputs = {row: turns[row][k] for row in range(3)}
        found, expected = together.step_rows(inputs), alone.step_rows(inputs)
        assert same(list(found.values()), list(expected.values()))
    assert together.micro_turns.tolist() == alone.micro_turns.tolist()
    if rewind:
        for row in range(3):
            to = max(int(together.oldest[row]), int(together.micro_turns[row]) - rewind)
            for batch in (together, alone):
                batch.rewind(row, to=to)
        inputs = {row: turns[row][3] for row in range(3)}
        found, expected = together.step_rows(inputs), alone.step_rows(inputs)
        assert same(list(found.values()), list(expected.values()))


@pytest.mark.slow
def test_one_pass_for_four_rows_takes_less_than_four_passes() -> None:
    """Processor time of `tiny` for docs/performance.md, in turns."""
    batch = RowBatch(random_checkpoint(0, config=shipped_model("model/tiny.yaml")), 4)
    audio = (0.1 * np.random.default_rng(0).standard_normal((4, SAMPLES))).astype(np.float32)
    turns = [MicroTurnIn(audio=part) for part in audio]
    one, four = (Gap(n=n, newest=turns[:n]) for n in (1, 4))
    works: dict[str, Callable[[], object]] = {
        "an answer of one": lambda: batch.step_rows({0: turns[0]}),
        "answers of four": lambda: batch.step_rows(dict(enumerate(turns))),
        "a gap of one in one": lambda: batch.pass_over({0: one}),
        "a gap of four in one": lambda: batch.pass_over({0: four}),
        "gaps of one in four": lambda: batch.pass_over(dict.fromkeys(range(4), one)),
        "gaps of four in four": lambda: batch.pass_over(dict.fromkeys(range(4), four)),
        "gaps of four in four, one by one": lambda: [batch.pass_over({r: four}) for r in range(4)],
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(15 + 20):  # the first are with short pasts
        for name, work in works.items():
            started = time.thread_time()
            work()
            times[name].append((time.thread_time() - started) * 1000)
    medians = {name: float(np.median(ms[20:])) for name, ms in times.items()}
    for name, ms in medians.items():
        print(f"{name}: {ms:.1f} ms")
    assert medians["gaps of four in four"] < 0.7 * medians["gaps of four in four, one by one"]
