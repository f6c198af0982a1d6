"""Settings of a model that a trained one may change, and those that make it another model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# They decide what is learnt from here on, or how an answer is drawn, and no tensor.
_LOSS_SETTINGS: Final = frozenset(
    {
        "history_noise",
        "history_hushed",
        "start_at",
        "say_temperature",
        "moe.z_loss",
        "moe.bias_speed",
        "flow.draws",
        "flow.steps",
        "flow.temperature",
        "flow.guidance",
        "flow.drop_condition",
        "flow.drop_previous",
        "vocoder.floor",
        "vocoder.weight",
        "vocoder.segments",
        "vocoder.segment_ms",
    }
)
REACH: Final = frozenset({"window", "global_window"})  # of attention: weights fit any


def is_loss_setting(key: str) -> bool:
    """Tell whether a key below `model.` may differ between a state and the run that resumes it."""
    return key in _LOSS_SETTINGS


def differences(
    then: Mapping[str, Any], now: Mapping[str, Any], prefix: str = ""
) -> list[tuple[str, Any, Any]]:
    """Compare keys that both have: one of another version has a default that changes nothing."""
    found: list[tuple[str, Any, Any]] = []
    for key in sorted(then.keys() & now.keys()):
        a, b = then[key], now[key]
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append((f"{prefix}{key}", a, b))
    return found
