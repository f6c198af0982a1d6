"""Draws the pictures of the scenario pages: one short dialogue of each, by `inspect`.

python docs/make_pictures.py [SCENARIO ...]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image

from microturn.configs.load import load_config
from microturn.configs.paths import cache_folder
from microturn.datagen.config import DatagenConfig
from microturn.datagen.report.inspect import show
from microturn.datagen.sets.shards import ShardReader
from microturn.datagen.simulate import simulate

PICTURES = Path(__file__).parent / "pictures"
QUIET = (
    *("channel.overlay_probability=0", "channel.noise_probability=0", "channel.zero_probability=0"),
    *("timing.lead_in_s=[0.2,0.4]", "seed=17", "workers=1"),
)
N_DIALOGUES = 12
MAX_WIDTH, COLOURS, MAX_BYTES = 1100, 24, 58_000
# Micro-turns of the dialogue, and the event types that the picture should show.
SHOWN: dict[str, tuple[int, tuple[str, ...]]] = {
    "turn": (30, ("turn", "pause")),
    "self_correction": (25, ("self_correction",)),
    "interruption": (50, ("interruption", "turn")),
    "user_backchannel": (50, ("user_backchannel",)),
    "agent_backchannel": (45, ("agent_backchannel",)),
    "side_talk": (35, ("side_talk",)),
    "vocal_tic": (45, ("vocal_tic",)),
    "background": (35, ("background_speech",)),
    "music": (35, ("music", "turn")),
    "interjection": (45, ("interjection",)),
    "timed_cue": (35, ("timed_cue",)),
    "repeated_cue": (65, ("timed_cue",)),
    "spoken_cue": (55, ("spoken_cue",)),
    "translation": (35, ("translation",)),
    "delegation": (45, ("delegation", "result")),
    "errand": (60, ("delegation", "result", "turn")),
    "progress": (60, ("delegation", "result", "turn")),
    "recall": (45, ("recall", "turn")),
    "forbidden": (25, ("forbidden",)),
    "narration": (70, ("interruption", "turn", "user_backchannel")),
    "listening": (60, ("pause", "agent_backchannel")),
    "scripted": (75, ("turn", "user_backchannel", "pause")),
    "read_aloud": (50, ("turn", "interruption")),
    "repeat_after": (45, ("turn",)),
    "transplants": (75, ("timed_cue", "music", "turn")),
}
# What is drawn for a picture that is not named after its scenario.
DRAWN = {
    "transplants": (
        *("only=[scripted]", "scenarios.transplants.timed_cue=1", "scenarios.transplants.music=1"),
        "vocabulary.cue_delay_s=[2,3]",
    ),
    "progress": (
        *("only=[errand]", "scenarios.progress_share=1", "scenarios.cancel_probability=0"),
        "scenarios.errand_questions=[0,0]",
    ),
}
OPEN = ("narration", "listening", "scripted", "read_aloud", "repeat_after", "transplants")


def draw(scenario: str, folder: Path) -> Path:
    """Draw the dialogue that has the event types and the shortest empty end."""
    n_micro_turns, event_types = SHOWN[scenario]
    drawn = DRAWN.get(scenario, (f"only=[{scenario}]",))
    overrides = [*drawn, f"out={folder / scenario}", *QUIET]
    config = load_config(
        DatagenConfig,
        ["datagen/open.yaml" if scenario in OPEN else "datagen/everything.yaml"],
        [*overrides, f"n_micro_turns={n_micro_turns}", f"n_dialogues={N_DIALOGUES}"],
    )
    simulate(config, cache=cache_folder(""))
    reader = ShardReader(folder / scenario)

    def penalty(index: int) -> float:
        events = reader[index].labels.events
        missing = set(event_types) - {event.type for event in events}
        return 100.0 * len(missing) - max((event.end_s for event in events), default=0.0)

    best = min(range(N_DIALOGUES), key=penalty)
    show(reader, reader[best], out=folder / "shown")
    target = PICTURES / f"{scenario}.webp"
    shrink(folder / "shown" / f"dialogue-{best:08d}.png", target)
    return target


def shrink(source: Path, target: Path) -> None:
    """Write few colours, at the largest size within the limit."""
    picture, width = Image.open(source).convert("RGB"), MAX_WIDTH
    while True:
        height = round(picture.height * width / picture.width)
        small = picture.resize((width, height), Image.Resampling.LANCZOS)
        small.quantize(COLOURS, dither=Image.Dither.NONE).save(target, lossless=True, method=6)
        if target.stat().st_size <= MAX_BYTES:
            return
        width = width * 9 // 10


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        for scenario in sys.argv[1:] or SHOWN:
            print(draw(scenario, Path(name)))
