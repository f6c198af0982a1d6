"""A run that starts from the weights of a checkpoint, or of the mean of several: `init=`.

Weights and the statistics of the mel bands are taken; optimiser, step and schedule are new. What
the new model has and the checkpoint has not, a lane, a vocoder, words, is drawn as in a new model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from microturn.datagen.sets.contents import (
    CONTENTS_NAME,
    Contents,
    contents_text,
    read_contents,
)
from microturn.model.checkpoint_files import StoredCheckpoint
from microturn.model.checkpoint_place import IN_RUN, find_checkpoint
from microturn.model.config import ModelConfig
from microturn.model.embed import marked_rows
from microturn.model.model import InteractionModel
from microturn.model.stored.mean import MeanTensor
from microturn.model.stored.tensor_files import SomeRows, Stored
from microturn.model.stored.weights import has_weights
from microturn.model.streams import StreamLayout, Tokenizer
from microturn.training import state
from microturn.training.sharding.state_folder import is_whole
from microturn.training.start.model_settings import REACH, differences, is_loss_setting

_ROWS_BY_PIECE: Final = ("embed.tokens.weight", "unembed.weight")
_ROWS_BY_LANE: Final = "embed.lane"


@dataclass(frozen=True, kw_only=True)
class InitialWeights:
    """The checkpoint that a run starts from."""

    name: str  # as `init=` has it
    folders: tuple[Path, ...]  # of one checkpoint, or of those whose mean it is
    cfg: ModelConfig
    layout: StreamLayout
    tokenizer: Tokenizer
    weights: Mapping[str, Stored]

    @classmethod
    def read(cls, name: str) -> InitialWeights:
        """Read `init=`: a checkpoint by folder, file or hub id, or a state of a run.

        Of several, separated by commas, it is the mean, weight by weight. Raises OSError or
        ValueError where one is not there or not whole, or where they have no mean.
        """
        each = [cls._read_one(one) for one in names_of(name)]
        first = each[0]
        for other in each[1:]:
            first._check_same_kind(other)
        if len(each) == 1:
            return first
        weights = {
            key: MeanTensor(tuple(one.weights[key] for one in each)) for key in first.weights
        }
        folders = tuple(folder for one in each for folder in one.folders)
        return replace(first, name=name, folders=folders, weights=weights)

    @classmethod
    def _read_one(cls, name: str) -> InitialWeights:
        stored = StoredCheckpoint.read(_folder_of(name))
        return cls(
            name=name,
            folders=(stored.folder,),
            cfg=stored.cfg,
            layout=stored.layout,
            tokenizer=stored.tokenizer,
            weights=state.load(Path(name)).weights if _is_state(name) else stored.weights(),
        )

    def notes(self) -> dict[str, str]:
        """Return the file of a checkpoint that says what these weights were trained on."""
        contents = contents_of(self.folders)
        return {} if contents is None else {CONTENTS_NAME: contents_text(contents)}

    def _check_same_kind(self, other: InitialWeights) -> None:
        """Raise ValueError where a checkpoint has other lanes, words or sizes than this one."""
        mine, theirs = ({k: t.shape for k, t in one.weights.items()} for one in (self, other))
        unlike = next((key for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)), "")
        if self.layout != other.layout:
            unlike = "another layout"
        elif self.tokenizer.pieces != other.tokenizer.pieces:
            unlike = "another tokenizer"
        elif unlike:
            unlike = f"{unlike} of {theirs.get(unlike, 'no size')}, not {mine.get(unlike, 'none')}"
        if unlike:
            raise ValueError(
                f"init= is to be a mean, but {other.name} has {unlike}, unlike {self.name}; give "
                "checkpoints that went on from the same one"
            )

    def sources(
        self, model: InteractionModel, tokenizer: Tokenizer
    ) -> tuple[dict[str, Stored], list[str]]:
        """Find what tensors of a new model take; others keep what they have or are to have.

        Returns too what is not as in the checkpoint, a phrase each. Raises ValueError, naming the
        key, where the model cannot take the weights.
        """
        changes = [*self._check_settings(model), *self._check_lanes(model.layout)]
        new, old = tokenizer.pieces, self.tokenizer.pieces
        added, gone = set(new) - set(old), set(old) - set(new)
        if added or gone:
            changes.append(f"{len(added)} pieces of words are new, {len(gone)} are gone")
        rows = dict.fromkeys(_ROWS_BY_PIECE, _same_pieces(new, old))
        rows[_ROWS_BY_LANE] = self._same_marks(model.layout)
        found: dict[str, Stored] = {}
        drawn = []
        for name, values in model.state_dict().items():
            stored = self.weights.get(name)
            if stored is None:
                drawn.append(name)
            elif name in rows:
                base = model.pending.get(name)
                found[name] = SomeRows(stored, base, rows[name], stored.dtype, (*values.shape,))
            elif stored.shape == values.shape:
                found[name] = stored
            else:
                raise ValueError(
                    f"init={self.name} has {name} of {stored.shape}, this model of "
                    f"{tuple(values.shape)}; start from a checkpoint of the same sizes"
                )
        self._check_drawn(drawn, model)
        if drawn:
            changes.append(f"{len(drawn)} tensors are drawn ({_common_start(drawn)})")
        return found, changes

    def _check_settings(self, model: InteractionModel) -> list[str]:
        """Return settings of the model that differ; raise ValueError for those that may not."""
        allowed: list[str] = []
        refused: list[str] = []
        had_vocoder = any(name.startswith("vocoder.") for name in self.weights)
        for key, before, here in differences(asdict(self.cfg), asdict(model.cfg)):
            text = f"model.{key}={here}, {before} there"
            free = is_loss_setting(key) or key in REACH
            free |= key.startswith("vocoder.") and not (had_vocoder and model.vocoder.is_learned)
            free |= key == "audio_channels" and not before
            free |= key == "video_channels" and not self.layout.lane("video").positions
            (allowed if free else refused).append(text)
        if refused:
            raise ValueError(
                f"init={self.name} is a model of other sizes ({'; '.join(refused)}); leave these "
                "keys out, and they are taken from there"
            )
        return allowed

    def _check_lanes(self, layout: StreamLayout) -> list[str]:
        """Return lanes that are new; raise ValueError where one is gone or has another form."""
        for key in ("sample_rate", "micro_turn_ms", "audio_in_group", "audio_out_group"):
            then, now = getattr(self.layout, key), getattr(layout, key)
            if then != now:
                raise ValueError(
                    f"init={self.name} has layout.{key}={then}, the data {now}; simulate data with "
                    f"layout.{key}={then}"
                )
        changes = []
        for spec in layout.declared_lanes:
            before = self.layout.lane(spec.name)
            grows = spec.kind == "tokens" and spec.positions > before.positions
            if spec.positions == before.positions and spec.grid == before.grid:
                continue
            if before.positions and not grows:
                raise ValueError(
                    f"init={self.name} has {before.positions} positions of lane {spec.name} in a "
                    f"micro-turn, the data {spec.positions}; simulate data with the lane as it was"
                )
            changes.append(
                f"lane {spec.name} has {spec.positions} positions, {before.positions} there"
            )
        return changes

    def _same_marks(self, layout: StreamLayout) -> dict[int, int]:
        """Find marks of positions that both layouts have, lane by lane: new row to old row."""
        new, old = marked_rows(layout), marked_rows(self.layout)
        every = range(sum(spec.positions for spec in (*layout.lane_specs, *self.layout.lane_specs)))
        return {
            row: before
            for lane in new.keys() & old.keys()
            for row, before in zip(every[new[lane]], every[old[lane]], strict=False)
        }

    def _check_drawn(self, names: Sequence[str], model: InteractionModel) -> None:
        free = [
            f"embed.{spec.name}."
            for spec in model.layout.lane_specs
            if not self.layout.lane(spec.name).positions
        ]
        free += ["vocoder.", "embed.dmel.stem."]
        missing = [name for name in names if not name.startswith(tuple(free))]
        if missing:
            raise ValueError(
                f"init={self.name} has no {missing[0]}; give the checkpoint folder of a model of "
                "this kind"
            )


def names_of(name: str) -> list[str]:
    """Divide `init=` into the checkpoints whose mean it is; mostly it is one."""
    if Path(name).exists():  # a comma may be in the name of a folder
        return [name]
    return [one.strip() for one in name.split(",") if one.strip()] or [name]


def folders_of(name: str) -> list[Path]:
    """Return the checkpoint folders of `init=`; that of a state is its run's."""
    return [_folder_of(one) for one in names_of(name)]


