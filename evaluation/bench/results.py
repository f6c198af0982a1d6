"""The end of every bench: a text table on stdout, the figures and their configuration in files."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from microturn.configs.command import write_json
from microturn.configs.load import save_config


class BenchConfig(Protocol):
    """A bench's configuration with the place of its figures."""

    @property
    def json(self) -> str: ...


def publish(result: Mapping[str, Any], table: str, config: BenchConfig) -> None:
    """Print the table, unless the figures go to stdout; write figures and configuration."""
    sys.stdout.write(table if config.json != "-" else "")
    write_json(dict(result), config.json)
    if config.json not in ("", "-"):
        save_config(Path(config.json).with_suffix(".config.yaml"), config)
