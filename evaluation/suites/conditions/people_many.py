"""Many people: one-word requests by people of several corpora, whom no training heard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from microturn.datagen.config import VocabularyConfig
from microturn.datagen.labels.event_types import TURN
from microturn.evaluation.scoring.events import score_heard
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.conditions import people
from microturn.evaluation.suites.conditions.people import MEASURES, turn_of
from microturn.evaluation.suites.credit import told_apart
from microturn.evaluation.suites.statistics import ratio, share
from microturn.evaluation.suites.suite import CREDIT, Measured, Observations, Suite

ALL: Final = "many_people"
KINDS: Final = ("digits", "letters", "greetings")
HEARD: Final = "heard_word_error_rate"
ROWS: Final = (CREDIT, ALL, *(f"{ALL}_{kind}" for kind in KINDS))  # of the table of headlines
_LETTERS: Final = frozenset(VocabularyConfig().letters)
_GREETINGS: Final = frozenset(VocabularyConfig().greetings)


def kind_of(text: str) -> str:
    """The kind of a request; a word that is neither letter nor greeting is a digit, said again."""
    return "letters" if text in _LETTERS else "greetings" if text in _GREETINGS else "digits"


def observe(scored: ScoredDialogue) -> Observations:
    """Score every request, and count the errors of `heard` where the agent writes it."""
    events = [event for event in scored.dialogue.of_type(TURN) if event.act == "respond"]
    heard = None if scored.trace.heard is None else score_heard(scored)
    return {
        "turns": [{**turn_of(scored, event), "kind": kind_of(event.text)} for event in events],
        "said": heard.n_expected if heard else 0,
        "errors": heard.n_errors if heard else 0,
    }


def measure(dialogues: Sequence[Observations]) -> Measured:
    """Compute shares of right answers, of all requests and by kind, and errors of `heard`."""
    turns = [turn for one in dialogues for turn in one["turns"]]
    measured: Measured = {f"{ALL}{name}": _share(turns, name) for name in MEASURES}
    for kind in KINDS:
        own = [turn for turn in turns if turn["kind"] == kind]
        measured[f"{ALL}_{kind}"] = _share(own, "")
    letters = [turn for turn in turns if turn["kind"] == "letters"]
    repeated = [turn for turn in turns if turn["kind"] != "letters"]
    return {
        CREDIT: told_apart(_share(letters, ""), _share(repeated, "")),
        **measured,
        HEARD: ratio(*(sum(one[name] for one in dialogues) for name in ("errors", "said"))),
    }


def _share(turns: Sequence[Mapping[str, Any]], name: str) -> float | None:
    return share([MEASURES[name](turn) for turn in turns])


SUITE: Final = Suite(
    name="people_many",
    asks="many people whom training never heard are answered",
    title_note=(
        "Digits, letters and greetings of one word, alone or cut out of a longer recording, by "
        "people whom five corpora and `voices.unseen` hold out of every training set. The corpora "
        "do not ship. Intervals are over dialogues, each of one person."
    ),
    observe=observe,
    measure=measure,
    n_dialogues=160,
    people="evaluation/suites/people_many.txt",
    meanings={
        CREDIT: "letters + all others - 1: whoever says again whatever it hears gets 0",
        ALL: "right answers within 0.8 s, with nothing unasked",
        f"{ALL}_right_word": "exactly the expected words, at any time",
        f"{ALL}_onset_recall": "a reply begins within 0.8 s, right or wrong",
        f"{ALL}_digits": "right answers within 0.8 s to `zero` to `ten`, which are said again",
        f"{ALL}_letters": "the same to letters, which are answered with a word",
        f"{ALL}_greetings": "the same to `hello` and `goodbye`, which are said again",
        HEARD: "errors in the transcript of the user, for each word said",
    },
)

# Metrics that stand for a suite in tables in place of its headline, or beside it.
ROWS_OF: Final = {people.SUITE.name: people.ROWS, SUITE.name: ROWS}
