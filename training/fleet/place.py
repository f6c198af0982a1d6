"""Where this process stands in its run: what the watch over the ranks reads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

START: Final = "start"
DATA: Final = "wait for data"
FORWARD: Final = "forward pass"
BACKWARD: Final = "backward pass"
OPTIMISER: Final = "optimiser"
BETWEEN: Final = "work between two steps"  # saving, validation
PARTS_OF_STEP: Final = (DATA, FORWARD, BACKWARD, OPTIMISER)


class Place:
    """The last mark that the main thread passed.

    All ranks pass the same marks in the same order, so that the rank with the fewest is behind.
    """

    def __init__(self) -> None:
        self.marks = 0
        self.step = 0
        self.label = START
        self.may_take_long = True  # saving, validation, compilation: work without marks
        self.first_step = True  # in which blocks are compiled and readers start
        self.longest_s = 0.0  # between two marks of a step, without waiting for other ranks
        self.waits = False  # for other ranks
        self.waited_s = 0.0  # for other ranks, in all
        self._mark_s = time.monotonic()

    def at(self, label: str, *, step: int) -> None:
        """Pass a mark."""
        self._pass()
        self.step, self.label = step, label
        self.may_take_long = self.first_step or label not in PARTS_OF_STEP

    @contextmanager
    def meeting(self) -> Iterator[None]:
        """Pass a mark before and after a collective, in which this rank waits for the others.

        Collectives of another thread, which writes a state meanwhile, pass none.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._pass()
        self.waits = True
        try:
            yield
        finally:
            self.waited_s += time.monotonic() - self._mark_s
            self._mark_s = time.monotonic()
            self.waits = False
            self.marks += 1

    def _pass(self) -> None:
        now_s = time.monotonic()
        if self.label in PARTS_OF_STEP:
            self.longest_s = max(self.longest_s, now_s - self._mark_s)
        self._mark_s = now_s
        self.marks += 1


HERE: Final = Place()  # a process stands in one place
