"""`microturn evaluate loop=closed`: agents that talk with users who react to what they do.

The dialogues are those of a configuration of `microturn simulate`. Every agent talks with the same
users, who say other things as soon as it does, so its events are its own: one that never came is
counted beside the scores and judged by none of them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from tqdm import tqdm

from microturn.configs.files import make_folder, write_atomically
from microturn.configs.load import ConfigError, save_config
from microturn.evaluation.agents.baselines import BASELINES
from microturn.evaluation.agents.panel import PANEL
from microturn.evaluation.closed_loop.talkers import talkers_of
from microturn.evaluation.closed_loop.talks import hold_talks, talks_of
from microturn.evaluation.closed_loop.users import WHAT_USERS_DID, ReactingUsers, open_source
from microturn.evaluation.config import EvaluateConfig
from microturn.evaluation.records import AgentRecord, Records
from microturn.evaluation.report import markdown
from microturn.evaluation.report.observations import write_observations
from microturn.evaluation.report.plots import draw_plots
from microturn.evaluation.report.publish import check_pages, publish
from microturn.evaluation.report.scores import RunInfo, Scores, SetInfo, score_run, write_scores
from microturn.evaluation.report.targets import check_targets
from microturn.evaluation.report.versions import versions
from microturn.evaluation.runner import n_processes
from microturn.evaluation.scoring.dialogue_set import checkpoint_digest
from microturn.evaluation.suites.registry import load_suite, suites_of_any_set
from microturn.evaluation.suites.suite import Suite

SET: Final = "closed_loop"
N_DIALOGUES: Final = 48
QUICK: Final = 8

Did = Mapping[str, Counter[str]]  # what the users did, by agent


def evaluate_closed(config: EvaluateConfig) -> int:
    """Run the command; 0 done, 1 a target was missed. Resumes a run that was interrupted."""
    check(config)
    scores, did = _score(config)
    about = _about_users(did)
    text, tables = markdown.markdown(scores) + about, markdown.tables(scores) + about
    return publish(config, scores, text=text, tables=tables.rstrip())


def score_closed(config: EvaluateConfig) -> Scores:
    """Let the agents talk with the users, and write all of the folder but its text."""
    return _score(config)[0]


def check(config: EvaluateConfig) -> None:
    """Raise ConfigError for a configuration that cannot be played with users who react."""
    if bool(config.checkpoint) == bool(config.baseline):
        raise ConfigError(f"give either checkpoint=DIR or baseline={'|'.join(BASELINES)}")
    if not config.data:
        raise ConfigError("loop=closed needs data=FILE.yaml, a configuration of simulate")
    for name, value, only in (
        ("through", config.through, "engine"),
        ("words", config.words, "say"),
    ):
        if value != only:
            raise ConfigError(f"{name}={value} has no closed loop, only {name}={only}")
    for name in config.suites:
        if name not in suites_of_any_set():
            raise ConfigError(f"suites has {name!r}; there are {', '.join(suites_of_any_set())}")
    check_pages(config)


def scored_suites(config: EvaluateConfig) -> list[Suite]:
    """The suites of the report: tau-voice's measures, and those of events."""
    names = config.suites or ["tau_voice", *(n for n in suites_of_any_set() if n != "tau_voice")]
    return [replace(load_suite(name), dialogues_of=SET, title_note="") for name in names]


def _score(config: EvaluateConfig) -> tuple[Scores, Did]:
    """Hold the conversations, score them, and write what programs and eyes read."""
    out = Path(config.out)
    make_folder(out)
    save_config(out / "config.yaml", config)
    n_dialogues = config.n_dialogues or (QUICK if config.quick else N_DIALOGUES)
    users = ReactingUsers(source=open_source(config), n=n_dialogues)
    records, did = _records(config, users)
    suites = scored_suites(config)
    scores = score_run(_info(config, users), records, suites=suites)
    scores = replace(scores, targets=tuple(check_targets(config.targets, scores.first.suites)))
    write_scores(out, scores)
    write_observations(out, records, suites=suites)
    counts = {name: dict(sorted(one.items())) for name, one in did.items()}
    write_atomically(out / "users.json", json.dumps(counts, indent=2) + "\n")
    draw_plots(out, scores, records=records.agents)
    return scores, did


def _records(config: EvaluateConfig, users: ReactingUsers) -> tuple[Records, Did]:
    """Let every agent talk with all users; what became of it, and what the users did."""
    agents = talkers_of(config)
    with tqdm(total=len(agents) * users.n, desc="talk", unit="dialogue", leave=False) as bar:
        files = hold_talks(config, users, agents, workers=n_processes(config), advance=bar.update)
    own = [suite for suite in scored_suites(config) if suite.name == "tau_voice"]
    records: dict[str, AgentRecord] = {}
    did: dict[str, Counter[str]] = {}
    for name, file in files.items():
        record = AgentRecord(observations={suite.name: {} for suite in own}, outcomes={SET: {}})
        did[name] = Counter()
        for scored, counts in talks_of(name, file, users, config):
            record.add(SET, scored.dialogue.key, scored, suites=own)
            did[name].update(counts)
        records[name] = record
    found = Records(
        dialogues=(),
        agents={name: one for name, one in records.items() if name not in PANEL},
        panel={name: one for name, one in records.items() if name in PANEL},
    )
    return found, did


def _info(config: EvaluateConfig, users: ReactingUsers) -> RunInfo:
    plan = users.source.config
    played = SetInfo(
        sha256=users.digest,
        n_dialogues=users.n,
        dialogue_s=plan.layout.duration_s(plan.n_micro_turns),
        seed=plan.seed,
    )
    return RunInfo(
        data=config.data,
        checkpoint=config.checkpoint,
        checkpoint_sha256=checkpoint_digest(config.checkpoint),
        seed=config.seed,
        words=config.words,
        through=config.through,
        versions=versions(),
        sets={SET: played},
    )


def _about_users(did: Did) -> str:
    """What the users did because of each agent, as a table."""
    names = [name for name in did if name not in PANEL]
    lines = [
        "\n## What the users did\n",
        f"| | {' | '.join(names)} |",
        "|---|" + "---:|" * len(names),
    ]
    for kind, meaning in WHAT_USERS_DID.items():
        counts = " | ".join(str(did[name][kind]) for name in names)
        lines.append(f"| {meaning} | {counts} |")
    return "\n".join(lines) + "\n"
