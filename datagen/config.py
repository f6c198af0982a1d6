"""Configuration of a simulated set of dialogues: the keys of `microturn simulate`."""

from dataclasses import dataclass, field

from microturn.configs.command import option
from microturn.datagen.acoustics.config import AcousticsConfig as AcousticsConfig
from microturn.datagen.acoustics.config import ChannelConfig as ChannelConfig
from microturn.datagen.acoustics.config import RoomsConfig as RoomsConfig
from microturn.datagen.closed_loop.config import ReactionConfig
from microturn.datagen.scenario_config import ScenarioConfig
from microturn.datagen.video.config import VideoConfig
from microturn.datagen.voices_config import MIN_TRANSFORM_HZ
from microturn.datagen.voices_config import TransformConfig as TransformConfig
from microturn.datagen.voices_config import VoicesConfig as VoicesConfig
from microturn.model.streams.layout import StreamLayout

SPLITS = ("train", "test")
EXECUTORS = ("processes", "serial", "ray")
MORE_FAMILIES = (
    "self_correction",
    "agent_backchannel",
    "side_talk",
    "vocal_tic",
    "music",
    "interjection",
    "repeated_cue",
    "spoken_cue",
    "translation",
    "errand",
    "recall",
    "forbidden",
    "visual_count",
    "visual_span",
    "visual_question",
)


def _default_families() -> dict[str, float]:
    return {
        "turn": 0.22,
        "interruption": 0.20,
        "user_backchannel": 0.15,
        "background": 0.11,
        "timed_cue": 0.21,
        "delegation": 0.11,
        # The others are switched on in configs/datagen/everything.yaml.
        **dict.fromkeys(MORE_FAMILIES, 0.0),
    }


def _default_letters() -> dict[str, str]:
    return {
        "a": "alpha",
        "b": "bravo",
        "h": "hotel",
        "i": "india",
        "l": "lima",
        "o": "oscar",
        "r": "romeo",
        "w": "whiskey",
        "z": "zulu",
    }


@dataclass(frozen=True, kw_only=True)
class VocabularyConfig:
    """What users ask and what is right to answer; every word must be recorded in the corpus."""

    numbers: tuple[str, ...] = option(
        ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
        "numbers in counting order, repeated, counted from and used as durations",
    )
    letters: dict[str, str] = option(
        default_factory=_default_letters, help="letter: the word that spells it"
    )
    days: tuple[str, ...] = option(
        ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
        "days in order, for yesterday and tomorrow",
    )
    greetings: tuple[str, ...] = option(("hello", "goodbye"), "answered with the same word")
    echoed: tuple[str, ...] = option((), "one_word: further words answered with the same word")
    unanswered: tuple[str, ...] = option(
        (), "one_word: words that other people say among the others, and nobody answers"
    )
    cue_words: tuple[str, ...] = option(
        ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
        "words to be said after N seconds",
    )
    cue_delay_s: tuple[int, int] = option((2, 5), "fewest and most seconds of a timed cue")
    results: tuple[str, ...] = option(
        (
            *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
            *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen"),
            *("seventeen", "eighteen", "nineteen", "twenty"),
        ),
        "results of the background agent's sums, in counting order from zero",
    )
    hours: tuple[str, ...] = option(
        (
            *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
            *("eleven", "twelve"),
        ),
        "hours that the background agent's clock can show",
    )
    acknowledgement: str = option("one moment please", "said while the background agent works")
    stop_phrases: tuple[str, ...] = option(
        (
            *("stop", "stop it", "stop that", "stop wasting my time", "hold it", "hold on"),
            *("hold it right there", "hang on", "wait", "wait a minute", "wait a second"),
            *("wait here sparky", "just a minute", "excuse me", "excuse me joe", "excuse me bob"),
            *("excuse me bud", "excuse me chief", "excuse me faye", "hey you", "hey buddy"),
            *("hey there", "hey cut that out", "hey relax pal", "hey just relax", "go away"),
            *("come back here", "watch it there boy", "shut up", "be quiet", "listen"),
            *("enough", "never mind", "forget it", "no", "no way", "heck no", "heavens no", "hey"),
            *("hey over here", "look", "hurry", "hurry up", "what", "what now", "what is it"),
            *("what do you want", "what are you doing here", "who are you", "why", "why not"),
        ),
        "phrases that interrupt the agent, if other speakers have recorded them",
    )
    stop_words: tuple[str, ...] = option(
        ("pause", "thank you", "wait", "listen", "cancel"),
        "the same in the user's own voice; single words may be cut out of sentences",
    )
    stop_share: float = option(0.3, "how often an interruption is such a phrase and no question")
    backchannels: tuple[str, ...] = option(
        (
            *("uh huh", "mm hmm", "hmm", "oh", "ah", "oh yeah", "ah yeah", "yeah", "yes", "okay"),
            *("yeah right", "yeah sure", "well yeah", "yes joe", "yeah joe", "okay joe", "sure"),
            *("oh okay", "oh alright", "oh i see", "oh great", "i see", "right", "that's right"),
            *("that's okay", "that's good", "that's great", "that's correct", "correct", "good"),
            *("good idea", "very good", "great", "great stuff", "excellent", "exactly", "wow"),
            *("neat", "really", "indeed", "yes indeed", "certainly", "of course", "sure thing"),
            *("you bet", "absolutely", "no problem", "my pleasure", "continue", "glorious"),
        ),
        "phrases that request nothing, if they are recorded",
    )

    def __post_init__(self) -> None:
        low, high = self.cue_delay_s
        if not 1 <= low <= high <= len(self.numbers):
            raise ValueError(
                f"vocabulary.cue_delay_s={[low, high]} must be two rising numbers between 1 and "
                f"{len(self.numbers)}, the last of vocabulary.numbers"
            )
        both = {*self.letters, *self.greetings, *self.echoed}.intersection(self.unanswered)
        if both:
            raise ValueError(
                f"vocabulary.unanswered has {min(both)!r}, which is answered: it is one of "
                "vocabulary.letters, vocabulary.greetings or vocabulary.echoed; leave it out of one"
            )


