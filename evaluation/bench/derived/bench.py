"""`microturn bench derive`: events derived from simulated dialogues beside their exact labels.

The labels are put aside, and events are derived from the times of the words, or from the sound of
each voice alone, as if the dialogue had been recorded. What is not found, or found where nothing
is, is the error that derived events of recorded speech have at least: people talk less tidily.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from microturn.configs.load import load_config
from microturn.configs.paths import cache_folder
from microturn.datagen.acoustics.rooms import ensure_bank
from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.waveform import voice_spans
from microturn.datagen.derive.config import DeriveConfig
from microturn.datagen.derive.events import derive_events
from microturn.datagen.derive.speech_units import SpokenSide
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.labels.event_types import (
    AGENT_BACKCHANNEL,
    INTERRUPTION,
    PAUSE,
    TURN,
    USER_BACKCHANNEL,
)
from microturn.datagen.pipeline import SimulatedDialogue, Simulator, make_tokenizer, open_corpus
from microturn.datagen.report.set_statistics import VOICE_DB
from microturn.evaluation.bench.config import BenchDeriveConfig
from microturn.evaluation.bench.derived.agreement import KINDS, Agreement, agreement
from microturn.evaluation.bench.results import publish
from microturn.model.streams.pcm import Audio

TOLD: Final = ("turn", "interruption", "user_backchannel", "agent_backchannel")
SETS: Final = {  # name: configuration and families
    "conversation": ("datagen/human.yaml", ("conversation",)),
    "human": ("datagen/human.yaml", TOLD),
    "everything": ("datagen/everything.yaml", TOLD),
}
WORDS, SOUND = "words", "sound"
GOALS: Final = {TURN: 0.95, USER_BACKCHANNEL: 0.95, AGENT_BACKCHANNEL: 0.95, INTERRUPTION: 0.90}
# A set whose interruptions are not what the rule means: agents that give way at the next border of
# a micro-turn, 0.25 to 0.45 s after the onset, mostly do so before the overlap is long enough.
NOT_JUDGED: Final = {("everything", INTERRUPTION)}

Found = dict[str, dict[str, dict[str, Agreement]]]  # by set, way and kind


def run_bench_derive(config: BenchDeriveConfig) -> int:
    """The command; exit code 1 where a goal is missed."""
    found: Found = {name: _measured(name, config) for name in SETS}
    judged = {
        f"{name}.{kind}": value is not None and value >= GOALS[kind]
        for name, ways in found.items()
        for kind in GOALS
        if (name, kind) not in NOT_JUDGED
        for value in [ways[WORDS][kind].f1]
        if ways[WORDS][kind].n_labels
    }
    result = {
        "sets": {
            name: {
                way: {kind: _json(one) for kind, one in kinds.items()}
                for way, kinds in ways.items()
            }
            for name, ways in found.items()
        },
        "goals": GOALS,
        "reached": judged,
        "n_dialogues": config.n_dialogues,
        "tolerance_s": config.tolerance_s,
    }
    publish(result, format_derive(found, judged, config), config)
    return 0 if all(judged.values()) else 1


def _measured(name: str, config: BenchDeriveConfig) -> dict[str, dict[str, Agreement]]:
    """Agreement by way and kind over the dialogues of a set."""
    found = {way: {kind: Agreement() for kind in KINDS} for way in (WORDS, SOUND)}
    simulator = make_simulator(name, config)
    derive = config.derive
    if config.own_forms:
        own = simulator.config.vocabulary.backchannels
        own += simulator.config.scenarios.agent_backchannels
        derive = replace(derive, more_backchannels=(*derive.more_backchannels, *own))
    shortest_s = {INTERRUPTION: derive.interruption_s, PAUSE: derive.pause_s}
    for index in range(config.n_dialogues):
        dialogue = simulator.dialogue(index)
        labels = simulator.labels(dialogue)
        for way, sides in _sides(dialogue, simulator, derive):
            events = derive_events(
                *sides, duration_s=labels.duration_s, language="en", config=derive
            )
            for kind in KINDS:
                one = agreement(
                    labels,
                    events,
                    kind=kind,
                    tolerance_s=config.tolerance_s,
                    shortest_s=shortest_s.get(kind, 0.0),
                )
                found[way][kind].add(one)
    return found


def make_simulator(name: str, config: BenchDeriveConfig) -> Simulator:
    """The simulator of one of SETS; its rooms are kept in the cache folder."""
    file, families = SETS[name]
    values = [f"only=[{','.join(families)}]", f"seed={config.seed}", "out=bench", "stems=true"]
    made = load_config(DatagenConfig, [file], [*values, "features=false"])
    with tempfile.TemporaryDirectory() as spare:
        rooms = ensure_bank(
            made.rooms, made.layout.sample_rate, folders=[cache_folder(config.cache), Path(spare)]
        )
        tokenizer = make_tokenizer(made, UnitBank(open_corpus(made), made))
        return Simulator(made, rooms=rooms, tokenizer=tokenizer)


def _sides(
    dialogue: SimulatedDialogue, simulator: Simulator, derive: DeriveConfig
) -> Iterator[tuple[str, tuple[SpokenSide, SpokenSide]]]:
    """User and agent by the times of their words, and by their sound alone."""
    words = dialogue.timeline.labels(simulator.config.layout.sample_rate).words
    yield WORDS, (SpokenSide(words=words.user), SpokenSide(words=words.agent))
    rate = simulator.config.layout.sample_rate
    user, agent = dialogue.sound.stems["user"], dialogue.sound.agent.astype(np.float32)
    yield SOUND, (_heard(user, rate, derive), _heard(agent, rate, derive))


def _heard(audio: Audio, rate: int, derive: DeriveConfig) -> SpokenSide:
    spans = voice_spans(audio, rate, threshold_db=VOICE_DB, join=round(derive.join_s * rate))
    return SpokenSide(spans=tuple((start / rate, end / rate) for start, end in spans))


def _json(one: Agreement) -> dict[str, Any]:
    return {
        "labels": one.n_labels,
        "derived": one.n_derived,
        "both": one.n_both,
        "outside": one.n_outside,
        "precision": _rounded(one.precision),
        "recall": _rounded(one.recall),
        "f1": _rounded(one.f1),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def format_derive(found: Found, judged: Mapping[str, bool], config: BenchDeriveConfig) -> str:
    """Format the figures as a text table."""
    lines = [
        f"{config.n_dialogues} dialogues of each set, within {config.tolerance_s:g} s; "
        "`outside`: labels that the rule does not cover",
        f"{'set':<13} {'from':<6} {'event':<18} {'labels':>6} {'outside':>7} {'derived':>7} "
        f"{'precision':>9} {'recall':>6} {'F1':>6}  goal",
    ]
    for name, ways in found.items():
        for way, kinds in ways.items():
            for kind, one in kinds.items():
                if not one.n_labels and not one.n_derived:
                    continue
                verdict = ""
                if way == WORDS and f"{name}.{kind}" in judged:
                    verdict = "reached" if judged[f"{name}.{kind}"] else "missed"
                    verdict = f"{GOALS[kind]:g} {verdict}"
                lines.append(
                    f"{name:<13} {way:<6} {kind:<18} {one.n_labels:>6} {one.n_outside:>7} "
                    f"{one.n_derived:>7} {_shown(one.precision):>9} {_shown(one.recall):>6} "
                    f"{_shown(one.f1):>6}  {verdict}".rstrip()
                )
    return "\n".join(lines) + "\n"


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
