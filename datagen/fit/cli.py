"""Command `microturn fit`."""

from microturn.configs.command import Command
from microturn.datagen.fit.config import FitConfig


def run_fit(config: FitConfig) -> int:
    from microturn.datagen.fit.fit import fit

    sentence = fit(config)
    if config.json != "-":
        print(sentence)
    return 0


FIT = Command(
    schema=FitConfig,
    run=run_fit,
    positionals=("data",),
    help="Measure how people take turns in a set or a corpus, and write it as timing.human.",
)
