"""Export to Lhotse: one cut of two channels per dialogue (0 user, 1 agent), optionally Shar."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from microturn.datagen.export.config import ExportConfig
from microturn.datagen.export.dialogue import (
    CHANNELS,
    SpokenSegment,
    duration_of,
    segments_of,
)
from microturn.datagen.labels.time_classes import INTERPOLATED
from microturn.datagen.sets.shards import ShardReader, StoredDialogue

SIDES = ("user", "agent")  # in the order of their channels
# Labels that are copied to the custom fields of a cut.
CUSTOM = ("seed", "index", "split", "families", "events", "text_in", "room", "channel", "items")


class LhotseExport:
    """Writes `recordings`, `supervisions` and `cuts` as `.jsonl.gz`, `audio/`, and `shar/`."""

    def __init__(
        self, config: ExportConfig, reader: ShardReader, *, folder: Path, out: Path
    ) -> None:
        self._config, self._rate = config, reader.layout.sample_rate
        self._folder, self._out = folder, out.absolute()
        self._cuts: list[dict[str, Any]] = []
        (folder / "audio").mkdir()

    def add(self, sample: StoredDialogue) -> None:
        for side in SIDES:
            path = self._folder / "audio" / f"{sample.key}.{side}.flac"
            path.write_bytes(sample.members[f"{side}.flac"])
        supervisions = [
            {
                "id": segment.id,
                "recording_id": sample.key,
                "start": segment.start_s,
                "duration": segment.duration_s,
                "channel": SIDES.index(CHANNELS[segment.lane]),
                "text": segment.text,
                "language": segment.language,
                "speaker": segment.voice,
                "custom": {"lane": segment.lane, **_inexact(segment)},
                "alignment": {
                    "word": [
                        [word.text, word.start_s, round(word.end_s - word.start_s, 6)]
                        for word in segment.timed_words
                    ]
                },
            }
            for segment in segments_of(sample, self._config.join_s)
        ]
        duration, labels = duration_of(sample), sample.labels.to_json()
        recording = {
            "id": sample.key,
            "sources": [
                {
                    "type": "file",
                    "channels": [channel],
                    "source": str(self._out / "audio" / f"{sample.key}.{side}.flac"),
                }
                for channel, side in enumerate(SIDES)
            ],
            "sampling_rate": self._rate,
            "num_samples": round(duration * self._rate),
            "duration": duration,
            "channel_ids": [0, 1],
        }
        self._cuts.append(
            {
                "id": sample.key,
                "start": 0,
                "duration": duration,
                "channel": [0, 1],
                "supervisions": supervisions,
                "recording": recording,
                "custom": {name: labels[name] for name in CUSTOM},
                "type": "MultiCut",
            }
        )

    def close(self) -> None:
        recordings = (cut["recording"] for cut in self._cuts)
        supervisions = (item for cut in self._cuts for item in cut["supervisions"])
        for name, rows in (
            ("recordings", recordings),
            ("supervisions", supervisions),
            ("cuts", self._cuts),
        ):
            _write_jsonl_gz(self._folder / f"{name}.jsonl.gz", rows)
        if self._config.shar:
            self._write_shar()

    def _write_shar(self) -> None:
        from lhotse import CutSet
        from lhotse.cut import MultiCut
        from lhotse.shar import SharWriter

        shar = self._folder / "shar"
        shar.mkdir()
        here = str(self._folder / "audio")
        with SharWriter(
            str(shar), fields={"recording": "flac"}, shard_size=self._config.dialogues_per_shard
        ) as writer:
            for row in self._cuts:
                # The audio is still in the temporary folder.
                text = json.dumps(row).replace(json.dumps(str(self._out / "audio"))[1:-1], here)
                (cut,) = CutSet.from_dicts([json.loads(text)])
                assert isinstance(cut, MultiCut)
                writer.write(cut)


def _inexact(segment: SpokenSegment) -> dict[str, Any]:
    """Return the places of interpolated words in the alignment, and the words without a time."""
    words = segment.timed_words
    interpolated = [i for i, word in enumerate(words) if word.times == INTERPOLATED]
    unknown = [[w.text, w.start_s, w.end_s] for w in segment.words if w.is_unknown]
    return {
        **({"interpolated": interpolated} if interpolated else {}),
        **({"unknown": unknown} if unknown else {}),
    }


def _write_jsonl_gz(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows without a date in the gzip header, so that equal rows give equal bytes."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
