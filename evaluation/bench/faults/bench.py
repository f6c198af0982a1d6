"""`microturn bench faults`: what a training of several ranks says and loses, fault by fault."""

from __future__ import annotations

import csv
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from microturn.configs.load import ConfigError
from microturn.configs.main import DONE, FAILED, main
from microturn.configs.reading import lines_of
from microturn.evaluation.bench.config import BenchFaultsConfig
from microturn.evaluation.bench.faults.faults import FAULTS, Fault, Struck
from microturn.evaluation.bench.faults.launcher import lose_a_machine, lose_a_rank
from microturn.evaluation.bench.faults.ranks import SAYS, START_S, Ranks
from microturn.evaluation.bench.results import publish
from microturn.training.state import saved_states

Lose = Callable[[Sequence[str], int, Path, Callable[[], bool]], int]
LAUNCHED: Final[dict[str, tuple[str, Lose]]] = {
    "torchrun": ("a rank is killed under torchrun --max-restarts=1", lose_a_rank),
    "machine": ("one of two machines under torchrun leaves and comes back", lose_a_machine),
}
TOLERANCE: Final = 1e-3  # of weights, as between one process and two
SAVED_STEPS: Final = 4  # between two states
HARD_LIMIT_S: Final = 180.0  # beyond the watch; a run that still lives hangs


@dataclass(frozen=True, kw_only=True)
class FaultRow:
    """What became of a run. lost_steps: computed, and computed again.

    apart: of the weights at the end from those of the run that nothing harmed, the largest
    difference relative to the largest entry of its tensor; None: the run did not go on.
    """

    fault: str
    said: str
    exit_codes: list[int]
    seconds: float | None  # None: it did not end
    lost_steps: int
    apart: float | None


class FaultBench:
    """Runs of a very small model, harmed one after another, and one that is not."""

    def __init__(self, config: BenchFaultsConfig) -> None:
        self.config, self.out = config, Path(config.out)
        self.data = self.out / "set"
        self.rank = config.n_ranks // 2

    def words(self, run: Path, *more: str) -> list[str]:
        steps = self.config.steps
        return [
            "training/smoke.yaml",
            f"data={self.data}",
            f"out={run}",
            f"batch_size={2 * self.config.n_ranks}",
            f"max_steps={steps}",
            f"checkpoint_steps={SAVED_STEPS}",
            "checkpoint_minutes=0",
            "accelerator=cpu",
            "threads=1",
            "log_steps=1",
            f"silence_s={self.config.silence_s}",
            *more,
        ]

    def ranks(self, run: Path, name: str, *more: str) -> Ranks:
        errors = run.parent / f"{run.name}-{name}"
        return Ranks(words=self.words(run, *more), n=self.config.n_ranks, errors=errors)

    def make_set(self) -> None:
        if (self.data / "index.json").is_file():
            return
        words = [f"out={self.data}", "n_dialogues=16", "n_micro_turns=20", "workers=1"]
        if main(["simulate", "datagen/smoke.yaml", *words, "dialogues_per_shard=4"]):
            raise ValueError(f"the set in {self.data} cannot be made; see above")

    def straight(self) -> Path:
        """A run that nothing harms; its last state."""
        run = self.out / "straight"
        ranks = self.ranks(run, "straight")
        ranks.start()
        if ranks.wait(START_S) is None or any(ranks.exit_codes):
            raise ValueError(f"the run without a fault failed; see {ranks.errors}")
        return saved_states(run)[-1]

    def row(self, name: str, straight: Path) -> FaultRow:
        """Harm a run, see how it ends, and let it go on."""
        fault, run = FAULTS[name], self.out / name
        words = [word.format(rank=self.rank) for word in fault.words]
        ranks = self.ranks(run, "harmed", *words)
        place = Struck(ranks=ranks, rank=self.rank, data=self.data, out=run)
        if fault.beforehand is not None:
            self._stop_early(run)
            fault.beforehand(place)
        ranks.start()
        if fault.strike is not None:
            _wait_for_state(run, ranks)
            fault.strike(place)
        seconds = ranks.wait(START_S if not fault.ends else self.config.silence_s + HARD_LIMIT_S)
        if fault.undo is not None:
            fault.undo(place)
        states = saved_states(run)
        lost = _steps_logged(run) - (int(states[-1].stem[4:]) if states else 0)
        return FaultRow(
            fault=fault.what,
            said=_said(ranks, fault),
            exit_codes=sorted(set(ranks.exit_codes)),
            seconds=seconds,
            lost_steps=max(0, lost),
            apart=self._goes_on(run, straight),
        )

    def launched(self, name: str, straight: Path) -> FaultRow:
        """Harm a run under torchrun, which starts it again."""
        what, lose = LAUNCHED[name]
        run, errors = self.out / name, self.out / f"{name}-torchrun"
        start_s = time.monotonic()
        is_saved = lambda: bool(saved_states(run))  # noqa: E731
        code = lose(self.words(run), self.config.n_ranks, errors, is_saved)
        text = errors.read_text(encoding="utf-8", errors="replace").replace("\r", "\n")
        said = [line.partition(SAYS)[2] for line in lines_of(text) if SAYS in line]
        return FaultRow(
            fault=what,
            said=" / ".join(said),
            exit_codes=[code],
            seconds=time.monotonic() - start_s,
            lost_steps=0,
            apart=None if code else _apart(saved_states(run)[-1], straight),
        )

    def _stop_early(self, run: Path) -> None:
        """Leave a run that was stopped between its first and its last state."""
        ranks = self.ranks(run, "before")
        ranks.start()
        _wait_for_state(run, ranks)
        ranks.send(0, signal.SIGTERM)
        ranks.wait(HARD_LIMIT_S)

    def _goes_on(self, run: Path, straight: Path) -> float | None:
        """Start the same command again, and compare its weights with those of the other run."""
        ranks = self.ranks(run, "again")
        ranks.start()
        if ranks.wait(START_S) is None or any(ranks.exit_codes):
            return None
        return _apart(saved_states(run)[-1], straight)


