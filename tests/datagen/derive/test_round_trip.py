"""A set that is exported and taken in again as recorded conversations has its events again."""

from __future__ import annotations

from pathlib import Path

import pytest

from microturn.configs.load import load_config
from microturn.configs.main import main
from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.conversations.reader import Conversations
from microturn.datagen.derive.config import DeriveConfig
from microturn.datagen.derive.events import derive_events
from microturn.datagen.fit.sources import spoken_side
from microturn.datagen.sets.shards import ShardReader
from microturn.evaluation.bench.derived.agreement import Agreement, agreement
from microturn.evaluation.bench.derived.bench import GOALS


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_conversations_that_went_out_come_back_with_their_events(tmp_path: Path) -> None:
    out, moshi, corpus = (str(tmp_path / name) for name in ("set", "moshi", "corpus"))
    words = ["only=[conversation]", "n_dialogues=24", "features=false"]
    assert main(["simulate", "datagen/human.yaml", f"out={out}", *words]) == 0
    assert main(["export", out, "format=moshi", f"out={moshi}"]) == 0
    values = [f"out={corpus}", "name=back", "language=en", "licence=own"]
    assert main(["corpus", "add", moshi, *values]) == 0
    own = load_config(DatagenConfig, [], ["out=unused"]).vocabulary.backchannels
    config = DeriveConfig(more_backchannels=own)
    reader, found = ShardReader(out), {kind: Agreement() for kind in GOALS}
    conversations = Conversations.open(corpus)
    assert len(conversations) == len(reader)
    for position, conversation in enumerate(conversations):
        end_s = conversation.duration_s
        sides = {side.role: spoken_side(side, end_s=end_s) for side in conversation.sides}
        events = derive_events(
            *(sides["user"], sides["agent"]), duration_s=end_s, language="en", config=config
        )
        labels = reader.without_sound(position).labels
        for kind, total in found.items():
            total.add(agreement(labels, events, kind=kind, tolerance_s=0.05, shortest_s=0.0))
    for kind, goal in GOALS.items():
        f1 = found[kind].f1
        assert f1 is not None
        assert f1 >= goal, kind
