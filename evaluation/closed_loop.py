"""`microturn evaluate loop=closed`: agents that talk with users who react to what they do.

The dialogues are those of a configuration of `microturn simulate`. Every agent talks with the same
users, who say other things as soon as it does, so its events are its own: one that never came is
counted beside the scores and judged by none of them.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from microturn.configs.devices import choose_device
from microturn.configs.files import make_folder, write_atomically
from microturn.configs.load import ConfigError, load_config, save_config
from microturn.datagen.closed_loop.environment import Environment
from microturn.datagen.config import DatagenConfig
from microturn.datagen.live import PREFIX, LiveSource
from microturn.evaluation.agents.baselines import BASELINES, AlwaysTalking, Silent
from microturn.evaluation.agents.closed_loop import play
from microturn.evaluation.agents.panel import PANEL, panel_of
from microturn.evaluation.agents.performance import RecordedWords
from microturn.evaluation.agents.talking import (
    HalfDuplexTalker,
    Replayed,
    StreamedTalker,
    Talker,
    dialogue_of,
    microphone_of,
    output_so_far,
)
from microturn.evaluation.config import EvaluateConfig
from microturn.evaluation.records import AgentRecord, Records
from microturn.evaluation.report import markdown
from microturn.evaluation.report.observations import write_observations
from microturn.evaluation.report.pictures import draw_dialogue, write_mix
from microturn.evaluation.report.plots import draw_plots
from microturn.evaluation.report.publish import check_pages, publish
from microturn.evaluation.report.scores import RunInfo, Scores, SetInfo, score_run, write_scores
from microturn.evaluation.report.targets import check_targets
from microturn.evaluation.report.versions import versions
from microturn.evaluation.runner import CHECKPOINT
from microturn.evaluation.scoring.agent_output import AgentOutput, Trace
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue, checkpoint_digest
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.speech.voice import AgentVoice, words_needed
from microturn.evaluation.suites.registry import load_suite, suites_of_any_set
from microturn.evaluation.suites.suite import Suite
from microturn.model.checkpoint_files import LAYOUT, TOKENIZER, check_complete
from microturn.model.streams import StreamLayout

SET: Final = "closed_loop"
TALKERS: Final = tuple(name for name in BASELINES if name != "endpointing")
N_DIALOGUES: Final = 48
QUICK: Final = 8

Did = Mapping[str, Counter[str]]  # what the users did, by agent
WHAT_USERS_DID: Final = {
    "never": "planned events without an occasion, such as an interruption of a silent agent",
    "asked_again": "requests that the user repeated",
    "gave_up": "requests that the user no longer waits for",
    "yielded": "times that the user left the floor to an agent that spoke into a pause or a word",
}


@dataclass(frozen=True, kw_only=True)
class ReactingUsers:
    """The users of a run: users by number, and the planned dialogues of each."""

    source: LiveSource
    n: int

    def begin(self) -> list[Environment]:
        return [Environment(self.source, index) for index in range(self.n)]

    @cached_property
    def planned(self) -> tuple[HeldOutDialogue, ...]:
        """What happens if the agent does what is planned; the oracle does."""
        return tuple(map(_planned, self.begin()))


def evaluate_closed(config: EvaluateConfig) -> int:
    """Run the command; 0 done, 1 a target was missed."""
    check(config)
    scores, did = _score(config)
    about = _about_users(did)
    text, tables = markdown.markdown(scores) + about, markdown.tables(scores) + about
    return publish(config, scores, text=text, tables=tables.rstrip())


def score_closed(config: EvaluateConfig) -> Scores:
    """Let the agents talk with the users, and write all of the folder but its text."""
    return _score(config)[0]


def _score(config: EvaluateConfig) -> tuple[Scores, Did]:
    out = Path(config.out)
    make_folder(out)
    save_config(out / "config.yaml", config)
    n_dialogues = config.n_dialogues or (QUICK if config.quick else N_DIALOGUES)
    users = ReactingUsers(source=open_source(config), n=n_dialogues)
    suites = scored_suites(config)
    needed = words_needed(one.dialogue for one in users.planned)
    voice = AgentVoice.of(users.planned, config.activity, needed=needed)
    records: dict[str, AgentRecord] = {}
    did: dict[str, Counter[str]] = {}
    for name, talker in talkers(config, users):
        records[name], did[name] = _record(name, talker, users, voice, suites, config)
    return _written(config, users, suites, records, did), did


def check(config: EvaluateConfig) -> None:
    """Raise ConfigError for a configuration that cannot be played with users who react."""
    if bool(config.checkpoint) == bool(config.baseline):
        raise ConfigError(f"give either checkpoint=DIR or baseline={'|'.join(TALKERS)}")
    if not config.data:
        raise ConfigError("loop=closed needs data=FILE.yaml, a configuration of simulate")
    if config.baseline == "endpointing":
        raise ConfigError(f"baseline=endpointing has no closed loop, only {', '.join(TALKERS)}")
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


def open_source(config: EvaluateConfig) -> LiveSource:
    """The planned dialogues, on the layout and with the tokens of a checkpoint if there is one."""
    words = config.data.removeprefix(PREFIX).split()
    files, keys = [w for w in words if "=" not in w], [w for w in words if "=" in w]
    plan = load_config(DatagenConfig, files, ["out=live", *keys, f"cache={config.cache}"])
    if not config.checkpoint:
        return LiveSource.of(plan)
    check_complete(config.checkpoint)
    folder = Path(config.checkpoint)
    source = LiveSource.of(replace(plan, layout=StreamLayout.load(folder / LAYOUT)))
    return replace(source, tokenizer_json=(folder / TOKENIZER).read_text(encoding="utf-8"))


def scored_suites(config: EvaluateConfig) -> list[Suite]:
    """The suites of the report: tau-voice's measures, and those of events."""
    names = config.suites or ["tau_voice", *(n for n in suites_of_any_set() if n != "tau_voice")]
    return [replace(load_suite(name), dialogues_of=SET, title_note="") for name in names]


