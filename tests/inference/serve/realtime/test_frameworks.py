"""pipecat and openai-agents, unmodified and in an environment of their own, over a real socket.

Each asks aloud, has its function called, hears the answer, and interrupts it with the same words.
See docs/realtime.md for the command.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from microturn.inference.audio import encode_pcm16
from microturn.model.streams.pcm import Audio
from support.live_talk import at_24_khz, silence
from support.ruled_batch import REPEATS

SCRIPTS = Path(__file__).resolve().parents[3] / "support" / "frameworks"


@pytest.mark.frameworks
@pytest.mark.parametrize("script", ["pipecat_realtime_client.py", "agents_realtime_client.py"])
def test_words_a_function_call_and_an_interruption(
    script: str, url: str, recording: Audio, tmp_path: Path
) -> None:
    asked = at_24_khz(recording)
    file = tmp_path / "spoken.raw"
    file.write_bytes(encode_pcm16(np.concatenate([asked, silence(4), asked, silence(2)])))
    python = os.environ["MICROTURN_FRAMEWORKS_PYTHON"]  # the interpreter that has them
    command = [python, "-W", "ignore", str(SCRIPTS / script), url, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2_000:]
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert not [t for t in told if "error" in t]
    assert next(t["heard"] for t in told if "heard" in t) == "eight plus three"
    assert [t["asked"] for t in told if "asked" in t] == ["eight plus three"]
    said = "".join(t["said"] for t in told if "said" in t)
    assert said.replace(" ", "").startswith("onemomentpleaseeleven")
    assert 0 < said.count("eleven") < REPEATS
    asked_at, interrupted_at = (
        max(index for index, t in enumerate(told) if kind in t) for kind in ("asked", "interrupted")
    )
    assert asked_at < interrupted_at
