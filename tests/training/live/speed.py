"""Live dialogues that reach a training: simulated by its own processes and by a Ray cluster.

    python tests/training/live/speed.py datagen/demo.yaml 200

Prints a table of so many dialogues of a configuration, in batches of eight that nobody trains on.
CPU time is that of all processes, those of Ray too, without their start.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from microturn.training.data import DialogueData
from microturn.training.sources import open_source

BATCH = 8
WARM_STEPS = 4  # in which processes start, open the corpus and fill what is read ahead
WAYS = {
    "the training process": ("", 0),
    "1 reader (`loader_workers=1`)": ("", 1),
    "2 readers (`loader_workers=2`)": ("", 2),
    "Ray, 1 worker (`executor=ray workers=1`)": ("executor=ray workers=1", 0),
    "Ray, 2 workers (`executor=ray workers=2`)": ("executor=ray workers=2", 0),
}


def cpu_s() -> float:
    """Sum the CPU time of this process and of all that it has started, and they."""
    parents, ticks = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        pid = int(path.parent.name)
        parents[pid], ticks[pid] = int(fields[1]), int(fields[11]) + int(fields[12])
    ours = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return sum(ticks[pid] for pid in ours) / os.sysconf("SC_CLK_TCK")


def measure(config: str, words: str, readers: int, n_dialogues: int) -> tuple[float, float]:
    """Return seconds and CPU seconds of a dialogue."""
    source = open_source(f"live:{config} {words}")
    steps = WARM_STEPS + n_dialogues // BATCH
    data = DialogueData(source, batch_size=BATCH, seed=0, steps=steps, workers=readers)
    began = began_cpu = 0.0
    for step, _ in enumerate(data.train_dataloader(), start=1):
        if step == WARM_STEPS:
            began, began_cpu = time.perf_counter(), cpu_s()
        if step == steps - 1:  # while all processes still live
            n = (step - WARM_STEPS) * BATCH
            found = (time.perf_counter() - began) / n, (cpu_s() - began_cpu) / n
    return found


def main(config: str, n_dialogues: int) -> None:
    print(f"{config}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.0f}")
    print("| simulated by | dialogues/s | CPU ms a dialogue |")
    print("|---|---:|---:|")
    for name, (words, readers) in WAYS.items():
        wall_s, each_cpu_s = measure(config, words, readers, n_dialogues)
        print(f"| {name} | {1 / wall_s:.1f} | {1000 * each_cpu_s:.0f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
