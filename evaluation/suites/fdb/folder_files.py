"""Files of Full-Duplex-Bench, as its scripts read and write them.

    v1    TASK/ID/{input.wav, pause.json | turn_taking.json | interrupt.json | transcription.json}
    v1.5  SCENARIO/ID/{input.wav, clean_input.wav, metadata.json}
    v3    EXAMPLE_SPEAKER/{input.wav, metadata.json}

An answer is `output.wav`, mono, as long as `input.wav`, and `output.json`, its words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from microturn.configs.files import write_atomically
from microturn.configs.reading import files_below
from microturn.evaluation.scoring.activity import Span
from microturn.evaluation.suites.fdb.v1_formulas import Chunk
from microturn.evaluation.suites.fdb.v3_formulas import Call

INPUT, OUTPUT, CLEAN = "input", "output", "clean_"
REFERENCE: Final = "reference"  # the simulated agent's answer; no file of the benchmark
OWN: Final = "microturn"  # key of metadata.json for labels that the benchmark lacks
RATE: Final = 16_000
RATE_V3: Final = 24_000
# names of the benchmark's folders: their task
TASKS: Final = {
    "candor_pause_handling": "pause",
    "synthetic_pause_handling": "pause",
    "candor_turn_taking": "turn",
    "icc_backchannel": "backchannel",
    "synthetic_user_interruption": "interruption",
}
SCENARIOS: Final = (
    *("user_interruption", "user_backchannel"),
    *("talking_to_other", "background_speech"),
)
REFERENCE_HISTOGRAMS: Final = "icc_gt_distribution.json"

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class FdbItem:
    """One recording to be answered, with the labels in its files."""

    folder: Path
    task: str  # pause, turn, interruption, backchannel, overlap or tools
    group: str  # name of the folder around it
    end_s: float | None = None  # of the user's turn, or of the interruption
    event: Span | None = None  # v1.5: when the overlap is
    calls: tuple[Call, ...] = ()  # v3
    own: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rate(self) -> int:
        """Samples per second of the answer."""
        return RATE_V3 if self.task == "tools" else RATE

    @property
    def answered(self) -> bool:
        return self.audio(OUTPUT).is_file() and self.words(OUTPUT).is_file()

    def audio(self, name: str) -> Path:
        return self.folder / f"{name}.wav"

    def words(self, name: str) -> Path:
        return self.folder / f"{name}.json"


def find_items(path: str | Path) -> list[FdbItem]:
    """Find every recording in a folder, by name; raises ValueError or OSError without any."""
    root = Path(path)
    if not root.is_dir():
        raise FileNotFoundError(f"path={root} is no folder; give one of Full-Duplex-Bench")
    inputs = sorted((p for p in files_below(root) if p.name == f"{INPUT}.wav"), key=_numbered)
    if not inputs:
        raise ValueError(f"path={root} holds no {INPUT}.wav; give a folder of Full-Duplex-Bench")
    return [_item(file.parent) for file in inputs]


def _numbered(path: Path) -> tuple[str, int, str]:
    name = path.parent.name
    return str(path.parent.parent), int(name) if name.isdecimal() else 0, name


def _item(folder: Path) -> FdbItem:
    group = folder.parent.name
    for name, read in _READERS.items():
        if (folder / name).is_file():
            return read(folder, group, read_json(folder / name))
    if TASKS.get(group, "backchannel") != "backchannel":
        raise FileNotFoundError(f"{folder} has none of {', '.join(_READERS)}, which {group} needs")
    return FdbItem(folder=folder, task="backchannel", group=group)


def _pause(folder: Path, group: str, entry: Any) -> FdbItem:
    return FdbItem(folder=folder, task="pause", group=group)


def _turn(folder: Path, group: str, entry: Any) -> FdbItem:
    start_s, _ = _timestamp(folder / "turn_taking.json", _first(entry), "timestamp")
    return FdbItem(folder=folder, task="turn", group=group, end_s=start_s)


def _interruption(folder: Path, group: str, entry: Any) -> FdbItem:
    span = _timestamp(folder / "interrupt.json", _first(entry), "timestamp")
    return FdbItem(folder=folder, task="interruption", group=group, end_s=span[1], event=span)


def _metadata(folder: Path, group: str, entry: Any) -> FdbItem:
    """Read the overlap of v1.5 or the expected tools of v3."""
    path = folder / "metadata.json"
    if not isinstance(entry, dict):
        raise ValueError(f"{path} must hold an object")
    own = entry.get(OWN) or {}
    if "expected_tool_calls" in entry:
        calls = tuple(
            Call(function=str(call["function"]), args=call.get("args") or {})
            for call in entry["expected_tool_calls"]
        )
        return FdbItem(folder=folder, task="tools", group=group, calls=calls, own=own)
    event = _timestamp(path, entry, "timestamps")
    return FdbItem(folder=folder, task="overlap", group=group, event=event, own=own)


_READERS: Final = {
    "pause.json": _pause,
    "turn_taking.json": _turn,
    "interrupt.json": _interruption,
    "metadata.json": _metadata,
}


def _first(entry: Any) -> Any:
    return entry[0] if isinstance(entry, list) and entry else None


def _timestamp(path: Path, entry: Any, key: str) -> Span:
    value = entry.get(key) if isinstance(entry, dict) else None
    if (
        not isinstance(value, list)
        or len(value) != 2
        or not all(isinstance(one, int | float) for one in value)
    ):
        raise ValueError(f"{path}: {key} must be two numbers in seconds, not {value!r}")
    return float(value[0]), float(value[1])


def read_json(path: Path) -> Any:
    """Read a JSON file; raises ValueError that names it when it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no JSON file ({error})") from error


def read_chunks(path: Path) -> list[Chunk]:
    """Read the words of an `output.json`, without those that have no start."""
    entry = read_json(path)
    if not isinstance(entry, dict) or not isinstance(entry.get("chunks"), list):
        raise ValueError(f"{path} must hold an object with a list `chunks`")
    return list(_chunks(path, entry["chunks"]))


def _chunks(path: Path, rows: Sequence[Any]) -> Iterator[Chunk]:
    for row in rows:
        try:
            start, end = row["timestamp"]
            text = str(row["text"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: {row!r} is no word with text and timestamp") from error
        if start is not None:
            ends = None if end is None else float(end)
            yield Chunk(text=text, start_s=float(start), end_s=ends)


def chunks_json(chunks: Sequence[Chunk]) -> Json:
    """Format words as the benchmark's recogniser does."""
    return {
        "text": " ".join(chunk.text for chunk in chunks),
        "chunks": [
            {"text": chunk.text, "timestamp": [_seconds(chunk.start_s), _seconds(chunk.end_s)]}
            for chunk in chunks
        ],
    }


def _seconds(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def write_json(path: Path, entry: Any) -> None:
    """Write indented JSON atomically."""
    write_atomically(path, json.dumps(entry, ensure_ascii=False, indent=4) + "\n")
