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
from microturn.datagen.labels.dialogue import WordLabel
from microturn.datagen.labels.time_classes import INTERPOLATED
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
        path.with_suffix(".json").write_text(
            json.dumps(self._words(sample), ensure_ascii=False), encoding="utf-8"
        )
        line = {"path": f"{FOLDER}/{sample.key}.wav", "duration": duration_of(sample)}
        self._lines.append(json.dumps(line) + "\n")

    def _words(self, sample: StoredDialogue) -> dict[str, Any]:
        """Return word times; those of interpolated words are named, unknown ones are apart."""
        words = sorted(
            (
                (word, SPEAKERS[segment.lane])
                for segment in segments_of(sample, self._config.join_s)
                if segment.lane in SPEAKERS
                for word in segment.words
            ),
            key=lambda item: (item[0].start_s, item[0].end_s),
        )
        timed = [item for item in words if not item[0].is_unknown]
        interpolated = [i for i, (word, _) in enumerate(timed) if word.times == INTERPOLATED]
        unknown = [_entry(*item) for item in words if item[0].is_unknown]
        return {
            "alignments": [_entry(*item) for item in timed],
            **({"interpolated": interpolated} if interpolated else {}),
            **({"unknown": unknown} if unknown else {}),
        }

    def close(self) -> None:
        (self._folder / self._name).write_text("".join(self._lines), encoding="utf-8")


def _entry(word: WordLabel, speaker: str) -> list[Any]:
    return [word.text, [word.start_s, word.end_s], speaker]


def stereo(sample: StoredDialogue, rate: int) -> Pcm16:
    """Return samples (n, 2) at 24 kHz: agent, user."""
    sides = [resample(audio, rate, new_rate=RATE) for audio in (sample.agent(), sample.user())]
    return to_pcm16(np.stack(sides, axis=1))
