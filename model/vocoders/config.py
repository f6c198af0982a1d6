"""Kind and size of the vocoder, which makes sound of the audio_out lane."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Final, Literal

VocoderKind = Literal["griffin_lim", "istft"]

# Of the patches of a voice. Without a floor digital silence lies many deviations below speech.
PATCH_FLOOR: Final = -4.0


@dataclass(frozen=True, kw_only=True)
class VocoderConfig:
    """From fine log-mel to sound."""

    kind: VocoderKind = field(
        default="griffin_lim",
        metadata={"help": "griffin_lim: nothing is learned; istft: a network trained jointly"},
    )
    width: int = field(default=128, metadata={"help": "istft: channels of the network", "min": 1})
    layers: int = field(default=4, metadata={"help": "istft: convolution blocks", "min": 1})
    kernel: int = field(
        default=7, metadata={"help": "istft: frames that a block looks back over", "min": 1}
    )
    floor: float = field(
        default=-3.5,
        metadata={"help": "istft: log10 magnitude up to which a band of the mel is silent"},
    )
    weight: float = field(default=0.1, metadata={"help": "learned ones: weight of the loss"})
    segments: int = field(
        default=4,
        metadata={"help": "learned ones: segments of the voice per training step", "min": 1},
    )
    segment_ms: int = field(default=600, metadata={"help": "learned ones: length of a segment"})

    def __post_init__(self) -> None:
        for key in fields(self):
            value, least = getattr(self, key.name), key.metadata.get("min")
            if least is not None and value < least:
                raise ValueError(f"model.vocoder.{key.name}={value} must be at least {least}")
        if not self.floor > PATCH_FLOOR:
            raise ValueError(
                f"model.vocoder.floor={self.floor} must be above {PATCH_FLOOR}, the floor of the "
                "agent's mel, or its silence would sound"
            )
        if self.segment_ms < 300:
            raise ValueError(
                f"model.vocoder.segment_ms={self.segment_ms} must be at least 300: the longest "
                "window of the loss has to fit in"
            )
