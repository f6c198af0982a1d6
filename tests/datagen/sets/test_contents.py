"""Who and what is heard in a set, and what two sets share."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from microturn.configs.main import main
from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.labels.dialogue import TextLabel
from microturn.datagen.pipeline import Simulator
from microturn.datagen.report.heard import add_dialogue, identity_of
from microturn.datagen.sets.contents import (
    Contents,
    contents_text,
    read_contents,
    shared_line,
    shared_with,
)
from microturn.datagen.sets.credits import Credit
from microturn.datagen.sets.shards import ShardReader
from microturn.model.streams import FAILED_RESULT


def of(
    speakers: dict[str, dict[str, float]], sentences: tuple[str, ...] = (), room: str = "r"
) -> Contents:
    return Contents(speakers=speakers, sentences=dict.fromkeys(sentences, 1.0), rooms={room: 1.0})


def test_shares_are_of_people_recordings_sentences_and_rooms() -> None:
    train = of({"ann": {"a1": 5.0, "a2": 5.0}, "bob": {"b1": 2.0}}, ("x", "y"))
    test = of({"ann": {"a1": 3.0, "a9": 1.0}, "eve": {"e1": 4.0}}, ("x", "z"), room="s")
    shared = shared_with(test, train)
    assert shared["speakers"] == {
        "test": 2,
        "train": 2,
        "shared": 1,
        "share": 0.5,
        "share_of_speech": 0.5,
        "unknown_share_of_speech": 0.0,
    }
    assert shared["recordings"]["shared"] == 1
    assert shared["recordings"]["share_of_speech"] == 3 / 8
    assert shared["sentences"]["share"] == 0.5
    assert shared["rooms"]["shared"] == 0
    assert "new people: 50.0% of the speech" in shared_line(shared)


def test_nothing_new_is_called_none() -> None:
    train = of({"ann": {"a1": 5.0, "a2": 1.0}}, ("x",))
    line = shared_line(shared_with(of({"ann": {"a1": 1.0}}, ("x",)), train))
    assert line.endswith("new people: none; new recordings: none")


def test_a_person_with_another_name_is_known_by_a_recording() -> None:
    shared = shared_with(of({"dev-84": {"a1": 1.0, "q": 3.0}}), of({"libri-84": {"a1": 9.0}}))
    assert shared["speakers"]["share_of_speech"] == 1.0
    assert shared["recordings"]["share_of_speech"] == 0.25


def test_speech_of_nobody_is_neither_known_nor_new() -> None:
    shared = shared_with(of({"": {"n": 1.0}, "eve": {"e": 3.0}}), of({"": {"m": 1.0}}))
    assert shared["speakers"]["shared"] == 0
    assert shared["speakers"]["unknown_share_of_speech"] == 0.25
    assert "new people: 75.0% of the speech" in shared_line(shared)


def test_large_sets_are_compared_by_samples_that_agree() -> None:
    def many(name: str, first: int, last: int) -> Contents:
        return of({name: {f"{i * 7919 % 10007:05d}": 1.0 for i in range(first, last)}})

    test, train = many("ann", 0, 2000), many("ann", 1000, 9000)
    exact = shared_with(test, train)["recordings"]["share"]
    sampled = shared_with(test.of_limited_size(500), train.of_limited_size(1000))["recordings"]
    assert exact == 0.5
    assert sampled["test"] < 500
    assert sampled["share"] == pytest.approx(exact, abs=0.1)
    small = train.of_limited_size(1000)
    assert small.seconds == train.seconds
    assert small.united(small) == small
    assert small.united(test).listed_to == small.listed_to


def test_a_perturbed_take_is_the_same_person_and_recording(
    config: DatagenConfig, simulator_for: Callable[[DatagenConfig], Simulator]
) -> None:
    def heard(split: str) -> Contents:
        small = replace(config, split=split, only=("turn",))
        simulator, contents = simulator_for(small), Contents()
        for index in range(6):
            labels = simulator.labels(simulator.dialogue(index))
            assert labels.voice.startswith("asterisk-en@")
            add_dialogue(contents, labels, simulator.bank.corpus)
        return contents

    test, train = heard("test"), heard("train")
    assert all("@" not in name for name in test.speakers)
    users = {name: test.speakers[name] for name in ("asterisk-en",)}
    shared = shared_with(replace(test, speakers=users), train)
    assert shared["speakers"]["share"] == 1.0
    assert shared["recordings"]["shared"] > 0


def test_a_recording_is_itself_under_another_name() -> None:
    first, second, *_ = Corpus.open().filter(source="amazon-queen")
    assert identity_of(replace(first, id="other/1", speaker="x")) == identity_of(first)
    assert identity_of(first) != identity_of(second)


def test_licences_and_authors_of_all_recordings_are_kept(finished_set: ShardReader) -> None:
    """The agent's too; the shipped corpus names its authors."""
    contents = read_contents(finished_set.folder)
    assert contents is not None
    assert contents.credits
    licences: set[str] = set()
    for index in range(len(finished_set)):
        licences |= {item.licence for item in finished_set[index].labels.items} - {""}
    assert {credit.licence for credit in contents.credits} == licences
    assert all(credit.attribution for credit in contents.credits)
    allison = next(one for one in contents.credits if one.speaker == "asterisk-en")
    assert (allison.licence, allison.language) == ("CC-BY-SA-3.0", "en")
    assert "Allison Smith" in allison.attribution


