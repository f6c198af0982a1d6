"""Live dialogues of a Ray cluster: the steps of dialogues simulated in place, bit for bit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from microturn.configs.main import main
from microturn.training.data import StepDraw
from microturn.training.reading.digest import data_digest
from microturn.training.reading.loader import SamplerAhead
from microturn.training.sources import open_source, simulated_on_cluster
from support.states import state_at, tensors_of

STEPS = 3
# A worker of the cluster dies in the midst of the third dialogue, and no file of rooms is shared.
SCRIPT = """
import os, signal, sys
from pathlib import Path
from microturn.configs.main import main
from microturn.datagen.live_on_ray import CarriedSource

died = Path(sys.argv[1])
carried = CarriedSource.of

class Dies:
    def __init__(self, carried):
        self.carried = carried
    def __call__(self):
        self.source = self.carried()
        return self
    def lanes(self, index):
        if index == 2 and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.source.lanes(index)

def carry(source):
    alone = carried(source)
    source.rooms.unlink()
    return Dies(alone)

CarriedSource.of = staticmethod(carry)
sys.exit(main(sys.argv[2:]))
"""

# A machine with finished dialogues leaves, of which its store held the only copies.
MACHINES = """
import numpy as np, ray, sys
from ray.cluster_utils import Cluster
from microturn.datagen.live import LiveSource
from microturn.datagen.live_on_ray import CarriedSource, DialoguesAhead

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
leaves, stays = (cluster.add_node(num_cpus=1) for _ in range(2))
source = LiveSource.open(sys.argv[1])
ahead = DialoguesAhead(CarriedSource.of(source), address=cluster.address)
assert ahead.size == 4
for index in range(12):
    ahead.ask(index)
asked = [one[0] for one in ahead._asked.values()]
ray.wait(asked, num_returns=8, timeout=200, fetch_local=False)
places = ray.experimental.get_object_locations(asked).values()
assert any(place["node_ids"] == [leaves.node_id] for place in places)
cluster.remove_node(leaves, allow_graceful=False)
for index in range(12):
    there, here = ahead.receive(index).named_arrays(), source.lanes(index).named_arrays()
    assert there.keys() == here.keys()
    assert all(np.array_equal(there[name], here[name]) for name in here), index
