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
            "nccl" if gpu else "gloo", rank=rank, world_size=n_devices, timeout=MEETING
        )
    except RuntimeError as error:
        raise OSError(
            f"rank {rank} did not meet the other {n_devices - 1} at {address}:{port} within "
            f"{MEETING.total_seconds() / 60:.0f} minutes ({' '.join(str(error).split())[:200]}); "
            "look at those that are missing"
        ) from error
    return environment
