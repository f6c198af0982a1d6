"""pipecat and LiveKit, unmodified and in an environment of their own, talk over a real socket.

Each asks aloud, hears the background agent's answer, and interrupts it with the same words. See
docs/live.md for the command.
"""

import base64
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from microturn.inference.audio import decode_pcm16, encode_pcm16
from microturn.model.streams.pcm import Audio
from support.live_talk import RATE
from support.ruled_batch import REPEATS, TONE

SCRIPTS = Path(__file__).resolve().parents[3] / "support" / "frameworks"
PAUSE_S = 4


@pytest.mark.frameworks
@pytest.mark.parametrize("script", ["pipecat_client.py", "livekit_client.py"])
def test_words_a_delegation_and_an_interruption(
    script: str, url: str, recording: Audio, tmp_path: Path
) -> None:
    silence = np.zeros(16_000, np.float32)
    pauses = [silence] * PAUSE_S
    spoken = np.concatenate([recording, *pauses, recording, *[silence] * 2])
    file = tmp_path / "spoken.raw"
    file.write_bytes(encode_pcm16(spoken))
    python = os.environ["MICROTURN_FRAMEWORKS_PYTHON"]  # the interpreter that has them
    command = [python, "-W", "ignore", str(SCRIPTS / script), url, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2_000:]
    told = [json.loads(line) for line in done.stdout.splitlines()]
    heard, said = ("".join(t[kind] for t in told if kind in t) for kind in ("heard", "said"))
    assert heard == "eight plus three"
    assert said.startswith("one moment please eleven eleven")
    assert 0 < said.count("eleven") < REPEATS
    audio = np.concatenate(
        [decode_pcm16(base64.b64decode(t["audio"])) for t in told if "audio" in t]
    )
    last_s = np.flatnonzero(audio > TONE / 2)[-1] / RATE
    interrupted_s = len(recording) / 16_000 + PAUSE_S
    assert interrupted_s - 1 < last_s < interrupted_s + 1
