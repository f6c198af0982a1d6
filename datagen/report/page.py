"""An HTML page of one dialogue: a timeline with a cursor, synchronised with its audio.

The page is self-contained: it needs neither a network nor other files.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from microturn.datagen.labels.dialogue import DialogueLabels, EventLabel
from microturn.datagen.labels.event_types import event_type
from microturn.datagen.labels.json_fields import write_fields
from microturn.datagen.sets.shards import StoredDialogue
from microturn.model.streams import StreamLayout, Tokenizer

PEAKS_PER_S = 100
FULL_SCALE = 0.6  # amplitude that is drawn at full height
TEMPLATE = Path(__file__).parent / "web" / "inspect.html"
PLACEHOLDER = "/*DATA*/"
COLUMNS = 20  # of frames in the sprite
EVENT_GAP_S = 0.1


def page_of(sample: StoredDialogue, *, layout: StreamLayout, tokenizer: Tokenizer) -> str:
    """Return the HTML page of a dialogue."""
    labels = sample.labels
    sounds = _sounds(sample)
    data = {
        "title": f"dialogue {labels.index} ({labels.split}, seed {labels.seed})",
        "facts": _facts(labels),
        "seconds": labels.duration_s,
        "micro_turn_s": labels.micro_turn_s,
        "words": write_fields(labels.words),
        **_events(labels.events),
        "colours": {event.type: event_type(event.type).colour for event in labels.events},
        "tokens": _tokens(sample, tokenizer),
        "peaks_per_s": PEAKS_PER_S,
        "peaks": {
            "microphone": _peaks(sample.user(), layout.sample_rate),
            "agent": _peaks(sample.agent(), layout.sample_rate),
        },
        "sounds": {name: base64.b64encode(flac).decode() for name, flac in sounds.items()},
        "films": {lane: _film(frames) for lane, frames in sample.frames().items()},
    }
    # "</" would end the script element; "<!--" would begin a comment in it.
    text = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    template = TEMPLATE.read_text(encoding="utf-8")
    return template.replace(PLACEHOLDER, text)


def stems_of(sample: StoredDialogue) -> dict[str, bytes]:
    """Return the stored stems of the microphone as FLAC."""
    prefix, suffix = "stem_", ".flac"
    return {
        name.removeprefix(prefix).removesuffix(suffix): content
        for name, content in sorted(sample.members.items())
        if name.startswith(prefix) and name.endswith(suffix)
    }


def _sounds(sample: StoredDialogue) -> dict[str, bytes]:
    stems = {f"stem: {name}": flac for name, flac in stems_of(sample).items()}
    return {
        "microphone": sample.members["user.flac"],
        "agent": sample.members["agent.flac"],
        **stems,
    }


def _facts(labels: DialogueLabels) -> str:
    channel, room = labels.channel, labels.room
    parts = [
        ", ".join(labels.families),
        f"user {labels.voice}",
        f"room of {room.measured_rt60_s:.2f} s",
    ]
    if channel.noise:
        parts.append(f"{channel.noise} at {channel.snr_db:.0f} dB")
    if channel.echo_db is not None:
        parts.append(f"echo of {channel.echo_db:.0f} dB")
    return "; ".join(parts)


def _events(events: Sequence[EventLabel]) -> dict[str, Any]:
    """Place each event on the first row with room for it and its window."""
    ends: list[float] = []
    placed = []
    for event in sorted(events, key=lambda item: (item.start_s, item.end_s)):
        window = event.window_s or (event.start_s, event.end_s)
        first = min(event.start_s, window[0])
        row = next((i for i, end in enumerate(ends) if end <= first), len(ends))
        ends[row : row + 1] = [max(event.end_s, window[1]) + EVENT_GAP_S]
        placed.append({**write_fields(event), "row": row})
    return {"events": placed, "eventRows": max(len(ends), 1)}


def _tokens(sample: StoredDialogue, tokenizer: Tokenizer) -> dict[str, list[tuple[int, str]]]:
    """Return the words of the token lanes with the micro-turns that hold them."""
    stored = sample.tokens()
    lanes = {}
    for lane in (spec.name for spec in sample.layout.lane_specs if spec.kind == "tokens"):
        rows = []
        for k, ids in enumerate(stored[lane]):
            words = [word for word, _ in tokenizer.words([int(i) for i in ids])]
            if words:
                rows.append((k, " ".join(words)))
        lanes[lane] = rows
    return lanes


def _peaks(audio: npt.NDArray[np.float32], rate: int) -> list[int]:
    """Return the root of the peak of each piece, in hundredths of full scale."""
    step = rate // PEAKS_PER_S
    pieces = np.abs(audio[: len(audio) // step * step]).reshape(-1, step).max(axis=1)
    loud = np.sqrt(np.minimum(pieces / FULL_SCALE, 1.0))
    return [int(value) for value in np.round(100 * loud)]


def _film(frames: npt.NDArray[np.uint8]) -> dict[str, Any]:
    """Arrange all frames of a lane in one image, row by row."""
    from PIL import Image

    n, height, width = frames.shape[:3]
    rows = -(-n // COLUMNS)
    sheet = np.zeros((rows * COLUMNS, height, width, 3), np.uint8)
    sheet[:n] = frames
    sheet = sheet.reshape(rows, COLUMNS, height, width, 3).swapaxes(1, 2)
    buffer = io.BytesIO()
    Image.fromarray(sheet.reshape(rows * height, COLUMNS * width, 3)).save(buffer, "PNG")
    sprite = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return {"sprite": sprite, "n": n, "width": width, "height": height, "columns": COLUMNS}
