"""Commands of this folder; what they need is imported when they run."""

from pathlib import Path

from microturn.configs.command import Command, starts_over
from microturn.evaluation.change.config import ChangeConfig
from microturn.evaluation.config import (
    CompareConfig,
    EvaluateConfig,
    ExamplesConfig,
    ModelCardConfig,
    ShipConfig,
)
from microturn.evaluation.hearing.config import HearingConfig, VoiceConfig
from microturn.evaluation.suites.fdb.folder_config import FdbConfig


def _evaluate(config: EvaluateConfig) -> int:
    from microturn.evaluation.evaluate import evaluate

    return evaluate(config)


def _compare(config: CompareConfig) -> int:
    from microturn.evaluation.compare import compare

    return compare(config)


def _model_card(config: ModelCardConfig) -> int:
    from microturn.evaluation.model_card import write_model_card

    return write_model_card(config)


def _ship(config: ShipConfig) -> int:
    from microturn.evaluation.ship import ship

    return ship(config)


def _examples(config: ExamplesConfig) -> int:
    from microturn.evaluation.examples import write_examples

    return write_examples(config)


def _fdb(config: FdbConfig) -> int:
    from microturn.evaluation.suites.fdb.folder import evaluate_fdb

    return evaluate_fdb(config)


def _change(config: ChangeConfig) -> int:
    from microturn.evaluation.change.change import evaluate_change

    return evaluate_change(config)


def _hearing(config: HearingConfig) -> int:
    from microturn.evaluation.hearing.hearing import evaluate_hearing

    return evaluate_hearing(config)


def _voice(config: VoiceConfig) -> int:
    from microturn.evaluation.hearing.voice import evaluate_voice

    return evaluate_voice(config)


def _traces_kept(config: EvaluateConfig, line: str) -> str:
    from microturn.evaluation.traces import n_dialogues

    folder = Path(config.out) / "traces"
    n = sum(n_dialogues(path) for path in folder.glob("*.jsonl"))
    if not n:
        return starts_over(config, line)
    return f"{n} dialogues are kept in {folder}; continue with: {line}"


def _talks_kept(config: ChangeConfig, line: str) -> str:
    from microturn.evaluation.traces import n_dialogues

    n = sum(n_dialogues(path) for path in Path(config.out).glob("*/*/traces/*.jsonl"))
    if not n:
        return starts_over(config, line)
    return f"{n} conversations are kept in {config.out}; continue with: {line}"


def _answers_kept(config: FdbConfig, line: str) -> str:
    from microturn.evaluation.suites.fdb.folder import tasks_of
    from microturn.evaluation.suites.fdb.folder_files import find_items

    items = find_items(config.path)
    n = len(tasks_of(items, again=True)) - len(tasks_of(items, again=False))
    if not n:
        return starts_over(config, line)
    again = f"{line} again=false" if config.again else line
    return f"{n} answers are kept in {config.path}; continue with: {again}"


EVALUATE = Command(
    schema=EvaluateConfig,
    run=_evaluate,
    on_interrupt=_traces_kept,
    help="Play test dialogues to a checkpoint or a baseline and score what it does, and when.",
)


COMPARE = Command(
    schema=CompareConfig,
    run=_compare,
    positionals=("first", "second"),
    help="Which differences between two evaluations are more than chance.",
)

MODEL_CARD = Command(
    schema=ModelCardConfig,
    run=_model_card,
    positionals=("checkpoint",),
    help="Write the model card of a checkpoint: sizes, recordings, licences, scores, limits.",
)

SHIP = Command(
    schema=ShipConfig,
    run=_ship,
    positionals=("checkpoint",),
    help="Write a checkpoint as it comes with the package: in bfloat16, with card and digests.",
)

EXAMPLES = Command(
    schema=ExamplesConfig,
    run=_examples,
    positionals=("data",),
    help="Give a checkpoint recordings that its page plays to it: users of test dialogues.",
)

EVALUATE_CHANGE = Command(
    schema=ChangeConfig,
    run=_change,
    on_interrupt=_talks_kept,
    help="Let checkpoints before and after a training talk with users who react, and compare them.",
)

EVALUATE_FDB = Command(
    schema=FdbConfig,
    run=_fdb,
    on_interrupt=_answers_kept,
    positionals=("path",),
    help="Run and score a folder in the layout of Full-Duplex-Bench.",
)

EVALUATE_HEARING = Command(
    schema=HearingConfig,
    run=_hearing,
    help="Count word errors of what a checkpoint writes down of people whom it never heard.",
)

EVALUATE_VOICE = Command(
    schema=VoiceConfig,
    run=_voice,
    help="Count word errors of a recogniser on the voice of a checkpoint and on its recordings.",
)
