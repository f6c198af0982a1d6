"""Export to NeMo: manifests for diarization and recognition, with RTTM and CTM.

Paths are relative to the manifests, as NeMo resolves them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import soundfile

from microturn.datagen.export.config import ExportConfig
from microturn.datagen.export.dialogue import (
    CHANNELS,
    SpokenSegment,
    duration_of,
    segments_of,
)
from microturn.datagen.labels.dialogue import WordLabel
from microturn.datagen.labels.time_classes import INTERPOLATED
from microturn.datagen.sets.shards import ShardReader, StoredDialogue
from microturn.model.streams.pcm import Pcm16, to_pcm16


class NemoExport:
    """Writes `diarization.json`, `asr.json`, `rttm/`, `ctm/` and `audio/`."""

    def __init__(
        self, config: ExportConfig, reader: ShardReader, *, folder: Path, out: Path
    ) -> None:
        self._config, self._rate = config, reader.layout.sample_rate
        self._folder = folder
        self._dialogues: list[dict[str, Any]] = []
        self._segments: list[dict[str, Any]] = []
        for name in ("audio", "rttm", "ctm"):
            (folder / name).mkdir()

    def add(self, sample: StoredDialogue) -> None:
        key, segments = sample.key, segments_of(sample, self._config.join_s)
        for side in ("user", "agent"):
            (self._folder / f"audio/{key}.{side}.flac").write_bytes(sample.members[f"{side}.flac"])
        path = self._folder / f"audio/{key}.wav"
        soundfile.write(path, mono(sample), self._rate, subtype="PCM_16")
        (self._folder / f"rttm/{key}.rttm").write_text(
            "".join(_rttm(key, s) for s in segments), encoding="utf-8"
        )
        words = sorted((w.start_s, _ctm(key, s, w)) for s in segments for w in s.timed_words)
        (self._folder / f"ctm/{key}.ctm").write_text(
            "".join(line for _, line in words), encoding="utf-8"
        )
        self._dialogues.append(
            {
                "audio_filepath": f"audio/{key}.wav",
                "offset": 0,
                "duration": duration_of(sample),
                "label": "infer",
                "text": "-",
                "num_speakers": len({segment.voice for segment in segments}),
                "rttm_filepath": f"rttm/{key}.rttm",
                "uem_filepath": None,
                "ctm_filepath": f"ctm/{key}.ctm",
            }
        )
        self._segments += [_line(key, segment) for segment in segments]

    def close(self) -> None:
        for name, rows in (("diarization", self._dialogues), ("asr", self._segments)):
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (self._folder / f"{name}.json").write_text("".join(lines), encoding="utf-8")


def mono(sample: StoredDialogue) -> Pcm16:
    """Mix both sides to one channel, each at half its level to avoid clipping."""
    return to_pcm16((sample.user() + sample.agent()) / 2)


def _name(voice: str) -> str:
    return re.sub(r"\s+", "_", voice) or "unknown"


def _rttm(key: str, segment: SpokenSegment) -> str:
    span = f"{segment.start_s:.6f} {segment.duration_s:.6f}"
    return f"SPEAKER {key} 1 {span} <NA> <NA> {_name(segment.voice)} <NA> <NA>\n"


def _ctm(key: str, segment: SpokenSegment, word: WordLabel) -> str:
    """Format source, channel, start, duration, word, confidence, type, speaker (RT-09).

    The confidence of an interpolated time is 0.
    """
    span = f"{word.start_s:.6f} {word.end_s - word.start_s:.6f}"
    confidence = 0.0 if word.times == INTERPOLATED else 1.0
    return f"{key} 1 {span} {word.text} {confidence} lex {_name(segment.voice)}\n"


def _line(key: str, segment: SpokenSegment) -> dict[str, Any]:
    return {
        "audio_filepath": f"audio/{key}.{CHANNELS[segment.lane]}.flac",
        "offset": segment.start_s,
        "duration": segment.duration_s,
        "text": segment.text,
        "speaker": segment.voice,
        "lang": segment.language,
    }
