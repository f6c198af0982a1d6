"""A checkpoint behind `microturn serve`, reached through its real socket.

One process serves, on a free port of this machine; every dialogue is a conversation of its own,
sent as fast as replies come. What is scored is what arrived at the client. The background agent is
the server's own calculator and clock, so results are its own and not the script's: a request for
the time is answered with the time of the day.
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

_PATIENCE_S = 10.0


@dataclass(kw_only=True)
class ServedAgent:
    """Plays dialogues to a server."""

    url: str
    process: subprocess.Popen[str] | None = field(default=None, repr=False)

    @classmethod
    def start(cls, checkpoint: str, *, device: str, seed: int) -> ServedAgent:
        """Serve a checkpoint until this process ends; raises OSError when it does not come up."""
        words = ["serve", f"checkpoint={checkpoint}", f"device={device}", f"seed={seed}", "port=0"]
        words += ["max_sessions=1", "admit_share=0"]
        command = [sys.executable, "-m", "microturn.configs.main", *words]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        atexit.register(_stop, process)
        assert process.stderr is not None
        for line in process.stderr:
            found = re.search(r"on http://(\S+)/ ", line)
            if found:
                return cls(url=f"ws://{found[1]}/ws", process=process)
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
            words=_words(answer.events, "agent", dialogue),
            delegates_s=tuple(
                event["time"]
                for event in answer.events
                if event["type"] == "delegation" and event["seq"] == 0
            ),
            deliveries=tuple(_deliveries(answer.events, dialogue)),
            heard=_words(answer.events, "user", dialogue),
        )


def _words(
    events: Sequence[dict[str, Any]], side: str, dialogue: Dialogue
) -> tuple[SpokenWord, ...]:
    """Words of one side; each lasts until the next one at most."""
    # The server's times are those at which a word is known; the user has said it in the micro-turn
    # before.
    shift_s, end_s = (dialogue.micro_turn_s if side == "user" else 0.0), dialogue.duration_s
    found = [(e["text"], float(e["time"]) - shift_s) for e in events if _is_word(e, side)]
    starts = [start for _, start in found] + [end_s]
    return tuple(
        SpokenWord(text=text, start_s=start, end_s=min(starts[i + 1], start + MAX_WORD_S))
        for i, (text, start) in enumerate(found)
        if start < end_s
    )


def _is_word(event: dict[str, Any], side: str) -> bool:
    return event["type"] == "word" and event["side"] == side


def _deliveries(events: Sequence[dict[str, Any]], dialogue: Dialogue) -> Iterator[Delivery]:
    """Results in the order of the scripted ones."""
    arrived = [event for event in events if event["type"] == "result"]
    scripted = [message for message in dialogue.messages if message.is_result]
    for event, message in zip(arrived, scripted, strict=False):
        yield Delivery(
            time_s=float(event["time"]), scripted_s=message.time_s, text=str(event["text"])
        )


def _stop(process: subprocess.Popen[str]) -> None:
    """Ask the server to end; after a while, end it."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
