"""The same bits in pieces, at once, in company and after going back (CPU, fp32, one thread)."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from microturn.kernels import batch_invariant as by_rows
from microturn.kernels.experts import experts_reference
from microturn.kernels.router import route_reference
from microturn.model.batch import LaneBatch
from microturn.model.checkpoint import TINY_LAYOUT, LoadedCheckpoint, random_checkpoint
from microturn.model.choice import choose_token
from microturn.model.config import FlowConfig, ModelConfig, MoEConfig
from microturn.model.model import InputTensors, InteractionModel, ModelState
from microturn.model.streams import StreamLayout

FLOW = FlowConfig(width=24, depth=2, steps=2, guidance=1.5)
# Nothing is a multiple of a vector register, groups of queries are odd, all options are on.
ODD = ModelConfig(
    d_model=72,
    n_layers=4,
    n_heads=6,
    n_kv_heads=2,
    d_ff=88,
    window=3,
    n_sinks=3,
    global_every=3,
    global_window=7,
    audio_channels=(6, 10, 12),
    video_channels=(8, 16, 24),
    moe=MoEConfig(n_experts=5, top_k=3, n_shared=2, d_expert=24),
    flow=FLOW,
)
TINY = ModelConfig(window=6)  # the shapes of the demo's model
WIDE, SEEING = StreamLayout(), StreamLayout(video_rows=2, video_cols=3)
CASES = [
    pytest.param(ODD, WIDE, id="odd"),
    pytest.param(replace(ODD, n_kv_heads=6, n_attention_only=2), SEEING, id="video"),
    pytest.param(replace(ODD, n_sinks=0, moe=MoEConfig(n_experts=0)), WIDE, id="dense"),
    pytest.param(TINY, TINY_LAYOUT, id="tiny"),
    pytest.param(replace(TINY, audio_channels=(24, 48, 96)), TINY_LAYOUT, id="hearing"),
]
DRAWN = pytest.param(replace(TINY, say_temperature=1.0), TINY_LAYOUT, id="drawn words")
N = 12  # micro-turns, beyond every window


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(before)


class Streams:
    """Random inputs of B sessions, and what they produced."""

    def __init__(self, ck: LoadedCheckpoint, B: int, n: int = N, seed: int = 0) -> None:
        g = torch.Generator().manual_seed(seed)
        layout, V = ck.layout, len(ck.tokenizer)
        self.model: InteractionModel = ck.model
        shape = (n, B, layout.frames_per_micro_turn, layout.n_mels)
        self.audio = torch.randint(0, 16, shape, generator=g, dtype=torch.uint8)
        self.missing = torch.rand(n, B, generator=g) < 0.1
        self.text = torch.randint(0, V, (n, B, layout.text_in_positions), generator=g)
        self.given = {"audio_in": self.audio, "text_in": self.text}
        if layout.lane("video").positions:
            frame = (n, B, *layout.lane("video").shape)
            self.given["video"] = torch.randint(0, 256, frame, generator=g, dtype=torch.uint8)
        noise = (n, B, layout.audio_out_positions, layout.patch_dim)
        self.noise = torch.randn(noise, generator=g)

    def turn(
        self, k: int, rows: list[int], state: ModelState
    ) -> tuple[dict[str, Tensor], ModelState]:
        given = {name: lane[k, rows] for name, lane in self.given.items()}
        inputs = InputTensors(given, self.missing[k, rows])
        out, state = self.model.step(inputs, state, self.noise[k, rows])
        return {**out.tokens, "patches": out.patches}, state

    def run(self, rows: list[int]) -> tuple[dict[str, Tensor], ModelState]:
        """All micro-turns of some sessions: made lanes (B, N, ...)."""
        state, made = self.model.init_state(len(rows)), []
        for k in range(len(self.audio)):
            out, state = self.turn(k, rows, state)
            made.append(out)
        return {name: torch.stack([m[name] for m in made], 1) for name in made[0]}, state

    def batch(self, made: dict[str, Tensor], rows: list[int], turns: slice) -> LaneBatch:
        """Inputs and what was made as lanes that can be read at once."""
        lanes = {name: lane[turns, rows].transpose(0, 1) for name, lane in self.given.items()}
        lanes |= {name: made[name][:, turns] for name in ("heard", "say")}
        missing = self.missing[turns, rows].transpose(0, 1)
        return LaneBatch(lanes=lanes, weights={}, missing_input=missing)


def same(a: ModelState, b: ModelState) -> bool:
    """All bits, but for slots that nothing was written to."""
    pairs = [(a.patch, b.patch), (a.backbone.seen, b.backbone.seen)]
    for x, y in zip(a.backbone.layers, b.backbone.layers, strict=True):
        pairs += [(x.k, y.k), (x.v, y.v)]
    return all(torch.equal(x, y) for x, y in pairs)


def rows_of(state: ModelState, rows: list[int]) -> ModelState:
    backbone = state.backbone.clone()
    for cache in backbone.layers:
        cache.k, cache.v = cache.k[rows], cache.v[rows]
    return ModelState(replace(backbone, seen=backbone.seen[rows]), state.patch[rows])


@pytest.mark.parametrize(("config", "layout"), [*CASES, DRAWN])
def test_a_session_has_its_bits_alone_and_with_strangers(
    config: ModelConfig, layout: StreamLayout
) -> None:
    streams = Streams(random_checkpoint(1, layout=layout, config=config), 9)
    together, state = streams.run(list(range(9)))
    for rows in ([4], [8, 4], [7, 6, 5, 4, 3]):
        made, alone = streams.run(rows)
        for name, lane in made.items():
            assert torch.equal(lane, together[name][rows]), (rows, name)
        assert same(alone, rows_of(state, rows)), rows


@pytest.mark.parametrize("pieces", [[N], [1] * N, [5, 1, 4, 2]], ids=str)
@pytest.mark.parametrize(("config", "layout"), CASES)
def test_a_dialogue_read_at_once_or_in_pieces_is_the_dialogue_that_was_held(
    config: ModelConfig, layout: StreamLayout, pieces: list[int]
) -> None:
    ck = random_checkpoint(2, layout=layout, config=config)
    streams = Streams(ck, 2)
    made, held = streams.run([0, 1])
    state, start, hidden = ck.model.init_state(1), 0, []
    for size in pieces:
        turns = slice(start, start + size)
        batch = streams.batch({k: v[1:] for k, v in made.items()}, [1], turns)
        part, state = ck.model.prefill(batch, made["patches"][1:, turns], state)
        hidden.append(part)
        start += size
    assert same(state, rows_of(held, [1]))
    for name in ("heard", "say"):
        logits = ck.model.unembed(torch.cat([h[name] for h in hidden], 1))
        said = choose_token(logits, ck.model.cfg.start_at)
        assert torch.equal(said, made[name][1:])


@pytest.mark.parametrize(("config", "layout"), CASES)
def test_the_trainers_forward_is_the_dialogue_that_was_held_within_rounding(
    config: ModelConfig, layout: StreamLayout
) -> None:
    """It sums keys in another order: 2e-5 of the largest number, as docs/model.md says."""
    ck = random_checkpoint(3, layout=layout, config=config)
    streams = Streams(ck, 2)
    made, _ = streams.run([0, 1])
    batch = streams.batch(made, [0, 1], slice(None))
    held, _ = ck.model.prefill(batch, made["patches"], ck.model.init_state(2))
    with torch.enable_grad():
        trained = ck.model(batch, made["patches"])
    for name, exact in held.items():
        error = (trained[name] - exact).abs().max() / exact.abs().max()
        assert error < 2e-5, name


@pytest.mark.parametrize("back", [1, 5])
@pytest.mark.parametrize(("config", "layout"), [CASES[0], CASES[3]])
def test_a_session_that_went_back_was_never_ahead(
    config: ModelConfig, layout: StreamLayout, back: int
) -> None:
    """Both rows go on differently for `back` micro-turns; one then takes its way back."""
    ck = random_checkpoint(4, layout=layout, config=config)
    model, spare, size = ck.model, 5, layout.n_positions
    streams, other = Streams(ck, 2, n=18), Streams(ck, 2, n=5, seed=1)
    for branch in (0, 4, 13):  # at the start, before and after the rings' ends
        straight, bent = (model.init_state(1, spare=spare) for _ in range(2))
        for k in range(branch):
            _, straight = streams.turn(k, [0], straight)
            _, bent = streams.turn(k, [0], bent)
        patch = bent.patch
        for k in range(back):
            _, bent = other.turn(k, [1], bent)
        bent = replace(bent, patch=patch)
        bent.backbone.seen[0] -= back * size
        for k in range(branch, branch + 5):
            expected, straight = streams.turn(k, [0], straight)
            got, bent = streams.turn(k, [0], bent)
            for name, lane in expected.items():
                assert torch.equal(got[name], lane), (branch, k, name)


def test_a_fork_goes_its_own_way() -> None:
    ck = random_checkpoint(5, layout=WIDE, config=ODD)
    streams = Streams(ck, 2)
    _, alone = streams.run([0])
    state = ck.model.init_state(2)
    for k in range(N):
        if k == 5:
            state.copy_row_(0, 1)
        _, state = streams.turn(k, [0, 1] if k >= 5 else [0, 0], state)
    assert same(rows_of(state, [0]), alone)
    mixed = ck.model.init_state(1)
    for k in range(N):
        _, mixed = streams.turn(k, [1] if k >= 5 else [0], mixed)
    assert same(rows_of(state, [1]), mixed)


@pytest.mark.parametrize("width", [5, 24, 96, 161])
def test_products_and_functions_do_not_see_the_number_of_rows(width: int) -> None:
    torch.manual_seed(0)
    x, narrow, bias = torch.randn(70, width), torch.randn(7, width), torch.randn(7)
    wide = torch.randn(width, 24)
    for function in (
        lambda x: by_rows.linear(x, narrow, bias),
        lambda x: by_rows.linear(x, narrow),
        lambda x: by_rows.matmul(x, wide),
        lambda x: by_rows.elementwise(torch.sigmoid, x),
        lambda x: by_rows.elementwise(torch.nn.functional.gelu, x),
    ):
        whole = function(x)
        for n in range(1, 70):
            assert torch.equal(function(x[:n]), whole[:n]), n
            assert torch.equal(function(x[-n:]), whole[-n:]), n


@pytest.mark.parametrize("top_k", [1, 2, 3, 4])
def test_experts_and_router_do_not_see_who_shares_the_batch(top_k: int) -> None:
    torch.manual_seed(0)
    E, D, width = 5, 40, 24
    x, weight, bias = torch.randn(33, D), torch.randn(E + 2, D), torch.randn(E) / 10
    up, down = torch.randn(E, D, 2 * width), torch.randn(E, width, D)

    def layer(x: Tensor) -> Tensor:
        ids, w, shared = route_reference(x, weight, bias, top_k, 2.0)
        return torch.cat([experts_reference(x, ids, w, up, down), shared], dim=1)

    whole = layer(x)
    for n in range(1, 33):
        assert torch.equal(layer(x[:n]), whole[:n]), n
        assert torch.equal(layer(x[-n:]), whole[-n:]), n


def test_training_takes_the_plain_path() -> None:
    x, weight = torch.randn(2, 5), torch.randn(3, 5)
    with torch.enable_grad():
        assert torch.equal(by_rows.linear(x, weight), torch.nn.functional.linear(x, weight))
        assert not by_rows.is_row_wise(x)
