"""A room in which a browser's loudspeaker is heard by its microphone: PulseAudio without devices.

The browser plays into one sink of a private daemon and listens to another one. Between them a
thread of this process does what the air does: it filters what is played by a room's response, and
adds what a user says.
"""

import fcntl
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import oaconvolve

from microturn.datagen.acoustics.config import RoomsConfig
from microturn.datagen.acoustics.responses import simulate_room
from microturn.model.streams.pcm import Audio

NEEDS_PULSEAUDIO = pytest.mark.skipif(
    not all(map(shutil.which, ("pulseaudio", "parec", "pacat"))),
    reason="no pulseaudio here; apt-get install pulseaudio",
)
RATE = 16_000
BLOCK = RATE // 50  # samples that the air carries at once
LATENCY_MS = 20  # of each pipe into and out of the air
PIPE_BYTES = 4096  # 64 ms; the smallest pipe there is
START_S = 30.0  # a busy machine
SINKS = ("loudspeaker", "air")


class Room:
    """The air between loudspeaker, user and microphone.

    The echo is `echo_db` louder at the microphone than the agent at the loudspeaker.
    """

    def __init__(self, environment: Mapping[str, str], *, echo_db: float = 0.0) -> None:
        self.environment = environment  # of a program that is in the room
        self.echo_db = echo_db
        room = simulate_room(RoomsConfig(n_far=2, method="tail"), RATE, 0)
        self._loudspeaker, self._near = room.loudspeaker.response, room.near.response
        self._user = np.zeros(0, np.float32)  # what the user still has to say
        self._lock = threading.Lock()

    def say(self, audio: Audio) -> None:
        """Let the user say this from now on."""
        with self._lock:
            self._user = oaconvolve(audio, self._near).astype(np.float32)

    def carry(self, played: subprocess.Popen[bytes], heard: subprocess.Popen[bytes]) -> None:
        """Carry sound block by block until one of the pipes ends."""
        assert played.stdout is not None
        assert heard.stdin is not None
        microphone = heard.stdin.fileno()
        os.set_blocking(microphone, False)
        fcntl.fcntl(microphone, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        ringing = np.zeros(BLOCK + len(self._loudspeaker) - 1, np.float32)
        while data := played.stdout.read(4 * BLOCK):
            block = np.frombuffer(data, np.float32)
            ringing[:-BLOCK], ringing[-BLOCK:] = ringing[BLOCK:], 0.0
            ringing += np.pad(oaconvolve(block, self._loudspeaker), (0, BLOCK - len(block)))
            with self._lock:
                user, self._user = self._user[:BLOCK], self._user[BLOCK:]
            sound = ringing[:BLOCK] * np.float32(10 ** (self.echo_db / 20))
            sound[: len(user)] += user
            try:
                os.write(microphone, sound.astype(np.float32).tobytes())
            except BlockingIOError:
                continue  # the machine was busy: sound that waits would come late for ever
            except BrokenPipeError:
                return


@contextmanager
def sound_room(folder: Path, *, echo_db: float = 0.0) -> Iterator[Room]:
    """Run a room of its own whose files lie in an empty folder."""
    socket = folder / "native"
    environment = {
        **os.environ,
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
        "PULSE_SERVER": f"unix:{socket}",
    }
    modules = [
        f"module-native-protocol-unix socket={socket} auth-anonymous=1",
        *(f"module-null-sink sink_name={name} rate=48000" for name in SINKS),
        # Browsers do not list what a sink plays; they list a source that is made of it.
        "module-remap-source source_name=microphone master=air.monitor",
    ]
    daemon = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--realtime=no"]
    daemon += ["--high-priority=no", "--disable-shm=yes", *(f"--load={m}" for m in modules)]
    pipe = ["--raw", "--format=float32le", f"--rate={RATE}", "--channels=1"]
    pipe += [f"--latency-msec={LATENCY_MS}"]
    quiet = {"env": environment, "stderr": subprocess.DEVNULL}
    with ExitStack() as programs:

        def begin(command: list[str], **pipes: int) -> subprocess.Popen[bytes]:
            program = subprocess.Popen(command, **quiet, **pipes)  # type: ignore[call-overload]
            programs.callback(_end, program)
            return program  # type: ignore[no-any-return]

        begin(daemon)
        for command in ("set-default-sink loudspeaker", "set-default-source microphone"):
            _insist(["pactl", *command.split()], environment)
        room = Room(environment, echo_db=echo_db)
        played = begin(["parec", "--device=loudspeaker.monitor", *pipe], stdout=subprocess.PIPE)
        heard = begin(["pacat", "--device=air", *pipe], stdin=subprocess.PIPE)
        air = threading.Thread(target=room.carry, args=(played, heard), daemon=True)
        air.start()
        yield room
        played.terminate()
        air.join(START_S)


def _insist(command: list[str], environment: Mapping[str, str]) -> None:
    """Repeat a command until the daemon is there to obey."""
    end = time.monotonic() + START_S
    while subprocess.run(command, env=environment, capture_output=True, check=False).returncode:
        assert time.monotonic() < end, f"{' '.join(command)}: pulseaudio did not start"
        time.sleep(0.1)


def _end(program: subprocess.Popen[bytes]) -> None:
    program.terminate()
    program.wait(START_S)
    for pipe in (program.stdin, program.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):  # it holds sound that nobody will hear
                pipe.close()
