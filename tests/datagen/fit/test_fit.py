"""`microturn fit`: from sets and corpora to a block that `simulate` takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from microturn.configs.load import load_config
from microturn.configs.main import main
from microturn.datagen.config import DatagenConfig, HumanTimingConfig
from microturn.datagen.derive.config import DeriveConfig
from microturn.datagen.derive.speech_units import SpokenSide
from microturn.datagen.fit.fit import FITTED
from microturn.datagen.fit.law import TimingSample, fit_timing
from microturn.datagen.fit.sources import DialogueSides, sample_of
from microturn.datagen.labels.event_types import event_type
from microturn.datagen.pipeline import Simulator
from microturn.datagen.sets.shards import ShardReader

RATE = 16_000
OTHER = {  # a law that is not the default one
    "overlapped_changes": 0.33,
    "gap_median_s": 0.42,
    "gap_sigma": 0.6,
    "overlap_median_s": 0.26,
    "overlap_sigma": 0.6,
    "pause_median_s": 0.6,
    "pause_sigma": 0.5,
    "backchannel_share": 0.14,
    "overlap_ratio": 0.045,
    "silence_ratio": 0.14,
}


@pytest.fixture(scope="module")
def sample(
    config: DatagenConfig, simulator_for: Callable[[DatagenConfig], Simulator]
) -> TimingSample:
    """Ninety minutes of conversation by the other law, measured by their words."""
    mix = load_config(DatagenConfig, ["datagen/human.yaml"], ["out=unused", "only=[conversation]"])
    make: Callable[..., HumanTimingConfig] = HumanTimingConfig
    timing = replace(mix.timing, human=make(enabled=True, **OTHER))
    simulator = simulator_for(replace(mix, timing=timing, rooms=config.rooms))

    def sides(index: int) -> DialogueSides:
        labels = simulator.script(simulator.recipe(index))[0].timeline.labels(RATE)
        return DialogueSides(
            user=SpokenSide(words=labels.words.user),
            agent=SpokenSide(words=labels.words.agent),
            duration_s=60.0,
            backchannels=tuple(e for e in labels.events if not event_type(e.type).takes_turn),
        )

    return sample_of(map(sides, range(90)), DeriveConfig())


def test_a_law_is_found_again_in_the_dialogues_that_follow_it(sample: TimingSample) -> None:
    human = fit_timing(sample, tolerance=0.1, where="conversations")
    for name, value in OTHER.items():
        assert getattr(human, name) == pytest.approx(value, rel=0.10), name
    # Draws of a dialogue are spread evenly, so they resemble each other less than by chance.
    assert human.dialogue_tempo == pytest.approx(0.3, abs=0.08)
    assert human.speaker_tempo == pytest.approx(0.2, abs=0.08)


def test_units_are_measured_too(sample: TimingSample) -> None:
    measures = sample.summary()["measures"]
    assert 1.0 < measures["unit_median_s"] < 4.0
    assert sample.summary()["minutes"] == 90.0


# --- the command --------------------------------------------------------------------------------
def test_a_small_set_is_refused(
    finished_set: ShardReader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = str(finished_set.folder), tmp_path / "timing.yaml"
    assert main(["fit", data, f"out={out}"]) == 1
    assert "too little for medians within 10% at 95%" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("data", ["nowhere", "asterisk"])
def test_what_holds_no_conversation_is_refused(
    data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", data, f"out={tmp_path / 'timing.yaml'}"]) == 1
    error = capsys.readouterr().err
    assert f"data={data!r} is no shard set (it has no index.json) and no corpus" in error


def conversation(number: int, rng: np.random.Generator) -> dict[str, Any]:
    """A line of `conversations.jsonl`: two people in turn, gaps of 0.4 s, a backchannel each."""
    words: tuple[list[Any], list[Any]] = ([], [])
    at = 1.0
    for turn in range(40):
        side, other = turn % 2, 1 - turn % 2
        length, pause = rng.uniform(2.6, 3.2), 0.5 * np.exp(0.4 * rng.standard_normal())
        words[side].append(["well", at, at + length])
        if turn % 4 == 1:
            words[other].append(["mhm", at + 1.2, at + 1.5])
        again = at + length + pause
        words[side].append(["then", again, again + 1.0])
        gap = 0.4 * np.exp(0.3 * rng.standard_normal())
        overlap = -0.2 * np.exp(0.3 * rng.standard_normal())
        at = again + 1.0 + (gap if rng.uniform() < 0.6 else overlap)
    kept = {"tar": "a.tar", "member": "a.wav", "offset": 0, "size": 9, "sample_rate": 16000}
    return {
        **{"id": f"c{number}", "kind": "recorded", "source": "test", "split": "any"},
        **{"language": "en", "licence": "CC0-1.0", "duration": at + 5.0},
        "sides": [
            {**kept, "speaker": f"p{number}-{side}", "channel": side, "words": words[side]}
            for side in (0, 1)
        ],
    }


def test_recorded_conversations_are_fitted_by_their_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(5)
    lines = [json.dumps(conversation(number, rng)) for number in range(12)]
    (tmp_path / "a.tar").write_bytes(bytes(9))  # its sound is not read
    (tmp_path / "conversations.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    out, figures = tmp_path / "timing.yaml", tmp_path / "fit.json"
    values = [f"out={out}", f"json={figures}", "language=en-GB"]
    assert main(["fit", str(tmp_path), *values]) == 0
    result = json.loads(figures.read_text())
    assert result["backchannels"] == 120  # 10 in each
    assert result["measures"]["overlapped_changes"] == pytest.approx(0.4, abs=0.05)
    made = load_config(DatagenConfig, ["datagen/human.yaml", str(out)], ["out=unused"])
    human = made.timing.human
    assert {name: getattr(human, name) for name in FITTED} == result["human"]
    assert human.gap_median_s == pytest.approx(0.4, rel=0.1)
    assert human.gap_sigma == pytest.approx(0.3, rel=0.15)
    assert human.pause_median_s == pytest.approx(0.5, rel=0.1)
    assert human.interruption_s == HumanTimingConfig().interruption_s  # not fitted
    assert "changes of speaker" in capsys.readouterr().out
    assert main(["fit", str(tmp_path), f"out={out}", "language=fr"]) == 1
    assert "has no dialogue in language='fr'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(1800)  # two sets of 100 minutes
def test_a_set_simulated_with_the_fit_is_like_the_set_that_was_fitted(tmp_path: Path) -> None:
    law = "\n".join(f"    {name}: {value}" for name, value in OTHER.items())
    given, fitted = tmp_path / "given.yaml", tmp_path / "fitted.yaml"
    given.write_text(f"timing:\n  human:\n{law}\n", encoding="utf-8")
    common = ["only=[conversation]", "n_dialogues=100", "features=false"]

    def simulated(name: str, file: Path, seed: int) -> dict[str, Any]:
        out = tmp_path / name
        words = ["simulate", "datagen/human.yaml", str(file), f"out={out}", f"seed={seed}"]
        assert main([*words, *common]) == 0
        assert main(["inspect", str(out), "--check"]) == 0  # every measure within 10 %
        card = json.loads((out / "card.json").read_text())
        measures: dict[str, Any] = card["turn_taking"]["words"]["measures"]
        return measures

    first = simulated("first", given, 0)
    assert main(["fit", str(tmp_path / "first"), f"out={fitted}"]) == 0
    second = simulated("second", fitted, 5)
    for name, value in first.items():
        assert second[name] == pytest.approx(value, rel=0.10), name
