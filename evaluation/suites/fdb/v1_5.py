"""Full-Duplex-Bench v1.5, closed-domain twin: behaviour of the agent when others speak over it.

The user interrupts, says a backchannel or talks to another person, or a distant voice speaks,
always while the recorded agent counts. The agent's words afterwards decide the behaviour.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from microturn.datagen.labels.dialogue import EventLabel
from microturn.evaluation.scoring.activity import Span, longest_gap
from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.credit import told_apart
from microturn.evaluation.suites.fdb.v1_5_formulas import (
    MODEL_GAP_S,
    RESPOND,
    RESUME,
    UNCERTAIN,
    UNKNOWN,
    USER_GAP_S,
    behaviour,
    joined,
    replies,
    stops,
    touching,
)
from microturn.evaluation.suites.statistics import mean, share
from microturn.evaluation.suites.suite import CREDIT, Measured, Observations, Suite

# event: the benchmark's name of the scenario, and the behaviour that is wanted
SCENARIOS: Final = {
    "interruption": ("user_interruption", RESPOND),
    "user_backchannel": ("user_backchannel", RESUME),
    "side_talk": ("talking_to_other", RESUME),
    "background_speech": ("background_speech", RESUME),
}
_BEFORE_S, _AFTER_S = 0.5, 0.4  # between two words of a count the agent is speaking too


def observe(scored: ScoredDialogue) -> Observations:
    """Score every overlap of a dialogue."""
    events = [e for e in scored.dialogue.of_type(*SCENARIOS) if e.act in ("stop", "resume")]
    return {"overlaps": [overlap_facts(scored, event) for event in events]}


def overlap_facts(scored: ScoredDialogue, event: EventLabel) -> dict[str, Any]:
    """Classify the agent's behaviour after an overlap and measure its latencies."""
    scenario, wanted = SCENARIOS[event.type]
    user, model = voices(scored), joined(scored.runs, MODEL_GAP_S)
    span = (event.start_s, event.end_s)
    speaking = scored.speaking_near(event.start_s, before_s=_BEFORE_S, after_s=_AFTER_S)
    tag = behaviour(*_words(scored, event))
    return {
        "scenario": scenario,
        "wanted": wanted,
        "behaviour": tag,
        "speaking": speaking,
        "clean": speaking and scored.clean(event),
        "stop_s": _first_length(touching(stops(user, model), span)),
        "reply_s": _first_length(touching(replies(user, model), span)),
    }


def voices(scored: ScoredDialogue) -> list[Span]:
    """Speech of all talkers in the input, as a voice activity detector finds it."""
    words = (*scored.dialogue.user_words, *scored.dialogue.background_words)
    return joined([(word.start_s, word.end_s) for word in words], USER_GAP_S)


def _words(
    scored: ScoredDialogue, event: EventLabel
) -> tuple[tuple[str, ...], tuple[str, ...], list[tuple[str, ...]]]:
    """Said after the overlap began, what would be an answer, and what was left to say."""
    answer = next(
        (
            other.expected
            for other in scored.dialogue.events
            if other.act == "respond" and abs(other.start_s - event.start_s) < 1e-3
        ),
        (),
    )
    before = scored.words_between(0.0, event.start_s)
    said = _group(scored, scored.words_between(event.start_s, scored.dialogue.duration_s), answer)
    meant = _meant(scored, len(answer))
    reached = 0
    for word in before:
        if word.text in meant:
            reached = meant.index(word.text) + 1
    return said, answer, [meant[reached:]]


def _meant(scored: ScoredDialogue, n_answer: int) -> tuple[str, ...]:
    """The count of the recorded agent, up to its intended end."""
    texts = tuple(word.text for word in scored.dialogue.intended_words)
    return texts[: len(texts) - n_answer] if n_answer else texts


def _group(
    scored: ScoredDialogue, words: Sequence[SpokenWord], answer: tuple[str, ...]
) -> tuple[str, ...]:
    """Words up to a long silence; where an answer is due, up to the one after it."""
    said: list[SpokenWord] = []
    silences = 0
    for word in words:
        if said:
            gap_s = longest_gap(scored.runs, scored.onset_of(said[-1]), scored.onset_of(word))
            silences += gap_s > scored.windows.pause_in_answer_s
        if silences > bool(answer):
            break
        said.append(word)
    return tuple(word.text for word in said)


def _first_length(spans: Sequence[Span]) -> float | None:
    return spans[0][1] - spans[0][0] if spans else None


def measure(dialogues: Sequence[Observations]) -> Measured:
    """Shares of behaviours by scenario, and the mean over scenarios of the wanted one."""
    overlaps = [overlap for observed in dialogues for overlap in observed["overlaps"]]
    measured: Measured = {"speaking": share([overlap["speaking"] for overlap in overlaps])}
    wanted, credit = [], []
    for scenario, _ in SCENARIOS.values():
        here = [overlap for overlap in overlaps if overlap["scenario"] == scenario]
        for tag in (RESPOND, RESUME):
            name = f"{scenario}_{'respond' if tag == RESPOND else 'resume'}"
            measured[name] = share([overlap["behaviour"] == tag for overlap in here])
        wanted.append(share([overlap["behaviour"] == overlap["wanted"] for overlap in here]))
        clean = [o["behaviour"] == o["wanted"] and o["clean"] for o in here]
        credit.append(share(clean))
    responds, *resumes = credit
    for name, tag in (("uncertain", UNCERTAIN), ("unknown", UNKNOWN)):
        measured[name] = share([overlap["behaviour"] == tag for overlap in overlaps])
    interruptions = [o for o in overlaps if o["scenario"] == "user_interruption" and o["speaking"]]
    for name, key in (("stop_latency_s", "stop_s"), ("response_latency_s", "reply_s")):
        measured[name] = mean([o[key] for o in interruptions if o[key] is not None])
    known = [value for value in resumes if value is not None]
    measured[CREDIT] = told_apart(responds, mean(known))
    return measured | {"as_wanted": mean([value for value in wanted if value is not None])}


SUITE: Final = Suite(
    name="fdb_v1_5",
    asks="the agent answers an interruption and talks through everything else",
    title_note=(
        "A closed-domain twin of Full-Duplex-Bench v1.5: its four overlaps, each while the agent "
        "counts, and its timing formulas. A rule on the words takes the place of its judge. The "
        "benchmark publishes no single number; `as_wanted` is our reading."
    ),
    observe=observe,
    measure=measure,
    n_dialogues=40,
    floor=0.2,  # two words under way may be finished: some interruptions come that late
    meanings={
        CREDIT: "responses to interruptions + going on through the others (their mean) - 1, "
        "at least 0, while speaking and with nothing unasked: who always does one gets 0",
        "as_wanted": "mean over the four scenarios of the behaviour that is wanted: respond to an "
        "interruption, else resume",
        "user_interruption_respond": "interruptions that the agent responds to",
        "user_interruption_resume": "interruptions through which it goes on with what it said",
        "user_backchannel_respond": "backchannels that it takes for a turn",
        "user_backchannel_resume": "backchannels through which it goes on",
        "talking_to_other_respond": "asides to somebody else that it responds to",
        "talking_to_other_resume": "asides through which it goes on",
        "background_speech_respond": "voices in the background that it responds to",
        "background_speech_resume": "voices in the background through which it goes on",
        "uncertain": "overlaps after which it asks what was said",
        "unknown": "overlaps after which it says something else or nothing",
        "speaking": "overlaps at whose beginning it was speaking",
        "stop_latency_s": "from the onset of an interruption to the end of its speech",
        "response_latency_s": "from the end of an interruption to its next onset",
    },
)
