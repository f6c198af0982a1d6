import pytest
import torch

from microturn.evaluation.bench.kernels_measure import ROUTINGS, Shape, relative_error
from microturn.kernels.experts import (
    experts_decode_reference,
    experts_reference,
    experts_trained,
    pairs_by_expert,
)
from microturn.kernels.experts_tiles import Streams, Tile, numbers_ahead
from microturn.kernels.experts_triton import (
    experts_decode,
)
from microturn.kernels.ops import experts

SHAPES = [
    Shape(d_model=16, n_experts=4, top_k=2, d_expert=16),
    Shape(d_model=37, n_experts=5, top_k=3, d_expert=19),
    Shape(d_model=24, n_experts=1, top_k=1, d_expert=8),
    Shape(d_model=1, n_experts=3, top_k=2, d_expert=1),
]
DTYPES = [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)]  # the interpreter cuts bf16 off
SMALL = (Tile(16, 16, 4, 2), Tile(16, 16, 4, 2))


def names(value: object) -> str | None:
    if isinstance(value, Shape):
        return f"d{value.d_model}-e{value.n_experts}-k{value.top_k}-f{value.d_expert}"
    return f"{value}"[6:] if isinstance(value, torch.dtype) else None


@pytest.mark.parametrize("by_pair", [False, True], ids=["by_expert", "by_pair"])
@pytest.mark.parametrize(("dtype", "limit"), DTYPES, ids=names)
@pytest.mark.parametrize("shape", SHAPES, ids=names)
@pytest.mark.parametrize("n_tokens", [1, 5])
def test_matches_both_references(
    shape: Shape,
    n_tokens: int,
    dtype: torch.dtype,
    limit: float,
    by_pair: bool,
    device: torch.device,
) -> None:
    up, down = shape.weights(dtype, device)
    inputs = shape.inputs("random", n_tokens, dtype, device)
    out = experts_decode(*inputs, up, down, tiles=SMALL, by_pair=by_pair)
    assert out.dtype == dtype
    assert relative_error(out, experts_decode_reference(*inputs, up, down)) < limit
    assert relative_error(out, experts_reference(*inputs, up, down)) < 2 * limit


@pytest.mark.parametrize("kind", ROUTINGS)
@pytest.mark.parametrize("n_tokens", [5, 34])
def test_any_routing(kind: str, n_tokens: int, device: torch.device) -> None:
    """Experts without tokens, and more tokens of one expert than one pass takes."""
    shape = Shape(d_model=20, n_experts=6, top_k=2, d_expert=12)
    up, down = shape.weights(torch.float32, device)
    inputs = shape.inputs(kind, n_tokens, torch.float32, device)
    reference = experts_decode_reference(*inputs, up, down)
    for by_pair in (False, True):
        out = experts_decode(*inputs, up, down, tiles=SMALL, by_pair=by_pair)
        assert relative_error(out, reference) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=names)
