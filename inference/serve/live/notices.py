"""What a client asks for and this server does otherwise: a code and a sentence for each."""

from __future__ import annotations

from typing import Final

from microturn.inference.serve.live.session_config import (
    BackendSettings,
    ClientDelegation,
    ResponsesDelegation,
    ResponsesUpdate,
    SessionConfig,
)
from microturn.inference.serve.wire.event_reader import EventError

Notice = tuple[str, str]

ALIAS_PREFIX: Final = "gpt-live-"  # clients' own defaults are taken for the model of this server

DELAY_NOTICE: Final = (
    "acknowledgement_delay_not_used",
    "acknowledgement_delay_ms has no effect: the model itself decides when it acknowledges",
)


def check_model(name: str, *, own: str, event_id: str | None) -> None:
    """Raise EventError for a model that is not served here under any name."""
    if name != own and not name.startswith(ALIAS_PREFIX):
        raise EventError(
            "model_not_found",
            f"there is no model {name[:80]!r} here; {own!r} is the one",
            param="session.model",
            event_id=event_id,
        )


def notices_of(config: SessionConfig, *, model: str) -> list[Notice]:
    """List what is done otherwise of a session's configuration; `model` is the server's own."""
    found = []
    if config.model != model:
        found.append(("model_alias", f"{config.model[:80]!r} is {model!r} on this server"))
    voice = config.audio.voice if config.audio else None
    if voice is not None:
        sentence = f"voice {voice[:80]!r} was not used: the voice is that of the server's model"
        found.append(("voice_not_used", sentence))
    if config.input:
        n = len(config.input)
        sentence = f"{n} messages of `input` were not read: the model reads no earlier text"
        found.append(("input_not_read", sentence))
    if config.store:
        found.append(("not_stored", "nothing of the session is kept once it is over"))
    delegation = config.delegation
    if isinstance(delegation, ResponsesDelegation):
        found += backend_notices(delegation.responses)
    if delegation and delegation.acknowledgement_delay_ms:
        found.append(DELAY_NOTICE)
    return found


def backend_notices(settings: BackendSettings) -> list[Notice]:
    """List what is done otherwise of the settings of a Responses backend."""
    found = []
    if settings.model is not None:
        sentence = f"the agent of this server answers in place of {settings.model[:80]!r}"
        found.append(("backend_replaced", sentence))
    if unused := settings.unused():
        names = ", ".join(unused)
        found.append(("backend_settings_not_used", f"the agent of this server has no {names}"))
    return found


def update_notices(change: ClientDelegation | ResponsesUpdate) -> list[Notice]:
    """List what is done otherwise of a change of the delegation."""
    found = []
    if isinstance(change, ResponsesUpdate):
        found += backend_notices(change.responses or BackendSettings())
    if change.acknowledgement_delay_ms:
        found.append(DELAY_NOTICE)
    return found