# --- agents --------------------------------------------------------------------------------------
def talkers(config: EvaluateConfig, users: ReactingUsers) -> Iterator[tuple[str, Talker]]:
    """The agents that are reported, by name, then the members of the panel."""
    if config.checkpoint:
        yield CHECKPOINT, _checkpoint(config)
    baselines = [config.baseline] if config.baseline else list(reversed(TALKERS))
    for name in baselines if config.baseline or config.baselines else ():
        yield name, _baseline(name, users, config)
    if config.panel:
        for name, member in panel_of(tuple(PANEL), lambda: iter(users.planned)).items():
            yield name, _replayed(member, users)


def _checkpoint(config: EvaluateConfig) -> Talker:
    from microturn.inference.rows import RowBatch
    from microturn.model.checkpoint import load_checkpoint

    loaded = load_checkpoint(config.checkpoint, choose_device(config.device))
    return StreamedTalker(RowBatch(loaded, config.batch_size, seed=config.seed))


def _baseline(name: str, users: ReactingUsers, config: EvaluateConfig) -> Talker:
    match name:
        case "oracle":
            return _Planned()
        case "half_duplex":
            voice = RecordedWords.of(lambda: iter(users.planned))
            return HalfDuplexTalker(voice=voice, silence_s=config.silence_ms / 1000)
        case "always":
            looped = AlwaysTalking.from_dialogues(lambda: iter(users.planned), config.activity)
            return _replayed(looped, users)
        case _:
            return _replayed(Silent(), users)


class _Planned:
    """Does what is planned."""

    def talk(self, environments: Sequence[Environment]) -> Iterator[AgentOutput]:
        for environment in environments:
            turns = iter(environment.recorded())
            play(environment, lambda _, turns=turns: next(turns))  # type: ignore[misc]
            heard = dialogue_of(environment).user_words
            yield replace(output_so_far(environment), heard=heard)


def _replayed(agent: Any, users: ReactingUsers) -> Talker:
    """An agent of recorded dialogues that plays what it does in the planned one."""

    def made_for(environment: Environment) -> AgentOutput:
        output: AgentOutput = next(agent.perform([users.planned[environment.index]]))
        return output

    return Replayed(made_for=made_for)


def _planned(environment: Environment) -> HeldOutDialogue:
    turns = iter(environment.recorded())
    play(environment, lambda _: next(turns))
    agent, dialogue = environment.agent_audio(), dialogue_of(environment)
    user = microphone_of(environment)
    return HeldOutDialogue(
        dialogue=dialogue,
        sample_rate=environment.layout.sample_rate,
        load_user=lambda: user,
        load_agent=lambda: agent,
    )


# --- conversations -------------------------------------------------------------------------------
def _record(
    name: str,
    talker: Talker,
    users: ReactingUsers,
    voice: AgentVoice,
    suites: Sequence[Suite],
    config: EvaluateConfig,
) -> tuple[AgentRecord, Counter[str]]:
    """Let one agent talk with all users; what became of it, and what the users did."""
    own = [suite for suite in suites if suite.name == "tau_voice"]
    record = AgentRecord(observations={suite.name: {} for suite in own}, outcomes={SET: {}})
    did: Counter[str] = Counter()
    environments = users.begin()
    outputs = talker.talk(environments)
    shown = tqdm(environments, desc=name, unit="dialogue", leave=False)
    for number, (environment, output) in enumerate(zip(shown, outputs, strict=True)):
        trace = Trace.of(output, config.activity, sounds=voice.listen(output))
        scored = ScoredDialogue(dialogue_of(environment), trace, config.windows)
        record.add(SET, scored, suites=own)
        did.update(one.kind for one in environment.occurrences if one.kind in WHAT_USERS_DID)
        if number < config.n_pictures and name not in PANEL:
            _draw(Path(config.out) / "pictures", name, scored, environment)
    return record, did


def _draw(folder: Path, name: str, scored: ScoredDialogue, environment: Environment) -> None:
    agent, rate = environment.agent_audio(), environment.layout.sample_rate
    user = microphone_of(environment)
    make_folder(folder)
    stem = folder / f"{name}-{scored.dialogue.key}"
    draw_dialogue(stem.with_suffix(".png"), scored, user=user, agent=agent, rate=rate)
    write_mix(stem.with_suffix(".wav"), user=user, agent=agent, rate=rate)


# --- the report ----------------------------------------------------------------------------------
def _written(
    config: EvaluateConfig,
    users: ReactingUsers,
    suites: Sequence[Suite],
    records: Mapping[str, AgentRecord],
    did: Did,
) -> Scores:
    """Score the records, and write what programs and eyes read."""
    out = Path(config.out)
    found = Records(
        dialogues=(),
        agents={name: one for name, one in records.items() if name not in PANEL},
        panel={name: one for name, one in records.items() if name in PANEL},
    )
    scores = score_run(_info(config, users), found, suites=suites)
    scores = replace(scores, targets=tuple(check_targets(config.targets, scores.first.suites)))
    write_scores(out, scores)
    write_observations(out, found, suites=suites)
    counts = {name: dict(sorted(one.items())) for name, one in did.items()}
    write_atomically(out / "users.json", json.dumps(counts, indent=2) + "\n")
    draw_plots(out, scores, records=found.agents)
    return scores


def _info(config: EvaluateConfig, users: ReactingUsers) -> RunInfo:
    plan = users.source.config
    played = SetInfo(
        sha256=hashlib.sha256(str(sorted(asdict(plan).items())).encode()).hexdigest(),
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
