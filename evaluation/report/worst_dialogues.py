"""The dialogues in which an agent did worst, as timelines and as sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from microturn.evaluation.config import EvaluateConfig
from microturn.evaluation.report.pictures import draw_dialogue, write_mix
from microturn.evaluation.scoring.agent_output import Trace
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suite_runs import AgentSpec, HeldOut, Stage
from microturn.evaluation.suites.score_suite import SuiteScore

MAX_LENGTH_S = 120.0  # a longer dialogue is no picture


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One dialogue that was drawn."""

    suite: str
    key: str
    value: float  # the suite's headline on this dialogue alone

    @property
    def stem(self) -> str:
        return f"{self.suite}-{self.key}"


def worst_of(scores: Mapping[str, SuiteScore], playable: Sequence[str], n: int) -> list[Shown]:
    """The dialogues with the lowest headlines, suites in turn, worst first in each."""
    lists = []
    for name, score in scores.items():
        if score.suite.set_name not in playable:
            continue
        found = []
        for key, facts in zip(score.keys, score.facts, strict=True):
            value = score.suite.measure([facts])[score.suite.headline]
            if value is not None and value < 1.0:
                found.append(Shown(suite=name, key=key, value=value))
        lists.append(sorted(found, key=lambda shown: (shown.value, shown.key)))
    rounds = [shown for row in zip_longest(*lists) for shown in row if shown is not None]
    # The first round holds every suite's worst: with few pictures the worst of these.
    return sorted(sorted(rounds, key=lambda s: s.value)[:n], key=lambda s: (s.value, s.stem))


def draw_worst(
    folder: Path,
    scores: Mapping[str, SuiteScore],
    sets: Sequence[HeldOut],
    cast: AgentSpec,
    config: EvaluateConfig,
    *,
    n: int,
) -> list[Shown]:
    """Play the worst dialogues again, and write FOLDER/SUITE-KEY.png and .wav of each."""
    by_name = {one.name: one for one in sets if one.seconds <= MAX_LENGTH_S}
    chosen = worst_of(scores, list(by_name), n)
    missing = [shown for shown in chosen if not (folder / f"{shown.stem}.png").exists()]
    stage = Stage(cast, config.activity) if missing else None
    for shown in missing:
        assert stage is not None
        one = by_name[scores[shown.suite].suite.set_name]
        sample = one.samples.find(shown.key)
        performer = next(iter(stage.performers(one.samples).values()))
        played = next(performer.perform([sample]))
        scene = ScoredDialogue(sample.dialogue, Trace.of(played, config.activity), config.windows)
        user, rate = sample.load_user(), sample.sample_rate
        draw_dialogue(folder / f"{shown.stem}.png", scene, user, played.audio, rate)
        write_mix(folder / f"{shown.stem}.wav", user, played.audio, rate)
    return chosen
