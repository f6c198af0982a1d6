"""Runs `microturn` commands in processes of their own, for tests that kill them.

Importing torch and Lightning takes seconds: this script does it once, and each command is a fork.
Reads lines of JSON: {"words": [...], "errors": FILE, "file_limit": BYTES, "env": {...}} answers
with the id of a process, {"wait": ID} with its exit status, minus the signal that killed it.
"""

import json
import os
import resource
import signal
import sys
import traceback

from lightning.pytorch.utilities import rank_zero_only

import microturn.training.train  # noqa: F401
from microturn.configs.main import main


def child(job: dict) -> int:  # type: ignore[type-arg]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    errors = open(job["errors"], "a", buffering=1)  # noqa: SIM115
    os.dup2(errors.fileno(), 2)
    sys.stderr = errors
    os.environ.update(job["env"])
    rank_zero_only.rank = int(job["env"].get("RANK", 0))  # Lightning asks when it is imported
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
