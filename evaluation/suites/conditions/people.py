"""People: the same requests by the person that training heard, and by people whom it did not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from microturn.datagen.config import VocabularyConfig, VoicesConfig
from microturn.datagen.labels.dialogue import EventLabel
from microturn.datagen.labels.event_types import TURN
from microturn.evaluation.scoring.moments import SAME_S
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.credit import told_apart
from microturn.evaluation.suites.multi_challenge import reply_to
from microturn.evaluation.suites.statistics import share
from microturn.evaluation.suites.suite import CREDIT, Measured, Observations, Suite

SEEN, UNSEEN = "seen_people", "unseen_people"
ROWS: Final = (SEEN, UNSEEN)  # of the table of headlines
_SEEN: Final = frozenset([VoicesConfig().user])
_LETTERS: Final = frozenset(VocabularyConfig().letters)

Turn = Mapping[str, Any]


def observe(scored: ScoredDialogue) -> Observations:
    """Score every request, with who made it."""
    events = [event for event in scored.dialogue.of_type(TURN) if event.act == "respond"]
    who = UNSEEN if scored.dialogue.users - _SEEN else SEEN
    turns = [{**turn_of(scored, event), "letter": event.text in _LETTERS} for event in events]
    return {"who": who, "turns": turns}


def turn_of(scored: ScoredDialogue, event: EventLabel) -> dict[str, Any]:
    """Score one request: whether its answer is right, in time, and beside nothing unasked."""
    until_s = event.end_s + scored.windows.onset_s
    timely = any(
        event.end_s - SAME_S <= start <= until_s + SAME_S for start, _ in scored.utterances
    )
    right = reply_to(scored, event) == event.expected
    return {
        "timely": timely,
        "right": right,
        "clean": scored.clean(event),
    }


def _answered(turn: Turn) -> bool:
    return bool(turn["right"] and turn["timely"] and turn["clean"])


def _right(turn: Turn) -> bool:
    return bool(turn["right"])


def _timely(turn: Turn) -> bool:
    return bool(turn["timely"])


MEASURES: Final[Mapping[str, Callable[[Turn], bool]]] = {
    "": _answered,
    "_right_word": _right,
    "_onset_recall": _timely,
}


def _turns(dialogues: Sequence[Observations], who: str) -> list[Turn]:
    return [turn for one in dialogues if one["who"] == who for turn in one["turns"]]


def _cases(dialogues: Sequence[Observations]) -> dict[str, list[bool]]:
    """Return the outcomes behind every metric."""
    cases = {}
    for who in ROWS:
        turns = _turns(dialogues, who)
        for name, good in MEASURES.items():
            cases[f"{who}{name}"] = [good(turn) for turn in turns]
        for kind, is_letter in (("letters", True), ("greetings", False)):
            own = [turn for turn in turns if turn["letter"] == is_letter]
            cases[f"{who}_{kind}"] = [_answered(turn) for turn in own]
    return cases


def measure(dialogues: Sequence[Observations]) -> Measured:
    """Compute shares of right answers by people whom training heard, and by others."""
    measured: Measured = {name: share(cases) for name, cases in _cases(dialogues).items()}
    kinds = (measured[f"{UNSEEN}_{kind}"] for kind in ("letters", "greetings"))
    return {CREDIT: told_apart(*kinds), **measured}


def _meanings(who: str, whose: str) -> dict[str, str]:
    return {
        who: f"right answers within 0.8 s to {whose}, with nothing unasked",
        f"{who}_right_word": "exactly the expected words, at any time",
        f"{who}_onset_recall": "a reply begins within 0.8 s, right or wrong",
        f"{who}_letters": "right answers within 0.8 s to letters",
        f"{who}_greetings": "the same to `hello` and `goodbye`, which training has of other people",
    }


SUITE: Final = Suite(
    name="people",
    asks="people whom training never heard are answered like the one whom it heard",
    title_note=(
        "Letters and greetings, recorded whole. Half of the users are the training speaker at "
        "other speeds (the same recordings of the same person), half are people in no training "
        "set (`voices.unseen`; four of them have recorded such requests). The shipped recordings "
        "have no more, and one actor may have several roles: intervals do not cover other people."
    ),
    observe=observe,
    measure=measure,
    n_dialogues=48,
    meanings={
        CREDIT: "letters + greetings - 1 of people in no training set: who greets everybody gets 0",
        **_meanings(UNSEEN, "people in no training set"),
        **_meanings(SEEN, "the training speaker at other speeds"),
    },
)
