"""`microturn evaluate` without a set: every suite's own dialogues, made, played, scored."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from microturn.configs.command import write_json
from microturn.configs.devices import uses_gpu
from microturn.configs.files import write_atomically
from microturn.configs.load import save_config
from microturn.configs.paths import cache_folder
from microturn.datagen.executors.task import n_cores
from microturn.evaluation.agents.baselines import BASELINES
from microturn.evaluation.config import EvaluateConfig
from microturn.evaluation.report import plots as suite_plots
from microturn.evaluation.report import tables as suite_report
from microturn.evaluation.report import worst_dialogues as worst
from microturn.evaluation.runner import TraceFile
from microturn.evaluation.scoring.agent_output import Trace
from microturn.evaluation.scoring.dialogue_set import checkpoint_digest
from microturn.evaluation.scoring.events import score
from microturn.evaluation.scoring.outcomes import Outcome
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.scoring.timing import Timing, of_scene
from microturn.evaluation.suite_runs import CHECKPOINT, AgentSpec, HeldOut, play_sets, trace_file
from microturn.evaluation.suites.event_metrics import aggregate
from microturn.evaluation.suites.event_metrics import to_json as events_json
from microturn.evaluation.suites.held_out import held_out_set
from microturn.evaluation.suites.registry import MODULES, load_suite
from microturn.evaluation.suites.score_suite import SuiteScore, score_suite
from microturn.evaluation.suites.suite import Observations, Suite
from microturn.model.streams import StreamLayout

FACTS_NAME = "facts.jsonl"
FROM_AUDIO = "checkpoint, words from its sound"
_QUICK = 4  # dialogues of each set in a first impression


@dataclass(kw_only=True)
class Gathered:
    """What scoring has seen of one agent."""

    facts: dict[str, list[Observations]] = field(default_factory=dict)  # by suite
    keys: dict[str, list[str]] = field(default_factory=dict)
    outcomes: list[list[Outcome]] = field(default_factory=list)
    timing: Timing = field(default_factory=Timing)


def evaluate_suites(config: EvaluateConfig) -> int:
    """Run the command; continues a run that was interrupted."""
    suites = [load_suite(name) for name in config.suites or MODULES]
    out = Path(config.out)
    cast = _cast(config)
    layout = (
        StreamLayout.load(Path(config.checkpoint) / "layout.json") if config.checkpoint else None
    )
    digest = checkpoint_digest(config.checkpoint)
    sets = _sets(config, suites, layout)
    out.mkdir(parents=True, exist_ok=True)
    save_config(out / "config.yaml", config)
    files = {
        one.name: trace_file(out, one.name, _header(config, cast, one, digest)) for one in sets
    }
    total = sum(one.n_dialogues * one.seconds for one in sets)
    with _progress(total) as advance:
        play_sets(sets, cast, config.activity, files, workers=_workers(config), advance=advance)
    gathered = gather(suites, sets, files, cast, config)
    return _report(config, suites, sets, cast, gathered, digest)


def _cast(config: EvaluateConfig) -> AgentSpec:
    listed: list[str] = [config.baseline] if config.baseline else []
    if config.checkpoint and config.baselines:
        listed = list(reversed(BASELINES))
    return AgentSpec(
        checkpoint=config.checkpoint,
        baselines=tuple(listed),
        device=config.device,
        seed=config.seed,
        batch_size=config.batch_size,
        listen=config.words == "audio",
        through=config.through,
    )


def _workers(config: EvaluateConfig) -> int:
    """Processes; a GPU and a server are there once."""
    if config.workers:
        return config.workers
    if config.through == "server":
        return 1
    if config.checkpoint and uses_gpu(config.device):
        return 1
    return n_cores()


def _sets(
    config: EvaluateConfig, suites: Sequence[Suite], layout: StreamLayout | None
) -> list[HeldOut]:
    """The dialogues of every suite, simulated where they are not there yet."""
    found: dict[str, HeldOut] = {}
    for suite in suites:
        if suite.set_name in found:
            continue
        n = config.n_dialogues or suite.n_dialogues
        n = min(n, suite.n_dialogues, _QUICK if config.quick else suite.n_dialogues)
        samples = held_out_set(
            suite, cache_folder(config.cache), layout=layout, workers=config.workers
        )
        found[suite.set_name] = HeldOut(name=suite.set_name, samples=samples, n_dialogues=n)
    return list(found.values())


def _header(config: EvaluateConfig, cast: AgentSpec, one: HeldOut, digest: str) -> dict[str, Any]:
    """What the traces of one set depend on."""
    return {
        "checkpoint": digest,
        "agents": cast.agents,
        "data": one.samples.digest,
        "seed": config.seed,
        "listen": cast.listen,
        "through": cast.through,
        "activity": asdict(config.activity),
    }


def gather(
    suites: Sequence[Suite],
    sets: Sequence[HeldOut],
    files: Mapping[str, TraceFile],
    cast: AgentSpec,
    config: EvaluateConfig,
) -> dict[str, Gathered]:
    """Look at every dialogue as every agent played it."""
    agents = [*cast.agents, FROM_AUDIO] if cast.listen and cast.checkpoint else cast.agents
    found = {agent: Gathered() for agent in agents}
    for one in sets:
        own = [suite for suite in suites if suite.set_name == one.name]
        for sample in one.samples.read(one.n_dialogues):
            traces = files[one.name].traces(sample.key)
            for agent, trace in _with_audio(traces, agents):
                scene = ScoredDialogue(sample.dialogue, trace, config.windows)
                entry = found[agent]
                for suite in own:
                    entry.facts.setdefault(suite.name, []).append(suite.observe(scene))
                    entry.keys.setdefault(suite.name, []).append(sample.key)
                entry.outcomes.append(score(scene))
                of_scene(entry.timing, scene)
    return found


def _with_audio(traces: Mapping[str, Trace], agents: Sequence[str]) -> Iterator[tuple[str, Trace]]:
    for agent in agents:
        if agent == FROM_AUDIO:
            heard = traces[CHECKPOINT]
            yield agent, replace(heard, words=heard.recognised or (), sounds=None)
        else:
            yield agent, traces[agent]


def _report(
    config: EvaluateConfig,
    suites: Sequence[Suite],
    sets: Sequence[HeldOut],
    cast: AgentSpec,
    gathered: Mapping[str, Gathered],
    digest: str,
) -> int:
    out = Path(config.out)
    table: dict[str, dict[str, SuiteScore]] = {
        agent: {
            suite.name: score_suite(
                suite, entry.facts[suite.name], entry.keys[suite.name], seed=config.seed
            )
            for suite in suites
        }
        for agent, entry in gathered.items()
    }
    first, *others = table
    reference = gathered["oracle"].timing if "oracle" in gathered else None
    scores = {
        "format": 1,
        "agent": first,
        "checkpoint": config.checkpoint,
        "checkpoint_sha256": digest,
        "seed": config.seed,
        "words": config.words,
        "through": config.through,
        "versions": versions(),
        "n_dialogues": sum(one.n_dialogues for one in sets),
        "minutes": sum(one.n_dialogues * one.seconds for one in sets) / 60,
        "sets": {
            one.name: {
                "sha256": one.samples.digest,
                "n": one.n_dialogues,
                "seconds": one.seconds,
                "seed": int(one.samples.reader.index["seed"]),
            }
            for one in sets
        },
        "suites": {name: one.to_json() for name, one in table[first].items()},
        "baselines": {
            agent: {"suites": {name: one.to_json() for name, one in table[agent].items()}}
            for agent in others
        },
        "events": {
            agent: events_json(aggregate(entry.outcomes, seed=config.seed))
            for agent, entry in gathered.items()
        },
        "timing": {
            agent: entry.timing.to_json(reference if agent != "oracle" else None)
            for agent, entry in gathered.items()
        },
    }
    write_atomically(out / "scores.json", json.dumps(scores, indent=2, allow_nan=False) + "\n")
    _write_facts(out / FACTS_NAME, table)
    suite_plots.draw(out, scores, {a: entry.outcomes for a, entry in gathered.items()})
    n_worst = 0 if cast.through == "server" else min(config.n_worst, 1 if config.quick else 99)
    shown = worst.draw_worst(out / "worst", table[first], sets, cast, config, n=n_worst)
    text = suite_report.markdown(scores, shown)
    write_atomically(out / "scores.md", text)
    if config.table:
        suite_report.put_into(Path(config.table), suite_report.tables(scores))
    write_json(scores, config.json)
    if config.json != "-":
        print(suite_report.summary(scores))
        print(f"see {out / 'scores.md'}")
    return 0


def versions() -> dict[str, str]:
    """What the numbers were made with."""
    import platform

    found = {"python": platform.python_version()}
    for name in ("microturn", "torch", "numpy", "silero-vad", "pocketsphinx"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _write_facts(path: Path, table: Mapping[str, Mapping[str, SuiteScore]]) -> None:
    """One line per agent, suite and dialogue, for `microturn compare`."""
    rows = [
        {"agent": agent, "suite": name, "key": key, "facts": facts}
        for agent, suites in table.items()
        for name, one in suites.items()
        for key, facts in zip(one.keys, one.facts, strict=True)
    ]
    text = "".join(json.dumps(row, sort_keys=True, allow_nan=False) + "\n" for row in rows)
    write_atomically(path, text)


def _progress(total: float) -> Any:
    from contextlib import contextmanager

    from tqdm import tqdm

    @contextmanager
    def shown() -> Iterator[Any]:
        with tqdm(total=round(total), desc="evaluate", unit="s", leave=False) as bar:
            yield lambda seconds: bar.update(min(seconds, bar.total - bar.n))

    return shown()