@dataclass(frozen=True, kw_only=True)
class HumanTimingConfig:
    """How people take turns, from published measurements; docs/simulation.md lists the sources."""

    enabled: bool = option(
        False, "draw the times of scenario `conversation` from these and judge the card by them"
    )
    # Heldner & Edlund 2010 (J. Phonetics 38): about 40 % of the changes of speaker.
    overlapped_changes: float = option(0.40, "share of changes of speaker that overlap")
    # Heldner & Edlund 2010: 41 to 45 % of the changes come later than 200 ms; with the mean gap of
    # CALLHOME, 0.40 s (arXiv 2204.11232, table 1), a log-normal gap has these two numbers. The
    # median offset is then 0.15 s: 0.08 in CANDOR (Reece et al. 2023), 0.2 in Stivers et al. 2009.
    gap_median_s: float = option(0.30, "median silence between two speakers")
    gap_sigma: float = option(0.73, "width of the log-normal law of gaps")
    # Levinson & Torreira 2015 (Switchboard): median 205, mean 275, mode 96 ms; log-normal after
    # Laskowski et al. 2012.
    overlap_median_s: float = option(0.205, "median overlap at a change of speaker")
    overlap_sigma: float = option(0.77, "width of the log-normal law of overlaps")
    # Lundholm Fors 2015: typically 0.25 to 0.5 s; mean 0.57 s in CALLHOME (arXiv 2204.11232).
    pause_median_s: float = option(0.45, "median silence inside a speaker's turn")
    pause_sigma: float = option(0.69, "width of the log-normal law of pauses")
    # Heldner & Edlund 2010, Roberts et al. 2015: shorter silences join what is around them.
    min_pause_s: float = option(0.18, "a shorter silence is no pause")
    # Knudsen et al. 2020: 19 % of contributions in Dutch, 16 % in German; Switchboard 19 %.
    backchannel_share: float = option(0.19, "share of backchannels among contributions")
    max_backchannel_s: float = option(0.9, "longest backchannel; 1 s is the usual limit")
    # Levinson & Torreira 2015: below 5 % in Switchboard; 13.5 % of CALLHOME.
    overlap_ratio: float = option(0.05, "share of the time in which both speak")
    # CALLHOME with two speakers: 10 %.
    silence_ratio: float = option(0.10, "share of silence in the total time")
    # Cavalcanti & Skantze 2025 find that partners resemble each other; how much is our choice.
    dialogue_tempo: float = option(0.3, "share of the variance that a dialogue has in common")
    speaker_tempo: float = option(0.2, "share of the variance that a speaker has of their own")
    # Overlaps of a user over the agent from this on are interruptions: the agent stops.
    interruption_s: float = option(0.4, "overlaps from this on break the agent off")
    longest_overlap_s: float = option(0.75, "longest overlap at a change of speaker")
    longest_gap_s: float = option(3.0, "longest silence between two speakers or inside a turn")
    tolerance: float = option(0.10, "largest difference from a target, as a share of it")

    def __post_init__(self) -> None:
        for name in (
            *("overlapped_changes", "backchannel_share", "overlap_ratio", "silence_ratio"),
            *("dialogue_tempo", "speaker_tempo"),
        ):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"timing.human.{name}={getattr(self, name)} must be at least 0 and below 1"
                )
        if self.dialogue_tempo + self.speaker_tempo > 1:
            raise ValueError(
                "timing.human.dialogue_tempo and timing.human.speaker_tempo are shares of one "
                f"variance; {self.dialogue_tempo} and {self.speaker_tempo} are more than 1 together"
            )
        for name in ("gap_median_s", "overlap_median_s", "pause_median_s"):
            longest = "longest_overlap_s" if name == "overlap_median_s" else "longest_gap_s"
            shortest = self.min_pause_s + 0.05 if name == "pause_median_s" else 0.03
            if not shortest <= getattr(self, name) < getattr(self, longest):
                raise ValueError(
                    f"timing.human.{name}={getattr(self, name)} must be at least {shortest:g} and "
                    f"below timing.human.{longest}={getattr(self, longest)}"
                )
        for name in ("gap_sigma", "overlap_sigma", "pause_sigma"):
            if getattr(self, name) <= 0:
                raise ValueError(f"timing.human.{name}={getattr(self, name)} must be positive")


