"""Runs `microturn` commands in processes of their own, for tests that kill them.

Importing torch and Lightning takes seconds: this script does it once, and each command is a fork.
Reads lines of JSON: {"words": [...], "errors": FILE, "file_limit": BYTES, "env": {...}, "shm": KB}
answers with the id of a process, {"wait": ID} with its exit status, minus the signal that killed
it. The process leads a group of its own. `shm` gives it a /dev/shm of so many kilobytes, -1 a full
one; only root may (else exit status 77).
"""

import ctypes
import json
import os
import resource
import signal
import sys
import traceback

from lightning.pytorch.utilities import rank_zero_only

import microturn.training.train  # noqa: F401
from microturn.configs.main import main

CLONE_NEWNS, MS_PRIVATE_REC = 0x20000, 0x44000


def mount_shm(kilobytes: int) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_PRIVATE_REC, None):
        return False
    size = f"size={max(kilobytes, 4)}k".encode()
    if libc.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, size):
        return False
    if kilobytes < 0:
        with open("/dev/shm/full", "wb") as file:
            file.write(bytes(4096))
    return True


def child(job: dict) -> int:  # type: ignore[type-arg]
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    errors = open(job["errors"], "a", buffering=1)  # noqa: SIM115
    os.dup2(errors.fileno(), 2)
    sys.stderr = errors
    os.environ.update(job["env"])
    rank_zero_only.rank = int(job["env"].get("RANK", 0))  # Lightning asks when it is imported
    if job["shm"] and not mount_shm(job["shm"]):
        return 77
    if job["file_limit"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["file_limit"], resource.RLIM_INFINITY))
    try:
        return main(job["words"])
    except BaseException:
        traceback.print_exc()
        return 99
    finally:
        errors.flush()


for line in sys.stdin:
    job = json.loads(line)
    if "wait" in job:
        status = os.waitstatus_to_exitcode(os.waitpid(job["wait"], 0)[1])
        print(status, flush=True)
        continue
    pid = os.fork()
    if pid == 0:
        os._exit(child(job))
    print(pid, flush=True)
