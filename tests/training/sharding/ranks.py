"""Processes that share a model of 1.1 GB: what each holds at most while it is made, saved and read.

    python tests/training/sharding/ranks.py FOLDER SHARD EXPERT

They are SHARD x EXPERT, as in `parallel.shard` and `parallel.expert`.

Prints a table; the memory is the peak of the resident set (`VmHWM`), which Linux counts anew for
each phase, over what was resident before the phase. The CPU time is that of the phase.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from microturn.model.checkpoint import TINY_LAYOUT, save_checkpoint
from microturn.model.config import FlowConfig, ModelConfig, MoEConfig
from microturn.model.model import InteractionModel
from microturn.model.stored import weights
from microturn.model.stored.draws import draws_of, without_memory
from microturn.model.stored.weights import give_weights
from microturn.model.streams import Tokenizer
from microturn.training import state
from microturn.training.config import OptimConfig, ParallelConfig
from microturn.training.optim import MuonAdamW, build_optimizer
from microturn.training.parallel import shard_model
from microturn.training.process_group import ProcessGroup, local_shard
from microturn.training.sharding.state_folder import save_folder
from microturn.training.start.run_identity import RunIdentity
from microturn.training.state import Facts

CONFIG = ModelConfig(
    d_model=1024,
    n_layers=8,
    n_heads=16,
    d_ff=4096,
    window=8,
    moe=MoEConfig(n_experts=16, d_expert=608, top_k=2),
    flow=FlowConfig(width=256, depth=2, steps=2),
)
MIB = 2**20


def resident(name: str) -> int:
    """Read `VmRSS` or `VmHWM` of this process, bytes."""
    with open("/proc/self/status", encoding="ascii") as file:
        (line,) = (line for line in file if line.startswith(name + ":"))
    return int(line.split()[1]) * 1024


def measured(work: Callable[[], object]) -> tuple[int, float]:
    """Do something; return by how much the resident set rose at most, bytes, and its CPU time."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before, began_s = resident("VmRSS"), time.process_time()
    work()
    return resident("VmHWM") - before, time.process_time() - began_s


def held(tensors: dict[str, Tensor]) -> int:
    return sum(local_shard(value).nbytes for value in tensors.values())


class Rank:
    """One of the processes."""

    def __init__(self, folder: Path, layout: ParallelConfig) -> None:
        self.folder, self.peers, self.layout = folder, ProcessGroup(), layout
        self.tokenizer = Tokenizer.train(["one two three"] * 100, vocab_size=256)
        self.model: InteractionModel
        self.optimiser: MuonAdamW

    def shard(self, model: nn.Module) -> None:
        assert isinstance(model, InteractionModel)
        shard_model(model, self.layout, "cpu")

    def make(self, config: ModelConfig = CONFIG) -> None:
        torch.manual_seed(0)
        with without_memory() as draws:
            self.model = InteractionModel(config, TINY_LAYOUT, len(self.tokenizer))
        pending = draws_of(self.model, draws)
        self.shard(self.model)
        give_weights(self.model, pending, self.peers)
        self.optimiser = build_optimizer(self.model, OptimConfig())

    def take_a_step(self) -> None:
        """Leave what a step leaves in the optimiser, without its gradients."""
        for group in self.optimiser.param_groups:
            for p in group["params"]:
                keys = ("momentum",) if group["muon"] else ("m", "v")
                self.optimiser.state[p] = {key: torch.zeros_like(p) for key in keys}
                for key in keys:
                    local_shard(self.optimiser.state[p][key]).copy_(local_shard(p.detach()))

    @property
    def tensors(self) -> dict[str, Tensor]:
        return state.tensors_of(self.model, self.optimiser)

    def save(self) -> None:
        identity = RunIdentity(model={}, layout="", words="", seed=0, batch_size=1)
        facts = Facts(step=1, trained_seconds=0.0, run=identity)
        save_folder(self.folder / "state", self.tensors, facts.to_json(), self.peers)

    def export(self) -> None:
        weights.PART_BYTES = 300_000_000
        folder = self.folder / "checkpoint"
        save_checkpoint(folder, self.model, self.tokenizer, saved="step 1", peers=self.peers)

    def resume(self) -> None:
        with without_memory():
            self.model = InteractionModel(CONFIG, TINY_LAYOUT, len(self.tokenizer))
        saved = state.load(self.folder / "state")
        pending = state.weights_for(self.model, saved)
        self.shard(self.model)
        give_weights(self.model, pending, self.peers)
        self.optimiser = build_optimizer(self.model, OptimConfig())
        state.restore_optimiser(saved, self.model, self.optimiser)

    def read(self) -> None:
        self.model = InteractionModel.from_pretrained(self.folder / "checkpoint", shard=self.shard)

    def run(self) -> dict[str, tuple[int, int, float]]:
        """Return by phase what this process holds at its end and the peak, bytes; CPU time, s."""
        self.make(replace(CONFIG, d_model=64, n_layers=2))  # what torch imports on the way
        found = {}
        peak_and_s = measured(self.make)
        found["draw the weights"] = held(dict(self.model.state_dict())), *peak_and_s
        self.take_a_step()
        check = sum(float(local_shard(v).double().sum()) for v in self.tensors.values())
        share = held(self.tensors)
        found["save a state"] = share, *measured(self.save)
        found["write the checkpoint in parts"] = share, *measured(self.export)
        del self.model, self.optimiser
        peak_and_s = measured(self.resume)
        found["resume from the state"] = held(self.tensors), *peak_and_s
        again = sum(float(local_shard(v).double().sum()) for v in self.tensors.values())
        assert check == again, (check, again)
        del self.model, self.optimiser
        peak_and_s = measured(self.read)
        found["read the parts"] = held(dict(self.model.state_dict())), *peak_and_s
        return found


def main(folder: Path, layout: ParallelConfig) -> None:
    n = layout.group_size
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    rank, children = 0, []
    for i in range(1, n):  # forked, so that they share the memory of the imports
        pid = os.fork()
        if not pid:
            rank, children = i, []
            break
        children.append(pid)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=n)
    worker = Rank(folder, layout)
    everywhere = [json.loads(text) for text in worker.peers.gather(json.dumps(worker.run()))]
    dist.destroy_process_group()
    if rank:
        os._exit(0)
    assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
    print(f"shard {layout.shard} x expert {layout.expert}; MiB, of the process that held most")
    print("| phase | its share | peak over what was there before | CPU s |")
    print("|---|---:|---:|---:|")
    for phase in everywhere[0]:
        share, peak, cpu_s = max((each[phase] for each in everywhere), key=lambda found: found[1])
        print(f"| {phase} | {share / MIB:.0f} | {peak / MIB:.0f} | {cpu_s:.1f} |")
    (folder / "table.json").write_text(json.dumps(everywhere), encoding="utf-8")


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        ParallelConfig(data=1, shard=int(sys.argv[2]), expert=int(sys.argv[3])),
    )
