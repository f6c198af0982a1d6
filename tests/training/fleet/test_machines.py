"""Two machines under torchrun lose a rank, come together again and end as if nothing had been.

The machines are two agents on the loopback device. With the rendezvous `c10d` the agents start all
ranks again, with `static` (`--master-addr`) each its own.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from microturn.evaluation.bench.faults.launcher import Torchrun, free_port
from support.states import state_at, tensors_of

STEPS = 30
WAIT_S = 600.0


@contextmanager
def two_machines(
    data: Path, out: Path, n_here: int, backend: str = "c10d"
) -> Iterator[list[Torchrun]]:
    words = ["training/smoke.yaml", f"data={data}", f"out={out}", "threads=1", "accelerator=cpu"]
    words += ["batch_size=4", f"max_steps={STEPS}", f"devices={n_here}", "nodes=2", "silence_s=20"]
    words += ["checkpoint_steps=1", "checkpoints_kept=99", "checkpoint_minutes=0"]
    options = ["--nnodes=2", f"--nproc-per-node={n_here}", "--max-restarts=3"]
    options += ["--local-addr=127.0.0.1", f"--rdzv-backend={backend}", "--rdzv-id=run"]
    options.append(f"--rdzv-endpoint=127.0.0.1:{free_port()}")
    agents = [
        Torchrun(
            [*options, f"--node-rank={machine}"],
            words,
            out.with_name(f"{out.name}-said{machine}"),
        )
        for machine in range(2)
    ]
    try:
        yield agents
    finally:
        for agent in agents:
            if agent.process.poll() is None:
                agent.kill()


@pytest.fixture(scope="module", params=[1, 2])
def straight(
    request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, Path]:
    """A run that nothing harms, and its ranks on each machine."""
    out = tmp_path_factory.mktemp("straight") / "run"
    with two_machines(data, out, request.param) as agents:
        assert [agent.process.wait(WAIT_S) for agent in agents] == [0, 0]
    return request.param, out


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("machine", "backend"), [(0, "c10d"), (1, "c10d"), (0, "static"), (1, "static")]
)
def test_machines_go_on_from_the_last_state_after_a_rank_is_killed(
    machine: int, backend: str, straight: tuple[int, Path], data: Path, tmp_path: Path
) -> None:
    n_here, unharmed = straight
    out = tmp_path / "run"
    with two_machines(data, out, n_here, backend) as agents:
        end_s = time.monotonic() + WAIT_S
        while not [*out.glob("states/step00000005.*")]:
            assert time.monotonic() < end_s
            assert all(agent.process.poll() is None for agent in agents)
            time.sleep(0.02)
        os.kill(agents[machine].ranks()[-1], signal.SIGKILL)
        assert [agent.process.wait(WAIT_S) for agent in agents] == [0, 0]
    said = "".join(path.read_text() for path in sorted(tmp_path.glob("run-said*")))
    assert "resuming at step" in said
    ends = [tensors_of(state_at(run, STEPS)) for run in (unharmed, out)]
    names = [name for name in ends[0] if name.startswith("model/")]
    assert names
    for name in names:
        one, other = (tensors[name] for tensors in ends)
        if n_here == 1:
            assert torch.equal(one, other), name
        else:  # four ranks add up gradients in an order that depends on where a run starts
            assert float((one - other).abs().max()) <= 1e-3 * float(one.abs().max()), name
