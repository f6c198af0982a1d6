"""Commands `microturn simulate`, `microturn inspect` and `microturn verify-audio`."""

from microturn.configs.command import Command, starts_over, write_json
from microturn.datagen.config import DatagenConfig
from microturn.datagen.report.config import InspectConfig, VerifyAudioConfig


def run_simulate(config: DatagenConfig) -> int:
    from microturn.configs.paths import cache_folder
    from microturn.datagen.simulate import simulate

    card = simulate(config, cache=cache_folder(config.cache))
    write_json(card, config.json)
    return 0


def run_inspect(config: InspectConfig) -> int:
    from microturn.datagen.report.inspect import inspect

    return inspect(config)


def run_verify_audio(config: VerifyAudioConfig) -> int:
    from microturn.datagen.report.verify_audio import run_verify_audio

    return run_verify_audio(config)


def _on_interrupt(config: DatagenConfig, line: str) -> str:
    from microturn.datagen.simulate import n_finished

    n = n_finished(config)
    if not n:
        return starts_over(config, line)
    return f"{n} of {config.n_shards} shards are finished in {config.out}; continue with: {line}"


SIMULATE = Command(
    schema=DatagenConfig,
    run=run_simulate,
    help="Simulate dialogues with exact labels and write them as a shard set.",
    on_interrupt=_on_interrupt,
)

INSPECT = Command(
    schema=InspectConfig,
    run=run_inspect,
    positionals=("data",),
    help="Show the data card of a shard set; with index=I draw one dialogue and write its audio.",
)

VERIFY_AUDIO = Command(
    schema=VerifyAudioConfig,
    run=run_verify_audio,
    help="Check the audio of every scenario against its labels: silences, words, clipping, clicks.",
)
