"""Words of unknown times sound and train sound; text is not trained or called right there."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.manifest import DEFAULT_FOLDER, MANIFEST_NAME
from microturn.datagen.dialogue.timeline import Timeline, Word
from microturn.datagen.export.config import ExportConfig
from microturn.datagen.export.export import export
from microturn.datagen.labels.dialogue import WordLabel
from microturn.datagen.labels.time_classes import INTERPOLATED, UNKNOWN
from microturn.datagen.pack import heard_tokens, say_tokens
from microturn.datagen.pipeline import Simulator
from microturn.datagen.report.check import faults_of_set
from microturn.datagen.report.verify_audio import AudioFindings, AudioVerifier, ScenarioDialogue
from microturn.datagen.sets.shards import ShardReader
from microturn.datagen.simulate import simulate
from microturn.evaluation.scoring.dialogue import joined_words, split_words
from microturn.model.streams import IDLE, pack_dialogue
from support.shipped_lines import shipped_lines

FAMILIES = {"background": 1.0, "side_talk": 2.0, "turn": 1.0}


@pytest.fixture(scope="session")
def doubtful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped corpus, in which the times of the actors and of long prompts are unknown."""
    folder = tmp_path_factory.mktemp("doubtful")
    for tar in DEFAULT_FOLDER.glob("*.tar"):
        (folder / tar.name).symlink_to(tar)
    with (folder / MANIFEST_NAME).open("w", encoding="utf-8") as file:
        for text in shipped_lines():
            row = json.loads(text)
            words = row["words"]
            if row["source"] == "amazon-queen" and len(words) > 1:
                span = [words[0][1], words[-1][2]]
                row |= {"cuts": [], "times": UNKNOWN}
                row["words"] = [[" ".join(word[0] for word in words), *span]]
            elif len(words) == 3:
                words[1].append(INTERPOLATED)
            file.write(json.dumps(row) + "\n")
    return folder


