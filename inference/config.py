"""Configuration of `talk` and `serve`."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Final, Literal

from microturn.configs.command import option, require_at_least
from microturn.configs.load import ConfigError
from microturn.model.config import SHIPPED

# Where server and clients look for the token; unlike a command line, nobody else can read it.
TOKEN_VARIABLE: Final = "MICROTURN_TOKEN"
_TRAINED: Final = "for models trained with it"
BACKENDS: Final[dict[str, str]] = {  # of the background agent, by name
    "offline": "microturn.inference.agent.offline:make_offline",
    "openai": "microturn.inference.agent.endpoint:make_endpoint",
}


@dataclass(frozen=True, kw_only=True)
class EndpointConfig:
    """An OpenAI-compatible endpoint, such as those of vLLM, SGLang, Ollama and llama.cpp."""

    url: str = option("http://127.0.0.1:8080/v1", "address of the endpoint, with its /v1")
    model: str = option("", "name of the model; empty: the first one that the endpoint lists")
    key_env: str = option(
        "OPENAI_API_KEY", "environment variable that holds the key, if it has one"
    )
    max_tokens: int = option(512, "tokens that the model may write at once")
    max_rounds: int = option(6, "times that it may call tools before it has to answer")
    pictures: bool = option(
        False, "send the newest picture of the camera; the model must have eyes"
    )

    def __post_init__(self) -> None:
        require_at_least(self, "agent.endpoint", max_tokens=1, max_rounds=1)
        if not self.url.startswith(("http://", "https://")):
            raise ConfigError(f"agent.endpoint.url={self.url} must begin with http:// or https://")


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """The background agent: what it works with, and how a conversation uses it."""

    enabled: bool = option(True, "answer <delegate>")
    backend: str = option(
        "offline",
        "what answers: offline, openai, or module:name of a function that makes a back end",
    )
    endpoint: EndpointConfig = option(
        default_factory=EndpointConfig, help="endpoint of agent.backend=openai"
    )
    mcp: tuple[str, ...] = option((), "MCP servers to take tools from: addresses or commands")
    options: dict[str, str] = option(
        default_factory=dict, help="settings of a back end of your own"
    )
    folder: str = option("", "folder of .txt, .md and .rst files that can be searched")
    settle_s: float = option(
        0.4, "seconds after <delegate> before the agent reads the transcript, which lags behind"
    )
    clock: Literal["hour", "minute"] = option(
        "hour", "precision of the clock's answers; the demo's voice has learnt the hours only"
    )
    latency_s: float = option(1.6, "a result arrives no sooner than this after <delegate>")
    timeout_s: float = option(30.0, "a delegation without an answer fails after this")
    max_pending: int = option(4, "delegations under way at once in one conversation")
    result_s: float = option(
        8.0, "time that a result may take on text_in; the rest of a longer one goes on a card"
    )
    progress: bool = option(False, f"tell the model how far the work is; {_TRAINED}")

    def __post_init__(self) -> None:
        require_at_least(self, "agent", settle_s=0.0, latency_s=0.0, timeout_s=0.1, max_pending=1)
        require_at_least(self, "agent", result_s=0.2)
        if self.backend not in BACKENDS and ":" not in self.backend:
            raise ConfigError(
                f"agent.backend={self.backend} is none of {', '.join(BACKENDS)} and not module:name"
            )


@dataclass(frozen=True, kw_only=True)
class NotesConfig:
    """Notes on `text_in`: words from before the model's window."""

    enabled: bool = option(
        False,
        "send words from before the window as notes on text_in; for models trained with notes",
    )
    lines: int = option(8, "notes that are kept, the newest ones")
    words: int = option(8, "words of one note at most")
    pause_s: float = option(1.0, "a pause longer than this ends a note")

    def __post_init__(self) -> None:
        require_at_least(self, "notes", lines=1, words=1, pause_s=0.0)


