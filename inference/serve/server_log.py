"""The log of uvicorn, without lines that anybody can write into it by sending nonsense."""

from __future__ import annotations

import logging
from copy import deepcopy
from typing import Any, Final

# Faults of clients; the first one is a refused handshake that was answered in full.
_OF_CLIENTS: Final = (
    "ASGI callable returned without completing handshake.",
    "Invalid HTTP request received.",
    "Invalid UTF-8 sequence received from client.",
    "Unsupported upgrade request.",
)


class ServerFaults(logging.Filter):
    """Passes what is wrong with the server."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith(_OF_CLIENTS)


def log_config() -> dict[str, Any]:
    """Return uvicorn's configuration of its log with that filter."""
    from uvicorn.config import LOGGING_CONFIG

    config = deepcopy(LOGGING_CONFIG)
    config["filters"] = {"server_faults": {"()": ServerFaults}}
    config["loggers"]["uvicorn.error"]["filters"] = ["server_faults"]
    return config
