"""The replay runs the products of the step, all of them and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from microturn.configs.main import main
from microturn.evaluation.bench.matmul_replay import MatmulReplay, Operand, Product, ProductRecorder


def recorded(model: nn.Module, x: Tensor) -> list[Product]:
    with ProductRecorder() as recorder:
        model(x).square().sum().backward()
    return recorder.products


@given(rows=st.integers(1, 5), depth=st.integers(1, 3), bias=st.booleans())
def test_products_of_layers_are_those_that_torch_counts(rows: int, depth: int, bias: bool) -> None:
    model = nn.Sequential(*(nn.Linear(8, 8, bias=bias) for _ in range(depth)))
    x = torch.randn(rows, 8)
    products = recorded(model, x)
    assert len(products) == 3 * depth - 1  # the input needs no gradient
    with FlopCounterMode(display=False) as counter:
        model(x).square().sum().backward()
    assert sum(product.flops for product in products) == counter.get_total_flops()


def test_attention_counts_by_its_products() -> None:
    B, H, T, C, K = 2, 3, 20, 24, 8
    q, k, v = (torch.randn(B, H, n, K, requires_grad=True) for n in (T, C, C))
    with ProductRecorder() as recorder:
        F.scaled_dot_product_attention(q, k, v).sum().backward()
    one = 2 * B * H * T * C * K
    assert [product.flops for product in recorder.products] == [one] * 6


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)),
    turned=st.tuples(st.booleans(), st.booleans()),
)
def test_operands_lie_as_they_lay(
    shape: tuple[int, int, int, int], turned: tuple[bool, bool]
) -> None:
    B, m, k, n = shape
    left = torch.randn(B, k, m).mT if turned[0] else torch.randn(B, m, k)
    right = torch.randn(1, n, k).mT.expand(B, k, n) if turned[1] else torch.randn(B, k, n)
    with ProductRecorder() as recorder:
        torch.bmm(left, right)
    (product,) = recorder.products
    made = product.left.make(), product.right.make()
    assert (made[0].shape, made[0].stride()) == (left.shape, left.stride())
    assert (made[1].shape, made[1].stride()) == (right.shape, right.stride())
    assert torch.isfinite(torch.bmm(*made)).all()
    with ProductRecorder() as again:
        MatmulReplay(recorder.products)()
    assert [p.flops for p in again.products] == [p.flops for p in recorder.products]


def test_a_transposed_operand_is_the_transpose() -> None:
    turned = Operand.dense(2, 3, 4).mT
    assert turned.shape == (2, 4, 3)
    assert turned.stride == (12, 1, 4)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "set"
    words = ["simulate", "datagen/smoke.yaml", f"out={out}", "n_dialogues=3", "workers=1"]
    assert main([*words, "n_micro_turns=40"]) == 0
    return out


def test_bench_times_the_real_loop(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "training.json"
    words = ["bench", "training", f"data={data}", "train=training/smoke.yaml", "threads=[1]"]
    assert main([*words, "steps=2", "warm_up=1", f"json={out}"]) in (0, 1)
    row = json.loads(out.read_text())["threads"]["1"]
    assert 0 < row["ratio"] < 1.5
    assert 0 <= row["data_wait"] < 1
    assert row["gflop_per_step"] > row["gflop_of_optimiser"] > 0
    assert row["ratio_without_optimiser"] < row["ratio"]


def test_lengths_have_their_own_figures(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "lengths.json"
    words = ["bench", "training", f"data={data}", "train=training/smoke.yaml", "threads=[1]"]
    assert main([*words, "lengths=[20,60]", "steps=1", f"json={out}"]) in (0, 1)
    figures = json.loads(out.read_text())
    assert set(figures["ms_per_micro_turn"]) == set(figures["memory_mb"]) == {"20", "60"}
    cheap, dear = sorted(figures["ms_per_micro_turn"].values())
    assert figures["spread"] == pytest.approx(dear / cheap - 1)
    assert figures["reached"] == (figures["spread"] <= 0.15)


def test_a_wrong_number_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "training", "threads=[0]"]) == 2
    assert "threads=[0] must be" in capsys.readouterr().err
    assert main(["bench", "training", "lengths=[80,0]"]) == 2
    assert "lengths=[80, 0] must be micro-turns" in capsys.readouterr().err
