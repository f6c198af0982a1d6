"""The processes of a run under Slurm: who starts them, and whether their number fits."""

from __future__ import annotations

import os
from collections.abc import Mapping

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from microturn.training.config import TrainingConfig

_INTERACTIVE = (
    "bash",
    "interactive",
)  # names of jobs whose commands are typed, not started by srun


def choose_cluster(
    cfg: TrainingConfig, variables: Mapping[str, str] = os.environ
) -> ClusterEnvironment | None:
    """Choose how the processes of a run find each other; None: as Lightning does.

    Lightning's own choice under Slurm would save and restore checkpoints of its own on SIGUSR1.
    Raises ValueError where Slurm starts another number of tasks than the run has devices.
    """
    tasks = slurm_tasks(variables)
    if not tasks or TorchElasticEnvironment.detect():
        return None
    n_devices = cfg.n_devices
    if tasks == 1:  # this process starts the others
        return LightningEnvironment()
    if tasks != n_devices:
        raise ValueError(
            f"Slurm starts {tasks} tasks, each of them a whole run in {cfg.out}, but devices="
            f"{cfg.devices} x nodes={cfg.nodes} is {n_devices}; give devices={tasks // cfg.nodes}, "
            "or start one task: srun --ntasks=1"
        )
    os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(cfg.devices))  # Lightning asks for it
    return SLURMEnvironment(auto_requeue=False)


def slurm_tasks(variables: Mapping[str, str]) -> int:
    """Count the tasks of this step of a Slurm job; 0 outside Slurm and in a typed command."""
    if variables.get("SLURM_JOB_NAME") in _INTERACTIVE:
        return 0
    value = variables.get("SLURM_STEP_NUM_TASKS") or variables.get("SLURM_NTASKS") or "0"
    return int(value) if value.isdecimal() else 0
