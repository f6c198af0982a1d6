"""A background agent that fails: its result says so, and the agent says the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from microturn.configs.load import load_config
from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.timeline import Timeline
from microturn.datagen.pipeline import Simulator
from microturn.datagen.report.check import faults_of_timeline
from microturn.model.streams import FAILED_RESULT

Build = Callable[[DatagenConfig], Simulator]
N = 30


def config_with(config: DatagenConfig, share: float, *more: str) -> DatagenConfig:
    shares = [f"scenarios.failed_share={share}", "scenarios.progress_share=0"]
    overrides = ["out=unused", *shares, *more]
    return replace(
        load_config(DatagenConfig, ["datagen/everything.yaml"], overrides), rooms=config.rooms
    )


def timeline_of(simulator: Simulator, family: str, index: int) -> Timeline:
    return simulator.script(simulator.recipe(index, only=family)).script.timeline


@pytest.mark.parametrize("family", ["delegation", "errand"])
def test_a_share_fails_and_all_else_stays_as_it_was(
    config: DatagenConfig, simulator_for: Build, family: str
) -> None:
    never, some = (simulator_for(config_with(config, share)) for share in (0.0, 0.3))
    failed = n_results = 0
    for index in range(N):
        before, after = (timeline_of(simulator, family, index) for simulator in (never, some))
        results = [event for event in after.events if event.type == "result"]
        fails = [event for event in results if event.text == FAILED_RESULT]
        failed, n_results = failed + len(fails), n_results + len(results)
        assert not list(faults_of_timeline(after))
        arrived = [str(text.text) for text in after.text_in]
        assert arrived == [f"<bg> {event.text} </bg>" for event in results]
        for event in fails:
            assert event.expect is not None
            assert (event.expect.act, event.expect.text) == ("say", FAILED_RESULT)
            first, last = event.expect.window_samples
            said = [word.text for word in after.agent if first <= word.start_sample]
            assert " ".join(said).startswith(FAILED_RESULT)
            assert not after.speaks("user", first, first + (last - first) // 4)
        if not fails:
            assert after == before
    assert 0.15 < failed / n_results < 0.45
    assert not any(
        event.text == FAILED_RESULT
        for index in range(N)
        for event in timeline_of(never, family, index).events
    )


def test_the_words_must_be_recorded(config: DatagenConfig, simulator_for: Build) -> None:
    for share, lacks in ((0.0, False), (0.1, True)):
        chosen = config_with(config, share, "only=[delegation]", "voices.agent=asterisk-fr")
        with pytest.raises(ValueError, match="no recording of") as refused:
            simulator_for(chosen)
        assert (repr(FAILED_RESULT) in str(refused.value)) == lacks
