"""What hostile clients cost in time: a paced neighbour, and the place of who does not read.

Each flood runs in turns at the server of the neighbour and at another one beside it, which takes
the same share of the machine and is what the first is compared with.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from websockets.sync.client import connect

from tests.support.hostile import client as hostile_client
from tests.support.hostile.client import BINARY, frame, open_socket
from tests.support.serving import Served, start_sleeping, stop

HELLO = json.dumps({"type": "hello", "protocol": 2})
MICRO_TURN_S, N, ROUNDS = 0.2, 40, 5
MIB = 1 << 20


@contextmanager
def sleeping(*words: str) -> Iterator[Served]:
    served = start_sleeping(4, *words)
    try:
        yield served
    finally:
        stop(served)


def port_of(served: Served) -> int:
    return int(served.url.rstrip("/").rsplit(":", 1)[1])


@contextmanager
def flooded(served: Served, kind: str) -> Iterator[None]:
    command = [sys.executable, hostile_client.__file__, "127.0.0.1", str(port_of(served)), kind]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        time.sleep(1.0)
        try:
            yield
        finally:
            process.kill()


def round_trips_ms(served: Served) -> np.ndarray:
    """From each micro-turn of a client that speaks in real time to the sound that answers it."""
    times = []
    with connect(served.socket_url, max_size=None) as client:
        client.recv()
        client.send(HELLO)
        started = time.monotonic()
        for k in range(N):
            time.sleep(max(0.0, started + k * MICRO_TURN_S - time.monotonic()))
            sent = time.monotonic()
            client.send(bytes(6_400))
            while not isinstance(client.recv(timeout=20.0), bytes):
                pass
            times.append((time.monotonic() - sent) * 1000)
    return np.array(times)


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Served, Served]]:
    """The server of the neighbour, and the one beside it."""
    with sleeping() as of_neighbour, sleeping() as beside:
        yield of_neighbour, beside


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["text", "cancel", "wrong", "audio", "ping"])
def test_a_flood_costs_a_paced_neighbour_less_than_twenty_milliseconds(
    servers: tuple[Served, Served], kind: str
) -> None:
    of_neighbour, beside = servers
    alone, together = [], []
    for _ in range(ROUNDS):
        for flooded_server, times in ((beside, alone), (of_neighbour, together)):
            with flooded(flooded_server, kind):
                times.append(round_trips_ms(of_neighbour))
    p50s, p99s = np.percentile([np.ravel(alone), np.ravel(together)], (50, 99), axis=1)
    print(
        f"{kind}: p50 {p50s[1]:.1f} and p99 {p99s[1]:.1f} ms; "
        f"{p50s[0]:.1f} and {p99s[0]:.1f} ms beside a flood of another server"
    )
    assert p99s[1] - p99s[0] <= 20.0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_who_speaks_and_never_reads_loses_its_place_within_a_minute() -> None:
    """It keeps to its pace and says nothing wrong; only its answers pile up."""
    with sleeping() as served:
        status = Path(f"/proc/{served.process.pid}/status")
        before, most = resident_mib(status), 0.0
        raw = open_socket("127.0.0.1", port_of(served), receive_buffer=2_048)
        started = time.monotonic()
        raw.settimeout(1.0)
        while served.health()["sessions"]:
            with suppress(OSError):  # the server does not read any more, or has cut it off
                raw.sendall(frame(BINARY, bytes(6_400)))
            time.sleep(MICRO_TURN_S)
            most = max(most, resident_mib(status) - before)
            assert time.monotonic() - started < 60.0
        raw.close()
    print(f"place free after {time.monotonic() - started:.0f} s, {most:.1f} MiB")
    assert most < 20.0


def resident_mib(status: Path) -> float:
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024
