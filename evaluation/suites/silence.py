"""Five minutes of nothing: does the agent begin to talk by itself?

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


def kind_of(scene: ScoredDialogue) -> str:
    """What there is to be heard."""
    noise = scene.dialogue.channel.noise
    if not noise:
        return "digital"
    return "music" if noise == "music" else "noise"


def observe(scene: ScoredDialogue) -> Observations:
    """When the agent begins to speak, and how much of the time it is silent."""
    duration_s = scene.dialogue.duration_s
    n_windows = max(1, round(duration_s / WINDOW_S))
    quiet = [
        scene.activity.seconds_in(i * WINDOW_S, (i + 1) * WINDOW_S) * 1000
        <= scene.windows.spurious_ms
        for i in range(n_windows)
    ]
    return {
        "kind": kind_of(scene),
        "onsets": len(scene.utterances),
        "minutes": duration_s / 60,
        "quiet": sum(quiet),
        "windows": n_windows,
        "first_s": scene.utterances[0][0] if scene.utterances else None,
    }


def measure(dialogues: Sequence[Observations]) -> Measured:
    """Silent stretches, runs that stay silent, and onsets per minute by kind."""
    measured: Measured = {}
    for kind in KINDS:
        here = [facts for facts in dialogues if facts["kind"] == kind]
        minutes = sum(facts["minutes"] for facts in here)
        onsets = sum(facts["onsets"] for facts in here)
        measured[f"{kind}_onsets_per_min"] = onsets / minutes if minutes else None
    n_windows = sum(facts["windows"] for facts in dialogues)
    return measured | {
        "silent": sum(f["quiet"] for f in dialogues) / n_windows if n_windows else None,
        "silent_runs": share([facts["onsets"] == 0 for facts in dialogues]),
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
