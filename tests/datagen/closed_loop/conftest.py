"""Sources of closed loops; everything in them is real."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from microturn.configs.load import load_config
from microturn.datagen.config import DatagenConfig
from microturn.datagen.live import LiveSource

OpenSource = Callable[..., LiveSource]


@pytest.fixture(scope="session")
def demo(cache: Path) -> LiveSource:
    small = f"rooms.n_rooms=2 rooms.method=tail cache={cache}"
    return LiveSource.open(f"live:datagen/demo.yaml {small}")


@pytest.fixture(scope="session")
def open_source(demo: LiveSource) -> OpenSource:
    """Opens a mix with the rooms and the tokenizer of `demo`, which take long to make."""

    def build(mix: str, *options: str) -> LiveSource:
        config = load_config(DatagenConfig, [mix], ["out=live", *options])
        return replace(demo, config=replace(config, rooms=demo.config.rooms))

    return build


@pytest.fixture(scope="session")
def people(open_source: OpenSource) -> LiveSource:
    """Conversations in people's timing, over lines and networks with faults."""
    return open_source("datagen/human.yaml", "n_micro_turns=150", "channel.echo_probability=0.6")


@pytest.fixture(scope="session")
def open_speech(open_source: OpenSource) -> LiveSource:
    kinds = ("music", "noise", "background_speech", "timed_cue", "spoken_cue", "delegation")
    transplants = (f"scenarios.transplants.{kind}=0.5" for kind in kinds)
    return open_source("datagen/open.yaml", "n_micro_turns=150", *transplants)


@pytest.fixture(scope="session")
def everything(open_source: OpenSource) -> LiveSource:
    """All closed families that need no camera, in rooms with echo."""
    blind = [f"families.visual_{name}=0" for name in ("count", "span", "question")]
    return open_source(
        "datagen/everything.yaml",
        *(*blind, "layout.video_rows=0", "layout.video_cols=0", "channel.echo_probability=0.8"),
        *("acoustics.echo.room_probability=0.7", "acoustics.echo.cancel_probability=0.5"),
        *("acoustics.stretch.probability=0.3", "acoustics.places.third_voice_probability=0.3"),
    )
