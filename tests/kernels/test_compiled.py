"""Kernels as a Hopper GPU would run them, compiled without one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "compile_kernels.py"


@pytest.mark.slow  # half a minute of compiling
def test_weights_come_in_vectors_and_nothing_spills() -> None:
    environment = os.environ | {"TRITON_INTERPRET": "0"}
    done = subprocess.run([sys.executable, PROGRAM], stdout=subprocess.PIPE, env=environment)
    assert done.returncode == 0
    rows = json.loads(done.stdout)
    assert len(rows) == 12
    for name, row in rows.items():
        if name.startswith("noise"):
            continue
        assert row["stack"] == 0, name
        assert row["copies_of_16"] == row["copies"] > 0, name
        hints, is_up = name.endswith("True"), name.startswith("up")
        assert row["asks_the_l2"] == row["lets_the_next_begin"] == (hints and is_up), name
        assert row["waits_before_copies"] == (hints and not is_up), name
