"""The page of a scripted model in a browser."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from microturn.inference.agent.process import start_agent
from microturn.inference.audio import write_wav
from microturn.inference.config import AgentConfig, ServeConfig
from microturn.inference.serve.engine import LiveEngine
from microturn.model.checkpoint import LoadedCheckpoint
from microturn.model.streams.pcm import Audio
from tests.support.browser import ServedPage, Tab, browser_hearing, new_tab, served_page
from tests.support.scripted_page import ScriptedBatch


@pytest.fixture(scope="module")
def browser(recording: Audio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("browser")
    noisy = np.tile(recording, 3) + 0.01 * np.random.default_rng(0).standard_normal(
        3 * len(recording)
    )
    write_wav(folder / "microphone.wav", noisy.astype(np.float32), sample_rate=16_000)
    with browser_hearing(folder / "microphone.wav", folder / "profile") as browser:
        yield browser


@pytest.fixture
def tab(browser: str) -> Iterator[Tab]:
    with new_tab(browser) as tab:
        yield tab


@pytest.fixture
def batch(checkpoint: LoadedCheckpoint) -> ScriptedBatch:
    return ScriptedBatch(checkpoint)


@pytest.fixture
def config(tmp_path: Path) -> ServeConfig:
    """A checkpoint folder that knows two voices and has one example."""
    speakers = {"ann": {"a": 3.0}, "bob": {"c": 1.0}}
    (tmp_path / "contents.json").write_text(json.dumps({"speakers": speakers}))
    (tmp_path / "examples").mkdir()
    chirp = 0.3 * np.sin(np.cumsum(np.linspace(0.05, 0.6, 16_000)))
    soundfile.write(tmp_path / "examples" / "0.flac", chirp, 16_000)
    row = {"file": "0.flac", "title": "eight plus three", "seconds": 1.0}
    (tmp_path / "examples" / "examples.json").write_text(json.dumps([row]))
    return ServeConfig(
        checkpoint=str(tmp_path),
        max_waiting_micro_turns=1_000,
        max_behind_ms=0.0,
        agent=AgentConfig(settle_s=0.0, latency_s=0.0),
    )


@pytest.fixture
def page(batch: ScriptedBatch, config: ServeConfig) -> Iterator[ServedPage]:
    with served_page(LiveEngine(batch, config, agent=start_agent(config.agent)), config) as page:
        yield page