ray.shutdown()
cluster.shutdown()
"""


def data_of(cache: Path, *more: str) -> str:
    words = ["live:datagen/smoke.yaml", "n_micro_turns=20", "rooms.n_rooms=2", "rooms.method=tail"]
    return " ".join([*words, f"cache={cache}", *more])


def variables_of_ray() -> dict[str, str]:
    variables = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONWARNINGS": ""}
    variables.pop("RAY_ADDRESS", None)
    return variables


def test_draws_come_in_order_and_no_more_than_asked_are_ahead() -> None:
    class Recorded:
        size = 3

        def __init__(self) -> None:
            self.asked: deque[int] = deque()

        def ask(self, index: int) -> bool:
            self.asked.append(index)
            return True

    ahead = Recorded()
    draws = [StepDraw(step, [2 * step + 1, 2 * step]) for step in range(6)]
    found, longest = [], 0
    for draw in SamplerAhead(draws, ahead):  # type: ignore[arg-type]
        longest = max(longest, len(ahead.asked) - 2)
        assert [ahead.asked.popleft() for _ in draw.dialogues] == draw.dialogues
        found.append(draw)
    assert found == draws
    assert longest == 4  # three, rounded up to whole draws


def test_dialogues_that_are_read_in_their_time_are_not_counted_as_ahead() -> None:
    class EveryFourth:
        size = 2

        def ask(self, index: int) -> bool:
            return index % 4 == 0

    drawn = []

    def draws() -> Iterator[StepDraw]:
        for step in range(8):
            drawn.append(step)
            yield StepDraw(step, [2 * step, 2 * step + 1])

    ahead = SamplerAhead(draws(), EveryFourth())  # type: ignore[arg-type]
    found = [(draw.step, len(drawn)) for draw in ahead]
    # Two dialogues for the cluster, of steps 2 and 4, are under way before step 0 is taken.
    assert found == [(0, 5), (1, 5), (2, 7), (3, 7), (4, 8), (5, 8), (6, 8), (7, 8)]


def test_where_dialogues_are_simulated_is_no_part_of_the_data(tmp_path: Path) -> None:
    here, there = (
        open_source(data_of(tmp_path, *more)) for more in ([], ["executor=ray", "workers=2"])
    )
    assert data_digest(here) == data_digest(there)
    assert here.name(3) == there.name(3)
    assert simulated_on_cluster(here) == {}
    assert simulated_on_cluster(there).keys() == {0}
    on_ray = data_of(tmp_path, "executor=ray")
    assert simulated_on_cluster(open_source(f"{on_ray}:0.5,{on_ray} seed=9:0.5")).keys() == {0, 1}
    for other in ("", "executor=ray ray_address=127.0.0.1:1"):
        mixed = open_source(f"{on_ray}:0.5,{data_of(tmp_path, 'seed=9', other)}:0.5")
        with pytest.raises(ValueError, match="n_micro_turns=20 .* one cluster simulates all live"):
            simulated_on_cluster(mixed)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_steps_are_those_of_dialogues_simulated_in_place(tmp_path: Path) -> None:
    """In a process of its own: Ray leaves open what our tests do not tolerate."""
    pytest.importorskip("ray")

    def words(name: str, *more: str) -> list[str]:
        fixed = ["training/smoke.yaml", "threads=1", "accelerator=cpu", "batch_size=4"]
        where = [f"data={data_of(tmp_path / 'cache', *more)}", f"out={tmp_path / name}"]
        return ["train", *fixed, *where, f"max_steps={STEPS}", "checkpoint_steps=1"]

    assert main(words("here")) == 0
    died, script = tmp_path / "died", tmp_path / "train.py"
    script.write_text(SCRIPT, encoding="utf-8")
    variables = variables_of_ray()
    command = [sys.executable, str(script), str(died), *words("there", "executor=ray", "workers=2")]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert died.exists()
    here, there = (tensors_of(state_at(tmp_path / name, STEPS)) for name in ("here", "there"))
    assert here.keys() == there.keys()
    assert all(torch.equal(here[name], there[name]) for name in here)
    nobody = words("nowhere", "executor=ray", "ray_address=127.0.0.1:1")
    command = [sys.executable, "-m", "microturn.configs.main", *nobody]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert done.returncode == 1
    assert "ray_address=127.0.0.1:1: no cluster answers" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_parts_of_a_mix_are_simulated_on_a_cluster(tmp_path: Path) -> None:
    """Two live parts beside a set, which the training reads itself."""
    pytest.importorskip("ray")
    out, cache = tmp_path / "set", tmp_path / "cache"
    live = data_of(cache).removeprefix("live:").split()
    assert main(["simulate", *live, f"out={out}", "n_dialogues=4", "workers=1"]) == 0

    def words(name: str, *more: str) -> list[str]:
        parts = [f"{out}:0.5", *(f"{data_of(cache, f'seed={i}', *more)}:0.25" for i in (1, 2))]
        fixed = ["training/smoke.yaml", "threads=1", "accelerator=cpu", "batch_size=4"]
        where = [f"data={','.join(parts)}", f"out={tmp_path / name}"]
        return ["train", *fixed, *where, f"max_steps={STEPS}", "checkpoint_steps=1"]

    assert main(words("here")) == 0
    command = [sys.executable, "-m", "microturn.configs.main", *words("there", "executor=ray")]
    done = subprocess.run(command, env=variables_of_ray(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    here, there = (tensors_of(state_at(tmp_path / name, STEPS)) for name in ("here", "there"))
    assert all(torch.equal(here[name], there[name]) for name in here)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_dialogues_of_a_machine_that_leaves_are_simulated_again(tmp_path: Path) -> None:
    """Three machines of a cluster, here processes of one machine."""
    pytest.importorskip("ray")
    long = data_of(tmp_path, "n_micro_turns=200")
    command = [sys.executable, "-c", MACHINES, long]
    done = subprocess.run(command, env=variables_of_ray(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
