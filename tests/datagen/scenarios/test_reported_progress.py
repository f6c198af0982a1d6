"""Background work that tells how far it is, and a user who asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from microturn.configs.load import load_config
from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.timeline import Event, Timeline
from microturn.datagen.labels.dialogue import TextLabel
from microturn.datagen.pipeline import Simulator
from microturn.datagen.report.check import faults_of_timeline
from microturn.model.streams import LaneText, progress_text

Build = Callable[[DatagenConfig], Simulator]
N = 24
ASKED = "hold time"


def config_with(config: DatagenConfig, share: float, *more: str) -> DatagenConfig:
    overrides = ["out=unused", f"scenarios.progress_share={share}", *more]
    return replace(
        load_config(DatagenConfig, ["datagen/everything.yaml"], overrides), rooms=config.rooms
    )


def timeline_of(simulator: Simulator, index: int) -> Timeline:
    return simulator.script(simulator.recipe(index, only="errand")).script.timeline


def is_report(text: LaneText) -> bool:
    return text == progress_text(text.words)


def asking(timeline: Timeline) -> Iterator[Event]:
    return (event for event in timeline.events if event.text == ASKED)


def test_a_share_asks_and_hears_the_newest_report(
    config: DatagenConfig, simulator_for: Build
) -> None:
    never, some = (simulator_for(config_with(config, share)) for share in (0.0, 0.3))
    layout = some.config.layout
    n_errands = n_asked = unchanged = 0
    n_reports, answers = set[int](), set[str]()
    for index in range(N):
        before, after = timeline_of(never, index), timeline_of(some, index)
        assert not any(is_report(text.text) for text in before.text_in)
        reports = [text for text in after.text_in if is_report(text.text)]
        unchanged += after == before
        assert not list(faults_of_timeline(after))
        begins = [
            event for event in after.events if event.expect and event.expect.act == "delegate"
        ]
        n_errands += len(begins)
        for event in asking(after):
            assert event.expect is not None
            errand = max(b.end_sample for b in begins if b.end_sample < event.start_sample)
            told = [r for r in reports if errand < r.sample < event.end_sample]
            assert event.expect.text == told[-1].text.words
            assert (event.type, event.expect.act) == ("turn", "respond")
            # The result is none of it: it comes once the agent has answered.
            results = [r for r in after.text_in if r.text.is_result and r.sample > errand]
            said = [w for w in after.agent if w.start_sample >= event.end_sample][:2]
            assert " ".join(word.text for word in said) == told[-1].text.words
            assert not results or results[0].sample >= said[-1].end_sample
            n_asked += 1
            n_reports.add(len(told))
            answers.add(event.expect.text)
            # Nobody speaks because of a report: between the first and the question it is silent.
            first, last = told[0].sample, event.start_sample
            assert not after.speaks("agent", first + layout.samples_per_micro_turn, last)
    assert unchanged  # nothing else is drawn than before
    assert 0.1 < n_asked / n_errands < 0.5
    assert n_reports == {1, 2}
    assert len(answers) > 4


def test_labels_keep_reports_and_results_apart() -> None:
    text = progress_text("five seconds")
    assert str(text) == "<progress> five seconds"
    label = TextLabel(time_s=1.0, text=str(text))
    assert label.read == text
    assert not label.is_result


def test_the_words_must_be_recorded(config: DatagenConfig, simulator_for: Build) -> None:
    for share, lacks in ((0.0, False), (0.1, True)):
        chosen = config_with(config, share, "only=[errand]", "voices.agent=asterisk-fr")
        with pytest.raises(ValueError, match="no recording of") as refused:
            simulator_for(chosen)
        assert (repr("seconds") in str(refused.value)) == lacks
