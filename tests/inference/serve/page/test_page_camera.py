"""What a camera shows reaches the eyes of the model, in a browser whose camera plays a film."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from microturn.inference.audio import write_wav
from microturn.inference.config import ServeConfig
from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.serve.engine import LiveEngine
from microturn.model.checkpoint import TINY_LAYOUT, LoadedCheckpoint, random_checkpoint
from microturn.model.streams.pcm import Audio
from tests.support.browser import (
    NEEDS_BROWSER,
    ServedPage,
    Tab,
    browser_hearing,
    new_tab,
    served_page,
)
from tests.support.scripted_page import ScriptedBatch, start_talking

pytestmark = [pytest.mark.clients, NEEDS_BROWSER]

WIDTH, HEIGHT = 320, 240
ROWS, COLS = 2, 2
# Luma, blue difference, red difference; what they are as red, green and blue.
RED, GREEN, BLUE, WHITE = (81, 90, 240), (145, 54, 34), (41, 240, 110), (235, 128, 128)
QUARTERS = {RED: (255, 0, 0), GREEN: (0, 255, 0), BLUE: (0, 0, 255), WHITE: (255, 255, 255)}
BLACK = (16, 128, 128)  # beside the middle, where the model does not look
TOLERANCE = 24  # of 255, for the colours of a film


def write_film(path: Path) -> None:
    """A still film: four colours in the quarters of its square middle."""
    planes = np.empty((3, HEIGHT, WIDTH), np.uint8)
    planes[:] = np.array(BLACK, np.uint8)[:, None, None]
    for k, colour in enumerate(QUARTERS):
        side, top, left = HEIGHT // 2, k // 2, k % 2
        x, y = (WIDTH - HEIGHT) // 2 + left * side, top * side
        planes[:, y : y + side, x : x + side] = np.array(colour, np.uint8)[:, None, None]
    frame = b"FRAME\n" + planes[0].tobytes() + planes[1:, ::2, ::2].tobytes()
    path.write_bytes(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F10:1 Ip A1:1 C420\n".encode() + 10 * frame)


class SeeingBatch(ScriptedBatch):
    """Keeps what it is shown, micro-turn by micro-turn; None: nothing."""

    def __init__(self, checkpoint: LoadedCheckpoint) -> None:
        super().__init__(checkpoint, {})
        self.seen: list[np.ndarray | None] = []

    def step_rows(self, inputs: Mapping[int, MicroTurnIn]) -> dict[int, MicroTurnOut]:
        self.seen += [given.given.get("video") for given in inputs.values()]
        return super().step_rows(inputs)

    def sees_light(self) -> bool:
        return bool(self.seen) and self.seen[-1] is not None and bool(self.seen[-1].any())


@pytest.fixture(scope="module")
def browser(recording: Audio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("browser")
    write_wav(folder / "microphone.wav", recording, sample_rate=16_000)
    write_film(folder / "camera.y4m")
    with browser_hearing(
        folder / "microphone.wav", folder / "profile", seeing=folder / "camera.y4m"
    ) as browser:
        yield browser


@pytest.fixture
def tab(browser: str) -> Iterator[Tab]:
    with new_tab(browser) as tab:
        yield tab


@pytest.fixture(scope="module")
def seeing(checkpoint: LoadedCheckpoint) -> LoadedCheckpoint:
    layout = replace(TINY_LAYOUT, video_rows=ROWS, video_cols=COLS)
    return random_checkpoint(0, layout=layout, words=("moment", "please", "four"))


@pytest.fixture
def batch(seeing: LoadedCheckpoint) -> SeeingBatch:
    return SeeingBatch(seeing)


@pytest.fixture
def page(batch: SeeingBatch) -> Iterator[ServedPage]:
    config = ServeConfig(max_waiting_micro_turns=1_000, max_behind_ms=0.0)
    with served_page(LiveEngine(batch, config), config) as page:
        yield page


def test_the_model_sees_the_middle_of_the_camera_in_its_size(
    tab: Tab, page: ServedPage, batch: SeeingBatch
) -> None:
    start_talking(tab, page)
    tab.wait("the button", lambda: not tab.is_hidden("see"))
    tab.wait("micro-turns", lambda: len(batch.seen) > 5)
    assert batch.seen[-1] is None  # nobody sees anything before the button is clicked
    assert tab.is_hidden("sight")
    tab.click("#see")
    tab.wait("a picture", batch.sees_light)
    assert tab.text("see") == "Stop camera"
    assert tab.value("document.getElementById('cameras').options.length") >= 1

    frame = batch.seen[-1]
    assert frame is not None
    side = 40 * ROWS // 2
    assert frame.shape == (2 * side, 2 * side, 3)
    for k, colour in enumerate(QUARTERS.values()):
        quarter = frame[k // 2 * side :, k % 2 * side :][4 : side - 4, 4 : side - 4]
        worst = np.abs(quarter.astype(int) - colour).max()
        assert worst <= TOLERANCE, f"quarter {k} is {quarter.mean(axis=(0, 1))}, not {colour}"
    shown = tab.value(
        "[...document.getElementById('seen').getContext('2d').getImageData(0, 0, 80, 80).data]"
    )
    preview = np.reshape(shown, (80, 80, 4))[..., :3]
    assert np.abs(preview - frame.astype(int)).max() <= TOLERANCE  # the person sees the same

    tab.click("#see")
    tab.wait("darkness", lambda: not batch.sees_light())
    assert tab.text("see") == "Start camera"
    assert tab.is_hidden("sight")
    n = len(batch.seen)
    tab.wait("micro-turns", lambda: len(batch.seen) > n + 5)
    assert not any(frame is None or frame.any() for frame in batch.seen[n:])
    assert tab.text("status") == "listening"
    assert tab.is_hidden("problem")
    assert tab.problems == []


def test_a_camera_can_be_looked_at_before_and_goes_off_with_the_conversation(
    tab: Tab, page: ServedPage, batch: SeeingBatch
) -> None:
    tab.open(page.url)
    tab.wait("the button", lambda: not tab.is_hidden("see"))
    tab.click("#see")
    tab.wait("the preview", lambda: not tab.is_hidden("sight"))
    tab.click("#talk")
    tab.wait("a picture", batch.sees_light)
    tab.click("#talk")
    tab.wait("the end", lambda: tab.text("status") == "stopped")
    assert tab.is_hidden("sight")
    assert tab.text("see") == "Start camera"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            "NotAllowedError",
            "The camera was not allowed; allow it beside the address of this page.",
        ),
        ("NotFoundError", "No camera was found. Connect one, or go on without."),
        ("NotReadableError", "The camera is in use by another program, or switched off."),
    ],
)
def test_a_camera_that_does_not_open_is_said_in_words(
    tab: Tab, page: ServedPage, error: str, sentence: str
) -> None:
    source = f"""
        const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = async (wanted) => {{
            if (wanted.video) throw new DOMException("of the browser", {error!r});
            return open(wanted);
        }};"""
    tab.call("Page.addScriptToEvaluateOnNewDocument", source=source)
    start_talking(tab, page)
    tab.wait("the button", lambda: not tab.is_hidden("see"))
    tab.click("#see")
    tab.wait("the sentence", lambda: tab.text("problem") == sentence)
    assert tab.text("see") == "Start camera"
    assert tab.text("status") == "listening"  # the conversation goes on


def test_a_model_without_eyes_is_offered_no_camera(tab: Tab, checkpoint: LoadedCheckpoint) -> None:
    config = ServeConfig(max_waiting_micro_turns=1_000, max_behind_ms=0.0)
    with served_page(LiveEngine(ScriptedBatch(checkpoint), config), config) as page:
        start_talking(tab, page)
        tab.wait("what it knows", lambda: tab.text("knows") != "")
        assert tab.is_hidden("see")
        assert tab.is_hidden("sight")
