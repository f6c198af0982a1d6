"""Five minutes without a request: the agent must not begin to talk by itself.

Digital silence, room noise and music; published full-duplex models start to speak in about a third
of such runs of digital silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.replies import mean, share
from microturn.evaluation.suites.suite import Measured, Observations, Suite

KINDS: Final = ("digital", "noise", "music")
WINDOW_S: Final = 10.0


def kind_of(scored: ScoredDialogue) -> str:
    """Kind of the sound in the microphone: digital silence, noise or music."""
    noise = scored.dialogue.channel.noise
    if not noise:
        return "digital"
    return "music" if noise == "music" else "noise"


def observe(scored: ScoredDialogue) -> Observations:
    """Count onsets and silent windows."""
    duration_s = scored.dialogue.duration_s
    n_windows = max(1, round(duration_s / WINDOW_S))
    quiet = [
        scored.activity.seconds_in(i * WINDOW_S, (i + 1) * WINDOW_S) * 1000
        <= scored.windows.spurious_ms
        for i in range(n_windows)
    ]
    return {
        "kind": kind_of(scored),
        "onsets": len(scored.utterances),
        "minutes": duration_s / 60,
        "quiet": sum(quiet),
        "windows": n_windows,
        "first_s": scored.utterances[0][0] if scored.utterances else None,
    }


def measure(dialogues: Sequence[Observations]) -> Measured:
    """Compute shares of silent windows and runs, and onsets per minute by kind."""
    measured: Measured = {}
    for kind in KINDS:
        here = [observed for observed in dialogues if observed["kind"] == kind]
        minutes = sum(observed["minutes"] for observed in here)
        onsets = sum(observed["onsets"] for observed in here)
        measured[f"{kind}_onsets_per_min"] = onsets / minutes if minutes else None
    n_windows = sum(observed["windows"] for observed in dialogues)
    return measured | {
        "silent": sum(f["quiet"] for f in dialogues) / n_windows if n_windows else None,
        "silent_runs": share([observed["onsets"] == 0 for observed in dialogues]),
        "first_onset_s": mean([f["first_s"] for f in dialogues if f["first_s"] is not None]),
    }


SUITE: Final = Suite(
    name="silence",
    asks="the agent says nothing for five minutes in which nobody speaks to it",
    headline="silent",
    title_note=(
        "Two runs of five minutes each of digital silence, pink room noise and music. Silence is "
        "all that is asked, so an agent that never speaks gets everything."
    ),
    observe=observe,
    measure=measure,
    n_dialogues=6,
    meanings={
        "silent": "stretches of ten seconds without speech",
        "silent_runs": "runs without a single onset",
        "digital_onsets_per_min": "onsets per minute of digital silence",
        "noise_onsets_per_min": "the same of room noise",
        "music_onsets_per_min": "the same of music",
        "first_onset_s": "mean time of the first onset, where there is one",
    },
)
