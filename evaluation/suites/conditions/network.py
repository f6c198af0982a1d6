"""Network: one in twenty or one in five of the user's micro-turns is late or lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from microturn.datagen.labels.dialogue import EventLabel
from microturn.evaluation.scoring.moments import SAME_S
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.multi_challenge import reply_to
from microturn.evaluation.suites.statistics import mean, share
from microturn.evaluation.suites.suite import CREDIT, Measured, Observations, Suite

RATES: Final = {0.0: "none", 0.05: "5", 0.2: "20"}  # share of lost micro-turns: name
LOSSY: Final = ("5", "20")


def observe(scored: ScoredDialogue) -> Observations:
    """Score every turn, with the loss rate of its dialogue."""
    rate = scored.dialogue.channel.network.loss_rate or 0.0
    events = [event for event in scored.dialogue.of_type("turn") if event.act == "respond"]
    n_micro_turns = round(scored.dialogue.duration_s / scored.dialogue.micro_turn_s)
    return {
        "loss": RATES.get(rate, "other"),
        "late": len(scored.trace.missing_input) / n_micro_turns,
        "turns": [_turn(scored, event) for event in events],
    }


def _turn(scored: ScoredDialogue, event: EventLabel) -> dict[str, Any]:
    until_s = event.end_s + scored.windows.late_reply_s
    onsets = [start for start, _ in scored.utterances if event.end_s - SAME_S <= start <= until_s]
    late_s = onsets[0] - event.end_s if onsets else None
    timely = late_s is not None and late_s <= scored.windows.onset_s + SAME_S
    right = timely and reply_to(scored, event) == event.expected
    return {"right": right, "clean": scored.clean(event), "late_s": late_s}


def measure(dialogues: Sequence[Observations]) -> Measured:
    """Compute right and timely answers at each loss rate; the headline is the mean of two."""
    measured: Measured = {}
    credit = []
    for name in RATES.values():
        here = [observed for observed in dialogues if observed["loss"] == name]
        turns = [turn for observed in here for turn in observed["turns"]]
        late = [turn["late_s"] for turn in turns if turn["late_s"] is not None]
        measured[f"answered_{name}"] = share([turn["right"] for turn in turns])
        if name in LOSSY:
            credit.append(share([turn["right"] and turn["clean"] for turn in turns]))
        measured[f"latency_{name}_s"] = mean(late)
        measured[f"late_{name}"] = mean([observed["late"] for observed in here])
    lossy = [measured[f"answered_{name}"] for name in LOSSY]
    measured["answered_lossy"] = mean([value for value in lossy if value is not None])
    return {CREDIT: mean([value for value in credit if value is not None]), **measured}


SUITE: Final = Suite(
    name="network",
    asks="the agent answers although micro-turns of the user are late or lost",
    title_note=(
        "Simulated losses of whole micro-turns, which arrive as silence marked late. What is lost "
        "may be the only word that matters: no agent that hears can reach 100 % at 20 %."
    ),
    observe=observe,
    measure=measure,
    n_dialogues=48,
    floor=0.2,  # one answer in ten is the most frequent one
    meanings={
        CREDIT: "mean of the shares at 5 % and 20 % of right answers in time, with nothing unasked",
        "answered_lossy": "mean of the shares at 5 % and 20 %",
        "answered_none": "right answers within 0.8 s where nothing is lost",
        "answered_5": "the same where 5 % of the micro-turns are lost",
        "answered_20": "the same at 20 %",
        "latency_none_s": "mean onset of the reply after the end of the turn, nothing lost",
        "latency_5_s": "the same at 5 %",
        "latency_20_s": "the same at 20 %",
        "late_none": "micro-turns marked late where nothing is lost",
        "late_5": "the same at 5 %: what the drawn losses came to",
        "late_20": "the same at 20 %",
    },
)
