"""Full-Duplex-Bench v1, closed-domain twin: pauses, turns, interruptions, backchannels.

Each dialogue holds one situation, as each folder of the benchmark does; the formulas are those of
its scripts. Beside them stands `handled`, which silence and chatter cannot reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from microturn.datagen.labels.dialogue import EventLabel
from microturn.evaluation.scoring.activity import Span, merge
from microturn.evaluation.scoring.moments import SAME_S
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.fdb.quirks import ORIGINAL, Quirks
from microturn.evaluation.suites.fdb.v1_formulas import (
    Chunk,
    after,
    backchannels,
    divergence,
    histogram,
    latency,
    takes_turn,
)
from microturn.evaluation.suites.statistics import mean, per_minute, share
from microturn.evaluation.suites.suite import CREDIT, Measured, Observations, Suite

TASKS: Final = ("pause", "turn", "interruption", "backchannel")
SEGMENT_GAP_S: Final = 0.1  # the detector of the scripts joins speech over less silence
_STRICT: Final = Quirks(last_segment_decides=False)


def chunks_of(scored: ScoredDialogue) -> list[Chunk]:
    """Time the agent's words by its sound: until the next word or the end of the sound."""
    words = [(word, scored.onset_of(word)) for word in scored.words]
    chunks = []
    for i, (word, onset) in enumerate(words):
        until_s = words[i + 1][1] if i + 1 < len(words) else scored.dialogue.duration_s
        ends = [min(end, until_s) for start, end in scored.runs if onset < end and start < until_s]
        chunks.append(Chunk(text=word.text, start_s=onset, end_s=max(ends, default=word.end_s)))
    return chunks


def observe(scored: ScoredDialogue) -> Observations:
    """Apply the formulas of the task of a dialogue."""
    dialogue = scored.dialogue
    if dialogue.of_type("agent_backchannel"):
        return {"tasks": [_backchannel(scored)]}
    turns = [event for event in dialogue.of_type("turn") if event.act == "respond"]
    interruptions = dialogue.of_type("interruption")
    if not turns:
        return {"tasks": []}
    if interruptions:
        return {"tasks": [_interruption(scored, interruptions[0], turns[-1])]}
    tasks = [_turn(scored, turns[0])]
    if dialogue.of_type("pause"):
        tasks.append(_pause(scored, turns[0]))
    return {"tasks": tasks}


def _pause(scored: ScoredDialogue, turn: EventLabel) -> dict[str, Any]:
    """Score the output until the end of the user's turn, as if the input ended there."""
    chunks = chunks_of(scored)
    early = [chunk for chunk in chunks if chunk.start_s < turn.end_s - SAME_S]
    late = after(chunks, turn.end_s)
    tor = takes_turn(early)
    handled = not early and takes_turn(late)
    timely = not early and _reply(scored, late, turn)["handled"]  # which the benchmark does not ask
    credit = timely and _says(late, turn) and scored.clean(turn)
    return {"task": "pause", "tor": tor, "handled": handled, "credit": credit}


def _turn(scored: ScoredDialogue, turn: EventLabel) -> dict[str, Any]:
    """Score the whole output, as the scripts do."""
    chunks = chunks_of(scored)
    observed = _reply(scored, chunks, turn)
    credit = observed["handled"] and _says(chunks, turn) and scored.clean(turn)
    return {"task": "turn", **observed, "credit": credit}


def _interruption(
    scored: ScoredDialogue, interruption: EventLabel, turn: EventLabel
) -> dict[str, Any]:
    """Score the output after the interruption, which is all that the benchmark transcribes."""
    chunks = after(chunks_of(scored), interruption.end_s)
    observed = _reply(scored, chunks, turn)
    right = _says(chunks, turn)
    observed["handled"] = observed["handled"] and right
    observed["credit"] = observed["handled"] and scored.clean(interruption, turn)
    # Who has not stopped yet has a first word at once: only an answer has a latency.
    observed["answer_s"] = observed["latency_s"] if right else None
    return {"task": "interruption", **observed, "right": right if observed["tor"] else None}


def _says(chunks: Sequence[Chunk], turn: EventLabel) -> bool:
    """Whether the first words are the expected ones."""
    return tuple(chunk.text for chunk in chunks)[: len(turn.expected)] == turn.expected


def _reply(scored: ScoredDialogue, chunks: Sequence[Chunk], turn: EventLabel) -> dict[str, Any]:
    tor = takes_turn(chunks)
    late_s = chunks[0].start_s - turn.end_s if chunks else None
    begun = scored.activity.seconds_in(turn.end_s - SEGMENT_GAP_S, turn.end_s) > 0
    timely = late_s is not None and 0.0 <= late_s <= scored.windows.onset_s + SAME_S
    return {
        "tor": tor,
        "latency_s": latency(chunks, turn.end_s, ORIGINAL),
        "handled": tor and timely and not begun,
    }


