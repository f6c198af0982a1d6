"""`microturn evaluate`: from a shard set and an agent to scores, pictures and an exit code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from microturn.configs.command import write_json
from microturn.configs.devices import choose_device
from microturn.configs.load import ConfigError, save_config
from microturn.evaluation.agents.baselines import BASELINES, Agent, baseline
from microturn.evaluation.config import EvaluateConfig
from microturn.evaluation.report import scores as report
from microturn.evaluation.report import targets
from microturn.evaluation.report.pictures import Gallery
from microturn.evaluation.runner import Results, TraceFile, play, score_traces
from microturn.evaluation.scoring.agent_output import AgentOutput, Trace
from microturn.evaluation.scoring.dialogue_set import (
    DialogueSet,
    HeldOutDialogue,
    checkpoint_digest,
)
from microturn.evaluation.scoring.outcomes import TurnOutcome
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.speech.sound import WordSounds
from microturn.evaluation.suites import event_metrics as suites
from microturn.evaluation.suites import event_suites as events
from microturn.evaluation.suites.registry import MODULES

if TYPE_CHECKING:
    from microturn.model.checkpoint import LoadedCheckpoint

CHECKPOINT = "checkpoint"
_TEMPLATE_DIALOGUES = 256  # more than enough to hear every word of the agent once


def evaluate(config: EvaluateConfig) -> int:
    """Run the command; 0 done, 1 a target is off. Continues a run that was interrupted."""
    _check(config)
    if not config.data:
        from microturn.evaluation.table import evaluate_suites

        return evaluate_suites(config)
    out = Path(config.out)
    samples = DialogueSet.open(config.data)
    checkpoint = _load(config, samples) if config.checkpoint else None
    out.mkdir(parents=True, exist_ok=True)
    save_config(out / "config.yaml", config)
    results = _play(config, samples, checkpoint)
    return _report(config, results)


def _check(config: EvaluateConfig) -> None:
    if bool(config.checkpoint) == bool(config.baseline):
        raise ConfigError(f"give either checkpoint=DIR or baseline={'|'.join(BASELINES)}")
    if config.data:
        known = tuple(suites.SUITES)
        _check_set(config)
    else:
        known = (*MODULES, *events.NAMES)
        if config.targets:
            raise ConfigError("targets are for one set of dialogues: give data=DIR")
    for name in config.suites:
        if name not in known:
            raise ConfigError(f"suites has {name!r}; there are {', '.join(known)}")
    try:
        targets.check_names(config.targets)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _check_set(config: EvaluateConfig) -> None:
    """What only the suites' own dialogues have."""
    if config.words != "say" or config.through != "engine" or config.table:
        raise ConfigError("words=audio, through=server and table= are for the suites: leave data=")


def _load(config: EvaluateConfig, samples: DialogueSet) -> LoadedCheckpoint:
    from microturn.model.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(config.checkpoint, choose_device(config.device))
    checkpoint.layout.check_same(samples.layout, config.checkpoint, config.data)
    return checkpoint


def _play(
    config: EvaluateConfig, samples: DialogueSet, checkpoint: LoadedCheckpoint | None
) -> Results:
    out = Path(config.out)
    agent = CHECKPOINT if checkpoint else config.baseline
    n_pictures = min(config.n_pictures, 1) if config.quick else config.n_pictures
    gallery = Gallery(out / "pictures", n_pictures)
    file = TraceFile(out / "traces.jsonl", _header(config, samples))
    total = samples.count(config.dialogue_limit)
    sounds = WordSounds.of(samples.read(_TEMPLATE_DIALOGUES), samples.layout, config.activity)
    with _progress(total) as advance:

        def on_played(sample: HeldOutDialogue, played: Mapping[str, AgentOutput]) -> None:
            trace = Trace.of(played[agent], config.activity)
            scene = ScoredDialogue(sample.dialogue, trace, config.windows)
            gallery.add(sample, scene, played[agent].audio)
            if checkpoint is None:
                advance(1.0)

        performers = _performers(config, samples, checkpoint, advance)
        dialogues = play(
            samples.read(config.dialogue_limit),
            performers,
            file,
            activity=config.activity,
            sounds={name: sounds for name in performers if name in (CHECKPOINT, "oracle")},
            batch_size=config.batch_size,
            again=gallery.missing,
            on_played=on_played,
            on_known=lambda: advance(1.0),
        )
    return score_traces(dialogues, file, list(performers), config.windows)


def _performers(
    config: EvaluateConfig,
    samples: DialogueSet,
    checkpoint: LoadedCheckpoint | None,
    advance: Any,
) -> dict[str, Agent]:
    """Who plays: the checkpoint beside the baselines, or one baseline alone."""
    if checkpoint is None:
        return {config.baseline: baseline(config.baseline, samples.read, config.activity)}
    from microturn.evaluation.agents.streaming import StreamedAgent
    from microturn.inference.rows import RowBatch

    batch = RowBatch(checkpoint, config.batch_size, seed=config.seed)
    agent = StreamedAgent(batch, on_progress=advance)
    performers: dict[str, Agent] = {CHECKPOINT: agent}
    if config.baselines:
        performers |= {
            name: baseline(name, samples.read, config.activity) for name in reversed(BASELINES)
        }
    return performers


def _header(config: EvaluateConfig, samples: DialogueSet) -> dict[str, Any]:
    """What the traces depend on: inputs by content, and the seed."""
    return {
        "checkpoint": checkpoint_digest(config.checkpoint),
        "agents": [config.baseline] if config.baseline else [CHECKPOINT, config.baselines],
        "data": samples.digest,
        "seed": config.seed,
        "activity": asdict(config.activity),
    }


def _report(config: EvaluateConfig, results: Results) -> int:
    out = Path(config.out)
    agent, *others = results
    metrics = {
        name: suites.aggregate(outcomes, seed=config.seed) for name, outcomes in results.items()
    }
    # Targets are checked on every suite, also on those that are left out of the report.
    checks = targets.check(config.targets, metrics[agent])
    scores = report.scores_json(
        agent=agent,
        source={"data": config.data, "checkpoint": config.checkpoint, "seed": config.seed},
        n_dialogues=len(results[agent]),
        suites=suites.to_json(metrics[agent], config.suites),
        baselines={name: suites.to_json(metrics[name], config.suites) for name in others},
        checks=checks,
    )
    report.write_scores(out, scores, checks)
    latencies_s = [
        outcome.latency_s
        for outcomes in results[agent]
        for outcome in outcomes
        if isinstance(outcome, TurnOutcome) and outcome.latency_s is not None
    ]
    report.draw_scores(out / "scores.png", scores, latencies_s, limit_s=config.windows.onset_s)
    write_json(scores, config.json)
    if config.json != "-":
        print(report.summary(scores, checks))
        print(f"see {out / 'scores.md'} and {out / 'pictures'}")
    return 0 if all(check.met for check in checks) else 1


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    """A bar on stderr that counts dialogues and moves with every micro-turn."""
    from tqdm import tqdm

    layout = "{l_bar}{bar}| {n:.0f}/{total} dialogues [{elapsed}<{remaining}]"
    with tqdm(total=total, desc="evaluate", bar_format=layout, leave=False) as bar:

        def advance(dialogues: float) -> None:
            bar.update(min(dialogues, total - bar.n))

        yield advance
