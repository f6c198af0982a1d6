"""What processes that share a model hold at most; `ranks.py` prints the table of docs/scale.md."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

RANKS = Path(__file__).with_name("ranks.py")
MIB = 2**20
# Beyond what a phase leaves in memory: a tenth of the share.
ROOM = 1.1


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("shard", "expert"), [(4, 1), (2, 2)])
def test_no_process_holds_more_than_its_share(shard: int, expert: int, tmp_path: Path) -> None:
    words = [sys.executable, str(RANKS), str(tmp_path), str(shard), str(expert)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=1700)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    ranks = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))
    assert len(ranks) == 4
    for phases in ranks:
        assert phases["draw the weights"][0] > 240 * MIB
        for phase, (share, peak, _) in phases.items():
            new = "save" not in phase and "write" not in phase  # else the share was there before
            assert peak <= ROOM * share if new else peak <= (ROOM - 1) * share, phase
