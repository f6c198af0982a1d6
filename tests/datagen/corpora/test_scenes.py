"""The dialogues that ship: whole, in order, with lines that are there, of one side of the split."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from microturn.datagen.corpora.conversations.reader import Conversations
from microturn.datagen.corpora.conversations.record import SCRIPTED, CorpusConversation
from microturn.datagen.corpora.counts import changes_of_speaker, counts_markdown
from microturn.datagen.corpora.default_corpus.queen_selection import HELD_OUT
from microturn.datagen.corpora.home import SCENES_FOLDER, folders_of, open_corpora
from microturn.datagen.corpora.manifest import Corpus

DOCS = Path(__file__).resolve().parents[3] / "docs"
SAMPLE = 40


@pytest.fixture(scope="module")
def scenes() -> Corpus:
    return Corpus.open(SCENES_FOLDER)


@pytest.fixture(scope="module")
def dialogues() -> list[CorpusConversation]:
    return list(Conversations.open("scenes"))


def clips(dialogue: CorpusConversation) -> list[str]:
    return [turn.utterance.removeprefix("amazon-queen/") for turn in dialogue.turns]


def is_talk(dialogue: CorpusConversation) -> bool:
    return dialogue.id.startswith("amazon-queen/talk-")


def test_every_turn_names_a_line_that_ships_and_every_line_has_a_turn(
    scenes: Corpus, dialogues: list[CorpusConversation]
) -> None:
    for dialogue in dialogues:
        assert dialogue.kind == SCRIPTED
        assert len(dialogue.speakers) >= 2, dialogue.id
        for turn in dialogue.turns:
            utterance = scenes[turn.utterance]
            assert utterance.speaker == turn.speaker, dialogue.id
            assert (utterance.licence, utterance.language) == (dialogue.licence, dialogue.language)
    named = {turn.utterance for dialogue in dialogues for turn in dialogue.turns}
    assert named == {utterance.id for utterance in scenes}


def test_nobody_who_is_held_out_is_in_a_dialogue_that_is_trained_on(
    scenes: Corpus, dialogues: list[CorpusConversation]
) -> None:
    assert {dialogue.split for dialogue in dialogues} == {"train"}
    assert {utterance.split for utterance in scenes} == {"train"}
    assert not {utterance.speaker for utterance in scenes} & HELD_OUT
    shipped = Corpus.open()
    assert {u.speaker for u in scenes} <= {u.speaker for u in shipped.filter(split="train")}


def test_a_reply_follows_its_line(dialogues: list[CorpusConversation]) -> None:
    """Clips of a dialogue tree are named by node, side (Joe or the other) and number."""
    for dialogue in filter(is_talk, dialogues):
        for before, after in pairwise(clips(dialogue)):
            same_node, sides = before[:6] == after[:6], before[6] + after[6]
            first = before[2:6] == "SSSS" and after[2:6] == "0001"  # a greeting and its answer
            if sides == "JP":
                assert same_node or first, dialogue.id
            elif sides == "PJ":
                assert before[:2] == after[:2], dialogue.id
            else:
                assert same_node, dialogue.id
                assert before < after, dialogue.id


def test_a_scene_is_in_its_order(dialogues: list[CorpusConversation]) -> None:
    for dialogue in dialogues:
        if not is_talk(dialogue):
            names = clips(dialogue)
            assert names == sorted(names), dialogue.id
            assert len({name[:5] for name in names}) == 1, dialogue.id


def test_no_exchange_stands_in_two_dialogues(dialogues: list[CorpusConversation]) -> None:
    counts = Counter(name for dialogue in dialogues for name in clips(dialogue))
    assert counts.most_common(1)[0][1] == 1


def test_there_are_many_people_and_both_kinds(dialogues: list[CorpusConversation]) -> None:
    people = {turn.speaker for dialogue in dialogues for turn in dialogue.turns}
    assert len(people) >= 30
    kinds = Counter(map(is_talk, dialogues))
    assert kinds[True] > 200
    assert kinds[False] > 50
    assert sum(len(dialogue.speakers) > 2 for dialogue in dialogues) >= 10


def test_lines_sound_whether_stored_here_or_in_the_default_corpus(scenes: Corpus) -> None:
    tars = {utterance.tar for utterance in scenes}
    assert tars == {"amazon-queen-scenes.tar", "../default/amazon-queen.tar"}
    order = np.random.default_rng(0).permutation(len(scenes))[:SAMPLE]
    for utterance in (scenes.utterances[i] for i in order):
        audio = scenes.load(utterance)
        assert abs(len(audio) / scenes.sample_rate - utterance.duration_s) < 0.001, utterance.id
        assert np.abs(scenes.trimmed(utterance)).max() > 0.01, utterance.id


def test_both_corpora_are_one_and_share_no_recording(scenes: Corpus, shipped: Corpus) -> None:
    both = open_corpora("default,scenes")
    assert folders_of("scenes") == [str(SCENES_FOLDER)]
    here = [u for u in scenes if u.tar == "amazon-queen-scenes.tar"]
    assert not any(utterance.id in shipped for utterance in here)
    assert len(both) == len(shipped) + len(here)
    assert [u.id for u in both][: len(shipped)] == [u.id for u in shipped]
    for utterance in set(scenes) - set(here):
        assert (shipped[utterance.id].offset, shipped[utterance.id].words) == (
            utterance.offset,
            utterance.words,
        )


def test_the_notice_and_the_licence_travel_with_the_dialogues(
    scenes: Corpus, shipped: Corpus
) -> None:
    authors = {scenes.attribution_of(utterance) for utterance in scenes}
    assert authors == {shipped.attribution_of(shipped.filter(source="amazon-queen")[0])}
    assert "John Passfield and Steven Stamatiadis" in authors.pop()
    readme = (SCENES_FOLDER / "README.md").read_text(encoding="utf-8")
    assert "modified selection" in readme
    licences = SCENES_FOLDER / "LICENCES"
    text = (licences / "flight-of-the-amazon-queen.copyright").read_text(encoding="utf-8")
    assert "prominent notice" in text
    assert (licences / "flight-of-the-amazon-queen.readme.txt").is_file()


def test_the_folder_is_small() -> None:
    files = [path for path in SCENES_FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 12.5 * 2**20


def test_the_documents_count_what_ships(
    scenes: Corpus, dialogues: list[CorpusConversation]
) -> None:
    readme = (SCENES_FOLDER / "README.md").read_text(encoding="utf-8")
    assert counts_markdown(scenes) in readme
    text = " ".join((DOCS / "corpora.md").read_text(encoding="utf-8").split())
    talks, others = filter(is_talk, dialogues), [d for d in dialogues if not is_talk(d)]
    turns = [[scenes[turn.utterance] for turn in dialogue.turns] for dialogue in talks]
    exchanges = sum(
        before.speaker == "joe" != after.speaker
        for lines in turns
        for before, after in pairwise(lines)
    )
    assert changes_of_speaker(turns[0]) % 2 == 1  # from Joe to the other, and back, and so on
    minutes = sum(utterance.duration_s for utterance in scenes) / 60
    sentence = re.search(
        r"(\d+) minutes of (\d+) people: (\d+) walks with (\d+) lines and replies, (\d+) scenes",
        text,
    )
    assert sentence is not None
    people = len({utterance.speaker for utterance in scenes})
    found = [round(minutes), people, len(turns), exchanges, len(others)]
    assert [int(number) for number in sentence.groups()] == found
