"""A recogniser hears the microphones of a set once, beside what an agent writes down."""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import ANY

import pytest

from microturn.configs.main import main
from microturn.datagen.labels.dialogue import word_list
from microturn.evaluation.scoring.dialogue_set import DialogueSet
from microturn.evaluation.scoring.events import word_errors
from microturn.evaluation.speech.endpointer import speech_spans
from microturn.evaluation.speech.transcripts import NAME, transcripts_of


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dialogues of 6 s in which somebody whom training does not hear tells something."""
    folder = tmp_path_factory.mktemp("told")
    words = ["n_dialogues=2", "n_micro_turns=30", "workers=1", f"out={folder}", "features=false"]
    suite = "evaluation/suites/open_transcript.yaml"
    assert main(["simulate", suite, *words, "executor=serial", "channel.noise_probability=0"]) == 0
    return folder


def test_no_dialogue_is_heard_twice(told: Path) -> None:
    found = transcripts_of(str(told), n_dialogues=1, workers=1)
    first = DialogueSet.open(str(told)).at(0)
    said = [word.text for word in first.dialogue.user_words]
    assert list(found) == [first.key]
    assert found[first.key] == [text for word in found[first.key] for text in word_list(word)]
    assert set(found[first.key]) & set(said)
    assert word_errors(found[first.key], said) < len(said) + len(found[first.key])

    kept = json.loads((told / NAME).read_text())
    assert kept["words"] == dict(found)
    assert kept == {"data": ANY, "made_by": ANY, "words": ANY}
    kept["words"][first.key] = ["known"]  # what is there is taken from there
    (told / NAME).write_text(json.dumps(kept))
    assert transcripts_of(str(told), n_dialogues=1, workers=1) == {first.key: ["known"]}
    written = (told / NAME).stat().st_mtime_ns
    more = transcripts_of(str(told), n_dialogues=2, workers=1)
    assert more[first.key] == ["known"]
    assert len(more) == 2
    assert (told / NAME).stat().st_mtime_ns > written

    for other in ({**kept, "data": "another set"}, []):
        (told / NAME).write_text(json.dumps(other))
        again = transcripts_of(str(told), n_dialogues=0, workers=1)
        assert again == {}


def test_stretches_of_speech_are_those_of_the_words(told: Path) -> None:
    sample = DialogueSet.open(str(told)).at(0)
    spans = speech_spans(sample, silence_s=0.5)
    words = sample.dialogue.user_words
    assert spans
    assert spans[0][0] == pytest.approx(words[0].start_s, abs=0.4)
    covered = sum(any(a - 0.2 <= w.start_s < b for a, b in spans) for w in words)
    assert covered > 0.9 * len(words)
    assert all(b[0] - a[1] >= 0.5 - 0.04 for a, b in zip(spans, spans[1:], strict=False))
