"""A checkpoint behind `microturn serve`, reached through its real socket.

One process serves, on a free port of this machine; every dialogue is a session, sent as fast as
replies come. Only sound is sent: `evaluate` refuses sets whose frames the checkpoint would read.
The score is that of the audio and events at the client. The background agent is the server's
calculator and clock, so results are not those of the script: a request for the time is answered
with the time of day.
"""

from __future__ import annotations

import asyncio
import atexit
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from microturn.evaluation.scoring.agent_output import (
    MAX_WORD_S,
    AgentOutput,
    Delivery,
    SpokenWord,
)
from microturn.evaluation.scoring.dialogue import Dialogue
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue

_STOP_TIMEOUT_S = 10.0


@dataclass(kw_only=True)
class ServedAgent:
    """Streams dialogues to a server."""

    url: str
    process: subprocess.Popen[str] | None = field(default=None, repr=False)

    @classmethod
    def start(cls, checkpoint: str, *, device: str, seed: int) -> ServedAgent:
        """Serve a checkpoint until this process ends; raises OSError when it does not come up."""
        words = ["serve", f"checkpoint={checkpoint}", f"device={device}", f"seed={seed}", "port=0"]
        words += ["max_sessions=1", "admit_share=0", "audio_ahead_s=0", "max_behind_ms=0"]
        command = [sys.executable, "-m", "microturn.configs.main", *words]
        process = subprocess.Popen(
            command, stderr=subprocess.PIPE, encoding="utf-8", errors="replace"
        )
        atexit.register(_stop, process)
        assert process.stderr is not None
        for line in process.stderr:
            address = re.search(r"on http://(\S+)/ ", line)
            if address:
                return cls(url=f"ws://{address[1]}/ws", process=process)
        raise OSError(f"`microturn serve checkpoint={checkpoint}` did not come up")

    def perform(self, samples: Sequence[HeldOutDialogue]) -> Iterator[AgentOutput]:
        for sample in samples:
            yield self._perform(sample)

    def _perform(self, sample: HeldOutDialogue) -> AgentOutput:
        from microturn.inference.serve.client import talk_to_server

        answer = asyncio.run(talk_to_server(self.url, sample.load_user(), real_time=False))
        dialogue = sample.dialogue
        n = round(dialogue.duration_s * sample.sample_rate)
        return AgentOutput(
            audio=answer.audio[:n],
            sample_rate=sample.sample_rate,
            words=_words(answer.events, dialogue, side="agent"),
            delegates_s=tuple(
                event["time_s"]
                for event in answer.events
                if event["type"] == "delegation" and event["seq"] == 0
            ),
            deliveries=tuple(_deliveries(answer.events, dialogue)),
            heard=_words(answer.events, dialogue, side="user"),
        )


def _words(
    events: Sequence[dict[str, Any]], dialogue: Dialogue, *, side: str
) -> tuple[SpokenWord, ...]:
    """List the words of one side; each lasts until the next one at most."""
    # The server gives the time at which a word is known: the micro-turn after the user spoke it.
    shift_s, end_s = (dialogue.micro_turn_s if side == "user" else 0.0), dialogue.duration_s
    words = [(e["text"], float(e["time_s"]) - shift_s) for e in events if _is_word(e, side)]
    starts = [start for _, start in words] + [end_s]
    return tuple(
        SpokenWord(text=text, start_s=start, end_s=min(starts[i + 1], start + MAX_WORD_S))
        for i, (text, start) in enumerate(words)
        if start < end_s
    )


def _is_word(event: dict[str, Any], side: str) -> bool:
    return event["type"] == "word" and event["side"] == side


def _deliveries(events: Sequence[dict[str, Any]], dialogue: Dialogue) -> Iterator[Delivery]:
    """Pair results with the scripted ones, in order."""
    arrived = [event for event in events if event["type"] == "result"]
    scripted = [message for message in dialogue.messages if message.is_result]
    for event, message in zip(arrived, scripted, strict=False):
        yield Delivery(
            time_s=float(event["time_s"]), scripted_s=message.time_s, text=str(event["text"])
        )


def _stop(process: subprocess.Popen[str]) -> None:
    """Interrupt the server; kill it if it does not end in time."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
