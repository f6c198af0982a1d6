"""The micro-turn stream: layout, lanes, audio front ends and text. Needs numpy, never torch."""

from microturn.model.streams.frames import patches_of
from microturn.model.streams.lanes import MISSING_INPUT_ARRAY, Lanes
from microturn.model.streams.layout import LAYOUT_VERSION, LaneSpec, LayoutError, StreamLayout
from microturn.model.streams.mel import (
    FineMelCache,
    MelStream,
    dequantise_fine,
    dmel,
    fine_mel,
    quantise_fine,
)
from microturn.model.streams.packing import (
    TimedToken,
    pack_agent_audio,
    pack_dialogue,
    pack_given,
    pack_heard,
    pack_say,
    pack_text_in,
    pack_user_audio,
    token_weights,
)
from microturn.model.streams.text import (
    BG,
    BG_END,
    DELEGATE,
    EOS,
    IDLE,
    SPECIAL_TOKENS,
    Tokenizer,
    normalise,
)

__all__ = [
    "BG",
    "BG_END",
    "DELEGATE",
    "EOS",
    "IDLE",
    "LAYOUT_VERSION",
    "MISSING_INPUT_ARRAY",
    "SPECIAL_TOKENS",
    "FineMelCache",
    "LaneSpec",
    "Lanes",
    "LayoutError",
    "MelStream",
    "StreamLayout",
    "TimedToken",
    "Tokenizer",
    "dequantise_fine",
    "dmel",
    "fine_mel",
    "normalise",
    "pack_agent_audio",
    "pack_dialogue",
    "pack_given",
    "pack_heard",
    "pack_say",
    "pack_text_in",
    "pack_user_audio",
    "patches_of",
    "quantise_fine",
    "token_weights",
]
