"""The clients that the bench runs: the packages of each, and the program that talks with them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

_PROGRAMS: Final = Path(__file__).with_name("programs")
_VERSION: Final = "from importlib.metadata import version; print(version({name!r}))"

Home = Literal["ours", "pip", "npm"]
Packages = Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class RealClient:
    """One way to talk to the server, by somebody else's package."""

    name: str
    packages: Packages  # names and versions; the first one is the client
    program: str  # a file of the folder `programs`
    kind: str = ""  # word before the address
    home: Home = "pip"  # our own environment, or one of its own: Python's or npm's
    talks: bool = True  # the others read something alone

    def installed(self, environment: Path) -> str:
        """Return the version that is installed, or nothing; raises nothing."""
        name = self.packages[0][0]
        if self.home == "npm":
            file = environment / "node_modules" / name / "package.json"
            return json.loads(file.read_text(encoding="utf-8"))["version"] if file.exists() else ""
        if self.home == "ours":
            return _our_version(name)
        python = python_of(environment)
        if not python.exists():
            return ""
        command = [str(python), "-c", _VERSION.format(name=name)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8")
        return done.stdout.strip()

    def how_to_install(self, environment: Path) -> str:
        """Return the command that installs what is tested."""
        if self.home == "npm":
            packages = " ".join(f"{name}@{version}" for name, version in self.packages)
            return f"{environment}/bin/npm install --prefix {environment} {packages}"
        pip = "pip" if self.home == "ours" else f"{environment}/bin/pip"
        return f"{pip} install " + " ".join(f"{name}=={version}" for name, version in self.packages)

    def command(self, environment: Path, url: str) -> list[str]:
        """Return the command that talks to the server at `url`, from the environment's folder."""
        program = _PROGRAMS / self.program
        words = [self.kind, url] if self.kind else [url]
        if self.home == "npm":
            # Packages of a program that is no file are looked for in the current folder.
            text = program.read_text(encoding="utf-8")
            return [node_of(environment), "--input-type=module", "--eval", text, *words]
        python = sys.executable if self.home == "ours" else str(python_of(environment))
        return [python, "-W", "ignore", str(program), *words]


def python_of(environment: Path) -> Path:
    return environment.absolute() / "bin" / "python"  # a link: its own place matters


def node_of(environment: Path) -> str:
    """Return the environment's own node, or whichever there is."""
    own = environment.absolute() / "bin" / "node"
    return str(own) if own.exists() else (shutil.which("node") or "node")


def _our_version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


_OPENAI: Final = (("openai", "3.57.0"),)
_PIPECAT: Final = (("pipecat-ai", "1.14.0"),)
_LIVEKIT: Final = (("livekit-plugins-openai", "1.8.9"),)
_VERCEL: Final = (("@ai-sdk/openai", "4.0.118"), ("ws", "8.23.0"))
_AGENTS_JS: Final = (("@openai/agents-realtime", "0.20.0"), ("zod", "4.6.7"))

CLIENTS: Final = (
    RealClient(
        name="openai, models",
        packages=_OPENAI,
        program="openai_client.py",
        kind="models",
        home="ours",
        talks=False,
    ),
    RealClient(
        name="openai, GPT-Live",
        packages=_OPENAI,
        program="openai_client.py",
        kind="live",
        home="ours",
    ),
    RealClient(
        name="openai, Realtime",
        packages=_OPENAI,
        program="openai_client.py",
        kind="realtime",
        home="ours",
    ),
    RealClient(
        name="pipecat, GPT-Live", packages=_PIPECAT, program="pipecat_client.py", kind="live"
    ),
    RealClient(
        name="pipecat, Realtime", packages=_PIPECAT, program="pipecat_client.py", kind="realtime"
    ),
    RealClient(
        name="LiveKit, GPT-Live", packages=_LIVEKIT, program="livekit_client.py", kind="live"
    ),
    RealClient(
        name="LiveKit, Realtime", packages=_LIVEKIT, program="livekit_client.py", kind="realtime"
    ),
    RealClient(
        name="openai-agents, Realtime",
        packages=(("openai-agents", "0.24.0"),),
        program="agents_client.py",
    ),
    RealClient(
        name="openai-agents (JS), Realtime",
        packages=_AGENTS_JS,
        program="agents_client.mjs",
        home="npm",
    ),
    RealClient(
        name="Vercel AI SDK, GPT-Live",
        packages=_VERCEL,
        program="ai_sdk_client.mjs",
        kind="live",
        home="npm",
    ),
    RealClient(
        name="Vercel AI SDK, Realtime",
        packages=_VERCEL,
        program="ai_sdk_client.mjs",
        kind="realtime",
        home="npm",
    ),
)
