"""`microturn evaluate`: from agents and sets of dialogues to scores, pictures and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from microturn.configs.files import make_folder
from microturn.configs.load import ConfigError, save_config
from microturn.configs.paths import cache_folder
from microturn.datagen.executors.task import n_cores
from microturn.datagen.sets.contents import Contents, Shared, read_contents, shared_with
from microturn.evaluation.agents.baselines import BASELINES
from microturn.evaluation.agents.panel import PANEL
from microturn.evaluation.config import EvaluateConfig
from microturn.evaluation.records import FROM_AUDIO, Records, read_records
from microturn.evaluation.report import gallery, markdown
from microturn.evaluation.report.observations import write_observations
from microturn.evaluation.report.plots import draw_plots
from microturn.evaluation.report.publish import check_pages, publish
from microturn.evaluation.report.scores import RunInfo, SetInfo, score_run, write_scores
from microturn.evaluation.report.targets import check_names, check_targets, suites_with_targets
from microturn.evaluation.report.versions import versions
from microturn.evaluation.runner import (
    SEED_MARK,
    AgentSpec,
    PlayedSet,
    n_processes,
    play_sets,
)
from microturn.evaluation.scoring.dialogue_set import DialogueSet, checkpoint_digest
from microturn.evaluation.speech.transcripts import transcripts_of
from microturn.evaluation.suites.event_suites import event_suites
from microturn.evaluation.suites.held_out import held_out_config, held_out_set
from microturn.evaluation.suites.registry import (
    MODULES,
    WITH_MODULE,
    known_suites,
    load_suite,
    suites_of_recorded_sets,
)
from microturn.evaluation.suites.suite import Suite
from microturn.evaluation.traces import TraceFile
from microturn.model.config import SHIPPED, folder_of
from microturn.model.streams import StreamLayout

DATA: Final = "data"  # name of the set that data= gives
_QUICK_TOTAL, _QUICK_EACH = 16, 4  # dialogues of a first impression: in all, but so many of each


@dataclass(frozen=True, kw_only=True)
class EvaluationPlan:
    """Suites, sets and agents of a run."""

    config: EvaluateConfig
    suites: tuple[Suite, ...]
    sets: tuple[PlayedSet, ...]
    spec: AgentSpec

    @property
    def agents(self) -> list[str]:
        """Names of everything that has scores of its own."""
        agents = self.spec.agents
        return [*agents, FROM_AUDIO] if self.spec.recognise and self.spec.checkpoint else agents


def evaluate(config: EvaluateConfig) -> int:
    """Run the command; 0 done, 1 a target was missed. Resumes a run that was interrupted."""
    config = with_agent(config)
    if config.loop == "closed":
        from microturn.evaluation.closed_loop.closed_loop import evaluate_closed

        return evaluate_closed(config)
    check(config)
    plan = make_plan(config)
    out = Path(config.out)
    make_folder(out)
    save_config(out / "config.yaml", config)
    files = {
        source.name: TraceFile(out / "traces" / f"{source.name}.jsonl", _header(plan, source))
        for source in plan.sets
    }
    with _progress(sum(source.total_s for source in plan.sets)) as advance:
        play_sets(
            plan.sets,
            plan.spec,
            files=files,
            activity=config.activity,
            workers=n_processes(config),
            advance=advance,
        )
    records = read_records(
        plan.suites,
        plan.sets,
        files=files,
        agents=plan.agents,
        panel=plan.spec.panel,
        windows=config.windows,
        transcripts=_transcripts(plan),
    )
    return report(plan, records)


def with_agent(config: EvaluateConfig) -> EvaluateConfig:
    """Name the folder of the checkpoint; without one and without a baseline it is that shipped."""
    if config.checkpoint or config.baseline:
        return replace(config, checkpoint=folder_of(config.checkpoint))
    folder = folder_of(SHIPPED)
    print(f"scoring the checkpoint that ships, {folder}", file=sys.stderr)
    return replace(config, checkpoint=folder)


# --- the plan ------------------------------------------------------------------------------------
def check(config: EvaluateConfig) -> None:
    """Raise ConfigError for a configuration without an agent or with unknown names."""
    if config.checkpoint and config.baseline:
        raise ConfigError(f"give either checkpoint=DIR or baseline={'|'.join(BASELINES)}")
    known = suites_of_recorded_sets() if config.data else known_suites()
    for name in config.suites:
        if name not in known:
            where = " for data=" if name in WITH_MODULE else ""
            raise ConfigError(f"suites has {name!r}; there are {', '.join(known)}{where}")
    try:
        check_names(config.targets, known)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    check_pages(config)


def make_plan(config: EvaluateConfig) -> EvaluationPlan:
    """Load or simulate the sets; raises OSError or ValueError where one cannot be played."""
    layout = checkpoint_layout(config.checkpoint) if config.checkpoint else None
    suites = scored_suites(config)
    return EvaluationPlan(
        config=config,
        suites=tuple(suites),
        sets=tuple((_given_set if config.data else _sets)(config, suites, layout)),
        spec=_spec(config),
    )


def reported_suites(config: EvaluateConfig) -> list[str]:
    """Names of the suites in the report."""
    default = event_suites() if config.data else MODULES
    return list(dict.fromkeys(config.suites or default))


def scored_suites(config: EvaluateConfig) -> list[Suite]:
    """Load the suites that are named, and those that only have a target."""
    names = [*reported_suites(config), *suites_with_targets(config.targets)]
    suites = [load_suite(name) for name in dict.fromkeys(names)]
    if not config.data:
        return suites
    # The notes are about the suites' own sets.
    return [replace(suite, dialogues_of=DATA, title_note="") for suite in suites]


def checkpoint_layout(folder: str) -> StreamLayout:
    """Load the layout of a checkpoint; raises FileNotFoundError when the folder holds none."""
    from microturn.model.checkpoint_files import LAYOUT, check_complete

    check_complete(folder)
    return StreamLayout.load(Path(folder) / LAYOUT)


def _without_absent_frames(layout: StreamLayout, of_data: StreamLayout) -> StreamLayout:
    """`layout` without the pictures that a set does not have: a session then sees black."""
    names = [spec.name for spec in layout.ready_lanes if spec.kind == "frames"]
    absent = [name for name in names if not of_data.lane(name).positions]
    return replace(layout, **{f"{n}_{side}": 0 for n in absent for side in ("rows", "cols")})


def _given_set(
    config: EvaluateConfig, suites: Sequence[Suite], layout: StreamLayout | None
) -> Iterator[PlayedSet]:
    """Open the set of data=."""
    dialogues = DialogueSet.open(config.data)
    if layout is not None:
        blind = _without_absent_frames(layout, dialogues.layout)
        blind.check_same(dialogues.layout, config.checkpoint, config.data)
        check_socket(config, layout, lanes_of=dialogues.layout, name=config.data)
    limit = _limit(config, n_sets=1)
    by_speech = any(suite.by_speech for suite in suites)
    yield PlayedSet.of(DATA, dialogues, n_dialogues=dialogues.count(limit), by_speech=by_speech)


def _sets(
    config: EvaluateConfig, suites: Sequence[Suite], layout: StreamLayout | None
) -> Iterator[PlayedSet]:
    """Open the sets of the suites, simulating those that are missing."""
    by_set: dict[str, list[Suite]] = {}
    for suite in suites:
        by_set.setdefault(suite.set_name, []).append(suite)
    cache = cache_folder(config.cache)
    if layout is not None:
        for suite in suites:
            lanes_of = held_out_config(suite, layout=layout).layout
            check_socket(config, layout, lanes_of=lanes_of, name=f"suite {suite.name}")
    for name, players in by_set.items():
        n_dialogues = players[0].n_dialogues
        n_played = min(_limit(config, n_sets=len(by_set)) or n_dialogues, n_dialogues)
        by_speech = any(suite.by_speech for suite in players)
        for number in range(config.n_seeds):
            dialogues = held_out_set(
                players[0],
                cache,
                n_dialogues=min(config.n_dialogues, n_dialogues),
                number=number,
                layout=layout,
                workers=config.workers,
            )
            own = f"{name}{SEED_MARK}{dialogues.reader.index['seed']}" if number else name
            yield PlayedSet.of(own, dialogues, n_dialogues=n_played, by_speech=by_speech)


def check_socket(
    config: EvaluateConfig, layout: StreamLayout, *, lanes_of: StreamLayout, name: str
) -> None:
    """Raise ConfigError for lanes that the checkpoint reads but the socket does not carry."""
    unsent = [spec.name for spec in lanes_of.ready_lanes if layout.lane(spec.name).positions]
    if config.through == "server" and unsent:
        raise ConfigError(
            f"through=server sends sound only, but {name} has {', '.join(unsent)}, which "
            f"{config.checkpoint} reads; use through=engine or leave it out"
        )


def _limit(config: EvaluateConfig, *, n_sets: int) -> int | None:
    """The most dialogues to play of each set; None: all."""
    quick = max(_QUICK_TOTAL // n_sets, _QUICK_EACH) if config.quick else 0
    return min((n for n in (config.n_dialogues, quick) if n), default=None)


def _spec(config: EvaluateConfig) -> AgentSpec:
    baselines: list[str] = [config.baseline] if config.baseline else []
    if config.checkpoint and config.baselines:
        baselines = list(reversed(BASELINES))
    return AgentSpec(
        checkpoint=config.checkpoint,
        baselines=tuple(baselines),
        device=config.device,
        seed=config.seed,
        batch_size=config.batch_size,
        silence_ms=config.silence_ms,
        recognise=config.words == "audio",
        through=config.through,
        panel=tuple(PANEL) if config.panel else (),
    )


def _header(plan: EvaluationPlan, source: PlayedSet) -> dict[str, Any]:
    """Inputs of the traces of a set: files by content, and settings."""
    return {
        "checkpoint": checkpoint_digest(plan.spec.checkpoint),
        "agents": plan.spec.players,
        "data": source.open().digest,
        "seed": plan.spec.seed,
        "recognise": plan.spec.recognise,
        "through": plan.spec.through,
        "silence_ms": plan.spec.silence_ms,
        "activity": asdict(plan.config.activity),
    }


def _transcripts(plan: EvaluationPlan) -> dict[str, Mapping[str, list[str]]]:
    """Words of a recogniser, by set and dialogue, for the suites that show them."""
    asked = {suite.set_name for suite in plan.suites if suite.transcribed}
    return {
        source.name: transcripts_of(
            source.folder,
            n_dialogues=source.n_dialogues,
            workers=plan.config.workers or n_cores(),
        )
        for source in plan.sets
        if source.plays in asked
    }


# --- the report ----------------------------------------------------------------------------------
def report(plan: EvaluationPlan, records: Records) -> int:
    """Write the scores in all their forms and print the summary."""
    config, out = plan.config, Path(plan.config.out)
    # Asked again: the labels of a set may have brought suites of another package.
    names, suites = reported_suites(config), scored_suites(config)
    scores = score_run(_info(plan), records, suites=suites)
    # A suite with a target is checked even where the report leaves it out.
    checks = check_targets(config.targets, scores.first.suites)
    scores = replace(scores.only(names), targets=tuple(checks))
    suites = [suite for suite in suites if suite.name in names]
    write_scores(out, scores)
    write_observations(out, records, suites=suites)
    draw_plots(out, scores, records=records.agents)
    n_pictures = min(config.n_pictures, 1) if config.quick else config.n_pictures
    pictures = gallery.choose(records, suites, n=n_pictures)
    gallery.draw(out / "pictures", pictures, spec=plan.spec, config=config)
    text, tables = markdown.markdown(scores, pictures), markdown.tables(scores)
    return publish(config, scores, text=text, tables=tables)


def _info(plan: EvaluationPlan) -> RunInfo:
    config = plan.config
    trained = read_contents(Path(config.checkpoint)) if config.checkpoint else None
    heard = {source.name: read_contents(source.open().reader.folder) for source in plan.sets}
    return RunInfo(
        data=config.data,
        checkpoint=config.checkpoint,
        checkpoint_sha256=checkpoint_digest(config.checkpoint),
        seed=config.seed,
        words=config.words,
        through=config.through,
        versions=versions(),
        sets={
            source.name: _set_info(source, _shared([heard[source.name]], trained))
            for source in plan.sets
        },
        shared=_shared(list(heard.values()), trained),
    )


def _shared(sets: Sequence[Contents | None], trained: Contents | None) -> Shared | None:
    """Count what sets share with the training set; None where one of them is not recorded."""
    together = Contents()
    for contents in sets:
        if contents is None:
            return None
        together.add(contents)
    return None if trained is None else shared_with(together, trained)


def _set_info(source: PlayedSet, shared: Shared | None) -> SetInfo:
    dialogues = source.open()
    return SetInfo(
        shared=shared,
        sha256=dialogues.digest,
        n_dialogues=source.n_dialogues,
        dialogue_s=source.dialogue_s,
        seed=dialogues.reader.index.get("seed"),
    )


@contextmanager
def _progress(total_s: float) -> Iterator[Callable[[float], None]]:
    """Show a bar on stderr that counts seconds of dialogue."""
    from tqdm import tqdm

    with tqdm(total=round(total_s), desc="evaluate", unit="s", leave=False) as bar:

        def advance(seconds: float) -> None:
            bar.update(min(seconds, bar.total - bar.n))

        yield advance
