"""Suites of events: every event of a dialogue belongs to one of them, whatever set it is in.

They are played on any set (`data=DIR`), or asked by name (`suites=[turn,interruption]`) on a set of
their own: simulated like the demo's, with other seeds, so that a checkpoint of the demo also meets
what it was trained for. Which outcome of which event counts for which metric is decided in
scoring/contributions.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from microturn.datagen.labels.event_types import EVENT_TYPES
from microturn.evaluation.scoring.contributions import AS_EXPECTED
from microturn.evaluation.scoring.outcomes import Outcome
from microturn.evaluation.scoring.restraint import CREDIT
from microturn.evaluation.suites.credit import RESTRAINT_MEANINGS
from microturn.evaluation.suites.event_metrics import MEAN_HEADLINE, EventMetrics
from microturn.evaluation.suites.score_suite import SuiteScore, score_suite
from microturn.evaluation.suites.suite import Suite

SET: Final = "events"  # the set that they share
_N_DIALOGUES: Final = 48
_AS_EXPECTED: Final = "the agent did what the event expects"
_NOTE: Final = (
    "New dialogues of the demo's own kind, by its training speaker at other speeds. New recordings "
    "of the training voice: none; new people: none."
)


class _Row(NamedTuple):
    """One suite of events."""

    name: str
    credit: str  # what earns it; empty: the suite has another headline
    asks: str
    meanings: Mapping[str, str]
    floor: float = 0.1


_ROWS: Final = (
    _Row(
        "turn",
        "right answers in time, with nothing unasked",
        "a question or request is answered rightly and in time",
        {
            "answered": "right answer, begun in time",
            "onset_recall": "reply begins within 0.8 s of the turn's end",
            "right_word": "exactly the expected words",
            "word_error_rate": "word errors per expected word",
            "turn_latency_s": "median from the turn's end to the reply's onset",
            "early_replies": "replied before the user had finished (lower is better)",
            "silent_in_pauses": "quiet while the user hesitates",
        },
    ),
    _Row(
        "interruption",
        "stopped in time, out of the right words, + going on through backchannels, voices and "
        "noises - 1: who always stops, or never, gets 0",
        "the agent falls silent when the user takes the floor",
        {
            "stopped_in_time": "was speaking, and quiet within 0.8 s of the onset",
            "stop_latency_s": "median from the onset to silence",
            "speaking_when_interrupted": "was speaking at the onset",
            "answered_after": "the interrupting question answered rightly and in time",
        },
    ),
    _Row(
        "user_backchannel",
        "went on + stopped in time for interruptions - 1: who never stops, or always, gets 0",
        "the agent goes on speaking through a backchannel",
        {
            "went_on": "no break, and all words that were left",
            "words_right": "all words that were left",
            "longest_gap_s": "median of the longest silence while going on",
            "speaking_at_backchannel": "was speaking at the backchannel",
        },
    ),
    _Row(
        "background",
        "undisturbed + turns answered - 1: who is silent, or answers everything, gets 0",
        "other voices and noises change nothing",
        {
            "undisturbed": "silent or went on, as the moment asks",
            "silent": "silent through a voice or noise that is not the user's",
            "went_on": "went on speaking through it",
        },
    ),
    _Row(
        "timed_cue",
        "the right word in its window, with nothing unasked",
        "the right word at the requested time",
        {
            "in_window": "the right word, between 0.2 s before and 1.0 s after its time",
            "right_word": "the right word, at any time",
            "onset_from_earliest_s": "median onset after the window opens",
            "silent_after_stop": "says it no more once the user has ended it",
        },
        0.4,  # one delay meets 1.2 s of the four in which words are due
    ),
    _Row(
        "delegation",
        "results asked for, arrived and spoken in time, with nothing unasked",
        "a result of the background agent is asked for and spoken",
        {
            "result_spoken": "asked for, arrived, and spoken in time",
            "delegated": "<delegate> within 1 s of the request",
            "delegate_latency_s": "median from the request's end to <delegate>",
            "acknowledged": "said that it takes a moment",
            "filler_in_window": "the filler of a long wait, right and in its window",
            "result_right": "the result's words, at any time",
            "result_latency_s": "median from arrival to the first word",
        },
    ),
    _Row(
        "over_user",
        "the right word while it is due, with nothing unasked",
        "a word that is due while the user speaks is said there",
        {
            "in_window": "the right word, while it is due",
            "right_word": "the right word, at any time",
            "onset_from_earliest_s": "median onset after it is due",
            "silent_without_cause": "silent where nothing was wrong",
        },
    ),
    _Row(
        "agent_backchannel",
        "given + turns answered - 1: who only nods gets 0",
        "the agent shows that it listens, and does not take the floor",
        {
            "given": "something short within 1 s of a listening point",
            "right_word": "the recorded agent's word, and nothing else",
            "onset_s": "median from the listening point to the onset",
        },
    ),
    _Row(
        "recall",
        "right and in time, with nothing unasked",
        "what was said before is remembered, kept to or edited",
        {
            "answered": "right and in time, where only what was said before tells what is right",
        },
    ),
    _Row(
        "refusals",
        "refused + answered, as it should be and in time, - 1: who always does one gets 0",
        "what is forbidden is refused, and nothing else",
        {
            "right": "refused or answered, as it should be, and in time",
            "refused": "refused what is forbidden",
            "harmless_answered": "answered what only looks like it",
        },
    ),
    _Row(
        "visual",
        "the right word while it is due, with nothing unasked",
        "the right word when something is seen",
        {
            "in_window": "the right word, while it is due",
            "right_word": "the right word, at any time",
            "onset_from_earliest_s": "median onset after the window opens",
            "silent_unasked": "silent where nothing is to be said",
        },
    ),
    _Row(
        "overall",
        "",
        "mean of the suites above, and speech that nobody asked for",
        {
            "mean_headline": "mean of the headlines above",
            "spurious_share": "micro-turns with speech where there should be none",
            "spurious_onsets_per_min": "utterances begun there, per minute of due silence",
            "false_delegates_per_min": "<delegate> that nobody asked for",
            "heard_word_error_rate": "errors in the transcript of the user",
            "sounds_as_written": "written words that its sound says",
            "unsure_events": "derived events left out, as their confidence is below "
            "`windows.min_confidence`",
        },
    ),
)


def event_metrics() -> dict[str, EventMetrics]:
    """Metrics by suite; scenarios of other packages bring suites of their own, before `overall`."""
    *rows, overall = _rows()
    metrics = {row.name: EventMetrics(suite=row.name, metrics=tuple(_all(row))) for row in rows}
    headlines = {row.name: CREDIT for row in rows}
    return metrics | {
        overall.name: EventMetrics(
            suite=overall.name, metrics=tuple(overall.meanings), headlines=headlines
        )
    }


def event_suites(*, added: bool = True) -> dict[str, Suite]:
    """Suites of events by name; `added=False`: without those of other packages."""
    metrics = event_metrics()
    rows = _rows() if added else _ROWS
    return {row.name: _suite(row, metrics[row.name]) for row in rows}


def score_events(dialogues: Sequence[Sequence[Outcome]], *, seed: int) -> dict[str, SuiteScore]:
    """Scores of every suite of events over dialogues, each given as its outcomes."""
    metrics = event_metrics()
    return {
        name: score_suite(
            suite, [metrics[name].observation(outcomes) for outcomes in dialogues], seed=seed
        )
        for name, suite in event_suites().items()
    }


def _rows() -> tuple[_Row, ...]:
    """The table, with a row for each suite that event types of other packages bring."""
    shipped = {row.name for row in _ROWS}
    added = {
        kind.suite: _Row(kind.suite, _AS_EXPECTED, kind.meaning, {AS_EXPECTED: _AS_EXPECTED})
        for kind in EVENT_TYPES.values()
        if kind.suite not in shipped
    }
    return (*_ROWS[:-1], *added.values(), _ROWS[-1])


def _all(row: _Row) -> dict[str, str]:
    """Return the meanings of all metrics, with those that every suite has."""
    if not row.credit:
        return dict(row.meanings)
    return {CREDIT: row.credit, **row.meanings, **RESTRAINT_MEANINGS}


def _suite(row: _Row, metrics: EventMetrics) -> Suite:
    return Suite(
        name=row.name,
        asks=row.asks,
        headline=CREDIT if row.credit else MEAN_HEADLINE,
        title_note=_NOTE,
        observe=metrics.observe,
        measure=metrics.measure,
        resample=metrics.resample,
        n_dialogues=_N_DIALOGUES,
        meanings=_all(row),
        floor=row.floor,
        dialogues_of=SET,
    )
