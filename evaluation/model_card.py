"""`microturn model-card`: a checkpoint's card, with the scores of evaluations of these weights."""

from __future__ import annotations

from pathlib import Path

from microturn.evaluation.config import ModelCardConfig
from microturn.evaluation.report.markdown import shared_sentence
from microturn.evaluation.report.scores import Scores, read_scores, with_events
from microturn.evaluation.report.values import format_score
from microturn.evaluation.scoring.dialogue_set import checkpoint_digest
from microturn.evaluation.suites.conditions.people_many import ROWS_OF
from microturn.model.card import CARD
from microturn.model.checkpoint_place import find_checkpoint
from microturn.model.model import InteractionModel


def write_model_card(config: ModelCardConfig) -> int:
    """Write the card into the checkpoint folder; ValueError for scores of other weights."""
    folder = find_checkpoint(config.checkpoint)
    write_card_of(InteractionModel.from_pretrained(folder), folder, config, name=str(folder))
    print(f"{folder / CARD} is written; push_to_hub, or an upload of the folder, takes it along")
    return 0


def write_card_of(
    model: InteractionModel, folder: Path, config: ModelCardConfig, *, name: str
) -> None:
    """Write the card of a model into the folder of its weights; ValueError for other scores.

    name: of the folder in errors, where it will have another place.
    """
    lines = [line for scores in config.scores for line in _scored(scores, folder, name)]
    model.write_card(
        folder,
        scores=lines,
        licence=config.licence,
        title=config.title,
        recipe=config.recipe,
    )


def _scored(result: str, folder: Path, name: str) -> list[str]:
    """Format the headlines of one evaluation, and what its dialogues share with training."""
    scores = read_scores(result)
    if scores.info.checkpoint_sha256 != checkpoint_digest(str(folder)):
        raise ValueError(
            f"{result} holds scores of {scores.info.checkpoint or 'no checkpoint'}, whose content "
            f"was not that of {name}; run `microturn evaluate checkpoint={name}` again"
        )
    info = scores.info
    source = f"`{Path(info.data).name}`" if info.data else "the suites' own sets"
    return [
        f"{info.n_dialogues} simulated dialogues of {source}, {info.minutes:.0f} minutes, "
        f"`microturn evaluate` with seed {info.seed}; in brackets: 95 % intervals over dialogues. "
        "A suite named after a benchmark is a closed-domain twin of its question; none is "
        "comparable to a benchmark.",
        "",
        shared_sentence(info),
        "",
        *_table(scores),
        "",
    ]


def _table(scores: Scores) -> list[str]:
    agents = list(scores.agents)
    lines = [f"| suite: metric | n | {' | '.join(agents)} |"]
    lines.append(f"|---|---:|{'---:|' * len(agents)}")
    for name in with_events(scores.first.suites):
        # Answers to people whom it heard and whom it did not: no headline says them.
        more = ROWS_OF.get(name, ())
        for metric in dict.fromkeys((scores.first.suites[name].headline_metric, *more)):
            row = [one.suites[name].metrics[metric] for one in scores.agents.values()]
            if row[0].value is None:
                continue  # none of its events is in these dialogues
            cells = " | ".join(format_score(metric, score) for score in row)
            lines.append(f"| {name}: {metric} | {row[0].n} | {cells} |")
    return lines
