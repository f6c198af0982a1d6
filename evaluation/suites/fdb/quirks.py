"""Surprising behaviour of the Full-Duplex-Bench scripts, to be reproduced or not."""

from __future__ import annotations

from dataclasses import dataclass

from microturn.configs.command import option


@dataclass(frozen=True, kw_only=True)
class Quirks:
    """Switches; the defaults reproduce the scripts of 2026 (docs/full_duplex_bench.md)."""

    last_segment_decides: bool = option(
        True, "backchannel: each stretch of speech overwrites what earlier ones said about the turn"
    )
    taken_turn_forgets: bool = option(
        False, "backchannel: one that takes the turn drops those found before, as scripts of 2025"
    )
    early_is_zero: bool = option(
        True, "latency: a reply that begins too early counts as 0 s; false: it is left out"
    )
    none_is_one: bool = option(
        True, "backchannel: JSD is 1 where there is none; false: its largest value, sqrt(ln 2)"
    )


ORIGINAL = Quirks()
