"""Full-Duplex-Bench v3, closed-domain twin: tool calls requested by speech, and their latency.

An agent hands a request over with `<delegate>`. The tool and its arguments follow from its
transcript of the user until then, exactly as the offline background agent reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from microturn.datagen.labels.dialogue import EventLabel, word_list
from microturn.evaluation.scoring.moments import lead
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.fdb.v3_formulas import (
    Call,
    argument_accuracy,
    passed,
    tool_f1,
)
from microturn.evaluation.suites.replies import said_in
from microturn.evaluation.suites.statistics import mean, share
from microturn.evaluation.suites.suite import CREDIT, Measured, Observations, Suite
from microturn.inference.agent.backend import NoAnswer
from microturn.inference.agent.tools.calculator import Calculator
from microturn.inference.agent.tools.clock import Clock
from microturn.inference.agent.tools.tool import Tool, latest_request

_NEAR_S: Final = 0.5  # between the scripted time of a delivery and its event
NO_TOOL: Final = "none"  # the request was not understood
TOOLS: Final[tuple[Tool, ...]] = (Calculator(), Clock(datetime.now, "hour"))


def call_of(words: Sequence[str]) -> Call:
    """Return the call that the background agent makes for the last request in these words."""
    try:
        request = latest_request(TOOLS, words)
    except NoAnswer:
        return Call(function=NO_TOOL)
    return Call(function=request.tool, args={"request": request.text})


def observe(scored: ScoredDialogue) -> Observations:
    """Collect expected and actual calls of a dialogue, and the times of each request."""
    requests = [event for event in scored.dialogue.events if event.act == "delegate"]
    return {
        "expected": [_plain(call_of(word_list(event.text))) for event in requests],
        "actual": [_plain(call_of(_heard_until(scored, t))) for t in scored.trace.delegates_s],
        "requests": [_times(scored, event) for event in requests],
        "clean": scored.clean(*requests),
    }


def _heard_until(scored: ScoredDialogue, moment_s: float) -> list[str]:
    words = scored.trace.heard or ()
    return [word.text for word in words if word.start_s < moment_s]


def _plain(call: Call) -> list[Any]:
    return [call.function, dict(call.args)]


def _times(scored: ScoredDialogue, event: EventLabel) -> dict[str, Any]:
    """Measure the latencies of one request from its end."""
    until_s = _next_request(scored, event)
    early = scored.activity.onset_in(event.start_s, event.end_s)
    onset = scored.activity.onset_in(event.end_s, until_s)
    calls = [t for t in scored.trace.delegates_s if lead(event.end_s) <= t < until_s]
    result = _result_of(scored, event, until_s)
    told_s = None if result is None else _result_onset(scored, result)
    return {
        "early": early is not None,
        "first_s": None if onset is None or early is not None else onset - event.end_s,
        "call_s": max(calls[0] - event.end_s, 0.0) if calls else None,
        "due": result is not None,
        "told_s": None if told_s is None else told_s - event.end_s,
    }


def _next_request(scored: ScoredDialogue, event: EventLabel) -> float:
    later = [
        other.start_s
        for other in scored.dialogue.events
        if other.act == "delegate" and other.start_s > event.start_s
    ]
    return min(later, default=scored.dialogue.duration_s)


def _result_of(scored: ScoredDialogue, event: EventLabel, until_s: float) -> EventLabel | None:
    """Return the result of a request; None where the user cancelled it."""
    results = scored.dialogue.of_type("result")
    return next((one for one in results if event.end_s <= one.start_s < until_s), None)


def _result_onset(scored: ScoredDialogue, result: EventLabel) -> float | None:
    """Return when the agent begins to say a result after its arrival, however late."""
    arrived = [d for d in scored.trace.deliveries if abs(d.scripted_s - result.start_s) < _NEAR_S]
    if not arrived:
        return None
    said = said_in(scored, arrived[0].time_s, scored.dialogue.duration_s)
    n = len(result.expected)
    for at in range(len(said) - n + 1):
        if tuple(word.text for word in said[at : at + n]) == result.expected:
            return said[at].onset_s
    return None


def measure(dialogues: Sequence[Observations]) -> Measured:
    """Compute tool choice, arguments and pass rate by dialogue, latencies by request."""
    pairs = [(_calls(d["expected"]), _calls(d["actual"])) for d in dialogues if d["expected"]]
    requests = [request for d in dialogues for request in d["requests"]]
    due = [request for request in requests if request["due"]]

    def latency(key: str) -> float | None:
        return mean([one[key] for one in requests if one[key] is not None])

    return {
        CREDIT: share([_credit(d) for d in dialogues if d["expected"]]),
        "pass_at_1": share([passed(*pair) for pair in pairs]),
        "tool_f1": mean([tool_f1(*pair) for pair in pairs]),
        "argument_accuracy": mean([argument_accuracy(*pair) for pair in pairs]),
        "result_told": share([one["told_s"] is not None for one in due]),
        "turn_taken": share([_taken(one) for one in requests]),
        "interrupted": share([one["early"] for one in requests]),
        "interrupted_of_taken": share([one["early"] for one in requests if _taken(one)]),
        "first_response_latency_s": latency("first_s"),
        "tool_call_latency_s": latency("call_s"),
        "completion_latency_s": latency("told_s"),
    }


def _taken(request: dict[str, Any]) -> bool:
    return bool(request["early"] or request["first_s"] is not None)


def _credit(observed: Observations) -> bool:
    """Whether a dialogue passes, every result was said, and nothing else was."""
    requests = observed["requests"]
    told = all(one["told_s"] is not None for one in requests if one["due"])
    quiet = observed["clean"] and not any(one["early"] for one in requests)
    return told and quiet and passed(_calls(observed["expected"]), _calls(observed["actual"]))


def _calls(rows: Sequence[Sequence[Any]]) -> list[Call]:
    return [Call(function=function, args=args) for function, args in rows]


SUITE: Final = Suite(
    name="fdb_v3",
    asks="the agent calls the right tool with the right arguments and says the result",
    title_note=(
        "A closed-domain twin of Full-Duplex-Bench v3: two tools (a calculator and a clock) "
        "instead of twelve, its formulas as they run without a language model. The tool and its "
        "arguments are read from what the agent wrote down of the user before it delegated."
    ),
    observe=observe,
    measure=measure,
    n_dialogues=32,
    meanings={
        CREDIT: "dialogues that pass, in which every result was said, no request interrupted and "
        "nothing unasked",
        "pass_at_1": "dialogues with exactly the expected calls, every argument right",
        "tool_f1": "F1 of the called tools, each as often as expected, by dialogue",
        "argument_accuracy": "expected calls that were made with the right arguments, by dialogue",
        "result_told": "results that were said, of those that were not called off",
        "turn_taken": "requests after which the agent spoke at all",
        "interrupted": "requests into which it spoke, of all",
        "interrupted_of_taken": "the same, of those after or into which it spoke at all",
        "first_response_latency_s": "from the end of the request to its first sound",
        "tool_call_latency_s": "from the end of the request to `<delegate>`",
        "completion_latency_s": "from the end of the request to the result in its words",
    },
)
