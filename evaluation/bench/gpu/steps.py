"""The frame of the GPU benches: a device, steps whose figures are kept one by one, GPU activity."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from microturn.configs.devices import choose_device
from microturn.configs.files import write_atomically


def bench_device(*, needs_gpu: bool) -> torch.device:
    """Return the GPU; without one and without `needs_gpu` the CPU, and kernels are interpreted.

    To be called before a kernel is imported: Triton chooses its interpreter then.
    """
    device = torch.device(choose_device("auto"))
    if device.type == "cpu":
        if needs_gpu:
            raise ValueError("no CUDA device was found; use a GPU, or smoke=true for tiny sizes")
        os.environ.setdefault("TRITON_INTERPRET", "1")
    return device


class StepRecorder:
    """Runs steps by name and rewrites their figures after each; a failure ends only its step."""

    def __init__(self, path: Path, *, max_s: float) -> None:
        self.path, self.max_s = path, max_s
        self.started = time.perf_counter()
        self.figures: dict[str, Any] = {"failures": [], "left_out": []}

    @property
    def failures(self) -> list[str]:
        failures: list[str] = self.figures["failures"]
        return failures

    @property
    def is_over_time(self) -> bool:
        return time.perf_counter() - self.started > self.max_s

    def run(self, name: str, step: Callable[[], Any]) -> None:
        """Keep what `step` returns under its name, or its failure."""
        started = time.perf_counter()
        try:
            self.figures[name] = step()
        except Exception as error:  # the other steps still give figures
            self.failures.append(f"{name}: {type(error).__name__}: {error}"[:600])
        print(f"{name}: {time.perf_counter() - started:.1f} s", file=sys.stderr, flush=True)
        self.write()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def run_in_time(self, name: str, step: Callable[[], Any]) -> None:
        """Run a step, or list it as left out once the time is over."""
        if self.is_over_time:
            self.figures["left_out"].append(name)
            self.write()
        else:
            self.run(name, step)

    def write(self) -> None:
        write_atomically(self.path, json.dumps(self.figures, indent=1, default=str) + "\n")

    def finish(self, table: str) -> int:
        """Print the table with failures and steps left out; return the exit code."""
        lines = [f"left out after {self.max_s:g} s: {n}" for n in self.figures["left_out"]]
        lines += [f"FAILED {failure}" for failure in self.failures]
        print("\n".join([table, *lines]))
        return 1 if self.failures else 0


def device_line(info: dict[str, Any]) -> str:
    """Format the device, its copy bandwidth and its matmul rate."""
    return (
        f"{info.get('device')}: copy {info.get('stream_gb_s', 0):.0f} GB/s, "
        f"matmul {info.get('matmul_tflop_s', 0):.1f} TFLOP/s; torch {info.get('torch')}"
    )


class GpuTrace:
    """What a GPU does between `start` and `stop`."""

    def __init__(self) -> None:
        self._profile: Any = None

    def start(self) -> None:
        from torch.profiler import ProfilerActivity, profile

        torch.cuda.synchronize()
        self._profile = profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU])
        self._profile.start()

    def stop(self) -> dict[str, float]:
        """Count kernels and copies, and the milliseconds that the GPU was busy."""
        torch.cuda.synchronize()
        self._profile.stop()
        on_gpu = [e for e in self._profile.events() if e.device_type.name == "CUDA"]
        events = [event for event in on_gpu if not event.is_user_annotation]  # spans are no kernels
        busy_us = sum(event.time_range.elapsed_us() for event in events)
        return {"kernels": len(events), "gpu_ms": busy_us / 1000}


def gpu_activity(work: Callable[[], object], *, repeats: int = 1) -> dict[str, float]:
    """Count the kernels and copies of one call, and the milliseconds that the GPU is busy."""
    trace = GpuTrace()
    trace.start()
    for _ in range(repeats):
        work()
    return {name: value / repeats for name, value in trace.stop().items()}


def synchronise(device: torch.device) -> None:
    """Wait for a GPU; do nothing on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize()
