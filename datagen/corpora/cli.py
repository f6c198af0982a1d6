"""Commands `microturn corpus add` and `microturn corpus list`."""

import sys

from microturn.configs.command import Command, starts_over, write_json
from microturn.datagen.corpora.config import CorpusAddConfig, CorpusListConfig


def run_add(config: CorpusAddConfig) -> int:
    from microturn.datagen.corpora.add import add_corpus

    result = add_corpus(config)
    write_json(result, config.json)
    return 0


def run_list(config: CorpusListConfig) -> int:
    from microturn.datagen.corpora.listing import list_corpora, listing_text

    rows = list_corpora(config.folder)
    write_json({"corpora": rows}, config.json)
    if config.json != "-":
        sys.stdout.write(listing_text(rows))
    return 0


def _on_interrupt(config: CorpusAddConfig, line: str) -> str:
    from microturn.configs.paths import cache_folder
    from microturn.datagen.corpora.alignment.cache import FOLDER

    kept = cache_folder(config.cache) / FOLDER
    if not kept.is_dir():
        return starts_over(config, line)
    return f"word times found so far are kept in {kept}; start it again with: {line}"


CORPUS_ADD = Command(
    schema=CorpusAddConfig,
    run=run_add,
    positionals=("source",),
    help="Add recordings: check them, find their word times, write them as a corpus.",
    on_interrupt=_on_interrupt,
)

CORPUS_LIST = Command(
    schema=CorpusListConfig,
    run=run_list,
    positionals=("folder",),
    help="List the corpora that simulate can use, with their contents.",
)
