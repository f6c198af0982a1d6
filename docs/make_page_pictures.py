"""Pictures of the page of a checkpoint while it answers an example; needs Chromium.

`PYTHONPATH=. python docs/make_page_pictures.py runs/demo/checkpoint` writes page-talk.webp and
page-phone.webp into docs/pictures; `make demo` leaves such a checkpoint.
"""

import base64
import io
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from microturn.inference.agent.process import start_agent
from microturn.inference.audio import write_wav
from microturn.inference.config import ServeConfig
from microturn.inference.load import load_rows
from microturn.inference.serve.engine import LiveEngine
from tests.support.browser import Tab, browser_hearing, new_tab, served_page

PICTURES = Path(__file__).parent / "pictures"
SIZES = {"page-talk": (1_000, 1_040, False), "page-phone": (390, 1_300, True)}
COLOURS = 128  # a flat page needs no more
MICRO_TURNS = 68  # of an example of 80


def main(checkpoint: str) -> None:
    config = ServeConfig(checkpoint=checkpoint, max_waiting_micro_turns=50)
    with tempfile.TemporaryDirectory() as folder:
        silence = Path(folder) / "silence.wav"
        write_wav(silence, np.zeros(16_000, np.float32), sample_rate=16_000)
        with browser_hearing(silence, Path(folder) / "profile") as browser:
            for name, (width, height, mobile) in SIZES.items():
                # An engine lives as long as its server.
                batch = load_rows(checkpoint, 1, seed=0, threads=1, device="cpu")
                engine = LiveEngine(batch, config, agent=start_agent(config.agent))
                with served_page(engine, config) as page, new_tab(browser) as tab:
                    tab.call(
                        "Emulation.setDeviceMetricsOverride",
                        **{"width": width, "height": height, "mobile": mobile},
                        deviceScaleFactor=1,
                    )
                    photograph(tab, page.url, PICTURES / f"{name}.webp")


def photograph(tab: Tab, url: str, path: Path) -> None:
    tab.open(url)
    tab.wait("examples", lambda: not tab.is_hidden("examples"))
    tab.click("#examples button")
    tab.wait("the answer", lambda: int(tab.text("received")) >= MICRO_TURNS)
    shot = tab.call("Page.captureScreenshot", format="png")
    picture = Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")
    picture.quantize(COLOURS).save(path, lossless=True, method=6)
    print(path)


if __name__ == "__main__":
    main(sys.argv[1])
