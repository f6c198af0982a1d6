"""Dialogues of a run to look at and to hear: a typical one, then those with the worst headlines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Final

from microturn.evaluation.config import EvaluateConfig
from microturn.evaluation.records import AgentRecord, DialogueInfo, Records
from microturn.evaluation.report.pictures import draw_dialogue, write_mix
from microturn.evaluation.runner import AgentSpec, PlayedSet, Player
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.suite import CREDIT, Observations, Suite

MAX_LENGTH_S: Final = 120.0  # a longer dialogue does not fit a picture


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One dialogue that is drawn."""

    source: PlayedSet
    key: str
    suite: str = ""  # whose headline made it one of the worst
    value: float | None = None  # that headline, on this dialogue alone

    @property
    def stem(self) -> str:
        return f"{self.source.name}-{self.key}"


def choose(records: Records, suites: Sequence[Suite], *, n: int) -> list[Picture]:
    """The first dialogue, the worst ones, and then others of families that are not shown yet."""
    short = [one for one in records.dialogues if one.source.dialogue_s <= MAX_LENGTH_S]
    played = {(one.source.plays, one.source.key_among_all(one.key)): one for one in short}
    names = {name for name, _ in played}
    typical = one_of_each_family(short)
    record = next(iter(records.agents.values()))
    worst = worst_of([one for one in suites if one.set_name in names], record, played=played)
    chosen: dict[str, Picture] = {}
    for picture in (*typical[:1], *worst, *typical[1:]):
        chosen.setdefault(picture.stem, picture)
    return list(chosen.values())[:n]


def one_of_each_family(dialogues: Sequence[DialogueInfo]) -> list[Picture]:
    """Dialogues that hold a family which no earlier one holds, in order."""
    shown: set[str] = set()
    pictures: list[Picture] = []
    for dialogue in dialogues:
        if not pictures or set(dialogue.families) - shown:
            pictures.append(Picture(source=dialogue.source, key=dialogue.key))
            shown |= set(dialogue.families)
    return pictures


def worst_of(
    suites: Sequence[Suite],
    record: AgentRecord,
    *,
    played: Mapping[tuple[str, str], DialogueInfo],
) -> list[Picture]:
    """Dialogues whose headline is below 1: the worst of each suite first, then the second ones.

    `played` has them by the name of their set and their key among all sets of that name.
    """
    ranked = []
    for suite in suites:
        pictures = []
        for key, observed in record.of_suite(suite).items():
            value = _value(suite, observed)
            if value is not None and value < 1.0:
                one = played[suite.set_name, key]
                picture = Picture(source=one.source, key=one.key, suite=suite.name, value=value)
                pictures.append(picture)
        ranked.append(sorted(pictures, key=_badness))
    rounds = zip_longest(*ranked)
    return [one for round_ in rounds for one in sorted(filter(None, round_), key=_badness)]


def _value(suite: Suite, observed: Observations) -> float | None:
    """The headline on one dialogue; of opposites that it holds only one of, the next metric."""
    measured = suite.measure([observed])
    names = list(suite.meanings)[:2] if suite.headline == CREDIT else [suite.headline]
    return next((value for name in names if (value := measured[name]) is not None), None)


def _badness(picture: Picture) -> tuple[float, str]:
    return picture.value or 0.0, picture.stem


def draw(
    folder: Path, pictures: Sequence[Picture], *, spec: AgentSpec, config: EvaluateConfig
) -> None:
    """Play those dialogues again of which FOLDER lacks SET-KEY.png or SET-KEY.wav."""
    missing = [
        picture
        for picture in pictures
        if not all((folder / f"{picture.stem}.{kind}").exists() for kind in ("png", "wav"))
    ]
    if not missing:
        return
    player = Player(spec, config.activity)
    for picture in missing:
        dialogue, output, trace = player.play_again(picture.source, picture.key)
        scored = ScoredDialogue(dialogue.dialogue, trace, config.windows)
        user, rate = dialogue.load_user(), dialogue.sample_rate
        draw_dialogue(
            folder / f"{picture.stem}.png", scored, user=user, agent=output.audio, rate=rate
        )
        write_mix(folder / f"{picture.stem}.wav", user=user, agent=output.audio, rate=rate)
