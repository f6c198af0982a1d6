"""On a GPU: a run of several losses learns, compiled or not, and goes on where it was stopped."""

import csv
import json
from pathlib import Path

import pytest
import torch

from microturn.configs.main import main
from microturn.evaluation.bench.kernels_measure import relative_error
from microturn.model.vocoders.config import VocoderConfig
from microturn.model.vocoders.istft import IstftVocoder
from microturn.training.optim import _rounds, orthogonalise
from microturn.training.sources import open_source
from microturn.training.state import load, path_of, saved_states
from microturn.training.vocoder_loss import VocoderTask

pytestmark = pytest.mark.gpu

# The learned vocoder beside words, patches and routers; sinks, and a layer that reaches further.
EVERYTHING = (
    "model.window=4",
    "model.global_every=2",
    "model.global_window=16",
    "model.n_sinks=2",
    "model.vocoder.kind=istft",
    "model.vocoder.width=32",
    "model.vocoder.layers=2",
)


def train(data: Path, out: Path, *more: str) -> list[dict[str, str]]:
    words = [f"data={data}", f"out={out}", "accelerator=gpu", "log_steps=1", *EVERYTHING, *more]
    assert main(["train", "training/smoke.yaml", *words]) == 0
    with (out / "log" / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("shape", [(48, 160), (160, 48), (3, 64, 96), (2, 3, 96, 64)])
def test_fused_rounds_are_the_rounds(shape: tuple[int, ...]) -> None:
    g = torch.randn(shape)
    there = orthogonalise(g.cuda()).float().cpu()
    tall = shape[-2] > shape[-1]
    x = (g.mT if tall else g) / (g.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    here = _rounds(x, 5)
    assert relative_error(there, here.mT if tall else here) < 3e-2  # bf16 there, fp32 here


@pytest.mark.filterwarnings("ignore")  # torch's own, while it compiles
def test_compiled_blocks_learn_the_same(data: Path, tmp_path: Path) -> None:
    steps = 12
    plain, compiled = (
        train(data, tmp_path / mode, f"compile={mode}", f"max_steps={steps}")
        for mode in ("false", "true")
    )
    losses = [[float(row["loss/loss"]) for row in rows] for rows in (plain, compiled)]
    assert len(losses[0]) == steps
    assert losses[0][-1] < 0.9 * losses[0][0]
    assert torch.tensor(losses[0]).allclose(torch.tensor(losses[1]), rtol=0.03)


@pytest.mark.filterwarnings("ignore")
def test_a_run_goes_on(data: Path, tmp_path: Path) -> None:
    steps = ("max_steps=6", "checkpoint_steps=3")
    straight = train(data, tmp_path, *steps)
    path_of(tmp_path, 6).unlink()
    resumed = train(data, tmp_path, *steps)
    assert load(saved_states(tmp_path)[-1]).step == 6
    a, b = (float(rows[-1]["loss/loss"]) for rows in (resumed, straight))
    assert a == pytest.approx(b, rel=0.01)


@pytest.mark.filterwarnings("ignore")
def test_a_run_listens_in_between(data: Path, tmp_path: Path) -> None:
    """Sessions are captured from the model that is being trained, and it goes on learning."""
    often = (
        "streaming_validation.every_minutes=0",
        f"streaming_validation.data={data}",
        "streaming_validation.n_dialogues=2",
    )
    rows = train(data, tmp_path, "max_steps=3", *often)
    heard = (tmp_path / "streaming_validation" / "scores.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in heard] == [1, 2, 3]
    assert float(rows[-1]["loss/loss"]) < float(rows[0]["loss/loss"])


def test_the_vocoders_graph_is_its_loss(data: Path) -> None:
    source = open_source(str(data))
    cfg = VocoderConfig(kind="istft", width=32, layers=2)
    here = IstftVocoder(cfg, source.layout)
    there = IstftVocoder(cfg, source.layout).cuda()
    there.load_state_dict(here.state_dict())
    tasks = [VocoderTask(source, cfg, source.layout, seed=0) for _ in range(2)]
    for step in range(3):
        losses = []
        for vocoder, task in zip((here, there), tasks, strict=True):
            vocoder.zero_grad()
            losses.append(task.loss(vocoder, step, rows=range(4), batch_size=4))
            losses[-1]["vocoder"].backward()
        for name, value in losses[0].items():
            assert losses[1][name].item() == pytest.approx(value.item(), rel=1e-3)
        for a, b in zip(here.parameters(), there.parameters(), strict=True):
            assert a.grad is not None
            assert b.grad is not None
            assert relative_error(b.grad.cpu(), a.grad) < 1e-2
