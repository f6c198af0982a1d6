"""Configuration of `microturn corpus`."""

from dataclasses import dataclass

from microturn.configs.command import option

FORMAT_NAMES = (
    *("auto", "librispeech", "ljspeech", "common_voice", "vctk", "huggingface", "lhotse"),
    *("speech_commands", "an4", "segments", "jsonl", "table", "files"),
    *("shards", "moshi", "lhotse_dialogues", "scripted"),
    *("per_participant", "sph", "two_files"),
)


@dataclass(frozen=True, kw_only=True)
class CorpusAddConfig:
    """The corpus to add."""

    source: str = option(help="folder, tar or manifest to add, or the name of a package of speech")
    out: str = option("", "folder to write; empty: a folder of its name among the user's corpora")
    name: str = option("", "prefix of its ids and speakers; empty: the name of the folder")
    format: str = option("auto", f"layout of the folder: {', '.join(FORMAT_NAMES)}")
    language: str = option("", "language of recordings that state none; empty: that of the format")
    licence: str = option("", "licence of recordings that state none; empty: that of the format")
    attribution: str = option(
        "", "how the authors of the recordings want to be named, as licences like CC BY ask"
    )
    columns: dict[str, str] = option(
        default_factory=dict, help="name of a field in a table or manifest: columns.text=sentence"
    )
    sides: dict[str, str] = option(
        default_factory=dict,
        help="pattern of the file of a side of a conversation: sides.a=*_L.wav",
    )
    conversations: bool = option(
        False, "keep recordings of one conversation together (segments: meetings)"
    )
    alignments: str = option(
        "",
        "folder or file with word times (TextGrid, CTM, JSON), in addition to those beside audio",
    )
    align: bool = option(True, "find the word times of English recordings that have none")
    fit: float = option(-45.0, "lowest mean acoustic score at which audio is accepted as its text")
    sample_rate: int = option(16_000, "recordings above this rate are resampled to it; 0: none")
    longest_s: float = option(40.0, "longer recordings are skipped")
    test_share: float = option(0.1, "share of the speakers that are held out")
    limit: int = option(0, "largest number of recordings, spread evenly; 0: all")
    strict: bool = option(False, "fail at the first recording that cannot be used")
    workers: int = option(0, "processes; 0: one per core")
    root: str = option("", "folder into which the named package is already unpacked")
    cache: str = option("", "folder for alignments; empty: the user's cache folder")
    json: str = option("", "write the result to this file (- for stdout)")

    def __post_init__(self) -> None:
        if self.format not in FORMAT_NAMES:
            raise ValueError(f"format={self.format!r} is none of {', '.join(FORMAT_NAMES)}")
        if set(self.sides) not in (set(), {"a", "b"}):
            raise ValueError(f"sides has {', '.join(self.sides)}; give sides.a and sides.b")
        if not 0 <= self.test_share < 1:
            raise ValueError(f"test_share={self.test_share} must be from 0 to below 1")
        if self.longest_s <= 0:
            raise ValueError(f"longest_s={self.longest_s} must be positive")
        for name in ("sample_rate", "limit", "workers"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must not be negative")


@dataclass(frozen=True, kw_only=True)
class CorpusListConfig:
    """The folder whose corpora are listed."""

    folder: str = option("", "a corpus, or a folder that holds corpora; empty: the user's")
    json: str = option("", "write the list to this file (- for stdout)")
