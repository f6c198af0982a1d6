"""Configuration of `microturn export`."""

from dataclasses import dataclass

from microturn.configs.command import option

FORMATS = ("moshi", "lhotse", "nemo")


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """The export of a shard set to the format of another toolkit."""

    data: str = option(help="folder of the shard set")
    format: str = option(help=f"one of {', '.join(FORMATS)}")
    out: str = option(help="folder to write to")
    n_dialogues: int = option(0, "dialogues to export; 0: all")
    join_s: float = option(
        0.5, "words of a voice with shorter silences between them form one segment"
    )
    shar: bool = option(False, "format=lhotse: also write Lhotse Shar, audio and labels in tars")
    dialogues_per_shard: int = option(100, "dialogues in one tar of Lhotse Shar")

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"format={self.format!r} is none of {', '.join(FORMATS)}")
        if self.n_dialogues < 0:
            raise ValueError(f"n_dialogues={self.n_dialogues} must not be negative")
        if self.join_s < 0:
            raise ValueError(f"join_s={self.join_s} must not be negative")
        if self.dialogues_per_shard < 1:
            raise ValueError(f"dialogues_per_shard={self.dialogues_per_shard} must be at least 1")
        if self.shar and self.format != "lhotse":
            raise ValueError(f"shar=true goes with format=lhotse, not format={self.format}")
