"""What the scenarios beyond the basic ones say and how long they take; see docs/scenarios.md."""

from __future__ import annotations

from dataclasses import dataclass

from microturn.configs.command import option
from microturn.model.streams import FAILED_RESULT


def _default_recitals() -> dict[str, str]:
    return {
        "numbers": "one two three four five six seven eight nine ten eleven twelve thirteen "
        "fourteen fifteen sixteen seventeen eighteen nineteen twenty",
        "days": "monday tuesday wednesday thursday friday saturday sunday",
        "months": "january february march april may june july august september october november "
        "december",
    }


def _default_harmless() -> dict[str, str]:
    return {"transfer {number} messages": "{number} messages", "your number": "nine"}


SOUNDS = ("background_speech", "noise", "music")
REQUESTS = ("timed_cue", "spoken_cue", "delegation")
TRANSPLANTS = (*SOUNDS, *REQUESTS)
INTERJECTIONS = ("nothing", "stop", "backchannel", "aside", "voice", "tic")


def _default_interjections() -> dict[str, float]:
    return dict(zip(INTERJECTIONS, (0.35, 0.25, 0.25, 0.08, 0.07, 0.0), strict=True))


@dataclass(frozen=True, kw_only=True)
class ScenarioConfig:
    """Words and times of single scenarios; seconds are drawn evenly between two numbers."""

    corrections: tuple[str, ...] = option(
        ("no", "i'm sorry"),
        "self_correction: what a user says between the wrong word and the right",
    )
    agent_backchannels: tuple[str, ...] = option(
        ("oh",), "agent_backchannel: what the agent says while it listens"
    )
    message_phrases: tuple[str, ...] = option(
        (
            *("is on the phone", "is unavailable", "the conference has ended", "call waiting"),
            *("has left the conference", "is now in the conference", "call forwarding"),
            *(
                "the number is not answering",
                "there are currently",
                "other participants in the conference",
            ),
            *("please try again", "please try your call again later", "incoming call from"),
            *(
                "the conference is now locked",
                "you have an incoming call",
                "from an unknown caller",
            ),
        ),
        "agent_backchannel: phrases of a message that the user dictates, where recorded",
    )
    n_message_phrases: tuple[int, int] = option((2, 4), "agent_backchannel: phrases of a message")
    listening_pause_s: tuple[float, float] = option(
        (0.6, 1.1), "agent_backchannel: a pause at which the agent shows that it listens"
    )
    side_talk_phrases: tuple[str, ...] = option(
        (
            *("they have been carried away by monkeys", "weasels have eaten our phone system"),
            *("something is terribly wrong", "nobody is available to take your call at the moment"),
            *("the person at extension", "sorry you're having problems", "hello world"),
            *("thank you for your patience", "your message is too short"),
        ),
        "side_talk: what the user says to somebody else, where recorded",
    )
    side_talk_db: tuple[float, float] = option(
        (-9.0, -3.0), "side_talk: level of a user who has turned away"
    )
    vocal_tics: tuple[str, ...] = option(
        (),
        "vocal_tic: further transcripts of coughs, laughs and the like, in lower case without "
        "signs, `*` for anything (`cough*`); hesitations and sounds in brackets are found alone",
    )
    music_s: tuple[float, float] = option((2.0, 5.0), "music: how long it plays")
    music_db: tuple[float, float] = option((-18.0, -6.0), "music: level relative to the user")
    recitals: dict[str, str] = option(
        default_factory=_default_recitals,
        help="interjection: orders in which a word can be left out",
    )
    round_recitals: tuple[str, ...] = option(
        ("days", "months"), "interjection: those of them that begin again after their end"
    )
    recital_gap_s: tuple[float, float] = option(
        (0.08, 0.35), "interjection, spoken_cue: silence between two words that are recited"
    )
    flawless_share: float = option(0.25, "interjection: how often the user makes no mistake")
    repeat_period_s: tuple[int, int] = option((3, 5), "repeated_cue: shortest and longest period")
    repeat_times: tuple[int, int] = option((1, 3), "repeated_cue: times before the user says stop")
    cue_names: tuple[str, ...] = option(
        (
            *("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india"),
            *("juliet", "kilo", "lima", "mike", "oscar", "papa", "quebec", "romeo"),
            *("sierra", "tango", "uniform", "victor", "whiskey", "yankee", "zulu"),
        ),
        "spoken_cue: words that the user says, one of them the cue; used by no other family",
    )
    n_cue_names: tuple[int, int] = option((6, 10), "spoken_cue: words of the user's long turn")
    n_agreements: tuple[int, int] = option(
        (1, 1), "spoken_cue: cues that are agreed on before that turn, each with its answer"
    )
    cue_share: float = option(
        0.0,
        "spoken_cue: how often a word of that turn that may be the cue is it; 0: once or twice",
    )
    languages: tuple[str, ...] = option(
        ("es", "fr", "it", "ru"), "translation: languages of the user, where recorded"
    )
    n_translated: tuple[int, int] = option((3, 6), "translation: words that the user says")
    translation_gap_s: tuple[float, float] = option(
        (0.05, 0.4), "translation: silence between two words of the user"
    )
    failed_share: float = option(
        0.0,
        "delegation, errand: how often the background agent fails or takes too long; the result, "
        f"and what the agent says, is {FAILED_RESULT!r}",
    )
    tool_latency_s: tuple[float, float] = option(
        (1.5, 9.0), "errand: how long the background agent works"
    )
    errand_questions: tuple[int, int] = option((0, 2), "errand: questions asked meanwhile")
    errand_gap_s: tuple[float, float] = option((0.5, 2.0), "errand: silence before such a question")
    filler: str = option("thank you for your patience", "errand: said when the wait grows long")
    filler_after_s: float = option(3.0, "errand: seconds of silence after which it is said")
    cancel_probability: float = option(0.15, "errand: how often the user calls it off")
    progress_share: float = option(
        0.0,
        "errand: how often the background agent tells how far it is, `<bg> <system> five seconds "
        "</bg>`, and the user asks for it; the agent says the newest it was told",
    )
    progress_request: str = option("hold time", "errand: how the user asks how far it is")
    slots: tuple[str, ...] = option(
        ("password", "extension", "location", "work", "family"),
        "recall: what can be remembered: `SLOT is NUMBER NUMBER`, later `SLOT`",
    )
    suffixes: tuple[str, ...] = option(
        ("thank you", "goodbye"),
        "recall: `SUFFIX added`: every answer ends in it until `SUFFIX removed`",
    )
    forbidden: tuple[str, ...] = option(
        ("your password", "transfer {number} dollars"),
        "forbidden: requests that the agent refuses; {number} is any number",
    )
    harmless: dict[str, str] = option(
        default_factory=_default_harmless,
        help="forbidden: requests that only look like those, and the answers",
    )
    refusal: str = option("i'm sorry", "forbidden: how the agent refuses")
    forbidden_share: float = option(0.5, "forbidden: how often the request is a forbidden one")

    go_on_phrases: tuple[str, ...] = option(
        (
            *("continue", "go on", "please go on", "please continue", "go ahead", "carry on"),
            *("keep going", "tell me", "tell me more", "and then", "what happened then"),
        ),
        "open speech: how a user asks the agent to read on, where recorded; else with a line",
    )
    line_words: int = option(
        3,
        "open speech: fewest words of a recording that is told, read or asked; 1: also bare words, "
        "those that stop and agree among them",
    )
    another_asks: float = option(
        0.0, "one_word: how often a word is said by somebody else than the user of the dialogue"
    )
    string_share: float = option(
        0.0, "one_word: how often other people say several letters or numbers, unanswered"
    )
    narrated_lines: tuple[int, int] = option((2, 6), "narration: lines that the agent reads")
    interjections: dict[str, float] = option(
        default_factory=_default_interjections,
        help="open speech: weights of what happens while the agent speaks: nothing, stop, "
        "backchannel, aside (to somebody else), voice (from afar), tic (a cough, `um`)",
    )
    transplants: dict[str, float] = option(
        default_factory=lambda: dict.fromkeys(TRANSPLANTS, 0.0),
        help=f"open speech: shares of the dialogues into which one of each is put: "
        f"{', '.join(TRANSPLANTS)}",
    )
    third_voice_share: float = option(
        0.0, "recorded: how often those who are neither agent nor user are heard, too"
    )
    instructed_share: float = option(
        0.0, "open speech: share of the dialogues that begin with instructions on `text_in`"
    )
    listening_s: tuple[float, float] = option((8.0, 30.0), "listening: how long the user talks")
    listening_share: float = option(
        0.5, "listening: share of the ends of lines at which the agent says that it listens"
    )
    hesitations: float = option(
        0.4, "listening: share of the gaps between two words that become a hesitation"
    )

    def __post_init__(self) -> None:
        unknown = sorted(set(self.interjections) - set(INTERJECTIONS))
        if unknown or min(self.interjections.values(), default=0.0) < 0:
            raise ValueError(
                f"scenarios.interjections={self.interjections} must be weights of at least 0 of "
                f"{', '.join(INTERJECTIONS)}"
            )
        for kind, share in self.transplants.items():
            if kind not in TRANSPLANTS or not 0 <= share <= 1:
                raise ValueError(
                    f"scenarios.transplants.{kind}={share} must be a share between 0 and 1 of one "
                    f"of {', '.join(TRANSPLANTS)}"
                )
        shares = (
            *("failed_share", "progress_share", "hesitations", "instructed_share"),
            *("listening_share", "third_voice_share", "cue_share"),
            *("another_asks", "string_share"),
        )
        for name in shares:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"scenarios.{name}={getattr(self, name)} must be between 0 and 1")
        for name in (
            "narrated_lines",
            "n_message_phrases",
            "repeat_period_s",
            "repeat_times",
            "n_translated",
            "n_agreements",
        ):
            low, high = getattr(self, name)
            if not 1 <= low <= high:
                raise ValueError(
                    f"scenarios.{name}={[low, high]} must be two rising numbers of at least 1"
                )
        if self.n_cue_names[0] < 6 or self.n_cue_names[1] < self.n_cue_names[0]:
            raise ValueError(
                f"scenarios.n_cue_names={list(self.n_cue_names)} must be two rising numbers of at "
                "least 6, so that the user goes on speaking after the cue"
            )
        lost = sorted(set(self.round_recitals) - set(self.recitals))
        if lost:
            raise ValueError(
                f"scenarios.round_recitals has {lost[0]!r}, which scenarios.recitals has not"
            )
        recited = {word for order in self.recitals.values() for word in order.split()}
        both = sorted(recited & set(self.cue_names))
        if both:
            raise ValueError(
                f"scenarios.cue_names has {both[0]!r}, which scenarios.recitals has too; who "
                "recites it would give a cue without meaning to"
            )
        for request in (*self.forbidden, *self.harmless):
            rest = request.replace("{number}", "")
            if "{" in rest or not request.strip():
                raise ValueError(
                    f"scenarios: the request {request!r} may hold words and {{number}} only"
                )
