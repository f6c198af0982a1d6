"""Whole dialogues: a game's trees and scenes as lines in order, and what breaks them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from microturn.datagen.corpora.conversations.parts import DialogueParts, whole_runs
from microturn.datagen.corpora.default_corpus.amazon_queen import Archive
from microturn.datagen.corpora.default_corpus.queen_dialogues import ENOUGH, dialogues
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.corpora.utterance import Utterance
from tests.support.game_archive import archive_file, cut_scene, dialogue_tree, tables

MENUS = [
    (1, [(6, 1), (7, 1), (8, -1)]),  # the first menu
    (6, [(30, 6), (31, 6)]),  # what follows choice 6
]
JOE = {0: "Hi.", 6: "A question.", 7: "A phone?", 8: "Bye.", 30: "Who?", 31: "Why?*NAReally?"}
BOB = {1: "Yes?", 6: "Ask.", 7: "No.", 8: "Bye Joe.", 30: "Me.", 31: "Because."}


def game(
    path: Path, *, entries: dict[str, bytes], clips: list[str], people: tuple[str, ...] = ()
) -> Archive:
    sounds = {f"{name}.SB": b"sound" for name in clips}
    return Archive(archive_file(path / "queen.1c", {**tables(people), **entries, **sounds}))


def bob(path: Path, *, missing: str = "") -> Archive:
    """One tree: a person whom Joe meets, asks, and meets again."""
    nodes = ["060006", "060007", "060008", "06001E", "06001F"]
    clips = [f"{node}{side}1" for node in [*nodes, "06XXXX"] for side in "JP"]
    clips += ["06SSSSJ1", "060001P1", "06001FJ2"]
    tree = dialogue_tree(6, MENUS, joe=JOE, other=BOB, again=("Howdy.", "Hello again."))
    clips = [clip for clip in clips if clip != missing]
    return game(path, entries={"BOB1.DOG": tree}, clips=clips)


def texts(archive: Archive) -> dict[str, list[str]]:
    by_id = {clip.id: f"{clip.speaker}: {clip.text}" for clip in archive.clips()}
    return {
        dialogue.id: [by_id[name] for part in dialogue.parts for name in part]
        for dialogue in dialogues(archive.trees(), archive.clips())
    }


def test_a_tree_is_read_with_its_menus(tmp_path: Path) -> None:
    (tree,) = bob(tmp_path).trees()
    assert (tree.name, tree.key) == ("BOB1", 6)
    assert [menu.head for menu in tree.menus] == [1, 6]
    assert tree.menus[1].choices[:3] == ((30, 6), (31, 6), (0, 0))
    assert tree.node(31) == "06001F"


def test_a_walk_goes_from_menu_to_menu_and_takes_every_exchange_once(tmp_path: Path) -> None:
    assert texts(bob(tmp_path)) == {
        "talk-bob1-1": [
            *("JOE: Hi.", "BOB: Yes?", "JOE: A question.", "BOB: Ask."),
            *("JOE: Who?", "BOB: Me.", "JOE: Why?", "JOE: Really?", "BOB: Because."),
        ],
        "talk-bob1-2": [
            *("JOE: Howdy.", "BOB: Hello again.", "JOE: A phone?", "BOB: No."),
            *("JOE: Bye.", "BOB: Bye Joe."),
        ],
    }


def test_an_exchange_whose_reply_has_no_sound_is_none(tmp_path: Path) -> None:
    found = texts(bob(tmp_path, missing="060006P1"))
    assert found["talk-bob1-1"] == [
        *("JOE: Hi.", "BOB: Yes?", "JOE: A phone?", "BOB: No.", "JOE: Bye.", "BOB: Bye Joe."),
    ]
    # What followed it is left, and begins where the game would have come to.
    assert found["talk-bob1-3"] == ["JOE: Who?", "BOB: Me.", *found["talk-bob1-3"][2:]]
    assert found["talk-bob1-3"][-1] == "BOB: Because."


def test_a_walk_ends_where_it_returns_after_enough_exchanges(tmp_path: Path) -> None:
    numbers = range(10, 10 + ENOUGH + 2)
    first, second = [(n, 1) for n in numbers[:5]], [(n, 14) for n in numbers[5:]]
    menus = [(1, first), (14, second)]  # the last choice of the first menu leads on
    lines = {number: f"Line {number}" for number in numbers}
    tree = dialogue_tree(7, menus, joe=lines, other=lines, again=("", ""))
    clips = [f"07{number:04X}{side}1" for number in lines for side in "JP"]
    archive = game(tmp_path, entries={"JIM.DOG": tree}, clips=clips)
    lengths = [len(found.parts) for found in dialogues(archive.trees(), archive.clips())]
    assert lengths == [ENOUGH, 2]


def test_a_scene_is_its_turns_in_order_and_a_monologue_is_none(tmp_path: Path) -> None:
    scene = cut_scene([(0, "You!*NAStop!"), (0, "Now."), (1, "No."), (2, "Run!"), (0, "Wait.")])
    alone = cut_scene([(0, "Hm."), (0, "Well.")])
    clips = ["C1A__011", "C1A__012", "C1A__021", "C1A__031", "C1A__041", "C1A__051"]
    archive = game(
        tmp_path,
        entries={"C1A.CUT": scene, "C2B.CUT": alone},
        clips=[*clips, "C2B__011", "C2B__021"],
        people=("Bud", "Skip"),
    )
    (found,) = dialogues(archive.trees(), archive.clips())
    assert found.id == "scene-c1a"
    assert found.parts == (tuple(clips[:3]), *((name,) for name in clips[3:]))
    speakers = {clip.id: clip.speaker for clip in archive.clips()}
    assert [speakers[name] for name in clips[2:]] == ["JOE", "BUD", "SKIP", "JOE"]


@pytest.fixture(scope="module")
def people(shipped: Corpus) -> dict[str, Utterance]:
    """Lines by the letter of their speaker, two of each: a and b are trained on, T is held out."""
    lines: dict[str, Utterance] = {}
    for letter, speaker in (("a", "joe"), ("b", "frank"), ("T", "tam")):
        lines |= {f"{letter}{i}": u for i, u in enumerate(shipped.filter(speaker=speaker)[:2])}
    return lines


def runs(people: dict[str, Utterance], *parts: str) -> list[tuple[str, str, str]]:
    """Ids, splits and lines of the runs of a dialogue whose parts are words of names."""
    names = {utterance.id: name for name, utterance in people.items()}
    dialogue = DialogueParts(id="d", parts=tuple(tuple(part.split()) for part in parts))
    return [
        (run.id, run.split, " ".join(names[u.id] for u in run.utterances))
        for run in whole_runs(dialogue, people)
    ]


def test_a_whole_dialogue_of_one_split_stays_as_it_is(people: dict[str, Utterance]) -> None:
    assert runs(people, "a0", "b0", "a1") == [("d", "train", "a0 b0 a1")]


def test_a_dialogue_breaks_at_what_is_missing_and_at_people_of_another_split(
    people: dict[str, Utterance],
) -> None:
    found = runs(people, "a0", "b0", "gone", "b1", "a1", "T0", "a0 b0")
    assert found == [("d", "train", "a0 b0"), ("d-2", "train", "b1 a1"), ("d-3", "train", "a0 b0")]
    assert runs(people, "a0 gone", "b0", "a1") == [("d", "train", "b0 a1")]


def test_lines_of_one_speaker_and_of_two_splits_are_no_dialogue(
    people: dict[str, Utterance],
) -> None:
    assert runs(people, "a0", "a1", "gone", "b0", "b1") == []
    assert runs(people, "a0 T0", "a1 T1") == []


def test_held_out_people_among_themselves_are_a_held_out_dialogue(
    people: dict[str, Utterance],
) -> None:
    both = people | {"S0": replace(people["T0"], id="x", speaker="skip")}
    assert runs(both, "a0", "T0", "S0", "a1") == [("d", "test", "T0 S0")]
