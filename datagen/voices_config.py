"""Configuration of the voices: who speaks, and how recordings are varied."""

from __future__ import annotations

from dataclasses import dataclass, field

from microturn.configs.command import option
from microturn.model.streams.levels import AGENT_LEVEL_DB, TRIM_DB

PEOPLE = ("trained", "unseen", "both")
PITCH_METHODS = ("dio", "harvest")
MIN_TRANSFORM_HZ = 12_000  # the lowest sample rate at which voices can be transformed
MAX_PROMPT_S = 10.0


@dataclass(frozen=True, kw_only=True)
class TransformConfig:
    """Voices of other people made of recordings, by analysis and synthesis; docs/people.md.

    Each number of a voice is drawn so that equal ratios are as likely (log-uniform).
    """

    share: float = option(
        0.0, "how often a user, or in split=train another speaker, has a transformed voice"
    )
    n_voices: int = option(200, "transformed voices to draw from; each split has its own")
    pitch_hz: tuple[float, float] = option((80.0, 285.0), "median pitch")
    formants: tuple[float, float] = option(
        (0.78, 1.22), "factor of the frequencies of formants; a shorter vocal tract is above 1"
    )
    tempo: tuple[float, float] = option((0.7, 1.4), "factor of the speed, pitch apart")
    intonation: tuple[float, float] = option(
        (0.3, 1.8), "factor of the rises and falls of pitch around its median"
    )
    pitch_method: str = option("dio", "how pitch is found: dio, or harvest (slower, fewer errors)")

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"voices.transform.share={self.share} must be between 0 and 1")
        if self.n_voices < 1:
            raise ValueError(f"voices.transform.n_voices={self.n_voices} must be at least 1")
        if self.pitch_method not in PITCH_METHODS:
            raise ValueError(
                f"voices.transform.pitch_method={self.pitch_method!r} is not one of "
                f"{', '.join(PITCH_METHODS)}"
            )
        for name, lowest, highest in (
            *(("pitch_hz", 50, 500), ("formants", 0.5, 2)),
            *(("tempo", 0.5, 2), ("intonation", 0.1, 4)),
        ):
            low, high = getattr(self, name)
            if not lowest <= low <= high <= highest:
                raise ValueError(
                    f"voices.transform.{name}={[low, high]} must be two rising numbers between "
                    f"{lowest} and {highest}"
                )


@dataclass(frozen=True, kw_only=True)
class VoicesConfig:
    """Who speaks; perturbed voices are the agent's speaker resampled, so speed and pitch change.

    With `transform.share` some of them, and of all others but the agent, are transformed instead.
    """

    agent: str = option(
        "asterisk-en",
        "speaker whose unaltered recordings are the agent's voice; for open speech also several, "
        "separated by commas, patterns, or any",
    )
    user: str = option("asterisk-en", "speaker whose perturbed words are the users' voices")
    train_factors: tuple[float, ...] = option(
        (0.80, 0.84, 0.88, 0.92, 1.08, 1.12, 1.17, 1.22, 1.28, 1.34),
        "speed and pitch factors of the users in split=train",
    )
    test_factors: tuple[float, ...] = option(
        (0.86, 1.10, 1.25),
        "factors of the users in split=test: the same person and recordings at other speeds",
    )
    unseen: tuple[str, ...] = option(
        (
            *("ferryman", "guardian", "henry", "lola", "man", "naomi", "rico", "skip", "tam"),
            "wedgewood",
        ),
        "speakers who are in no training set, as users or otherwise",
    )
    known_agents: bool = option(
        False,
        "split=test, `scripted`: speakers of training may be the agents of dialogues whose users "
        "are all unseen people; else nobody in a test set is trained on",
    )
    people: str = option(
        "trained",
        "users: trained (voices.user), unseen (split=test: others who have recorded a request), or "
        "both, half of each; all others are people of the split's own side",
    )
    n_people: int = option(0, "most others among the users of split=train; 0: all there are")
    cut_requests: bool = option(
        False, "cut requests of others also out of recordings of up to 12 words of known times"
    )
    cut_phrases: bool = option(
        False,
        "cut backchannels and phrases that stop the agent out of recordings that begin or end with "
        "them, words or silence beside them",
    )
    phrase_factors: tuple[float, ...] = option(
        (0.83, 0.90, 0.95, 1.0, 1.05, 1.11, 1.20),
        "factors drawn for recorded phrases and lines of other speakers in split=train",
    )
    other_share: float = option(
        0.25,
        "how often another speaker says a backchannel, an interruption, a greeting or an aside",
    )
    transform: TransformConfig = field(default_factory=TransformConfig)
    voice_prompt_s: tuple[float, float] = option(
        (0.0, 0.0),
        "open speech: seconds of other speech of the agent's voice at the start of its lane",
    )
    tilt: float = option(0.4, "largest spectral tilt of a perturbed voice (first-order, 0 to 0.9)")
    trim_db: float = option(
        TRIM_DB, "a word begins and ends where it rises above this, re its peak"
    )
    user_level_db: float = option(-26.0, "level of a user's word while it sounds, dB re full scale")
    agent_level_db: float = option(AGENT_LEVEL_DB, "level of the agent's words, dB re full scale")

    def __post_init__(self) -> None:
        if not 0 <= self.other_share <= 1:
            raise ValueError(f"voices.other_share={self.other_share} must be between 0 and 1")
        low_s, high_s = self.voice_prompt_s
        if not 0 <= low_s <= high_s <= MAX_PROMPT_S:
            raise ValueError(
                f"voices.voice_prompt_s={[low_s, high_s]} must be two rising numbers between 0 and "
                f"{MAX_PROMPT_S:g}"
            )
        if self.n_people < 0:
            raise ValueError(f"voices.n_people={self.n_people} must not be negative")
        both = set(self.train_factors) & set(self.test_factors)
        if both:
            raise ValueError(
                f"voices.test_factors has {sorted(both)[0]}, which voices.train_factors has too; "
                "speeds of the test must not be trained on"
            )
        if self.people not in PEOPLE:
            raise ValueError(f"voices.people={self.people!r} is not one of {', '.join(PEOPLE)}")
        for name in ("agent", "user"):
            if getattr(self, name) in self.unseen:
                raise ValueError(
                    f"voices.{name}={getattr(self, name)!r} is trained on, so voices.unseen must "
                    "not have it"
                )
