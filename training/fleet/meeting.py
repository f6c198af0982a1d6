"""The meeting of ranks that a launcher has started (torchrun, srun): before anything can fail."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Final

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from microturn.training.config import TrainingConfig

MEETING: Final = timedelta(minutes=10)  # machines of a job start at different times


def meet(
    cfg: TrainingConfig, cluster: ClusterEnvironment | None, *, gpu: bool
) -> ClusterEnvironment | None:
    """Join the process group of a run whose ranks were started from outside; None: they were not.

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
    if gpu:
        torch.cuda.set_device(environment.local_rank())
    rank, address, port = environment.global_rank(), environment.main_address, environment.main_port
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = address, str(port)
    try:
        dist.init_process_group(
            "nccl" if gpu else "gloo",
            store=_store(rank, n_devices, cfg.nodes),
            rank=rank,
            world_size=n_devices,
            timeout=MEETING,
        )
    except RuntimeError as error:
        raise OSError(
            f"rank {rank} did not meet the other {n_devices - 1} at {address}:{port} within "
            f"{MEETING.total_seconds() / 60:.0f} minutes ({' '.join(str(error).split())[:200]}); "
            "look at those that are missing"
        ) from error
    return environment


def _store(rank: int, n_ranks: int, n_nodes: int) -> Store:
    """Connect to the store of the launcher, on a shelf of this attempt where it can be told.

    torchrun keeps one store while it starts ranks again, and in it the addresses of those that are
    gone. Launchers of several machines count their attempts apart, so there all have one shelf.
    """
    store, _, _ = next(rendezvous("env://", rank, n_ranks, timeout=MEETING))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if n_nodes == 1 else "0"
    return PrefixStore(f"attempt{attempt}", store)
