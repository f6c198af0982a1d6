"""Pictures that a client sends, as frames of a lane."""

from __future__ import annotations

import base64
import io
from typing import Final

import numpy as np
from numpy.typing import NDArray

from microturn.inference.serve.codec import ShownFrame
from microturn.inference.serve.wire.event_reader import EventError
from microturn.model.streams import StreamLayout

MAX_PIXELS: Final = 2_000_000  # decoding more would keep the other clients waiting
_FORMATS: Final = ("PNG", "JPEG", "WEBP")


def read_picture(url: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Decode a `data:` URL into a frame of a shape (H, W, 3), its middle; raises ValueError."""
    from PIL import Image, ImageOps

    head, _, data = url.partition(",")
    if not head.startswith("data:image/") or not head.endswith(";base64"):
        raise ValueError("image_url has to be data:image/png or jpeg or webp;base64, and the data")
    try:
        picture = Image.open(io.BytesIO(base64.b64decode(data, validate=True)), formats=_FORMATS)
        if picture.width * picture.height > MAX_PIXELS:
            raise ValueError(f"{picture.width} x {picture.height} pixels are too many")
        picture.draft("RGB", (shape[1], shape[0]))
        frame = ImageOps.fit(picture.convert("RGB"), (shape[1], shape[0]))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"image_url holds no PNG, JPEG or WebP of at most {MAX_PIXELS} pixels ({error})"
        ) from error
    return np.asarray(frame, np.uint8)


def show_picture(layout: StreamLayout, url: str, *, role: str, param: str) -> ShownFrame:
    """Read a picture for the model's lane of frames; raises EventError about `param`."""
    specs = layout.declared_lanes
    lane = next((s for s in specs if s.kind == "frames" and s.positions), None)
    if lane is None or role != "user":
        sentence = "this model has no eyes: its layout has no lane of frames"
        if lane is not None:
            sentence = "pictures come from the user: send them with role user"
        raise EventError("input_image_not_supported", sentence, param=param)
    try:
        return ShownFrame(lane=lane.name, frame=read_picture(url, lane.shape))
    except ValueError as error:
        raise EventError("invalid_value", str(error), param=param) from error
