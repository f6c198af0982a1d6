"""Configuration of `microturn evaluate`, `compare`, `model-card` and `examples`."""

from dataclasses import dataclass, field
from typing import Final, Literal

from microturn.configs.command import option, require_at_least

SILENCE_MS: Final = 500


@dataclass(frozen=True, kw_only=True)
class ActivityConfig:
    """Definition of speech in the agent's sound."""

    frame_ms: int = option(10, "length of one energy frame")
    threshold_dbfs: float = option(-45.0, "a frame below this level is never speech")
    below_loud_db: float = option(
        35.0, "nor is a frame this far below the loud frames of the same recording"
    )
    shortest_ms: int = option(30, "shorter bursts are clicks, not speech")
    hang_over_ms: int = option(80, "shorter dips inside speech (stops, plosives) are bridged")
    utterance_gap_ms: int = option(300, "silence that separates one utterance from the next")

    def __post_init__(self) -> None:
        for name in ("frame_ms", "shortest_ms", "utterance_gap_ms"):
            if getattr(self, name) <= 0:
                raise ValueError(f"activity.{name}={getattr(self, name)} must be above 0")


@dataclass(frozen=True, kw_only=True)
class WindowConfig:
    """Which events count, and the times that an agent may take after one, in seconds."""

    min_confidence: float = option(
        0.6, "events below it, found in recordings and unsure, are not scored but counted"
    )
    onset_s: float = option(0.8, "a reply begins at most this long after the user's turn")
    stop_s: float = option(0.8, "the agent is quiet at most this long after an interruption")
    stopped_for_s: float = option(0.5, "silence that counts as having stopped, not as a word gap")
    late_reply_s: float = option(3.0, "a later reply still counts as the answer, not as spurious")
    overrun_s: float = option(0.6, "an answer may last this much longer than the recorded one")
    pause_in_answer_s: float = option(1.0, "a longer silence ends the answer")
    break_s: float = option(0.7, "a longer silence while going on is a break")
    delegate_s: float = option(1.0, "`<delegate>` comes at most this long after the request")
    result_s: float = option(3.0, "the same, for a result whose event has no window")
    text_lead_s: float = option(0.8, "a word on `say` sounds at most this long after its token")
    spurious_ms: int = option(50, "more speech than this in a micro-turn is talking in it")


@dataclass(frozen=True, kw_only=True)
class TargetConfig:
    """Limits of metrics; the command fails (exit code 1) when one is missed."""

    at_least: dict[str, dict[str, float]] = option(
        default_factory=dict, help="smallest value by suite and metric: {turn: {right_word: 0.85}}"
    )
    at_most: dict[str, dict[str, float]] = option(
        default_factory=dict, help="largest value by suite and metric"
    )

    def __bool__(self) -> bool:
        return bool(self.at_least or self.at_most)


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """`microturn compare A B`."""

    first: str = option(help="result folder of `microturn evaluate`")
    second: str = option(help="another one, of the same dialogues")
    agent: str = option(
        "", "compare this agent of both tables (oracle, ...); empty: the scored one"
    )
    seed: int = option(0, "seed of the resampling")
    resamples: int = option(2000, "resamples of dialogues")
    json: str = option("", "also write the result to this file, - for stdout")

    def __post_init__(self) -> None:
        if self.resamples < 100:
            raise ValueError(f"resamples={self.resamples} must be at least 100")


@dataclass(frozen=True, kw_only=True)
class ModelCardConfig:
    """`microturn model-card`."""

    checkpoint: str = option(help="folder of a checkpoint, or a run that holds one")
    scores: tuple[str, ...] = option(
        (), "result folders of `microturn evaluate` with this checkpoint, whose scores it shows"
    )
    licence: str = option(
        "", "licence of the weights, as the hub writes it (apache-2.0); empty: not stated"
    )
    title: str = option("", "heading of the card")
    recipe: str = option("", "command that trains it, which the card names")


@dataclass(frozen=True, kw_only=True)
class ShipConfig(ModelCardConfig):
    """`microturn ship`."""

    out: str = option(help="folder to write")