@dataclass(frozen=True, kw_only=True)
class TimingConfig:
    """When things happen, in seconds; the agent itself follows `datagen/dialogue/rules.py`."""

    agent_on_grid: bool = option(
        True, "the agent's words start on micro-turn boundaries; in open speech its answers do"
    )
    lead_in_s: tuple[float, float] = option((0.3, 1.6), "silence before the first segment")
    gap_s: tuple[float, float] = option((0.4, 1.5), "silence between two segments")
    word_gap_s: tuple[float, float] = option((0.02, 0.12), "silence between two words of a user")
    pause_s: tuple[float, float] = option((0.3, 1.0), "a hesitation inside a user's turn")
    pause_probability: float = option(0.2, "probability of a hesitation in a turn of several words")
    result_delay_s: tuple[float, float] = option((1.0, 3.0), "time the background agent works")
    background_tail_s: float = option(
        0.8, "the agent also has to be silent this long after a voice"
    )
    silence_s: tuple[float, float] = option((1.5, 4.0), "a stretch in which nothing happens")
    second_question_probability: float = option(
        0.3, "how often the user asks something else while the background agent works"
    )
    yield_after_s: tuple[float, float] = option(
        (0.4, 0.4), "an interrupted agent falls silent at the first micro-turn this long after"
    )
    human: HumanTimingConfig = field(default_factory=HumanTimingConfig)
    reactions: ReactionConfig = option(
        default_factory=ReactionConfig, help="users of the closed loop alone, who hear the agent"
    )

    def __post_init__(self) -> None:
        low, high = self.yield_after_s
        if not 0.2 <= low <= high <= 0.6:
            raise ValueError(
                f"timing.yield_after_s={[low, high]} must be two rising numbers, 0.2 to 0.6: "
                "earlier the agent cannot know, later it is too late"
            )


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """The text tokenizer of the set."""

    path: str = option("", "an existing tokenizer.json; empty: train one on the corpus")
    vocab_size: int = option(512, "largest number of tokens, control tokens included")


def part_of(text: str) -> tuple[int, int]:
    """Parse `k/n` to the first shard and the step to the next; an empty text is all shards."""
    k, _, n = (text or "1/1").partition("/")
    if not (k.isdecimal() and n.isdecimal() and 1 <= int(k) <= int(n)):
        raise ValueError(f"part={text} must be k/n with 1 <= k <= n, such as part=3/8")
    return int(k) - 1, int(n)