@pytest.fixture(scope="session")
def doubtful_set(
    doubtful: Path, config: DatagenConfig, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> ShardReader:
    out = tmp_path_factory.mktemp("doubtful-set") / "set"
    scenarios = replace(config.scenarios, side_talk_phrases=())
    changed = replace(config, corpus=str(doubtful), families=FAMILIES, scenarios=scenarios)
    simulate(replace(changed, out=str(out), n_dialogues=4, workers=1), cache=cache)
    return ShardReader(out)


def unknown_words(reader: ShardReader, lane: str) -> list[tuple[int, WordLabel]]:
    return [
        (number, word)
        for number, sample in enumerate(reader)
        for word in sample.labels.words.of(lane)
        if word.is_unknown
    ]


def test_a_line_of_unknown_times_is_one_label_with_its_whole_span(
    doubtful_set: ShardReader, finished_set: ShardReader
) -> None:
    for lane in ("user", "background"):
        words = unknown_words(doubtful_set, lane)
        assert words, lane
        assert all(" " in word.text and word.end_s > word.start_s for _, word in words)
    assert list(faults_of_set(doubtful_set)) == []
    stored = json.loads(finished_set[0].members["json"])
    assert all("times" not in word for word in stored["words"]["user"]), "aligned is the rule"


def test_text_lanes_weigh_nothing_while_it_sounds(doubtful_set: ShardReader) -> None:
    layout = doubtful_set.layout
    for number, word in unknown_words(doubtful_set, "user"):
        lanes = doubtful_set.lanes(number)
        first, last = (
            layout.micro_turn_of(round(time_s * layout.sample_rate) - i)
            for i, time_s in enumerate((word.start_s, word.end_s))
        )
        assert not lanes.weights["heard"][first : last + 1].any()
        assert lanes.weights["heard"].any()
        assert lanes.weights["audio_out"][first : last + 1].any()
    for number, _ in unknown_words(doubtful_set, "background"):
        assert doubtful_set.lanes(number).weights["heard"].any()


def test_the_card_counts_every_class(doubtful_set: ShardReader) -> None:
    card = json.loads((doubtful_set.folder / "card.json").read_text())
    for lane in ("user", "background"):
        words = [word for _, word in unknown_words(doubtful_set, lane)]
        row = card["word_times"][f"{lane}: unknown"]
        assert row["words"] == sum(len(word.text.split()) for word in words)
        seconds = sum(word.end_s - word.start_s for word in words)
        assert row["seconds"] == pytest.approx(seconds, abs=0.01)
    assert card["word_times"]["agent: aligned"]["words"] > 0
    assert "| user: unknown |" in (doubtful_set.folder / "card.md").read_text()


def test_exports_leave_unknown_times_out_and_name_interpolated_ones(
    doubtful_set: ShardReader, tmp_path: Path
) -> None:
    for form in ("moshi", "lhotse", "nemo"):
        data, out = str(doubtful_set.folder), str(tmp_path / form)
        export(ExportConfig(data=data, format=form, out=out))
    unknown = unknown_words(doubtful_set, "user")
    texts = [word.text for _, word in unknown]
    moshi = [
        json.loads(path.read_text()) for path in (tmp_path / "moshi").glob("data_stereo/*.json")
    ]
    assert not any(entry[0] in texts for row in moshi for entry in row["alignments"])
    assert sorted(e[0] for row in moshi for e in row.get("unknown", ())) == sorted(texts)
    lines = [
        line
        for path in (tmp_path / "nemo" / "ctm").iterdir()
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    assert all(len(line.split()) == 8 for line in lines), "no line has a text of several words"
    with gzip.open(tmp_path / "lhotse" / "supervisions.jsonl.gz") as file:
        rows = [json.loads(line) for line in file]
    assert not any(" " in item[0] for row in rows for item in row["alignment"]["word"])
    listed = [entry[0] for row in rows for entry in row["custom"].get("unknown", ())]
    assert sorted(set(listed) & set(texts)) == sorted(set(texts))


def timeline_of(word: Word) -> Timeline:
    return Timeline(n_samples=16_000 * 8, agent=[word], user=[word])


def test_the_agents_words_of_unknown_times_lead_their_sound(simulator: Simulator) -> None:
    """Words of several tokens included: what is said of them carries no weight."""
    layout, tokenizer = simulator.config.layout, simulator.tokenizer
    text = "incomprehensible antidisestablishmentarianism and four"
    word = Word(
        text=text, start_sample=32_000, end_sample=120_000, source="", voice="", times=UNKNOWN
    )
    timeline = timeline_of(word)
    silence = np.zeros(timeline.n_samples, np.float32)
    lanes = pack_dialogue(
        user_audio=silence,
        agent_audio=silence,
        heard=heard_tokens(timeline),
        say=say_tokens(timeline, layout),
        text_in=[],
        layout=layout,
        tokenizer=tokenizer,
    )
    assert (lanes["heard"] == IDLE).all(), "nobody knows when it was heard"
    said = lanes["say"].reshape(-1)
    assert tokenizer.decode([int(i) for i in said if i != IDLE]) == text
    assert not lanes.weights["say"].reshape(-1)[said != IDLE].any()
    first, last = layout.micro_turn_of(32_000) - 1, layout.micro_turn_of(119_999) - 1
    assert not lanes.weights["say"][first : last + 1].any()
    assert lanes.weights["say"][last + 1 : -1].all()
    assert lanes.weights["audio_out"][:-1].all()
    assert lanes.weights["heard"][last + 2 :].all()


def test_verify_audio_does_not_call_unknown_times_right(simulator: Simulator) -> None:
    dialogue = simulator.dialogue(0)
    timeline = dialogue.timeline
    doubted = [replace(word, times=INTERPOLATED) for word in timeline.agent]
    script = replace(dialogue.script, timeline=replace(timeline, agent=doubted))
    findings = AudioFindings()
    AudioVerifier(simulator.config.layout.sample_rate).verify(
        ScenarioDialogue(recipe=dialogue.recipe, script=script, n_segments=1, sound=dialogue.sound),
        findings,
        align=True,
    )
    assert doubted
    assert findings.aligned["agent"] == 0
    assert findings.word_times[INTERPOLATED] == len(doubted)


def test_scoring_does_not_spread_a_label_over_its_words() -> None:
    labels = [
        WordLabel(text="hold on", start_s=1.0, end_s=2.0, times=UNKNOWN),
        WordLabel(text="please", start_s=2.0, end_s=2.4),
    ]
    words = split_words(labels)
    assert [(w.text, w.start_s, w.end_s, w.is_known) for w in words] == [
        ("hold", 1.0, 2.0, False),
        ("on", 1.0, 2.0, False),
        ("please", 2.0, 2.4, True),
    ]
    assert [(w.text, w.start_s, w.end_s) for w in joined_words(words)] == [
        ("hold on", 1.0, 2.0),
        ("please", 2.0, 2.4),
    ]
