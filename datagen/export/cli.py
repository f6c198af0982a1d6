"""Command `microturn export`."""

from microturn.configs.command import Command
from microturn.datagen.export.config import ExportConfig


def run_export(config: ExportConfig) -> int:
    from microturn.datagen.export.export import export

    print(export(config))
    return 0


EXPORT = Command(
    schema=ExportConfig,
    run=run_export,
    positionals=("data",),
    help="Write a shard set for moshi-finetune, Lhotse or NeMo.",
)
