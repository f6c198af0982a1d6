"""`microturn simulate` and `microturn inspect`."""

from microturn.configs.command import Command, write_json
from microturn.datagen.config import DatagenConfig, InspectConfig, VerifyAudioConfig


def run_simulate(config: DatagenConfig) -> int:
    from microturn.configs.paths import cache_folder
    from microturn.datagen.simulate import simulate

    card = simulate(config, cache=cache_folder(config.cache))
    write_json(card, config.json)
    return 0


def run_inspect(config: InspectConfig) -> int:
    from microturn.datagen.report.inspect import inspect

    return inspect(config)


def run_listen(config: VerifyAudioConfig) -> int:
    from microturn.datagen.report.verify_audio import run_listen

    return run_listen(config)


SIMULATE = Command(
    schema=DatagenConfig,
    run=run_simulate,
    help="Simulate dialogues with exact labels and write them as a shard set.",
    on_interrupt="interrupted; the same command again continues from the finished shards",
)

INSPECT = Command(
    schema=InspectConfig,
    run=run_inspect,
    positionals=("data",),
    help="Show the data card of a shard set; with index=I draw one dialogue and write its sound.",
)

LISTEN = Command(
    schema=VerifyAudioConfig,
    run=run_listen,
    help="Listen to dialogues of every scenario by program: silences, words, clipping, clicks.",
)
