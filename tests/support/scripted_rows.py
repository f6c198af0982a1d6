"""A batch whose words are a script: a tiny untrained model cannot be made to say `<delegate>`.

Audio, text input and clock are real; the tokens of `heard` and `say` are replaced.
"""

from collections import defaultdict
from collections.abc import Mapping

from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.rows import RowBatch
from microturn.model.checkpoint import LoadedCheckpoint
from microturn.model.streams import DELEGATE

Script = dict[int, str]  # words by micro-turn; "<delegate>" is the control token


class ScriptedRows(RowBatch):
    """Rows that hear and say what a script has for them; other rows are the model's own."""

    def __init__(self, checkpoint: LoadedCheckpoint, n_rows: int) -> None:
        super().__init__(checkpoint, n_rows)
        self.scripts: dict[int, tuple[Script, Script]] = {}  # heard and said, by row
        self.read: defaultdict[int, list[tuple[int, str]]] = defaultdict(list)  # text_in, by row

    def step_rows(self, inputs: Mapping[int, MicroTurnIn]) -> dict[int, MicroTurnOut]:
        index = {row: int(self.micro_turns[row]) for row in inputs}
        outputs = super().step_rows(inputs)
        for row, script in self.scripts.items():
            if row not in outputs:
                continue
            for token_id in inputs[row].text_in:
                self.read[row].append((index[row], token_id))
            heard, say = (self._ids(lane.get(index[row], "")) for lane in script)
            outputs[row] = MicroTurnOut(
                audio=outputs[row].audio, tokens={"heard": heard, "say": say}
            )
        return outputs

    def words_read(self, row: int) -> str:
        """Words that the model of a row has read on `text_in`, without control tokens."""
        return self.tokenizer.decode([token_id for _, token_id in self.read[row]])

    def _ids(self, text: str) -> list[int]:
        if text == "<delegate>":
            return [DELEGATE]
        return self.tokenizer.encode(text)