@dataclass(frozen=True, kw_only=True)
class ExamplesConfig:
    """`microturn examples`."""

    data: str = option(help="shard set of test dialogues")
    checkpoint: str = option(help="folder of a checkpoint, or a run that holds one")
    n: int = option(6, "examples at most")

    def __post_init__(self) -> None:
        require_at_least(self, "", n=1)


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """`microturn evaluate`."""

    data: str = option(
        "",
        "folder of a shard set to play; empty: the sets of the suites, which are simulated; "
        "with loop=closed a configuration of simulate, and keys of it: `FILE.yaml split=test`",
    )
    loop: Literal["recorded", "closed"] = option(
        "recorded", "play recorded dialogues, or talk with users who react to the agent"
    )
    out: str = option(help="folder for scores.json, scores.md and pictures")
    checkpoint: str = option(
        "", "folder of a checkpoint; empty, without baseline=: the one that ships"
    )
    baseline: Literal["", "silent", "always", "endpointing", "half_duplex", "oracle"] = option(
        "",
        "score this instead of a checkpoint: says nothing, never stops, answers each silence and "
        "stops at each sound, waits for silence and answers what is asked, or answers as recorded",
    )
    suites: list[str] = option(
        default_factory=list,
        help="suites to score; none: all with a set of their own from the corpora that ship or, on "
        "data=, all of events; tau_voice can be named on data=, too",
    )
    words: Literal["say", "audio"] = option(
        "say", "source of the agent's words: its text lane, or also its sound alone"
    )
    through: Literal["engine", "server"] = option(
        "engine", "stream to the engine, or to a server of its own through a real socket"
    )
    quick: bool = option(
        False, "a first impression: 16 dialogues, but 4 of each set, and one picture"
    )
    n_dialogues: int = option(0, "dialogues to play of each set, from its start; 0: all")
    n_seeds: int = option(
        1, "sets of each suite: its own, and others of the same configuration by other seeds"
    )
    seed: int = option(0, "seed of the agent's sampling and of the confidence intervals")
    batch_size: int = option(8, "dialogues streamed side by side; changes rounding at most")
    device: str = option("auto", "device of the checkpoint: auto, cpu, cuda, ...")
    baselines: bool = option(True, "score the baselines beside a checkpoint")
    silence_ms: int = option(
        SILENCE_MS, "silence that ends a turn to the baselines `endpointing` and `half_duplex`"
    )
    panel: bool = option(
        False, "also score the adversarial panel; the best of it is the floor of every suite"
    )
    panel_table: str = option(
        "", "with panel=true: also write all its scores between the marks of this Markdown page"
    )
    n_pictures: int = option(
        4, "dialogues drawn as a picture and written as sound: the first, then the worst"
    )
    workers: int = option(0, "processes; 0: one per core, one on a GPU")
    cache: str = option("", "folder for the sets of the suites; empty: the user's cache folder")
    table: str = option("", "also write the table between the marks of this Markdown page")
    targets: TargetConfig = field(default_factory=TargetConfig)
    activity: ActivityConfig = field(default_factory=ActivityConfig)
    windows: WindowConfig = field(default_factory=WindowConfig)
    json: str = option("", "also write scores.json to this file, - for stdout")

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size} must be at least 1")
        if self.silence_ms < 1:
            raise ValueError(f"silence_ms={self.silence_ms} must be at least 1")
        if self.panel_table and not self.panel:
            raise ValueError(f"panel_table={self.panel_table} needs panel=true")
        for name in ("n_dialogues", "workers", "n_pictures"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must not be negative")
        if self.n_seeds < 1:
            raise ValueError(f"n_seeds={self.n_seeds} must be at least 1")
        if self.data and self.n_seeds > 1:
            raise ValueError(f"n_seeds={self.n_seeds} is for the sets of the suites, not for data=")
        if self.loop == "closed" and self.n_seeds > 1:
            raise ValueError(
                f"n_seeds={self.n_seeds} is for recorded dialogues, not for loop=closed"
            )
