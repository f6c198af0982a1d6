"""Pictures that a client sends, as frames of a lane."""

from __future__ import annotations

import base64
import io
from typing import Final

import numpy as np
from numpy.typing import NDArray

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
