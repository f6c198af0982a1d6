"""The meeting of ranks that a launcher has started (torchrun, srun): before anything can fail."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch._C._distributed_c10d import TCPStore  # torch.distributed does not export it by type

from microturn.training.config import TrainingConfig
from microturn.training.fleet.rounds import Joining, MissingRanksError, Round
from microturn.training.fleet.watch import speaks_of_first, store_is_elsewhere

MEETING: Final = timedelta(minutes=10)  # machines of a job start at different times


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """Ranks that have come together, and are not connected yet."""

    round: Round
    rank: int
    world_size: int
    local_rank: int
    node_rank: int

    def connect(self, *, gpu: bool) -> None:
        """Join the process group of the round; RuntimeError where a rank is lost meanwhile."""
        if gpu:
            torch.cuda.set_device(self.local_rank)
        dist.init_process_group(
            "nccl" if gpu else "gloo",
            store=self.round.store,
            rank=self.rank,
            world_size=self.world_size,
            timeout=MEETING,
        )


def meet(cfg: TrainingConfig, cluster: ClusterEnvironment | None) -> Meeting | None:
    """Meet the other ranks of a run that were started from outside; None: they were not.

    Lightning would do so after the data is open, so that a rank without data would fail alone and
    leave the others waiting. Raises ValueError where the number of ranks is another one, OSError
    where they do not come.
    """
    environment = TorchElasticEnvironment() if TorchElasticEnvironment.detect() else cluster
    n_devices = cfg.devices * cfg.nodes
    if not isinstance(environment, TorchElasticEnvironment | SLURMEnvironment):
        return None
    if environment.world_size() == n_devices == 1:
        return None
    if environment.world_size() != n_devices:
        raise ValueError(
            f"the launcher started {environment.world_size()} ranks, but devices={cfg.devices} x "
            f"nodes={cfg.nodes} is {n_devices}; give devices= the ranks of a machine (torchrun "
            "--nproc-per-node) and nodes= the machines (--nnodes)"
        )
    rank, address, port = environment.global_rank(), environment.main_address, environment.main_port
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = address, str(port)
    local_rank, node_rank = environment.local_rank(), environment.node_rank()
    try:
        there = _come_together(rank, n_devices, address, port)
    except MissingRanksError as error:
        if rank and 0 in error.ranks and speaks_of_first(local_rank, node_rank):
            print(f"microturn train: {error}", file=sys.stderr)  # which the first rank cannot
        raise
    return Meeting(
        round=there,
        rank=rank,
        world_size=n_devices,
        local_rank=local_rank,
        node_rank=node_rank,
    )


def _come_together(rank: int, n_ranks: int, address: str, port: int) -> Round:
    holder = "the launcher" if store_is_elsewhere() else "rank 0"
    where = f"the store of the run at {address}:{port}, which {holder} holds,"
    try:
        store = TCPStore(
            address,
            port,
            is_master=rank == 0 and not store_is_elsewhere(),
            timeout=MEETING,
            wait_for_workers=False,  # it could not name those that are missing
            multi_tenant=True,
        )
        return Joining(store, rank=rank, n_ranks=n_ranks).wait(MEETING.total_seconds())
    except MissingRanksError as error:
        raise MissingRanksError(
            error.ranks,
            f"{error} within {MEETING.total_seconds() / 60:.0f} minutes (meeting of {n_ranks} "
            f"ranks at {address}:{port}, as seen by rank {rank}); look at what they say",
        ) from error
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise MissingRanksError(
            [0], f"rank {rank} gets no answer of {where} ({reason}); look at what that one says"
        ) from error
