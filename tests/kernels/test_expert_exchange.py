"""Tokens that travel to their experts come back as if all experts were here."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("n", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_outputs_and_gradients_are_those_of_one_process(n: int) -> None:
    """Also where a device gets no token at all; and shared experts do not wait for any."""
    script = Path(__file__).with_name("exchange_ranks.py")
    done = subprocess.run([sys.executable, str(script), str(n)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