def test_credits_are_united_and_a_set_without_them_makes_them_unknown() -> None:
    ann, ben = (
        Credit(licence="CC0-1.0", attribution="", language="en", speaker=name)
        for name in ("ann", "ben")
    )
    one, two = Contents(credits={ann}), Contents(credits={ben})
    both = one.united(two)
    assert both.credits == {ann, ben}
    assert Contents.from_json(both.to_json(), where="x") == both
    unknown = Contents(credits=None)
    assert Contents.from_json(unknown.to_json(), where="x") == unknown
    assert both.united(unknown).credits is None
    assert both.of_limited_size(1).credits == {ann, ben}


def test_a_closed_set_lists_the_words_of_the_agent(
    finished_set: ShardReader, simulator: Simulator, simulator_for: Callable[..., Simulator]
) -> None:
    contents = read_contents(finished_set.folder)
    assert contents is not None
    assert contents.said == simulator.agent_words
    said = {
        w for one in finished_set for label in one.labels.words.agent for w in label.text.split()
    }
    assert contents.said is not None
    assert said <= contents.said
    assert {"moment", "o'clock"} <= contents.said
    assert "sorry" not in contents.said
    config = simulator.config
    fails = replace(config, scenarios=replace(config.scenarios, failed_share=0.1))
    assert simulator_for(fails).agent_words == contents.said | set(FAILED_RESULT.split())
    opens = replace(config, only=("narration", "turn"), families={"narration": 1.0, "turn": 1.0})
    assert simulator_for(opens).agent_words is None
    assert contents.united(Contents(said=None)).said is None
    assert contents.united(Contents(said={"x"})).said == contents.said | {"x"}
    for one in (contents, Contents(said=None)):
        assert Contents.from_json(one.to_json(), where="x").said == one.said


def test_what_users_type_is_counted(simulator: Simulator) -> None:
    labels = simulator.labels(simulator.dialogue(0))
    typed = (
        TextLabel(time_s=1.0, text="<user> read this"),
        TextLabel(time_s=2.0, text="<bg> a </bg>"),
    )
    contents = Contents(said=None)
    add_dialogue(contents, replace(labels, text_in=typed), simulator.bank.corpus)
    assert contents.n_typed == 1
    assert Contents.from_json(contents.to_json(), where="x").n_typed == 1
    assert "n_typed" not in Contents().to_json()
    assert contents.united(contents).n_typed == 1
    contents.add(contents)
    assert contents.of_limited_size(1).n_typed == 2


def test_every_speaker_of_the_shipped_corpus_has_an_author() -> None:
    corpus = Corpus.open()
    assert not {one.speaker for one in corpus if not corpus.attribution_of(one)}


def test_inspect_counts_what_a_set_shares(
    finished_set: ShardReader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, target = str(finished_set.folder), tmp_path / "shared.json"
    assert main(["inspect", folder, f"against={folder}", f"json={target}"]) == 0
    assert "new people: none; new recordings: none" in capsys.readouterr().out
    shared = json.loads(target.read_text())["shared"]
    assert set(shared) == {"speakers", "recordings", "sentences", "rooms"}
    assert all(row["share"] == 1 and row["shared"] == row["test"] > 0 for row in shared.values())
    card = json.loads((finished_set.folder / "card.json").read_text())
    assert card["heard"] == {kind: row["test"] for kind, row in shared.items()}
    contents = read_contents(finished_set.folder)
    assert contents is not None
    assert contents_text(contents) == (finished_set.folder / "contents.json").read_text()


def test_a_set_without_contents_is_named(
    finished_set: ShardReader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in finished_set.folder.iterdir():  # type: ignore[union-attr]
        if file.is_file() and file.name != "contents.json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    assert main(["inspect", str(tmp_path), f"against={finished_set.folder}"]) == 1
    assert "has no contents.json" in capsys.readouterr().err