@pytest.mark.parametrize("kind", ROUTINGS)
def test_a_token_has_the_same_bits_alone_and_in_company(
    kind: str, dtype: torch.dtype, device: torch.device
) -> None:
    # The order inside one product of tiles is the library's in the interpreter and depends on the
    # row there; with depth 1 all sums are the kernel's own.
    depth = 64 if device.type == "cuda" else 1
    tiles = (Tile(16, depth, 4, 2), Tile(16, depth, 4, 2))
    shape = Shape(d_model=13, n_experts=4, top_k=2, d_expert=9)
    up, down = shape.weights(dtype, device)
    x, ids, w = shape.inputs(kind, 18, dtype, device)
    together = experts_decode(x, ids, w, up, down, tiles)
    alone = [
        experts_decode(x[i : i + 1], ids[i : i + 1], w[i : i + 1], up, down, tiles)
        for i in (0, 8, 17)
    ]
    assert torch.equal(together[[0, 8, 17]], torch.cat(alone))
    assert torch.equal(together, experts_decode(x, ids, w, up, down, tiles, by_pair=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=names)
def test_how_weights_flow_changes_no_bit(dtype: torch.dtype, device: torch.device) -> None:
    on_gpu = device.type == "cuda"  # the interpreter takes no hints, and its time grows with sizes
    tile = Tile(16, 64 if on_gpu else 1, 4, 2)
    width, d_expert = (64, 32) if on_gpu else (13, 9)
    shape = Shape(d_model=width, n_experts=4, top_k=2, d_expert=d_expert)
    up, down = shape.weights(dtype, device)
    inputs = shape.inputs("random", 3, dtype, device)
    expected = experts_decode(*inputs, up, down, (tile, tile), by_pair=False)
    ways = [Streams(by_slot=True), Streams(ahead=True, overlap=True), Streams(True, True, True)]
    for streams in ways if on_gpu else ways[::2]:
        out = experts_decode(*inputs, up, down, (tile, tile), by_pair=True, streams=streams)
        assert torch.equal(out, expected), streams


def test_all_threads_together_ask_for_an_expert_in_whole_16_bytes() -> None:
    down = torch.empty(2, 512, 1024, dtype=torch.bfloat16)
    assert numbers_ahead(down, 16 * 128) == 256
    assert numbers_ahead(down, 2**17) == 0  # 8 bytes each
    assert numbers_ahead(torch.empty(2, 19, 37), 128) == 0


def test_a_neighbour_of_nan_harms_nobody(device: torch.device) -> None:
    shape = SHAPES[0]
    up, down = shape.weights(torch.float32, device)
    x, ids, w = shape.inputs("one", 4, torch.float32, device)
    clean = experts_decode(x, ids, w, up, down, tiles=SMALL)
    x[2] = torch.nan
    dirty = experts_decode(x, ids, w, up, down, tiles=SMALL)
    assert dirty[2].isnan().all()
    assert torch.equal(dirty[[0, 1, 3]], clean[[0, 1, 3]])


def test_built_in_tiles_and_views_of_inputs(device: torch.device) -> None:
    """Weights of slots arrive as a slice of a wider matrix, inputs in another type."""
    shape = SHAPES[1]
    up, down = shape.weights(torch.bfloat16, device)
    x, ids, w = shape.inputs("random", 6, torch.float32, device)
    wide = torch.cat([w, w], dim=1)[:, : shape.top_k]
    out = experts_decode(x, ids, wide, up, down)
    assert out.dtype == torch.float32
    assert relative_error(out, experts_decode_reference(x, ids, w, up, down)) < 2e-2


@pytest.mark.gpu
def test_dispatch_takes_the_decode_kernels_for_few_tokens() -> None:
    device = torch.device("cuda")
    shape = Shape(d_model=64, n_experts=8, top_k=2, d_expert=32)
    up, down = shape.weights(torch.bfloat16, device)
    inputs = shape.inputs("random", 8, torch.bfloat16, device)
    assert torch.equal(experts(*inputs, up, down), experts_decode(*inputs, up, down))


@pytest.mark.parametrize("kind", ROUTINGS)
@pytest.mark.parametrize("frozen", [False, True])
def test_trained_layers_are_the_definition_with_its_gradients(kind: str, frozen: bool) -> None:
    shape = Shape(d_model=16, n_experts=6, top_k=2, d_expert=8)
    torch.manual_seed(0)
    cpu = torch.device("cpu")
    up, down = (weights.requires_grad_(not frozen) for weights in shape.weights(torch.float32, cpu))
    x, ids, w = shape.inputs(kind, 40, torch.float32, cpu)
    inputs = [x.requires_grad_(), w.requires_grad_(), *([] if frozen else [up, down])]
    grad = torch.randn(x.shape)
    results = []
    for layers in (experts, experts_trained, experts_reference):
        y = layers(x, ids, w, up, down)
        results.append([y, *torch.autograd.grad(y, inputs, grad)])
    *trained, expected = results
    for got in trained:
        for one, other in zip(got, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_mixed_precision_of_a_cpu_has_gradients_too() -> None:
    shape = SHAPES[0]
    cpu = torch.device("cpu")
    up, down = (weights.requires_grad_() for weights in shape.weights(torch.float32, cpu))
    inputs = shape.inputs("random", 5, torch.float32, cpu)
    with torch.autocast("cpu", torch.bfloat16):
        y = experts(*inputs, up, down)
    y.float().sum().backward()
    assert up.grad is not None
    assert relative_error(y.detach(), experts_reference(*inputs, up, down).detach()) < 4e-2


@pytest.mark.parametrize("n_experts", [5, 256, 300])
def test_pairs_are_sorted_by_expert_in_their_order(n_experts: int) -> None:
    ids = torch.randint(n_experts - 1, (40, 3)) + (torch.arange(40)[:, None] > 2)
    order, ends = pairs_by_expert(ids, n_experts)
    assert torch.equal(order, torch.argsort(ids.flatten(), stable=True))
    counts = torch.bincount(ids.flatten(), minlength=n_experts)
    assert torch.equal(ends, counts.cumsum(0).int())
