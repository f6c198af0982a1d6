"""Commands of this folder; what they need is imported when they run."""

from microturn.configs.command import Command
from microturn.evaluation.config import CompareConfig, EvaluateConfig
from microturn.evaluation.suites.fdb.folder_config import FdbConfig


def _evaluate(config: EvaluateConfig) -> int:
    from microturn.evaluation.evaluate import evaluate

    return evaluate(config)


def _compare(config: CompareConfig) -> int:
    from microturn.evaluation.compare import compare

    return compare(config)


def _fdb(config: FdbConfig) -> int:
    from microturn.evaluation.suites.fdb.folder import evaluate_fdb

    return evaluate_fdb(config)


EVALUATE = Command(
    schema=EvaluateConfig,
    run=_evaluate,
    help="Play test dialogues to a checkpoint or a baseline and score what it does, and when.",
)


COMPARE = Command(
    schema=CompareConfig,
    run=_compare,
    positionals=("first", "second"),
    help="Which differences between two evaluations are more than chance.",
)

EVALUATE_FDB = Command(
    schema=FdbConfig,
    run=_fdb,
    positionals=("path",),
    help="Run and score a folder in the layout of Full-Duplex-Bench.",
)
