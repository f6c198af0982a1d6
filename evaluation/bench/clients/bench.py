"""`microturn bench clients`: every real client that is installed talks to the server.

Each asks aloud, has words back, has the work done that the model hands over, and interrupts the
answer.
"""

from __future__ import annotations

import asyncio
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from microturn.evaluation.bench.clients.catalogue import CLIENTS, RealClient
from microturn.evaluation.bench.clients.conversation import (
    ClientTalk,
    RecordedQuestion,
    recorded_question,
    talk_through,
)
from microturn.evaluation.bench.clients.own import OWN_CLIENT, talk_through_our_own
from microturn.evaluation.bench.clients.ruled import HEARD, MOMENT
from microturn.evaluation.bench.clients.served import RULES, ServedTalker
from microturn.evaluation.bench.config import BenchClientsConfig
from microturn.evaluation.bench.results import publish
from microturn.evaluation.bench.serving.server import RunningServer, running
from microturn.inference.config import ServeConfig

# From the first sample of an interruption to the last sound of the answer. The rules stop in the
# micro-turn in which they hear the first word, 0.2 s later; the answer would last 2 s longer.
STOPS_WITHIN_S: Final = 1.5
# Who says the result; the clients have another one than the server's agent, which calculates.
ANSWERS: Final = {"eleven": "the server's agent", "twelve": "the client"}
_FREE_S: Final = 60.0  # a conversation whose client broke off keeps its place for 30 s
_LOOK_S: Final = 0.2


def run_bench_clients(config: BenchClientsConfig) -> int:
    """The command: a row for each client; exit 1 where an installed one failed."""
    environment = Path(config.environment)
    serve = ServeConfig(
        checkpoint=config.checkpoint or RULES, max_sessions=1, admit_share=0.0, threads=1
    )
    question, rows = recorded_question(), []
    with running(ServedTalker(serve=serve)) as server:
        n_dropped = 0
        for client in (None, *CLIENTS):
            _wait_until_free(server)
            if client is None:
                row = _own_row(server, question)
            else:
                row = row_of_client(client, environment, server.openai_url, question)
            before, n_dropped = n_dropped, int(server.metrics()["dropped"])
            rows.append(blame_the_machine(row, n_dropped=n_dropped - before))
    result = {"rows": rows, "checkpoint": serve.checkpoint}
    publish(result, format_clients(result), config)
    failed = [row["client"] for row in rows if row["faults"]]
    if failed:
        sys.stderr.write(f"these clients failed: {', '.join(failed)}\n")
    return 1 if failed else 0


def row_of_client(
    client: RealClient, environment: Path, url: str, question: RecordedQuestion
) -> dict[str, Any]:
    """Let one client talk to the server at `url`; its figures and faults, or how to install it."""
    version = client.installed(environment)
    if not version:
        missing = f"not installed: {client.how_to_install(environment)}"
        return {"client": client.name, "version": "", "missing": missing, "faults": []}
    sys.stderr.write(f"{client.name} {version}\n")
    folder = environment if client.home == "npm" else Path.cwd()
    command = client.command(environment, url)
    talk = asyncio.run(talk_through(command, question, folder=folder))
    return row_of_talk(client.name, version, talk, talks=client.talks)


def blame_the_machine(row: dict[str, Any], *, n_dropped: int) -> dict[str, Any]:
    """Say of a conversation that failed that the server was too slow to hear all of it."""
    if not (row["faults"] and n_dropped):
        return row
    sentence = f"the machine is too slow: {n_dropped} micro-turns of sound were not answered"
    return {**row, "faults": [*row["faults"], sentence]}


def _own_row(server: RunningServer, question: RecordedQuestion) -> dict[str, Any]:
    talk = asyncio.run(talk_through_our_own(server.socket_url, question))
    return row_of_talk(OWN_CLIENT, metadata.version("microturn"), talk, talks=True)


def _wait_until_free(server: RunningServer) -> None:
    started = time.monotonic()
    while server.health()["sessions"] and time.monotonic() < started + _FREE_S:
        time.sleep(_LOOK_S)


def row_of_talk(name: str, version: str, talk: ClientTalk, *, talks: bool) -> dict[str, Any]:
    """Sum up one conversation; a client that does not talk has to connect only."""
    heard, said = talk.words("heard"), talk.words("said")
    answer = next((word for word in ANSWERS if word in said), "")
    stopped_s = talk.stopped_after_s
    faults = [talk.fault] if talk.fault else []
    faults += [f"error: {error}" for error in talk.errors()]
    if not talk.connected:
        faults.append("did not connect")
    elif talks:
        faults += _faults_of_talk(heard, said, answer, stopped_s)
    return {
        "client": name,
        "version": version,
        "talks": talks,
        "connected": talk.connected,
        "heard": heard,
        "said": said,
        "answer": answer,
        "stopped_s": stopped_s,
        "faults": faults,
    }


def _faults_of_talk(heard: str, said: str, answer: str, stopped_s: float | None) -> list[str]:
    faults = []
    if not heard.startswith(" ".join(HEARD)):
        faults.append(f"heard {heard!r}")
    if not said.startswith(" ".join(MOMENT)):
        faults.append(f"said {said!r}")
    if not answer:
        faults.append("no result came back")
    if stopped_s is None and said.split().count(answer) != 1:  # a trained model says it once
        faults.append("nothing was there to interrupt")
    elif stopped_s is not None and stopped_s > STOPS_WITHIN_S:
        faults.append(f"sound came until {stopped_s:.1f} s after the interruption")
    return faults


# --- for people ------------------------------------------------------------------------------
def format_clients(result: dict[str, Any]) -> str:
    """Format the rows as a text table."""
    lines = [
        f"recorded speech, in real time, to a server with {result['checkpoint']}",
        f"{'client':<29} {'version':<8} {'connected':<9} {'words':<5} {'stopped':>7}  result of",
    ]
    for row in result["rows"]:
        start = f"{row['client']:<29} {row['version']:<8} "
        if "missing" in row:
            lines.append(start + row["missing"])
            continue
        lines.append(start + _cells(row))
        lines += [f"    {fault}" for fault in row["faults"]]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _cells(row: dict[str, Any]) -> str:
    cells = f"{_yes(row['connected']):<9} "
    if not row["talks"]:
        return cells
    came = row["heard"] and row["said"]
    stopped_s = row["stopped_s"]
    stopped = "-" if stopped_s is None else f"{stopped_s:.1f} s"
    return f"{cells}{_yes(bool(came)):<5} {stopped:>7}  {ANSWERS.get(row['answer'], 'nobody')}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
