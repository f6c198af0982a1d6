"""Words of corpora, of conversations and of labels: no lane gets a control token of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.configs.load import load_config
from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.manifest import MANIFEST_NAME, Corpus
from microturn.datagen.dialogue.timeline import Control, TextArrival, Timeline, Word
from microturn.datagen.labels.dialogue import ControlLabel, TextLabel
from microturn.datagen.pack import heard_tokens, say_tokens, text_in_tokens
from microturn.datagen.pipeline import SimulatedDialogue, Simulator
from microturn.datagen.report.spelling import misspelt
from microturn.model.streams import (
    BG,
    BG_END,
    CONTROL_TOKENS,
    DELEGATE,
    EOS,
    StreamLayout,
    Tokenizer,
    control_id,
    pack_heard,
    pack_say,
    pack_text_in,
    result_text,
)
from support.hostile.words import SPELT, TRIES, WORDS, control_ids
from support.open_corpora import recorded_rows, write_conversations

Build = Callable[[DatagenConfig], Simulator]
OPEN = load_config(
    DatagenConfig,
    ["datagen/open.yaml"],
    ["out=unused", "n_micro_turns=120", "channel.overlay_probability=0"],
)
LAYOUT = StreamLayout()
STEP = LAYOUT.samples_per_micro_turn
TOKENIZER = Tokenizer.train([" ".join((*WORDS, "abcdefghijklmnopqrstuvwxyz"))] * 50, vocab_size=200)


def word(text: str, micro_turn: int) -> Word:
    start = micro_turn * STEP
    return Word(text=text, start_sample=start, end_sample=start + STEP, source="", voice="")


@given(said=SPELT, heard=SPELT, result=SPELT)
def test_lanes_of_any_words(said: str, heard: str, result: str) -> None:
    timeline = Timeline(
        n_samples=99 * STEP,
        user=[word(heard, 40)],
        agent=[word(said, 60)],
        controls=[
            Control(token="<eos>", sample=60 * STEP),
            Control(token="<delegate>", sample=62 * STEP),
        ],
        text_in=[TextArrival(text=result_text(result), sample=0)],
    )
    lanes = (
        pack_heard(heard_tokens(timeline), 99, LAYOUT, TOKENIZER),
        pack_say(say_tokens(timeline, LAYOUT), 99, LAYOUT, TOKENIZER),
        pack_text_in(text_in_tokens(timeline), 99, LAYOUT, TOKENIZER),
    )
    controls = [control_ids(lane.reshape(-1).tolist()) for lane in lanes]
    assert controls == [[], [EOS, DELEGATE], [BG, BG_END]]


@given(words=SPELT)
def test_texts_of_labels(words: str) -> None:
    """The labels of a set, which `evaluate` gives to the agents that it scores."""
    label = TextLabel(time_s=0.0, text=f"<bg> {words} </bg>")
    assert label.is_result
    assert TOKENIZER.encode_lane_text(label.read) == [BG, *TOKENIZER.encode(words), BG_END]


@given(text=st.text(max_size=9))
def test_labels_with_other_control_tokens_are_refused(text: str) -> None:
    if text not in CONTROL_TOKENS:
        with pytest.raises(ValueError, match="is no control token"):
            ControlLabel(token=text, time_s=0.0)
    with pytest.raises(ValueError, match="must be `<bg> WORDS </bg>`"):
        TextLabel(time_s=0.0, text=f"<eos> {text}")


def hostile_words(n: int, tries: Iterator[str]) -> list[str]:
    return [f"{next(tries)} plus" if k % 3 else next(tries) for k in range(n)]


def check_lanes(dialogue: SimulatedDialogue) -> None:
    """Whether the control tokens of the lanes are those of the script, and no others."""
    timeline, lanes = dialogue.timeline, dialogue.lanes
    found = {name: lanes[name].reshape(-1).tolist() for name in ("heard", "say", "text_in")}
    assert not control_ids(found["heard"])
    meant = sorted(control_id(control.token) for control in timeline.controls)
    assert sorted(control_ids(found["say"])) == meant
    meant = [i for text in timeline.text_in for i in (*text.text.before, *text.text.after)]
    assert control_ids(found["text_in"]) == meant


def test_a_manifest_of_hostile_words(
    config: DatagenConfig, simulator_for: Build, tmp_path: Path
) -> None:
    shipped, tries = Corpus.open(), cycle(TRIES)
    lines = []
    for utterance in shipped.filter(speaker="joe"):
        line: dict[str, Any] = {**utterance.to_json(), "id": f"x/{utterance.id}", "speaker": "x"}
        texts = hostile_words(len(line["words"]), tries)
        line["words"] = [
            [text, *rest] for text, (_, *rest) in zip(texts, line["words"], strict=True)
        ]
        lines.append({**line, "text": " ".join(texts)})
        if not (tmp_path / line["tar"]).exists():
            (tmp_path / line["tar"]).symlink_to(Path(str(shipped.folder)) / line["tar"])
    (tmp_path / MANIFEST_NAME).write_text("".join(json.dumps(line) + "\n" for line in lines))
    families = ("read_aloud", "narration")
    changed = replace(OPEN, rooms=config.rooms, corpus=f"default,{tmp_path}", only=families)
    changed = replace(changed, voices=replace(changed.voices, agent="x"))
    simulator = simulator_for(changed)
    for index in range(3):
        check_lanes(simulator.dialogue(index))


def test_conversations_of_hostile_words(
    config: DatagenConfig, simulator_for: Build, tmp_path: Path
) -> None:
    tries = cycle(TRIES)
    rows = recorded_rows(Corpus.open(), tmp_path)
    for row in rows:
        for side in row["sides"]:
            texts = hostile_words(len(side["words"]), tries)
            side["words"] = [[t, *rest] for t, (_, *rest) in zip(texts, side["words"], strict=True)]
    corpus = f"default,{write_conversations(tmp_path, rows)}"
    simulator = simulator_for(replace(OPEN, rooms=config.rooms, corpus=corpus, only=("recorded",)))
    for index in range(2):
        check_lanes(simulator.dialogue(index))


def test_letters_that_the_tokenizer_lacks_are_told() -> None:
    assert misspelt(["eight", "three"], TOKENIZER) == []
    (warning,) = misspelt(["eight", "d\u00e9j\u00e0", "7", "eight"], TOKENIZER)
    assert warning.startswith(
        "2 of 3 words have letters that the tokenizer lacks (7, d\u00e9j\u00e0)"
    )
