"""The interaction model: lanes in, the agent's words and voice out.

The hidden state at one position predicts the next: `heard` and `say` tokens through one
unembedding, `audio_out` patches through the flow head. B rows, N micro-turns, S positions of a
micro-turn, T = N * S, D width, V vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import torch
from huggingface_hub import ModelHubMixin
from torch import Tensor, nn

from microturn.configs.files import write_atomically
from microturn.configs.reading import naming_damage
from microturn.model.backbone import Backbone, BackboneState, Past
from microturn.model.batch import LaneBatch
from microturn.model.card import CARD, card_text, weights_digest
from microturn.model.checkpoint_files import (
    CONFIG,
    CONTENTS,
    StoredCheckpoint,
    write_checkpoint,
)
from microturn.model.checkpoint_place import find_checkpoint
from microturn.model.choice import Sampling, choose_token, draw_token, sample_token
from microturn.model.config import SHIPPED, ModelConfig
from microturn.model.embed import LaneEmbedding
from microturn.model.flow_head import FlowHead
from microturn.model.linear import BatchInvariantLinear
from microturn.model.stored.draws import without_memory
from microturn.model.stored.tensor_files import Stored
from microturn.model.stored.weights import (
    MisfitError,
    check_fits,
    give_weights,
    weights_path,
)
from microturn.model.streams import LaneSpec, StreamLayout, Tokenizer
from microturn.model.streams.mel import FINE_LEVELS, LOG_MAX, LOG_MIN
from microturn.model.streams.packing import SILENT_LOG_MEL
from microturn.model.vocoders.config import PATCH_FLOOR
from microturn.model.vocoders.registry import build_vocoder


@dataclass(frozen=True)
class ModelState:
    """Everything that a session carries from one micro-turn to the next, B rows."""

    backbone: BackboneState
    patch: Tensor  # (B, patch_dim) the last own patch, standardised; not yet read by the backbone

    def clone(self) -> ModelState:
        return ModelState(self.backbone.clone(), self.patch.clone())

    def copy_row_(self, source: int, target: int) -> None:
        """Copy row `source` over row `target`."""
        self.backbone.copy_row_(source, target)
        self.patch[target] = self.patch[source]


@dataclass(frozen=True)
class InputTensors:
    """One micro-turn of a batch as `step` reads it."""

    given: Mapping[str, Tensor]  # (B, *LaneSpec.shape) by given lane, token ids as int64
    missing_input: Tensor  # (B,) bool


@dataclass(frozen=True)
class OutputTensors:
    """One micro-turn of a batch as `step` returns it."""

    tokens: Mapping[str, Tensor]  # (B, P) int64 by output lane of tokens
    log_mel: Tensor  # (B, 16, 80) fine log10-mel to be played in the next micro-turn
    patches: Tensor  # (B, P, patch_dim) the same, standardised, as the backbone reads it


class InteractionModel(nn.Module, ModelHubMixin, library_name="microturn"):
    """Lane embedding, backbone, unembedding and flow head; the vocoder turns mel into sound.

    `from_pretrained`, `save_pretrained` and `push_to_hub` read and write checkpoint folders.
    """

    mel_mean: Tensor
    mel_std: Tensor
    # Of a checkpoint or a run; the network itself uses neither.
    tokenizer: Tokenizer | None = None
    notes: Mapping[str, str] | None = None  # more files of the checkpoint, by name
    # Where weights without memory come from, by name, until they have it.
    pending: Mapping[str, Stored] = MappingProxyType({})

    def __init__(self, cfg: ModelConfig, layout: StreamLayout, vocab_size: int) -> None:
        super().__init__()
        self._hub_mixin_config = None  # config.yaml is ours; the mixin would write config.json
        self.cfg, self.layout, self.vocab_size = cfg, layout, vocab_size
        self.embed = LaneEmbedding(
            cfg.d_model, layout, vocab_size, cfg.video_channels, cfg.audio_channels
        )
        self.backbone = Backbone(cfg, layout.n_positions)
        self.unembed = BatchInvariantLinear(cfg.d_model, vocab_size, bias=False)
        self.flow = FlowHead(cfg.d_model, layout.patch_dim, cfg.flow)
        self.register_buffer("mel_mean", torch.full((layout.n_mels,), -3.0))
        self.register_buffer("mel_std", torch.full((layout.n_mels,), 1.5))
        self.init_weights()
        self.vocoder = build_vocoder(cfg.vocoder, layout)  # last: draws after all other weights

    def init_weights(self) -> None:
        """Draw the weights, normal, in the order of `parameters()`; the seed decides them.

        | weights | std |
        |---|---|
        | linear, experts' up | fan_in ** -0.5 |
        | attention out, down projections of the backbone | fan_in ** -0.5 / sqrt(2 n_layers) |
        | flow gates and output, values of sinks | 0 |

        Tables, the video stem, the unembedding and all biases keep what their constructors drew.
        """
        self.embed.init_weights()
        self.backbone.init_weights()
        self.flow.init_weights()

    # --- checkpoints -------------------------------------------------------------------------
    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path = SHIPPED,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        shard: Callable[[Self], None] | None = None,
        **model_kwargs: Any,
    ) -> Self:
        """Load a checkpoint in evaluation mode, with `layout`, `tokenizer` and `notes`.

        pretrained_model_name_or_path: `shipped` for the one that comes with the package, a
        checkpoint folder, a run, a weights file, or OWNER/NAME or OWNER/NAME@REVISION of the
        Hugging Face hub, in this order. shard: shards the model, which has no memory yet, over the
        processes that call; each then reads its own slices. Raises OSError where there is none,
        ValueError for a damaged file and for weights that do not fit the configuration.
        """
        if model_kwargs:
            raise TypeError(
                f"from_pretrained takes no {', '.join(model_kwargs)}: sizes are the checkpoint's"
            )
        asked = {"revision": revision} if revision else {}
        folder = find_checkpoint(
            str(pretrained_model_name_or_path),
            force_download=force_download,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            **asked,
        )
        return cls.from_stored(StoredCheckpoint.read(folder), shard)

    @classmethod
    def from_stored(
        cls, stored: StoredCheckpoint, shard: Callable[[Self], None] | None = None
    ) -> Self:
        """Build the model of a folder that is read; raises ValueError as `from_pretrained`."""
        with without_memory() if shard else nullcontext():
            model = cls(stored.cfg, stored.layout, len(stored.tokenizer))
        try:
            weights = stored.weights()
            check_fits(weights, model.state_dict())
        except MisfitError as error:
            path, config = weights_path(stored.folder), stored.folder / CONFIG
            raise ValueError(f"{path}: does not fit {config}: {error}") from error
        if shard:
            shard(model)
        give_weights(model, weights)
        model.tokenizer, model.notes = stored.tokenizer, stored.notes
        return model.eval()

    def _save_pretrained(self, save_directory: Path) -> None:
        if self.tokenizer is None:
            raise ValueError(
                "the model has no tokenizer, and a checkpoint needs one; set model.tokenizer to "
                "that of the data it is trained on"
            )
        # A page that is there stays, as with the mixin's own.
        written = [CARD] if (save_directory / CARD).is_file() else []
        notes = {n: text for n, text in (self.notes or {}).items() if n not in written}
        write_checkpoint(
            save_directory,
            cfg=self.cfg,
            layout=self.layout,
            tokenizer=self.tokenizer,
            weights=self.state_dict(),
            notes=notes,
        )
        if not (save_directory / CARD).is_file():
            self.write_card(save_directory)

    def write_card(
        self,
        folder: Path,
        *,
        scores: Sequence[str] = (),
        licence: str = "",
        title: str = "",
        recipe: str = "",
    ) -> None:
        """Write the model card of a folder that this model is saved in (card.py)."""
        contents = (self.notes or {}).get(CONTENTS)
        digest, sizes = weights_digest(folder), self.describe()
        with naming_damage(folder / CONTENTS, "copy it again, or delete it for a card without it"):
            text = card_text(
                weights_sha256=digest,
                sizes=sizes,
                contents=dict(json.loads(contents)) if contents else None,
                scores=scores,
                licence=licence,
                title=title,
                recipe=recipe,
            )
        write_atomically(folder / CARD, text)

    def describe(self) -> dict[str, Any]:
        """Collect sizes for logs, reports and cards."""
        total = sum(p.numel() for p in self.parameters())
        idle = 0
        if self.cfg.moe.n_experts:
            per_expert = 3 * self.cfg.d_model * self.cfg.moe.d_expert
            idle = (self.cfg.moe.n_experts - self.cfg.moe.top_k) * per_expert
            idle *= self.cfg.n_blocks_of_experts()
        return {
            "parameters_total": total,
            "parameters_active": total - idle,
            "backbone": sum(p.numel() for p in self.backbone.parameters()),
            "config": json.loads(json.dumps(asdict(self.cfg))),
        }

    def blocks_to_compile(self) -> list[nn.Module]:
        """List the repeated blocks; each is compiled by itself."""
        return [*self.backbone.blocks, *self.flow.blocks, *self.vocoder.blocks_to_compile()]

    def modules_to_shard(self) -> list[nn.Module]:
        """List the modules whose weights are gathered together: backbone blocks, then heads."""
        vocoder = [self.vocoder] if self.vocoder.is_learned else []
        return [*self.backbone.blocks, self.unembed, self.flow, *vocoder]

    # --- patches -----------------------------------------------------------------------------
    def patches(self, levels: Tensor) -> Tensor:
        """Turn quantised fine mel (B, N, 16, 80) into standardised patches (B, N, P, patch_dim)."""
        log_mel = levels.float() * ((LOG_MAX - LOG_MIN) / (FINE_LEVELS - 1)) + LOG_MIN
        normal = (log_mel.clamp_min(PATCH_FLOOR) - self.mel_mean) / self.mel_std
        return normal.flatten(-2).unflatten(-1, (self.layout.audio_out_positions, -1))

    def log_mel(self, patches: Tensor) -> Tensor:
        """Turn standardised patches (B, P, patch_dim) into fine log-mel (B, 16, 80)."""
        normal = patches.flatten(1).unflatten(-1, (-1, self.layout.n_mels))
        return (normal * self.mel_std + self.mel_mean).clamp(PATCH_FLOOR, LOG_MAX)

    def is_sounding(self, patch: Tensor) -> Tensor:
        """Tell of each own patch (B, patch_dim) whether there is sound in it, (B,) bool."""
        return self.log_mel(patch[:, None]).amax((-1, -2)) > SILENT_LOG_MEL

    def silent_patch(self, rows: int) -> Tensor:
        """Make the patch of digital silence, (rows, patch_dim)."""
        silence = torch.zeros(rows, 1, self.layout.fine_frames_per_micro_turn, self.layout.n_mels)
        return self.patches(silence.to(self.mel_mean))[:, 0, 0]

    # --- whole dialogues ---------------------------------------------------------------------
    def embed_dialogues(self, batch: LaneBatch, patches: Tensor) -> Tensor:
        """Embed all positions of all micro-turns, (B, T, D)."""
        values = {**batch.lanes, "audio_out": patches}
        return self._embedded(self.layout.lane_specs, values, batch.missing_input).flatten(1, 2)

    def _embedded(
        self, specs: Sequence[LaneSpec], values: Mapping[str, Tensor], missing_input: Tensor
    ) -> Tensor:
        """Embed lanes and join their vectors along positions, (..., positions of all lanes, D)."""
        for spec in specs:
            if spec.name not in values:
                raise ValueError(
                    f"the layout has a lane {spec.name} but the input has no {spec.name}"
                )
        lanes = [self.embed(spec, values[spec.name], missing_input) for spec in specs]
        return torch.cat(lanes, dim=-2)

    def forward(self, batch: LaneBatch, patches: Tensor) -> dict[str, Tensor]:
        """Compute the hidden states that predict each output lane, (B, N, P, D) by lane name."""
        return self.forward_window(batch, patches, None)[0]

    def forward_window(
        self, batch: LaneBatch, patches: Tensor, past: Past | None
    ) -> tuple[dict[str, Tensor], Past]:
        """Compute `forward` of a window of dialogues; `past` is what the one before returned."""
        real = batch.real
        if real is not None:
            real = real.repeat_interleave(self.layout.n_positions, dim=1)
        x = self.embed_dialogues(batch, patches)
        hidden, past = self.backbone.forward_window(x, real, past)
        return self._predicting(hidden, batch.shape), past

    def _predicting(self, hidden: Tensor, shape: tuple[int, int]) -> dict[str, Tensor]:
        """Select the hidden states (B, T, D) one position before those of each output lane."""
        predicts_next = hidden.view(*shape, self.layout.n_positions, -1)
        lanes = self.layout.lanes
        return {
            spec.name: predicts_next[:, :, lanes[spec.name].start - 1 : lanes[spec.name].stop - 1]
            for spec in self.layout.made_lanes
        }

    # --- streaming ---------------------------------------------------------------------------
    def init_state(self, rows: int, *, spare: int = 0) -> ModelState:
        """Make the state of new sessions; a row may go back `spare` micro-turns."""
        device, dtype = self.unembed.weight.device, self.unembed.weight.dtype
        backbone = self.backbone.init_state(rows, device=device, dtype=dtype, spare=spare)
        return ModelState(backbone, self.silent_patch(rows))

    def prefill(
        self, batch: LaneBatch, patches: Tensor, state: ModelState
    ) -> tuple[dict[str, Tensor], ModelState]:
        """Read whole micro-turns, both sides known, into `state`, which is consumed.

        Returns the hidden states of `forward`, by the arithmetic of `step`: the state after a
        session's dialogue has the session's bits, whether the dialogue is read at once or in
        pieces (CPU, fp32, one thread). patches (B, N, P, patch_dim) are standardised, as `step`
        returns them.
        """
        x = self.embed_dialogues(batch, patches)
        hidden, backbone = self.backbone.step(x, state.backbone)
        after = replace(state, backbone=backbone, patch=patches[:, -1, -1])
        return self._predicting(hidden, batch.shape), after

    def step(
        self,
        inputs: InputTensors,
        state: ModelState,
        noise: Tensor,
        *,
        sampling: Sampling | None = None,
    ) -> tuple[OutputTensors, ModelState]:
        """Compute one micro-turn of every row; consumes `state`.

        noise (B, P, patch_dim), standard normal, seeds the flow head, and the words where there is
        a `say_temperature`. Else tokens are chosen without chance except in lanes of `sampling`.
        """
        drawn = sampling.uniform if sampling else {}
        given = self._embedded(self.layout.given_lanes, inputs.given, inputs.missing_input)
        layers, seen = state.backbone.layers, state.backbone.seen
        plan, done = self.backbone.plan(state.backbone, self.layout.n_positions), 0

        def advance(vectors: Tensor) -> Tensor:
            nonlocal done
            part = plan.part(done, vectors.shape[1])
            done += vectors.shape[1]
            return self.backbone.step_planned_(vectors, layers, [part])[:, -1:]

        z = advance(given)
        # A lane may have no positions.
        none = torch.empty(z.shape[0], 0, dtype=torch.int64, device=z.device)
        tokens: dict[str, Tensor] = {}
        patches, patch = [], state.patch
        for spec in self.layout.made_lanes:
            marks, ids = self.embed.marks(spec.name), [none]
            for index in range(spec.positions):
                if spec.kind == "tokens":
                    logits = self.unembed(z)  # (B, 1, V)
                    if sampling and spec.name in drawn:
                        chance = drawn[spec.name][:, index, None]
                        token = sample_token(logits, chance, sampling.temperature)
                    elif spec.name == "say" and self.cfg.say_temperature:
                        token = draw_token(
                            logits,
                            self.cfg.start_at,
                            temperature=self.cfg.say_temperature,
                            # One number of many: the flow head does not miss it.
                            uniform=torch.special.ndtr(noise[:, 0, index, None]),
                            sounding=self.is_sounding(state.patch)[:, None],
                        )
                    else:
                        token = choose_token(logits, self.cfg.start_at)  # (B, 1)
                    ids.append(token)
                    vector = self.embed.tokens(token)
                else:
                    patch = self.flow.sample(z[:, 0], patch, noise[:, index])
                    patches.append(patch)
                    vector = self.embed.patch(patch.to(z.dtype))[:, None]
                z = advance(vector + marks[index])
            if spec.kind == "tokens":
                tokens[spec.name] = torch.cat(ids, dim=1)
        spoken = torch.stack(patches, dim=1)
        output = OutputTensors(tokens=tokens, log_mel=self.log_mel(spoken), patches=spoken)
        backbone = replace(state.backbone, seen=seen + self.layout.n_positions)
        return output, replace(state, backbone=backbone, patch=patch)
