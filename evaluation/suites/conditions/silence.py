"""Five minutes without a request, then a question: silence without being switched off.

Digital silence, room noise and music; published full-duplex models start to speak in about a third
of such runs of digital silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from microturn.datagen.labels.dialogue import EventLabel
from microturn.evaluation.scoring.moments import SAME_S
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.multi_challenge import reply_to
from microturn.evaluation.suites.statistics import mean, per_minute, ratio, share
from microturn.evaluation.suites.suite import CREDIT, Measured, Observations, Suite

KINDS: Final = ("digital", "noise", "music")
WINDOW_S: Final = 10.0


def kind_of(scored: ScoredDialogue) -> str:
    """Kind of the sound in the microphone: digital silence, noise or music."""
    noise = scored.dialogue.channel.noise
    if not noise:
        return "digital"
    return "music" if noise == "music" else "noise"


def observe(scored: ScoredDialogue) -> Observations:
    """Count onsets and silent windows until the question, and judge the answer to it."""
    questions = [event for event in scored.dialogue.of_type("turn") if event.act == "respond"]
    until_s = min([event.start_s for event in questions], default=scored.dialogue.duration_s)
    onsets = [start for start, _ in scored.utterances if start < until_s]
    n_windows = max(1, int(until_s / WINDOW_S))
    return {
        "kind": kind_of(scored),
        "onsets": len(onsets),
        "minutes": until_s / 60,
        "quiet": sum(
            _quiet(scored, until_s * i / n_windows, until_s / n_windows) for i in range(n_windows)
        ),
        "windows": n_windows,
        "first_s": onsets[0] if onsets else None,
        "answered": all(_answered(scored, event) for event in questions) if questions else None,
    }


def _quiet(scored: ScoredDialogue, start_s: float, length_s: float) -> bool:
    """Whether a stretch holds neither speech nor a `<delegate>`."""
    end_s = start_s + length_s
    asked = any(start_s <= time_s < end_s for time_s in scored.trace.delegates_s)
    speech_s = scored.activity.seconds_in(start_s, end_s)
    return not asked and speech_s * 1000 <= scored.windows.spurious_ms


def _answered(scored: ScoredDialogue, question: EventLabel) -> bool:
    until_s = question.end_s + scored.windows.onset_s
    onset = scored.activity.onset_in(question.end_s, until_s + SAME_S)
    return onset is not None and reply_to(scored, question) == question.expected


def measure(dialogues: Sequence[Observations]) -> Measured:
    """Compute shares of silent windows and runs, and onsets per minute by kind."""
    measured: Measured = {}
    for kind in KINDS:
        here = [observed for observed in dialogues if observed["kind"] == kind]
        minutes = sum(observed["minutes"] for observed in here)
        onsets = sum(observed["onsets"] for observed in here)
        measured[f"{kind}_onsets_per_min"] = per_minute(onsets, minutes)
    n_windows = sum(observed["windows"] for observed in dialogues)
    runs = [f for f in dialogues if f["answered"] is not None]
    return (
        {CREDIT: mean([f["quiet"] / f["windows"] * f["answered"] for f in runs])}
        | measured
        | {
            "answered": share([f["answered"] for f in runs]),
            "silent": ratio(sum(f["quiet"] for f in dialogues), n_windows),
            "silent_runs": share([observed["onsets"] == 0 for observed in dialogues]),
            "first_onset_s": mean([f["first_s"] for f in dialogues if f["first_s"] is not None]),
        }
    )


SUITE: Final = Suite(
    name="silence",
    asks="the agent says nothing for five minutes in which nobody speaks to it, and answers then",
    title_note=(
        "Two runs of five minutes each of digital silence, pink room noise and music, each with a "
        "question at its end."
    ),
    observe=observe,
    measure=measure,
    n_dialogues=6,
    meanings={
        CREDIT: "mean over runs of silent, if the question at the end is answered rightly and in "
        "time, else 0: who is switched off gets 0",
        "answered": "right answers in time to the question at the end",
        "silent": "stretches of ten seconds without speech",
        "silent_runs": "runs without a single onset",
        "digital_onsets_per_min": "onsets per minute of digital silence",
        "noise_onsets_per_min": "the same of room noise",
        "music_onsets_per_min": "the same of music",
        "first_onset_s": "mean time of the first onset, where there is one",
    },
)
