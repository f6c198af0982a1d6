"""Memory that one step frees and the next one takes."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # parameters of glibc's `mallopt`


def keep_freed_memory() -> bool:
    """Let the process keep what it frees; False where the C library is not glibc.

    By itself glibc maps each large block anew and gives it back when it is freed. The kernel then
    clears every page of every tensor of every step: a quarter of the CPU time of a long dialogue.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return False
    return bool(libc.mallopt(_MMAP_MAX, 0) and libc.mallopt(_TRIM_THRESHOLD, -1))