@dataclass(frozen=True, kw_only=True)
class TalkConfig:
    """`microturn talk IN.wav out=DIR`."""

    input: str = option(help="the recording to listen to: WAV, FLAC, OGG, MP3, any rate")
    out: str = option(help="folder for output.wav, words.json, timeline.png and config.yaml")
    checkpoint: str = option(SHIPPED, "folder of a trained model")
    voice: str = option("", f"recording of the voice that the agent shall have; {_TRAINED}")
    voice_text: str = option("", "what is said in the recording of the voice")
    instructions: str = option("", f"text for the agent before the conversation; {_TRAINED}")
    seed: int = option(0, "random numbers of the voice")
    threads: int = option(1, "processor threads of the engine, 0: as many as there are cores")
    device: str = option("auto", "cpu, cuda, cuda:N, or auto: a GPU if there is one")
    agent: AgentConfig = option(default_factory=AgentConfig, help="background agent")
    notes: NotesConfig = option(default_factory=NotesConfig, help="words from before the window")

    def __post_init__(self) -> None:
        require_at_least(self, "", threads=0)


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """`microturn serve`."""

    checkpoint: str = option(SHIPPED, "folder of a trained model")
    host: str = option("127.0.0.1", "address to listen on; anything but loopback needs a token")
    port: int = option(8765, "port to listen on, 0: any free one")
    token: str = option(
        "",
        "secret that clients send as ?token= or as a bearer header; everybody on this machine can "
        f"read it here, so rather use token_file or the environment variable {TOKEN_VARIABLE}",
    )
    token_file: str = option("", "file with the token")
    ssl_certfile: str = option(
        "", "certificate in PEM, its chain included; the server then speaks https and wss"
    )
    ssl_keyfile: str = option("", "private key of the certificate, if its file has none")
    proxy: str = option(
        "",
        "address or network of the reverse proxy, such as 127.0.0.1: what it says in "
        "X-Forwarded-For are the addresses of the clients",
    )
    connections_per_address: int = option(
        64,
        "connections of one address at once, and a quarter as many new ones a second, 0: any "
        "number of them and of requests",
    )
    sessions_per_address: int = option(0, "sessions of one address at once, 0: any number")
    max_sessions: int = option(4, "sessions at once; one more is refused, not queued")
    admit_share: float = option(
        0.7,
        "a session is refused when a micro-turn would need more than this share of its time with "
        "it, 0: never",
    )
    admit_quantile: float = option(
        0.9, "share of the micro-turns that have to be quicker than that, 0 to 1"
    )
    admit_always: int = option(
        1, "sessions that are let in whatever was measured; the client is warned"
    )
    admit_cost_ms: list[float] = option(
        default_factory=list,
        help="milliseconds that a micro-turn of one session takes, and that each further session "
        "adds, in place of measurements; []: measured",
    )
    calibrate: int = option(
        20, "micro-turns that each number of sessions is timed for before the first one begins"
    )
    max_waiting_micro_turns: int = option(
        5, "micro-turns of a session's input that may wait; beyond that the oldest get no answer"
    )
    keep_waiting_micro_turns: int = option(
        1, "micro-turns that still wait after that, at most max_waiting_micro_turns"
    )
    max_behind_ms: float = option(
        1_000.0,
        "the same happens when three wait and for this long there was always one, 0: never",
    )
    missing_input_after_ms: float = option(
        0.0,
        "a micro-turn whose audio is missing this long after it was due goes on as <late>; 0: it "
        "waits. For models trained with missing input",
    )
    resume_s: float = option(
        30.0,
        "a conversation whose connection was lost keeps its place for its client so long, 0: not",
    )
    rewind_s: float = option(
        0.0, "a client may take back the last micro-turns of its conversation, so far at most"
    )
    idle_s: float = option(30.0, "a conversation without audio for this long is closed, 0: never")
    longest_s: float = option(
        7_200.0, "a conversation is closed when it has lasted this long, 0: never"
    )
    audio_ahead_s: float = option(
        30.0,
        "a client's audio may come this far ahead of real time; what is further ahead is refused, "
        "0: never",
    )
    voice: str = option(
        "", f"recording of the voice that the agent shall have in all sessions; {_TRAINED}"
    )
    voice_text: str = option("", "what is said in the recording of the voice")
    instructions: str = option("", f"text for the agent before each conversation; {_TRAINED}")
    seed: int = option(0, "random numbers of the voice")
    threads: int = option(1, "processor threads of the engine, 0: as many as there are cores")
    device: str = option("auto", "cpu, cuda, cuda:N, or auto: a GPU if there is one")
    agent: AgentConfig = option(default_factory=AgentConfig, help="background agent")
    notes: NotesConfig = option(default_factory=NotesConfig, help="words from before the window")

    def __post_init__(self) -> None:
        require_at_least(
            self, "", max_sessions=1, max_waiting_micro_turns=1, idle_s=0.0, threads=0, port=0
        )
        require_at_least(self, "", resume_s=0.0, rewind_s=0.0)
        require_at_least(self, "", connections_per_address=0, sessions_per_address=0)
        if self.proxy and not _is_network(self.proxy):
            raise ConfigError(
                f"proxy={self.proxy} must be an address or a network, such as 127.0.0.1 or "
                "10.0.0.0/8"
            )
        require_at_least(self, "", keep_waiting_micro_turns=1, max_behind_ms=0.0)
        if self.keep_waiting_micro_turns > self.max_waiting_micro_turns:
            raise ConfigError(
                f"keep_waiting_micro_turns={self.keep_waiting_micro_turns} must not be above "
                f"max_waiting_micro_turns={self.max_waiting_micro_turns}"
            )
        require_at_least(self, "", admit_always=0)
        if not 0.0 <= self.admit_quantile <= 1.0:
            raise ConfigError(f"admit_quantile={self.admit_quantile} must be between 0 and 1")
        if self.admit_cost_ms and (len(self.admit_cost_ms) != 2 or min(self.admit_cost_ms) < 0):
            raise ConfigError(
                f"admit_cost_ms={self.admit_cost_ms} must be two times, such as [40, 8]: of one "
                "session, and of each further one"
            )
        require_at_least(self, "", longest_s=0.0, audio_ahead_s=0.0)
        require_at_least(self, "", admit_share=0.0, calibrate=0, missing_input_after_ms=0.0)
        if self.port > 65_535:
            raise ConfigError(f"port={self.port} is above 65535")
        if self.ssl_keyfile and not self.ssl_certfile:
            raise ConfigError("ssl_keyfile needs ssl_certfile, the certificate of the key")


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Tell whether a listening address is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
