"""Draws the film strips of docs/video.md: one scene of each visual scenario.

python docs/make_film_strips.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw

from microturn.configs.load import load_config
from microturn.configs.paths import cache_folder
from microturn.datagen.config import DatagenConfig
from microturn.datagen.sets.shards import ShardReader, StoredDialogue
from microturn.datagen.simulate import simulate

PICTURES = Path(__file__).parent / "pictures"
COLUMNS, ROWS, CAPTION, COLOURS = 12, 2, 13, 48
SETTINGS = (
    *("layout.video_rows=2", "layout.video_cols=2", "video.noise=[0,1]", "video.light=0.1"),
    *("n_dialogues=8", "n_micro_turns=90", "workers=1"),
)
# Scenario: micro-turns between two pictures, and a seed.
SCENARIOS = {"visual_count": (2, 5), "visual_span": (1, 8), "visual_question": (1, 12)}


def strip(sample: StoredDialogue, scenario: str, stride: int) -> Image.Image | None:
    """Draw the frames around the due words, each word under the frame in which it begins."""
    frames = sample.frames()["video"]
    micro_turn_s = sample.labels.micro_turn_s
    cues = [e for e in sample.labels.events if e.type == scenario and e.act == "say"]
    first = round(cues[0].start_s / micro_turn_s) - 2 * stride if cues else -1
    shown = range(first, first + COLUMNS * ROWS * stride, stride)
    if first < 0 or shown[-1] >= len(frames):
        return None
    _, height, width, _ = frames.shape
    sheet = Image.new("RGB", (COLUMNS * width, ROWS * (height + CAPTION)), "white")
    pen = ImageDraw.Draw(sheet)
    for position, k in enumerate(shown):
        x, y = position % COLUMNS * width, position // COLUMNS * (height + CAPTION)
        sheet.paste(Image.fromarray(frames[k]), (x, y))
        words = sample.labels.words.agent
        begun = [w.text for w in words if k <= round(w.start_s / micro_turn_s) < k + stride]
        pen.text((x + 3, y + height), " ".join(begun), fill="black")
    return sheet.quantize(COLOURS)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        rooms = Image.new("RGB", (0, 0))
        for row, (scenario, (stride, seed)) in enumerate(SCENARIOS.items()):
            out = Path(folder) / scenario
            config = load_config(
                DatagenConfig,
                ["datagen/visual.yaml"],
                [f"out={out}", f"families={{{scenario}: 1.0}}", f"seed={seed}", *SETTINGS],
            )
            simulate(config, cache=cache_folder(""))
            reader = ShardReader(out)
            strips = (strip(sample, scenario, stride) for sample in reader)
            picture = next(sheet for sheet in strips if sheet is not None)
            picture.save(PICTURES / f"{scenario}.webp", lossless=True, method=6)
            films = [sample.frames()["video"] for sample in reader]
            size = films[0].shape[2], films[0].shape[1]
            if not row:
                rooms = Image.new("RGB", (len(films) * size[0], len(SCENARIOS) * size[1]))
            for column, frames in enumerate(films):
                rooms.paste(Image.fromarray(frames[40]), (column * size[0], row * size[1]))
        rooms.quantize(4 * COLOURS).save(PICTURES / "visual_rooms.webp", lossless=True, method=6)
    return 0


if __name__ == "__main__":
    sys.exit(main())
