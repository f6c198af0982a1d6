"""All vocoders by `model.vocoder.kind`, and the one place that chooses."""

from __future__ import annotations

from typing import Final

from microturn.model.streams import StreamLayout
from microturn.model.vocoders.base import Vocoder
from microturn.model.vocoders.config import VocoderConfig, VocoderKind
from microturn.model.vocoders.griffin_lim import GriffinLim
from microturn.model.vocoders.istft import IstftVocoder

VOCODERS: Final[dict[VocoderKind, type[Vocoder]]] = {
    "griffin_lim": GriffinLim,
    "istft": IstftVocoder,
}


def build_vocoder(cfg: VocoderConfig, layout: StreamLayout) -> Vocoder:
    """The vocoder that a configuration asks for; weights, if any, come from torch's generator."""
    return VOCODERS[cfg.kind](cfg, layout)
