"""`microturn bench gpu`: the three benches of a GPU, each a process of its own, in one table.

A GPU is often lent for minutes. A part that fails, hangs or breaks the device costs its own figures
and no others; time that one part leaves is there for the next. Figures of all parts go to
OUT/gpu.json after each, what a part prints to OUT/PART.log.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from microturn.configs.files import write_atomically
from microturn.evaluation.bench.config import GPU_PARTS, BenchGpuConfig
from microturn.evaluation.bench.gpu.steps import bench_device
from microturn.evaluation.bench.gpu.summary import format_summary

PROGRAM = (sys.executable, "-m", "microturn.configs.main")
LATE: Final = 1.5  # a part that takes so many times its seconds is ended
_LEAST_S: Final = 1.0  # for a part to begin
_ENDING_S: Final = 20.0  # that it then has to end by itself
_LAYOUT: Final = (  # of 14 positions, that of `small` and `base`
    "layout.audio_in_group=1",
    "layout.text_in_positions=2",
    "layout.heard_positions=2",
    "layout.say_positions=2",
    "layout.audio_out_group=1",
)


def run_bench_gpu(config: BenchGpuConfig) -> int:
    """Run the parts; return 1 when one of them, or one of its steps, fails."""
    bench_device(needs_gpu=not config.smoke)  # its refusal, before anything is made
    out, started = Path(config.out), time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = {"parts": {}}
    data = config.data
    if "training" in config.parts and not data:
        data = str(out / "data")
        figures["parts"]["simulate"] = run_part(
            _simulate(data, smoke=config.smoke), out, config.max_s / 2
        )
        if figures["parts"]["simulate"]["failure"]:
            data = ""  # steps on random lanes are left
    for number, part in enumerate(config.parts):
        share = GPU_PARTS[part] / sum(GPU_PARTS[each] for each in config.parts[number:])
        part_s = share * max(0.0, config.max_s - (time.perf_counter() - started))
        (out / f"{part}.json").unlink(missing_ok=True)  # that of an earlier run
        if part_s < _LEAST_S:
            figures["parts"][part] = {"seconds": 0.0, "failure": "no time was left"}
            continue
        words = ["bench", f"gpu-{part}", f"out={out}", f"max_s={part_s:.0f}"]
        words += [f"data={data}"] * (part == "training") + ["short=true"] * (part == "kernels")
        words += ["smoke=true"] * config.smoke
        figures["parts"][part] = run_part(words, out, LATE * part_s)
        if (out / f"{part}.json").is_file():
            figures[part] = json.loads((out / f"{part}.json").read_text(encoding="utf-8"))
        figures["seconds"] = time.perf_counter() - started
        write_atomically(out / "gpu.json", json.dumps(figures, indent=1) + "\n")
    print(format_summary(figures))
    return int(any(part["failure"] for part in figures["parts"].values()))


def _simulate(data: str, *, smoke: bool) -> list[str]:
    """Words that make the set to train on, with all cores."""
    if smoke:
        return ["simulate", "datagen/smoke.yaml", f"out={data}"]
    return ["simulate", "datagen/demo.yaml", f"out={data}", "n_dialogues=1280", *_LAYOUT]


def run_part(words: list[str], out: Path, limit_s: float) -> dict[str, Any]:
    """Run a command of microturn; return its seconds, and its failure in a sentence or ''."""
    name = words[0] if words[0] != "bench" else words[1].removeprefix("gpu-")
    started, failure = time.perf_counter(), ""
    with (out / f"{name}.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen([*PROGRAM, *words], stdout=log, stderr=subprocess.STDOUT)
        try:
            code = process.wait(limit_s)
            if code:
                failure = f"exit code {code}; see {log.name}"
        except subprocess.TimeoutExpired:
            failure = f"ended after {limit_s:.0f} s; see {log.name}"
            _end(process)
        except BaseException:  # Ctrl-C, and every signal that asks to end
            _end(process)
            raise
    seconds = time.perf_counter() - started
    print(f"{name}: {seconds:.0f} s {failure}".rstrip(), file=sys.stderr, flush=True)
    return {"seconds": seconds, "failure": failure}


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_ENDING_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
