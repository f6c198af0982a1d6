"""Four dialogues whose token lanes are written down: a change of any of them must be meant.

Record them again with `python tests/datagen/test_golden.py` after a change of corpus, vocabulary
or rules, and say in the commit what changed.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path

from microturn.datagen.acoustics.rooms import ensure_bank
from microturn.datagen.config import DatagenConfig, RoomsConfig
from microturn.datagen.corpora.home import digest_of
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.pipeline import Simulator, make_tokenizer, open_corpus

GOLDEN = Path(__file__).parent / "golden.json"
N_DIALOGUES = 4
LANES = ("text_in", "heard", "say")


def measure(cache: Path) -> dict[str, object]:
    """Digests of the lanes, and in words what is said, so that a difference can be read."""
    config = DatagenConfig(out="unused", seed=2024, rooms=RoomsConfig(n_rooms=2, method="tail"))
    corpus = open_corpus(config)
    tokenizer = make_tokenizer(config, UnitBank(corpus, config))
    rooms = ensure_bank(config.rooms, config.layout.sample_rate, folders=[cache])
    simulator = Simulator(config, rooms=rooms, tokenizer=tokenizer)
    dialogues = []
    for index in range(N_DIALOGUES):
        dialogue = simulator.dialogue(index)
        lanes = dialogue.lanes.members()["streams.npz"]
        dialogues.append(
            {
                "families": dialogue.families,
                "user": " ".join(word.text for word in dialogue.timeline.user),
                "agent": " ".join(word.text for word in dialogue.timeline.agent),
                **{name: hashlib.sha256(lanes[name].tobytes()).hexdigest() for name in LANES},
            }
        )
    return {"corpus": digest_of(""), "dialogues": dialogues}


def test_token_lanes_are_those_written_down(tmp_path: Path) -> None:
    golden = json.loads(GOLDEN.read_text())
    found = measure(tmp_path)
    assert found["corpus"] == golden["corpus"], f"the corpus changed; {__doc__}"
    assert found["dialogues"] == golden["dialogues"]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        GOLDEN.write_text(json.dumps(measure(Path(folder)), indent=2) + "\n")
