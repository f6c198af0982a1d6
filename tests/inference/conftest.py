"""Real recordings of a person, and a tiny untrained model in a checkpoint folder."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from microturn.datagen.corpora.manifest import DEFAULT_FOLDER, Corpus
from microturn.inference.audio import write_wav
from microturn.inference.rows import RowBatch
from microturn.model.checkpoint import LoadedCheckpoint, random_checkpoint, save_checkpoint
from microturn.model.streams import StreamLayout
from microturn.model.streams.pcm import Audio

SAID = ("eight", "plus", "three")


@pytest.fixture(scope="session")
def recording() -> Audio:
    """The words of SAID, spoken by a person, with silence around the words."""
    corpus = Corpus.open(DEFAULT_FOLDER)
    silence = np.zeros(corpus.sample_rate // 5, np.float32)
    pieces = [silence]
    for word in SAID:
        spoken = [u for u in corpus.filter(speaker="asterisk-en") if u.text == word]
        pieces += [corpus.load(spoken[0]), silence]
    return np.concatenate(pieces)


@pytest.fixture(scope="session")
def recording_file(recording: Audio, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "eight_plus_three.wav"
    write_wav(path, recording, sample_rate=StreamLayout().sample_rate)
    return path


@pytest.fixture(scope="session")
def checkpoint() -> LoadedCheckpoint:
    words = ("eleven", "four", "o'clock", "moment", "please", "i'm", "sorry", *SAID)
    return random_checkpoint(0, words=words)


@pytest.fixture(scope="session")
def checkpoint_folder(
    checkpoint: LoadedCheckpoint, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    save_checkpoint(folder, checkpoint.model, checkpoint.tokenizer)
    return folder


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Bits are the same on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def one_row(checkpoint: LoadedCheckpoint) -> RowBatch:
    torch.set_num_threads(1)
    return RowBatch(checkpoint, 1)
