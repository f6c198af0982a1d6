"""What the echo canceller of the page costs a voice that talks while the agent makes sound."""

import numpy as np
import pytest

from microturn.inference.config import ServeConfig
from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.serve.engine import LiveEngine
from microturn.model.checkpoint import LoadedCheckpoint
from microturn.model.streams.pcm import Audio
from tests.support.browser import NEEDS_BROWSER, Tab, served_page
from tests.support.loudness import loudness, most_alike
from tests.support.scripted_page import ScriptedBatch

pytestmark = [pytest.mark.clients, pytest.mark.slow, NEEDS_BROWSER]

MICRO_TURNS = 30
NOISE = 0.1  # of the agent: -20 dBFS


class NoisyAgent(ScriptedBatch):
    """Makes noise at every moment."""

    def _step(self, row: int, micro_turn: MicroTurnIn) -> MicroTurnOut:
        out = super()._step(row, micro_turn)
        rng = np.random.default_rng(int(self.micro_turns[row]))
        noise = NOISE * rng.standard_normal(len(out.audio))
        return MicroTurnOut(audio=noise.astype(np.float32), tokens=out.tokens)


def test_headphones_leave_the_voice_as_it_is(
    tab: Tab, checkpoint: LoadedCheckpoint, recording: Audio
) -> None:
    """No echo reaches the microphone here: whatever changes is the canceller's doing."""
    alike = {}
    for headphones in (True, False):
        batch, config = NoisyAgent(checkpoint, {}), ServeConfig(max_waiting_micro_turns=1_000)
        with served_page(LiveEngine(batch, config), config) as page:
            tab.open(page.url)
            if headphones:
                tab.click("#headphones")
            tab.click("#talk")
            tab.wait("the microphone", lambda: tab.text("status") == "listening")
            n = len(batch.heard)
            tab.wait("sound", lambda batch=batch, n=n: len(batch.heard) >= n + MICRO_TURNS)
            heard = np.concatenate(batch.heard[n:])
            tab.click("#talk")
        alike[headphones] = most_alike(loudness(heard), loudness(np.tile(recording, 3)))
    print(f"loudness alike: headphones {alike[True]:.2f}, echo cancelled {alike[False]:.2f}")
    assert alike[True] > 0.85