def _backchannel(scored: ScoredDialogue) -> dict[str, Any]:
    """Score the output until the end of the dictation."""
    until_s = scored.dialogue.of_type("turn")[-1].end_s
    spans = _before(merge(scored.runs, SEGMENT_GAP_S), until_s)
    chunks = [chunk for chunk in chunks_of(scored) if chunk.start_s < until_s]
    original = backchannels(spans, chunks, ORIGINAL)
    strict = backchannels(spans, chunks, _STRICT)
    recorded = [(word.start_s, word.end_s) for word in scored.dialogue.agent_words]
    reference = histogram(_before(recorded, until_s), until_s)
    handled = bool(strict.spans) and not strict.takes_turn and _due(scored, strict.spans)
    points = scored.dialogue.of_type("agent_backchannel", "turn")
    saved = _says(after(chunks_of(scored), until_s), scored.dialogue.of_type("turn")[-1])
    return {
        "task": "backchannel",
        "tor": original.takes_turn,
        "n": len(original.spans),
        "seconds": until_s,
        "jsd": divergence(original.spans, list(reference), until_s),
        "handled": handled,
        "credit": handled and saved and scored.clean(*points),
    }


def _due(scored: ScoredDialogue, spans: Sequence[Span]) -> bool:
    """Whether every backchannel begins in the window of a listening point."""
    windows = [event.window_s for event in scored.dialogue.of_type("agent_backchannel")]
    return all(
        any(window and window[0] - SAME_S <= start <= window[1] + SAME_S for window in windows)
        for start, _ in spans
    )


def _before(spans: Sequence[Span], until_s: float) -> list[Span]:
    return [(start, min(end, until_s)) for start, end in spans if start < until_s]


def measure(dialogues: Sequence[Observations]) -> Measured:
    """Compute the metrics of each task, and the mean share of handled dialogues over tasks."""
    by_task: dict[str, list[dict[str, Any]]] = {name: [] for name in TASKS}
    for observed in dialogues:
        for task in observed["tasks"]:
            by_task[task["task"]].append(task)
    handled = [share([task["handled"] for task in tasks]) for tasks in by_task.values()]
    credit = [share([task["credit"] for task in tasks]) for tasks in by_task.values()]
    measured: Measured = {
        f"{name}_tor": share([task["tor"] for task in tasks]) for name, tasks in by_task.items()
    }
    for name in ("turn", "interruption"):
        latencies = [t["latency_s"] for t in by_task[name] if t["latency_s"] is not None]
        measured[f"{name}_latency_s"] = mean(latencies)
    answers = [t["answer_s"] for t in by_task["interruption"] if t["answer_s"] is not None]
    measured["interruption_original_latency_s"] = measured["interruption_latency_s"]
    measured["interruption_latency_s"] = mean(answers)
    rated = [task["right"] for task in by_task["interruption"] if task["right"] is not None]
    dictations = by_task["backchannel"]
    minutes = sum(task["seconds"] for task in dictations) / 60
    return measured | {
        CREDIT: mean([value for value in credit if value is not None]),
        "handled": mean([value for value in handled if value is not None]),
        "interruption_right": share(rated),
        "backchannel_per_min": per_minute(sum(task["n"] for task in dictations), minutes),
        "backchannel_jsd": mean([task["jsd"] for task in dictations]),
    }


SUITE: Final = Suite(
    name="fdb_v1",
    asks="the agent waits in pauses, answers turns and interruptions, and shows that it listens",
    title_note=(
        "A closed-domain twin of Full-Duplex-Bench v1: its formulas on simulated dialogues. Words "
        "are those of the `say` lane timed by sound instead of a recogniser's, the rating of "
        "replies to interruptions is whether they are right, and backchannels are compared with "
        "the simulated listener's instead of people's."
    ),
    observe=observe,
    measure=measure,
    n_dialogues=48,
    meanings={
        CREDIT: "mean over the four tasks of what is handled, in the right words and with nothing "
        "unasked",
        "handled": "mean over the four tasks: no speech in a pause and a turn after it; a reply "
        "within 0.8 s, not before the end, right after an interruption; backchannels at listening "
        "points and no turn",
        "pause_tor": "pauses in which the agent took the turn (lower is better)",
        "turn_tor": "turns that were answered with a turn",
        "turn_latency_s": "from the end of the turn to the first word; early ones count as 0",
        "interruption_tor": "interruptions after which the agent took the turn",
        "interruption_latency_s": "from the end of the interruption to the right answer, where "
        "that is what comes",
        "interruption_original_latency_s": "the benchmark's: to the first word, be it the rest of "
        "what was interrupted; who stops late gets 0",
        "interruption_right": "of those replies, the ones with the right words",
        "backchannel_tor": "long turns in which the agent took the turn (lower is better)",
        "backchannel_per_min": "backchannels per minute (60 times the benchmark's frequency)",
        "backchannel_jsd": "distance from the times of the simulated listener; 1: none at all",
    },
)