def contents_of(folders: Iterable[Path]) -> Contents | None:
    """Join what checkpoints were trained on; nothing where one does not say."""
    joined = Contents()
    for folder in folders:
        contents = read_contents(folder)
        if contents is None:
            return None
        joined = joined.united(contents)
    return joined


def folder_of(name: str) -> Path:
    """Return the folder of a single checkpoint; ValueError for a mean of several."""
    folders = folders_of(name)
    if len(folders) > 1:
        raise ValueError(f"{name} are several checkpoints, and this takes one")
    return folders[0]


def _folder_of(name: str) -> Path:
    return Path(name).parent.parent / IN_RUN if _is_state(name) else find_checkpoint(name)


def _is_state(name: str) -> bool:
    path = Path(name)
    return path.parent.name == state.FOLDER and (path.is_file() or is_whole(path))


def model_layer(name: str) -> dict[str, Any]:
    """Return the configuration that `init=` puts beneath all files: the model's."""
    return {"model": asdict(InitialWeights.read(name).cfg)}


def refuse_to_overwrite(out: Path) -> None:
    """Raise ValueError where a run folder holds a checkpoint that no state of it could continue."""
    if has_weights(out / IN_RUN) and not state.saved_states(out):
        raise ValueError(
            f"out={out} holds a checkpoint and no state to resume from, and training would "
            f"overwrite it; give another out=, and init={out / IN_RUN} to start from its weights"
        )


def _same_pieces(new: Sequence[str], old: Sequence[str]) -> dict[int, int]:
    """Find rows of pieces that both have: from those of the new to those of the old."""
    row_of = {piece: row for row, piece in enumerate(old)}
    return {row: row_of[piece] for row, piece in enumerate(new) if piece in row_of}


def _common_start(names: Sequence[str]) -> str:
    """Say by two parts of their names which modules tensors belong to."""
    return ", ".join(sorted({".".join(name.split(".")[:2]) for name in names}))
