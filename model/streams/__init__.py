"""The micro-turn stream: layout, lanes, audio front ends and text. Needs numpy, never torch."""

from microturn.model.streams.lanes import (
    Lanes,
    TimedToken,
    pack_agent_audio,
    pack_dialogue,
    pack_heard,
    pack_say,
    pack_text_in,
    pack_user_audio,
    token_weights,
)
from microturn.model.streams.layout import LAYOUT_VERSION, LayoutError, StreamLayout
from microturn.model.streams.mel import (
    FineMelCache,
    MelStream,
    dequantise_fine,
    dmel,
    fine_mel,
    quantise_fine,
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
from microturn.model.streams.video import frame_shape, pack_video, patches_of

__all__ = [
    "BG",
    "BG_END",
    "DELEGATE",
    "EOS",
    "IDLE",
    "LAYOUT_VERSION",
    "SPECIAL_TOKENS",
    "FineMelCache",
    "Lanes",
    "LayoutError",
    "MelStream",
    "StreamLayout",
    "TimedToken",
    "Tokenizer",
    "dequantise_fine",
    "dmel",
    "fine_mel",
    "frame_shape",
    "normalise",
    "pack_agent_audio",
    "pack_dialogue",
    "pack_heard",
    "pack_say",
    "pack_text_in",
    "pack_user_audio",
    "pack_video",
    "patches_of",
    "quantise_fine",
    "token_weights",
]
