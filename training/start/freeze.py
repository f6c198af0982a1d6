"""Parts of a model that a run leaves as they are: `freeze=` by lane, module or layer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from microturn.configs.load import suggestion
from microturn.model.embed import marked_rows
from microturn.model.model import InteractionModel
from microturn.model.streams import StreamLayout
from microturn.training.process_group import local_shard, shard_like

_LAYERS = re.compile(r"layer\.(?P<first>\d+)(\.\.(?P<last>\d+))?")


def freeze(model: InteractionModel, names: Sequence[str]) -> Tensor | None:
    """Take the named parts out of training; a router that holds still keeps its selection bias.

    names: a lane (`audio_in`), all weights that serve it and no lane that is trained; a module or
    weight by its dotted name (`backbone`, `embed.tokens`); or layers of the backbone (`layer.0`,
    `layer.0..3`). Returns a column (R, 1) that is 0 for rows of the marks of lanes that hold still
    and 1 elsewhere, for `hold_rows_`, or None. Raises ValueError for a name that is none of these,
    and where nothing is left to train.
    """
    layout = model.layout
    lanes = {spec.name for spec in layout.lane_specs}
    frozen = lanes & {*names}
    parts = [part for name in names if name not in lanes for part in _modules(model, name)]
    for name, parameter in model.named_parameters():
        served = _lanes_served(name, layout)
        inside = any(name == part or name.startswith(f"{part}.") for part in parts)
        if inside or (served and served <= frozen):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"freeze={','.join(names)} leaves nothing to train; name fewer parts")
    if not frozen:
        return None
    trained = torch.ones(len(model.embed.lane), 1)
    for lane, rows in marked_rows(layout).items():
        if lane in frozen:
            trained[rows] = 0
    return trained


def hold_rows_(parameter: nn.Parameter, trained: Tensor | None) -> None:
    """Clear the gradient of rows that hold still; they have no weight decay."""
    if trained is None or parameter.grad is None:
        return
    mask = shard_like(trained.to(parameter.grad.device), parameter)
    local_shard(parameter.grad).mul_(local_shard(mask))


def _modules(model: InteractionModel, name: str) -> Iterator[str]:
    """Find the dotted names of modules or weights that a name of `freeze=` stands for."""
    layers = _LAYERS.fullmatch(name)
    if layers is not None:
        first, last = int(layers["first"]), int(layers["last"] or layers["first"])
        if not first <= last < model.cfg.n_layers:
            raise ValueError(
                f"freeze={name}: the backbone has the layers 0 to {model.cfg.n_layers - 1}"
            )
        yield from (f"backbone.blocks.{layer}" for layer in range(first, last + 1))
        return
    known = [each for each, _ in [*model.named_modules(), *model.named_parameters()] if each]
    if name not in known:
        close = suggestion(name, [*(spec.name for spec in model.layout.lane_specs), *known])
        raise ValueError(f"freeze={name} is no lane, no module of the model and no layer.N{close}")
    yield name


def _lanes_served(name: str, layout: StreamLayout) -> set[str]:
    """Name the lanes that alone need a weight; none where all do, as those of the backbone."""
    lanes = layout.lane_specs
    if name.startswith("embed.tokens."):
        return {spec.name for spec in lanes if spec.kind == "tokens"}
    if name.startswith("unembed."):
        return {spec.name for spec in layout.made_lanes if spec.kind == "tokens"}
    if name.startswith("embed.dmel.") or name == "embed.late":
        return {spec.name for spec in lanes if spec.kind == "dmel"}
    if name.startswith(("embed.patch.", "flow.")):
        return {spec.name for spec in lanes if spec.kind == "mel"}
    return {spec.name for spec in lanes if name.startswith(f"embed.{spec.name}.")}
