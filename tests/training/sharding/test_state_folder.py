"""A state in pieces: written at once or in the background, whole or not at all, never unpickled."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from microturn.model.checkpoint import random_checkpoint
from microturn.training.config import OptimConfig, ParallelConfig, TrainingConfig
from microturn.training.module import TrainingModule
from microturn.training.optim import build_optimizer
from microturn.training.parallel import shard_model
from microturn.training.process_group import ProcessGroup, full_tensor
from microturn.training.sharding.background import Background, staged
from microturn.training.sharding.state_folder import save_folder
from microturn.training.start.run_identity import RunIdentity
from microturn.training.state import Facts, load, saved_states, unfinished_states
from microturn.training.state import tensors_of as live_tensors
from support.states import tensors_of

pytestmark = pytest.mark.filterwarnings("ignore:Slicing a flattened dim")
RUN = RunIdentity(model={}, layout="", words="", seed=0, batch_size=1)
FACTS = Facts(step=3, trained_seconds=1.5, run=RUN, rates={"tables": 0.1}).to_json()


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[ProcessGroup]:
    """The group of one process, whose weights are sharded all the same."""
    dist.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1
    )
    yield ProcessGroup()
    dist.destroy_process_group()


def test_a_model_is_put_together_for_one_device(peers: ProcessGroup) -> None:
    made = random_checkpoint(1)
    before = {name: value.clone() for name, value in made.model.state_dict().items()}
    module = TrainingModule(made.model, TrainingConfig(data="set", out="run"))
    shard_model(made.model, ParallelConfig(data=1), "cpu")
    assert module.is_sharded
    whole = module.unsharded_model()
    assert whole is not None
    assert same({**whole.state_dict()}, before)
    module.processes.rank = 1
    assert module.unsharded_model() is None


@pytest.fixture
def tensors(peers: ProcessGroup) -> dict[str, Tensor]:
    model = random_checkpoint(1).model.train()
    shard_model(model, ParallelConfig(data=1), "cpu")
    optimiser = build_optimizer(model, OptimConfig())
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimiser.step()
    return live_tensors(model, optimiser)


def whole(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: full_tensor(value.detach()).clone() for name, value in tensors.items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def test_what_is_staged_is_written_while_training_goes_on(
    tensors: dict[str, Tensor], peers: ProcessGroup, tmp_path: Path
) -> None:
    before, copies = whole(tensors), staged(tensors)
    with torch.no_grad():
        for value in tensors.values():
            value.mul_(2)
    path, writing = tmp_path / "states" / "step00000003", Background()
    writing.start(lambda: save_folder(path, copies, FACTS, peers))
    writing.wait()
    assert saved_states(tmp_path) == [path]
    assert same(tensors_of(path), before)
    assert load(path).facts.to_json() == FACTS
    writing.start(lambda: save_folder(path, tensors, FACTS, peers))  # in place of another
    writing.wait()
    assert same(tensors_of(path), whole(tensors))
    assert not any(b"pickle" in p.read_bytes()[:200] for p in path.iterdir())
    assert {p.suffix for p in path.iterdir()} == {".json", ".safetensors"}


def test_a_disk_that_takes_nothing_is_one_sentence(
    tensors: dict[str, Tensor], peers: ProcessGroup, tmp_path: Path
) -> None:
    (tmp_path / "states").write_text("a file in the way")
    writing = Background()
    path = tmp_path / "states" / "step00000003"
    writing.start(lambda: save_folder(path, tensors, FACTS, peers))
    with pytest.raises(OSError, match=r"step00000003 cannot be written \(Not a directory\)"):
        writing.wait()
    writing.wait()  # said once


def test_damage_is_refused_in_one_sentence(
    tensors: dict[str, Tensor], peers: ProcessGroup, tmp_path: Path
) -> None:
    path = tmp_path / "states" / "step00000003"
    save_folder(path, tensors, FACTS, peers)
    good = json.loads((path / "index.json").read_text())
    name = next(iter(good["tensors"]))
    for change, said in (
        ({"pieces": [["../other.safetensors", [0]]]}, "which is no file beside it"),
        ({"pieces": []}, f"the pieces of {name} do not make up"),
        ({"shape": [999]}, f"the pieces of {name} do not make up"),
        ({"pieces": [["00009.safetensors", [0]]]}, "FileNotFoundError"),
    ):
        bad = json.loads(json.dumps(good))
        bad["tensors"][name] |= change
        (path / "index.json").write_text(json.dumps(bad))
        with pytest.raises(ValueError, match=said) as caught:
            load(path)
        assert "\n" not in str(caught.value)
    (path / "index.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        load(path)
    (path / "index.json").unlink()
    assert saved_states(tmp_path) == []
    assert unfinished_states(tmp_path) == [path]
