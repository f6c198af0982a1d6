"""The tools of the background agent, asked in words and called with arguments."""

import asyncio
import os
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.inference.agent.backend import NoAnswer, Reply, Work
from microturn.inference.agent.cards import Card, ListCard
from microturn.inference.agent.numbers import LIMIT, number_words, ordinal_words, read_number
from microturn.inference.agent.offline import OfflineBackend, built_in_tools
from microturn.inference.agent.package import ContextPackage, PendingWork, TypedMessage
from microturn.inference.agent.tools.calculator import calculate
from microturn.inference.agent.tools.clock import clock_words
from microturn.inference.config import AgentConfig
from microturn.inference.transcript import Side, TranscriptWord
from support.back_ends import package

NOW = datetime(2026, 3, 1, 17, 22)  # a Sunday


class Told:
    """What a back end tells while it works."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.superseded: list[str] = []

    def progress(self, text: str) -> None:
        self.steps.append(text)

    def partial(self, text: str) -> None:
        raise AssertionError

    def show(self, card: Card) -> None:
        raise AssertionError

    def supersede(self, delegation_id: str) -> None:
        self.superseded.append(delegation_id)


def answered(asked: ContextPackage, *, folder: str = "", told: Told | None = None) -> Reply:
    backend = OfflineBackend(built_in_tools(AgentConfig(folder=folder), now=lambda: NOW))
    return asyncio.run(backend.answer(Work(package=asked, tell=told or Told())))


def answer(said: str) -> str:
    return answered(package(said)).text


@given(st.integers(0, LIMIT - 1))
def test_every_spelled_number_is_read_back(value: int) -> None:
    words = number_words(value).split()
    assert read_number(words, 0) == (value, len(words))


@pytest.mark.parametrize(
    ("said", "value", "n_words"),
    [
        ("twenty one", 21, 2),
        ("one hundred and five", 105, 4),
        ("two thousand and six", 2006, 4),
        ("42", 42, 1),
        ("two three", 2, 1),  # two numbers, not one
        ("twenty zero", 20, 1),
        ("five and six", 5, 1),
        ("five hundred hundred", 500, 2),
    ],
)
def test_spoken_numbers_are_read(said: str, value: int, n_words: int) -> None:
    assert read_number(said.split(), 0) == (value, n_words)


def test_words_that_are_no_number() -> None:
    assert read_number(["hundred"], 0) is None
    assert read_number(["hello"], 0) is None
    assert read_number([], 0) is None


@pytest.mark.parametrize(
    ("said", "result"),
    [
        ("eight plus three", "eleven"),
        ("uh what is eight plus three please", "eleven"),
        ("eight minus three", "five"),
        ("three minus eight", "minus five"),
        ("six times seven", "forty two"),
        ("nine divided by two", "four point five"),
        ("one over three", "zero point three three three"),
        ("two plus three times four", "fourteen"),
        ("one hundred and five plus twenty one", "one hundred twenty six"),
        ("one plus one seven plus two", "nine"),  # the latest request
        ("time", "five o'clock"),
        ("eight plus three time", "five o'clock"),
        ("time eight plus three", "eleven"),
    ],
)
def test_requests_are_found_in_words(said: str, result: str) -> None:
    assert answer(said) == result


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("hello", "nothing in the conversation asks"),
        ("", "nothing was asked"),
        ("eight plus", "nothing in the conversation asks"),
        ("five divided by zero", "divided by zero"),
        ("999999999999 plus 1", "too large"),
        (" times ".join(["nine hundred billion"] * 30), "too large"),
    ],
)
def test_a_request_without_an_answer_says_why(said: str, reason: str) -> None:
    with pytest.raises(NoAnswer, match=reason):
        answer(said)


@pytest.mark.parametrize(
    "expression",
    ["__import__('os')", "a", "9**9**9", "'a'*9", "True+1", "[1]", "1 if 1 else 2", "(1).real"],
)
def test_only_arithmetic_is_evaluated(expression: str) -> None:
    with pytest.raises(NoAnswer, match="only numbers and"):
        calculate(expression)


@pytest.mark.parametrize("expression", ["", "1 +", "(" * 500, "1\x00"])
def test_text_that_is_no_expression_is_refused(expression: str) -> None:
    with pytest.raises(NoAnswer, match="is not a calculation"):
        calculate(expression)


@pytest.mark.parametrize(
    ("hour", "minute", "to_the_hour", "to_the_minute"),
    [
        (0, 0, "twelve o'clock", "twelve o'clock"),
        (12, 29, "twelve o'clock", "twelve twenty nine"),
        (12, 30, "one o'clock", "twelve thirty"),
        (17, 5, "five o'clock", "five oh five"),
        (23, 45, "twelve o'clock", "eleven forty five"),
    ],
)
def test_times_as_they_are_read_aloud(
    hour: int, minute: int, to_the_hour: str, to_the_minute: str
) -> None:
    moment = datetime(2026, 3, 1, hour, minute)
    assert clock_words(moment, "hour") == to_the_hour
    assert clock_words(moment, "minute") == to_the_minute


@pytest.mark.parametrize(
    ("value", "ordinal"), [(1, "first"), (12, "twelfth"), (20, "twentieth"), (31, "thirty first")]
)
def test_ordinals(value: int, ordinal: str) -> None:
    assert ordinal_words(value) == ordinal


@pytest.mark.parametrize(
    ("said", "result"),
    [
        ("what time is it in tokyo", "two o'clock"),  # 02:22 of the next day, where now is UTC
        ("how many feet are two meters", "six point five six feet"),
        ("ten miles in kilometers", "sixteen point one kilometers"),
        ("convert one hundred fahrenheit to celsius", "thirty seven point eight degrees celsius"),
        ("one kilogram is how many pounds", "two point two pounds"),
        ("three litres in millilitres", "three thousand milliliters"),
        ("what day is it", "sunday march first"),
        ("what day is tomorrow", "monday march second"),
        ("what date is friday", "friday march sixth"),
        ("how many days until sunday", "seven days"),
        ("days until december twenty fourth", "two hundred ninety eight days"),
        ("days until february twenty nine", "seven hundred thirty days"),
    ],
)
def test_everyday_questions(said: str, result: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    assert answer(said) == result


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("time in atlantis", "no time zone is known for atlantis"),
        ("how long", "no other work is going on"),
        ("read my notes", "there are no notes"),
        ("what did we say about the boat", "nothing was said about boat"),
    ],
)
def test_what_the_tools_cannot_know(said: str, reason: str) -> None:
    with pytest.raises(NoAnswer, match=reason):
        answer(said)


@pytest.mark.parametrize("said", ["one more time", "ten miles", "the day", "until friday"])
def test_words_that_ask_for_nothing(said: str) -> None:
    with pytest.raises(NoAnswer, match="nothing in the conversation asks"):
        answer(said)


def conversation(*lines: tuple[Side, float, str], **more: object) -> ContextPackage:
    """A conversation of lines, each with the second of its first word; words take 0.2 s."""
    words = [
        TranscriptWord(side=side, text=text, micro_turn=round(start_s / 0.2) + index)
        for side, start_s, said in lines
        for index, text in enumerate(said.split())
    ]
    return ContextPackage(
        delegation_id="d9",
        micro_turn=900,
        micro_turn_ms=200,
        words=tuple(sorted(words, key=lambda word: word.micro_turn)),
        **more,  # type: ignore[arg-type]
    )


def test_notes_are_kept_in_the_conversation_itself() -> None:
    noted = answered(conversation(("user", 1, "note buy milk")))
    assert (noted.text, noted.cards) == ("noted", (ListCard(title="Noted", items=("buy milk",)),))
    read = answered(
        conversation(
            ("user", 1, "note buy milk"),
            ("user", 9, "eight plus three"),
            ("user", 20, "note call anna"),
            ("user", 30, "read my notes"),
            typed=(TypedMessage(text="note feed the cat", micro_turn=120),),
            asked_after=101,
        )
    )
    assert read.text == "buy milk. call anna. feed the cat"


def test_recall_finds_what_either_side_said_and_was_heard() -> None:
    said = conversation(
        ("user", 1, "the boat leaves at nine"),
        ("agent", 5, "the boat is blue"),
        ("user", 70, "and the train at noon"),
        ("user", 90, "what did i say about the boat"),
    )
    found = answered(said)
    assert found.text == "you said the boat leaves at nine"
    (card,) = found.cards
    assert card == ListCard(
        title="boat", items=("0:01 you: the boat leaves at nine", "0:05 i: the boat is blue")
    )


def test_how_far_is_answered_from_the_progress_of_other_work() -> None:
    pending = (PendingWork(delegation_id="d1", about="boats", progress="2 of 8", micro_turn=1),)
    told = Told()
    asked = package("no how far are you", pending=pending)
    assert answered(asked, told=told).text == "2 of 8"
    assert told.superseded == []  # it asks about the other work, and does not replace it


def test_a_correction_supersedes_the_work_on_what_it_corrects() -> None:
    pending = (PendingWork(delegation_id="d1", about="x", progress="", micro_turn=1),)
    told = Told()
    assert answered(package("no eight plus four", pending=pending), told=told).text == "twelve"
    assert told.superseded == ["d1"]


def test_a_folder_is_searched_and_read_again_when_it_changes(tmp_path: Path) -> None:
    for number in range(45):
        (tmp_path / f"page{number}.md").write_text(f"Page {number}.\n\nNothing to see here.")
    (tmp_path / "shop.txt").write_text("The shop sells boats.\n\nIt opens at nine. Dogs may come.")
    (tmp_path / "secret.pdf").write_text("It opens at ten.")
    (tmp_path / "link.txt").symlink_to("/etc/hostname")
    backend = OfflineBackend(built_in_tools(AgentConfig(folder=str(tmp_path))))

    def search(said: str, told: Told) -> Reply:
        return asyncio.run(backend.answer(Work(package=package(said), tell=told)))

    told = Told()
    found = search('search for "opening the nine', told)
    assert told.steps == [
        'search: search for "opening nine',
        "20 of 46 files read",
        "40 of 46 files read",
    ]
    assert found.text == "It opens at nine."
    assert found.cards == (
        ListCard(
            title='"opening nine',
            items=("shop.txt: It opens at nine. Dogs may come.",),
        ),
    )
    (tmp_path / "shop.txt").write_text("It opens at eleven.")
    os.utime(tmp_path / "shop.txt", ns=(1, 1))
    assert search("search for opening", Told()).text == "It opens at eleven."
    (tmp_path / "shop.txt").unlink()
    with pytest.raises(NoAnswer, match="nothing was found about opening"):
        search("search for opening", Told())


def test_a_folder_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError, match="agent.folder=nowhere: there is no such folder"):
        answered(package("search for boats"), folder="nowhere")
