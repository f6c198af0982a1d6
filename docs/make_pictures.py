"""Draw the pictures of docs/scenarios.md: one short dialogue of every scenario, by `inspect`.

python docs/make_pictures.py [SCENARIO ...]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image

from microturn.configs.load import load_config
from microturn.datagen.cli import cache_folder
from microturn.datagen.config import DatagenConfig
from microturn.datagen.inspect import show
from microturn.datagen.shards import ShardReader
from microturn.datagen.simulate import simulate

PICTURES = Path(__file__).parent / "pictures"
QUIET = (
    *("channel.overlay_probability=0", "channel.noise_probability=0", "channel.zero_probability=0"),
    *("timing.lead_in=[0.2,0.4]", "seed=17", "workers=1"),
)
N_DIALOGUES = 12
WIDTH, COLOURS, LARGEST_BYTES = 1000, 40, 60_000
# Micro-turns of the dialogue, and the events that should be in the picture.
SHOWN: dict[str, tuple[int, tuple[str, ...]]] = {
    "turn": (40, ("turn", "pause")),
    "self_correction": (40, ("self_correction",)),
    "interruption": (60, ("interruption", "turn")),
    "user_backchannel": (60, ("user_backchannel",)),
    "agent_backchannel": (60, ("agent_backchannel",)),
    "side_talk": (50, ("side_talk",)),
    "background": (50, ("background_speech",)),
    "music": (50, ("music", "turn")),
    "interjection": (55, ("interjection",)),
    "timed_cue": (45, ("timed_cue",)),
    "repeated_cue": (75, ("timed_cue",)),
    "spoken_cue": (65, ("spoken_cue",)),
    "translation": (45, ("translation",)),
    "delegation": (60, ("delegation", "result")),
    "errand": (85, ("delegation", "result", "turn")),
    "recall": (75, ("recall", "turn")),
    "forbidden": (40, ("forbidden",)),
}


def draw(scenario: str, folder: Path) -> Path:
    """One picture: of the dialogue that has the events wanted, and the fewest others."""
    n_micro_turns, wanted = SHOWN[scenario]
    overrides = [f"only=[{scenario}]", f"out={folder / scenario}", *QUIET]
    config = load_config(
        DatagenConfig,
        ["datagen/everything.yaml"],
        [*overrides, f"n_micro_turns={n_micro_turns}", f"n_dialogues={N_DIALOGUES}"],
    )
    simulate(config, cache=cache_folder(""))
    reader = ShardReader(folder / scenario)

    def other(index: int) -> int:
        types = [event["type"] for event in reader[index].json["events"]]
        return 100 * len(set(wanted) - set(types)) + len(types)

    best = min(range(N_DIALOGUES), key=other)
    show(reader, reader[best], folder / "shown")
    target = PICTURES / f"{scenario}.png"
    shrink(folder / "shown" / f"dialogue-{best:08d}.png", target)
    return target


def shrink(source: Path, target: Path) -> None:
    """Few colours and a width that a page shows; raises ValueError when still too large."""
    picture = Image.open(source).convert("RGB")
    height = round(picture.height * WIDTH / picture.width)
    small = picture.resize((WIDTH, height), Image.Resampling.LANCZOS)
    small.quantize(COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)
    if target.stat().st_size > LARGEST_BYTES:
        raise ValueError(f"{target} has {target.stat().st_size} bytes, more than {LARGEST_BYTES}")


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        for scenario in sys.argv[1:] or SHOWN:
            print(draw(scenario, Path(name)))
