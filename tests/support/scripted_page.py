"""A server whose model is scripted, for what a person does on the page."""

import base64
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile

from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.rows import RowBatch
from microturn.model.checkpoint import LoadedCheckpoint
from microturn.model.streams.pcm import Audio
from tests.support.browser import ServedPage, Tab
from tests.support.scripted import scripted_ids

HEARD = {1: "eight", 3: "plus", 5: "three"}
SAID = {2: "four", 7: "<delegate>", 8: "moment", 9: "please"}
TONE = 0.1 * np.sin(2 * np.pi * 400 * np.arange(3_200) / 16_000)  # what is heard while it speaks


class ScriptedBatch(RowBatch):
    """A model that costs nothing and keeps what it hears, row by row."""

    def __init__(self, checkpoint: LoadedCheckpoint, words: Mapping[int, str] = HEARD) -> None:
        super().__init__(checkpoint, 2)
        self.words, self.heard = words, list[Audio]()

    def step_rows(self, inputs: Mapping[int, MicroTurnIn]) -> dict[int, MicroTurnOut]:
        return {row: self._step(row, micro_turn) for row, micro_turn in inputs.items()}

    def _step(self, row: int, micro_turn: MicroTurnIn) -> MicroTurnOut:
        k = int(self.micro_turns[row])
        self.micro_turns[row] += 1
        self.heard.append(micro_turn.audio.copy())
        tokens = {
            "heard": scripted_ids(self.tokenizer, self.words.get(k, ""))[:1],
            "say": scripted_ids(self.tokenizer, SAID.get(k, ""))[:1],
        }
        sound = TONE if k in SAID else np.zeros_like(TONE)
        return MicroTurnOut(audio=sound.astype(np.float32), tokens=tokens)

    def hears_sound(self) -> bool:
        return bool(self.heard) and float(np.abs(self.heard[-1]).max()) > 1e-4


def start_talking(tab: Tab, page: ServedPage) -> None:
    tab.open(page.url)
    tab.click("#talk")
    tab.wait("the microphone", lambda: tab.text("status") == "listening")


@dataclass(frozen=True)
class Download:
    """What the page gives to keep."""

    sound: Audio  # (samples, 2): the user, the agent
    rate: int
    labels: dict[str, Any]
    transcript: str


def download(tab: Tab) -> Download:
    """Press the button, and unpack the file."""
    packed = tab.value(
        """(async () => {
            let file;
            const make = URL.createObjectURL;
            URL.createObjectURL = (blob) => make((file = blob));
            HTMLAnchorElement.prototype.click = () => {};
            document.querySelector('#download').click();
            const bytes = new Uint8Array(await file.arrayBuffer());
            let text = '';
            for (const byte of bytes) text += String.fromCharCode(byte);
            return btoa(text);
        })()"""
    )
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(packed))) as files:
        assert files.testzip() is None
        sound, rate = soundfile.read(io.BytesIO(files.read("conversation.wav")), dtype="float32")
        return Download(
            sound=sound,
            rate=rate,
            labels=json.loads(files.read("conversation.json")),
            transcript=files.read("transcript.txt").decode(),
        )
