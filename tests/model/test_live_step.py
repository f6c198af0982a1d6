"""The kernels inside the model: a micro-turn through them is the micro-turn without them."""

import numpy as np
import pytest
import torch

from microturn.inference.micro_turn import MicroTurnIn
from microturn.inference.rows import RowBatch
from microturn.kernels import ops
from microturn.kernels.experts_triton import experts_decode
from microturn.kernels.ring_attention_triton import INTERPRETED
from microturn.model.checkpoint import experts_to_, random_checkpoint


@pytest.mark.skipif(not INTERPRETED, reason="kernels that are not interpreted take no CPU tensor")
def test_a_session_through_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dispatch asks for a GPU; here the interpreter takes its place."""
    checkpoint = random_checkpoint(5)
    audio = np.random.default_rng(0).standard_normal(3200).astype(np.float32) / 10
    inputs = {0: MicroTurnIn(audio=audio)}
    a = RowBatch(checkpoint, 1).step_rows(inputs)[0]
    monkeypatch.setattr(ops, "has_kernels", lambda x: not torch.is_grad_enabled())
    monkeypatch.setattr(ops, "experts", experts_decode)
    b = RowBatch(checkpoint, 1).step_rows(inputs)[0]
    assert (a.heard, a.say) == (b.heard, b.say)
    assert np.abs(a.audio).mean() == pytest.approx(np.abs(b.audio).mean(), rel=0.05)
    experts_to_(checkpoint.model, torch.bfloat16)
    half = RowBatch(checkpoint, 1).step_rows(inputs)[0]
    assert np.isfinite(half.audio).all()


@pytest.mark.gpu
def test_a_graph_says_what_its_kernels_say() -> None:
    checkpoint = random_checkpoint(5)
    checkpoint.model.to("cuda")
    rng = np.random.default_rng(0)
    captured, eager = (RowBatch(checkpoint, 2, graph=graph) for graph in (True, False))
    for turn in range(20):
        audio = rng.standard_normal((2, 3200)).astype(np.float32) / 10
        inputs = {row: MicroTurnIn(audio=audio[row]) for row in range(2 if turn % 3 else 1)}
        a, b = (batch.step_rows(inputs) for batch in (captured, eager))
        assert a.keys() == b.keys() == inputs.keys()
        for row in inputs:
            assert (a[row].heard, a[row].say) == (b[row].heard, b[row].say)
            assert np.array_equal(a[row].audio, b[row].audio)
