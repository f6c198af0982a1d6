"""One conversation of a client program: recorded speech in by the clock, what it tells out."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from scipy.signal import resample_poly

from microturn.configs.reading import lines_of
from microturn.datagen.corpora.manifest import DEFAULT_FOLDER, Corpus
from microturn.evaluation.bench.clients.ruled import HEARD
from microturn.inference.audio import decode_pcm16, encode_pcm16
from microturn.model.streams.pcm import Audio

RATE: Final = 24_000  # of what client programs read and write
_PIECE: Final = RATE // 10
_START_S: Final = 180.0  # a framework may take a long time to import
_END_S: Final = 60.0
_LONGEST_LINE: Final = 1 << 20
_LONGEST_FAULT: Final = 200  # characters
_PAUSE_S: Final = 4.0
_LOUD: Final = 0.01  # RMS


@dataclass(frozen=True, kw_only=True)
class RecordedQuestion:
    """Recorded speech, a pause in which the answer comes, and the same speech, which interrupts."""

    samples: Audio  # at 24 kHz
    interrupted_s: float


def recorded_question() -> RecordedQuestion:
    """Return the words of the rules, spoken by a person, with silence around each."""
    corpus = Corpus.open(DEFAULT_FOLDER)
    gap = np.zeros(corpus.sample_rate // 5, np.float32)
    pieces = [gap]
    for word in HEARD:
        spoken = [u for u in corpus.filter(speaker="asterisk-en") if u.text == word]
        pieces += [corpus.load(spoken[0]), gap]
    words = np.concatenate(pieces)
    asked = resample_poly(words, RATE, corpus.sample_rate).astype(np.float32)
    pause = np.zeros(round(_PAUSE_S * RATE), np.float32)
    samples = np.concatenate([asked, pause, asked, pause[: len(pause) // 2]])
    return RecordedQuestion(samples=samples, interrupted_s=len(asked) / RATE + _PAUSE_S)


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a client told, after so many seconds of the microphone's clock."""

    time_s: float
    kind: str
    value: str


@dataclass(kw_only=True)
class ClientTalk:
    """What became of one conversation."""

    interrupted_s: float
    told: list[Told] = field(default_factory=list)
    fault: str = ""  # why it ended early

    @property
    def connected(self) -> bool:
        return any(t.kind == "connected" for t in self.told)

    def words(self, kind: str) -> str:
        """Return all words that were told so, each behind one blank."""
        return " ".join(word for t in self.told if t.kind == kind for word in t.value.split())

    def errors(self) -> list[str]:
        return [t.value for t in self.told if t.kind == "error"]

    @property
    def loud_s(self) -> list[float]:
        """Times at which audible sound came."""
        return [t.time_s for t in self.told if t.kind == "audio" and _is_loud(t.value)]

    @property
    def stopped_after_s(self) -> float | None:
        """Seconds from the interruption to the last sound; None if there was none to interrupt."""
        loud = self.loud_s
        if not any(abs(time_s - self.interrupted_s) < _PAUSE_S / 4 for time_s in loud):
            return None
        return max(loud) - self.interrupted_s


def _is_loud(value: str) -> bool:
    samples = decode_pcm16(base64.b64decode(value))
    return bool(len(samples)) and float(np.sqrt(np.mean(np.square(samples)))) > _LOUD


async def talk_through(
    command: Sequence[str], question: RecordedQuestion, *, folder: Path
) -> ClientTalk:
    """Run a client program from a folder, and speak into it once it is connected."""
    talk = ClientTalk(interrupted_s=question.interrupted_s)
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=_LONGEST_LINE, cwd=folder
    )
    assert process.stderr
    errors = asyncio.create_task(process.stderr.read())
    listening = _Listening(process, talk)
    try:
        async with asyncio.timeout(_START_S):
            await listening.until_connected()
        await listening.speak(question.samples)
        async with asyncio.timeout(_END_S):
            await process.wait()
            await listening.task
    except TimeoutError:
        talk.fault = "it did not end" if talk.connected else "it did not connect"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        listening.task.cancel()
    if process.returncode and not talk.fault:
        talk.fault = _last_words(await errors) or f"it ended with code {process.returncode}"
    return talk


def _last_words(errors: bytes) -> str:
    """Return the sentence of an error, which Python writes last and node some lines before."""
    lines = [line.strip() for line in lines_of(errors.decode(errors="replace")) if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b.*:", line)]
    return (named or lines or [""])[-1][:_LONGEST_FAULT]


class _Listening:
    """Reads what a program tells, and stamps it with the time of the microphone."""

    def __init__(self, process: Process, talk: ClientTalk) -> None:
        self._process, self._talk = process, talk
        self._connected = asyncio.Event()
        self._began_s = time.monotonic()
        self.task = asyncio.create_task(self._read())

    async def until_connected(self) -> None:
        """Wait for its word, or for its end."""
        await self._connected.wait()
        self._began_s = time.monotonic()

    async def speak(self, samples: Audio) -> None:
        """Write samples by the clock, and end its input."""
        pipe = self._process.stdin
        assert pipe
        try:
            for start in range(0, len(samples), _PIECE):
                due_s = self._began_s + (start + _PIECE) / RATE
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                pipe.write(encode_pcm16(samples[start : start + _PIECE]))
                await pipe.drain()
            pipe.close()
        except (BrokenPipeError, ConnectionResetError):
            return  # it ended; its code and its last words say why

    async def _read(self) -> None:
        assert self._process.stdout
        async for line in self._process.stdout:
            for kind, value in json.loads(line).items():
                time_s = time.monotonic() - self._began_s
                self._talk.told.append(Told(time_s=time_s, kind=kind, value=value))
                if kind == "connected":
                    self._connected.set()
        self._connected.set()  # it has ended, whatever it told
