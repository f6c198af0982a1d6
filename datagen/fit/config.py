"""Configuration of `microturn fit`."""

from dataclasses import dataclass

from microturn.configs.command import option
from microturn.datagen.derive.config import DeriveConfig


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """The fit of `timing.human` to dialogues."""

    data: str = option(help="folder of a shard set, or a corpus with recorded conversations")
    out: str = option(help="YAML file for the block, a configuration of `microturn simulate`")
    language: str = option("", "dialogues in this language only, such as en; empty: all")
    tolerance: float = option(
        0.10, "largest error of a median that the number of dialogues may leave, at 95 %"
    )
    derive: DeriveConfig = option(
        default_factory=DeriveConfig,
        help="thresholds by which the backchannels of recorded conversations are found",
    )
    json: str = option("", "also write measures, counts and the fit to this file, - for stdout")

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 1:
            raise ValueError(f"tolerance={self.tolerance} must be between 0 and 1")