@dataclass(frozen=True, kw_only=True)
class DatagenConfig:
    """A set of dialogues, a pure function of this configuration except workers and folders."""

    out: str = option(help="folder to write the shard set to, or a URL that fsspec supports")
    n_dialogues: int = option(64, "dialogues to make")
    seed: int = option(0, "seed of the set")
    split: str = option(
        "train", "train, or test: users at other speeds, and other people around them"
    )
    n_micro_turns: int = option(80, "length of a dialogue in micro-turns")
    dialogues_per_shard: int = option(32, "dialogues in one tar")
    executor: str = option("processes", "where shards are made: processes, serial or ray")
    workers: int = option(0, "processes; 0: one per core")
    part: str = option(
        "", "k/n: make every n-th shard from the k-th on; the last part writes the index"
    )
    ray_address: str = option("", "address of a Ray cluster; empty: RAY_ADDRESS, or a local one")
    features: bool = option(True, "store the model's audio features in addition to the audio")
    stems: bool = option(False, "store every source of the microphone separately")
    corpus: str = option(
        "", "comma-separated corpora, each a name, folder or URL; empty: the one that ships"
    )
    cache: str = option(
        "",
        "folder for room responses, decoded recordings and analyses of voices; empty: the user's "
        "cache folder",
    )
    json: str = option("", "write the data card to this file (- for stdout)")
    families: dict[str, float] = option(
        default_factory=_default_families,
        help="weight of each scenario family (short ones fit in more often)",
    )
    only: tuple[str, ...] = option((), "draw these families only, whatever their weights")
    layout: StreamLayout = field(default_factory=StreamLayout)
    vocabulary: VocabularyConfig = field(default_factory=VocabularyConfig)
    voices: VoicesConfig = field(default_factory=VoicesConfig)
    timing: TimingConfig = field(default_factory=TimingConfig)
    scenarios: ScenarioConfig = field(default_factory=ScenarioConfig)
    rooms: RoomsConfig = field(default_factory=RoomsConfig)
    channel: ChannelConfig = field(default_factory=ChannelConfig)
    acoustics: AcousticsConfig = field(default_factory=AcousticsConfig)
    video: VideoConfig = field(default_factory=VideoConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ValueError(f"split={self.split!r} is not one of {', '.join(SPLITS)}")
        for name in ("n_dialogues", "dialogues_per_shard", "n_micro_turns"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.executor not in EXECUTORS:
            raise ValueError(f"executor={self.executor!r} is not one of {', '.join(EXECUTORS)}")
        part_of(self.part)
        if self.voices.people != "trained":
            self._check_unseen_users()
        if self.voices.known_agents and self.split != "test":
            raise ValueError(
                "voices.known_agents=true needs split=test: in training every agent is known"
            )
        if self.voices.transform.share and self.layout.sample_rate < MIN_TRANSFORM_HZ:
            raise ValueError(
                f"layout.sample_rate={self.layout.sample_rate} is too low for voices.transform, "
                f"which needs {MIN_TRANSFORM_HZ}; set voices.transform.share=0"
            )
        self._check_prompt()
        if self.workers < 0:
            raise ValueError(f"workers={self.workers} must not be negative")
        if not self.weights:
            raise ValueError("families has no positive weight; give one, such as families.turn=1")
        for name, weight in self.families.items():
            if weight < 0:
                raise ValueError(f"families.{name}={weight} must not be negative")

    def _check_prompt(self) -> None:
        dialogue_s = self.n_samples / self.layout.sample_rate
        if self.voices.voice_prompt_s[1] > dialogue_s / 2:
            raise ValueError(
                f"voices.voice_prompt_s={list(self.voices.voice_prompt_s)} leaves less than half "
                f"of {dialogue_s:g} s to the dialogue; shorten it or give a larger n_micro_turns"
            )

    def _check_unseen_users(self) -> None:
        people = f"voices.people={self.voices.people}"
        if self.split != "test" and self.voices.people == "unseen":
            raise ValueError(f"{people} needs split=test: nobody of them is trained on")
        others = sorted(set(self.weights) - {"one_word"})
        if others:
            raise ValueError(
                f"{people} needs only=[one_word]: these people have not recorded the words of "
                f"{others[0]}"
            )

    @property
    def weights(self) -> dict[str, float]:
        """Return the positive weights of families; with `only`, equal weights."""
        if self.only:
            return dict.fromkeys(self.only, 1.0)
        return {name: weight for name, weight in self.families.items() if weight > 0}

    @property
    def n_samples(self) -> int:
        return self.n_micro_turns * self.layout.samples_per_micro_turn

    @property
    def n_shards(self) -> int:
        return -(-self.n_dialogues // self.dialogues_per_shard)
