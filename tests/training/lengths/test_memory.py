"""The trainer keeps the memory of a step for the next one."""

import subprocess
import sys

import pytest

FAULTS = """
import resource
from microturn.training.start.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = b"x" * (128 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
again = faults()
kept = keep_freed_memory()
faults()
print(kept, again, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_a_block_of_the_last_step_is_taken_again_without_a_page_fault() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True
    )
    kept, before, after = done.stdout.split()
    if kept == "False":
        pytest.skip("the C library is not glibc")
    assert int(before) >= 32  # pages of 4 kB, or of 2 MB where the kernel gives those
    assert int(after) < int(before) / 8