def _wait_for_state(run: Path, ranks: Ranks) -> None:
    end_s = time.monotonic() + START_S
    while not saved_states(run):
        if time.monotonic() > end_s or any(p.exitcode is not None for p in ranks.processes):
            ranks.kill()
            raise ValueError(f"a run saved no state; see {ranks.errors}")
        time.sleep(0.02)


def _steps_logged(run: Path) -> int:
    path = run / "log" / "metrics.csv"
    if not path.is_file():
        return 0
    with path.open(newline="", encoding="utf-8") as file:
        steps = [row["step"] for row in csv.DictReader(file)]
    return max((int(step) for step in steps if step), default=0)


def _said(ranks: Ranks, fault: Fault) -> str:
    if not fault.ends:
        return " ".join(ranks.said_in_run("the others wait for")[:1])
    return " / ".join(ranks.said())


def _apart(one: Path, other: Path) -> float:
    """Compare the weights of two states; three ranks and more add in an order of their own."""
    from safetensors.torch import load_file

    a, b = load_file(one), load_file(other)
    names = [name for name in a if name.startswith("model/") and a[name].numel()]
    return max(float((a[n] - b[n]).abs().max() / a[n].abs().max().clamp_min(1e-12)) for n in names)


def run_bench_faults(config: BenchFaultsConfig) -> int:
    """Print a row per fault; 1 where a run hangs, or goes on to other weights or not at all."""
    known = [*FAULTS, *LAUNCHED]
    unknown = [name for name in config.faults if name not in known]
    if unknown:
        raise ConfigError(f"faults={','.join(unknown)} are none of {', '.join(known)}")
    bench = FaultBench(config)
    if any(bench.out.glob("*/config.yaml")) and (bench.out / "straight").exists():
        raise ValueError(f"out={bench.out} holds runs of a former bench; give another folder")
    bench.make_set()
    straight, rows = bench.straight(), {}
    for name in config.faults or known:
        print(f"bench faults: {name}", file=sys.stderr)
        make = bench.launched if name in LAUNCHED else bench.row
        rows[name] = make(name, straight)
        print(line_of(rows[name]), file=sys.stderr)
    publish({name: asdict(row) for name, row in rows.items()}, table(rows.values()), config)
    good = all(row.seconds is not None and is_whole(row) for row in rows.values())
    return DONE if good else FAILED


def is_whole(row: FaultRow) -> bool:
    """Whether a run ended with the weights of the one that nothing harmed."""
    return row.apart is not None and row.apart <= TOLERANCE


def table(rows: Iterable[FaultRow]) -> str:
    """Lay out the rows as a table of Markdown."""
    head = ["fault", "the job said", "exit code", "seconds until it ended", "lost steps"]
    head.append("weights after going on, apart")
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *map(line_of, rows)]
    return "".join(f"{line}\n" for line in lines)


def line_of(row: FaultRow) -> str:
    """Write a row of the table."""
    seconds = "it hung" if row.seconds is None else f"{row.seconds:.0f}"
    codes = ", ".join(map(str, row.exit_codes))
    apart = "it did not go on" if row.apart is None else f"{row.apart:.0e}" if row.apart else "0"
    cells = [row.fault, row.said, codes, seconds, f"{row.lost_steps}", apart]
    return f"| {' | '.join(cells)} |"
