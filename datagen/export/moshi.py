"""Export to moshi-finetune: stereo at 24 kHz, agent left, user right, word times in JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from microturn.datagen.corpora.manifest import resample
from microturn.datagen.export.config import ExportConfig
from microturn.datagen.export.dialogue import duration_of, segments_of
from microturn.datagen.sets.shards import ShardReader, StoredDialogue
from microturn.model.streams.pcm import Pcm16, to_pcm16

RATE = 24_000
SPEAKERS = {"agent": "SPEAKER_MAIN", "user": "SPEAKER_OTHER"}  # the model learns the words of MAIN
FOLDER = "data_stereo"


class MoshiExport:
    """Writes `SPLIT.jsonl` and `data_stereo/KEY.{wav,json}`."""

    def __init__(
        self, config: ExportConfig, reader: ShardReader, *, folder: Path, out: Path
    ) -> None:
        self._config, self._rate = config, reader.layout.sample_rate
        self._folder, self._name = folder, f"{reader.split}.jsonl"
        self._lines: list[str] = []
        (folder / FOLDER).mkdir()

    def add(self, sample: StoredDialogue) -> None:
        path = self._folder / FOLDER / f"{sample.key}.wav"
        soundfile.write(path, stereo(sample, self._rate), RATE, subtype="PCM_16")
        words: list[list[Any]] = [
            [word.text, [word.start_s, word.end_s], SPEAKERS[segment.lane]]
            for segment in segments_of(sample, self._config.join_s)
            if segment.lane in SPEAKERS
            for word in segment.words
        ]
        words.sort(key=lambda item: item[1])
        path.with_suffix(".json").write_text(
            json.dumps({"alignments": words}, ensure_ascii=False), encoding="utf-8"
        )
        line = {"path": f"{FOLDER}/{sample.key}.wav", "duration": duration_of(sample)}
        self._lines.append(json.dumps(line) + "\n")

    def close(self) -> None:
        (self._folder / self._name).write_text("".join(self._lines), encoding="utf-8")


def stereo(sample: StoredDialogue, rate: int) -> Pcm16:
    """Return samples (n, 2) at 24 kHz: agent, user."""
    sides = [resample(audio, rate, new_rate=RATE) for audio in (sample.agent(), sample.user())]
    return to_pcm16(np.stack(sides, axis=1))
