"""People whom the set of a suite needs: the corpora that hold them, and the list of their names.

Another version of a corpus holds out other people, of whom some may be in a training set, and its
scores would be compared with those of others.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from microturn.configs.load import CONFIG_DIR
from microturn.configs.reading import lines_of
from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.home import DEFAULT_NAME, folders_of, is_corpus
from microturn.datagen.dialogue.strangers import Strangers
from microturn.datagen.pipeline import open_corpus
from microturn.evaluation.suites.suite import Suite

_SHOWN = 3


def listed_people(suite: Suite) -> list[str]:
    """Names of all who ask in the set of a suite, as its file lists them."""
    lines = lines_of((CONFIG_DIR / suite.people).read_text(encoding="utf-8"))
    return [line for line in map(str.strip, lines) if line and not line.startswith("#")]


def require_corpora(suite: Suite, config: DatagenConfig) -> None:
    """Raise ValueError that names the first corpus of a set that is not on this machine."""
    for name, folder in zip(config.corpus.split(","), folders_of(config.corpus), strict=True):
        if not is_corpus(Path(folder)):
            raise ValueError(
                f"suite {suite.name} needs the corpus {name!r}, which is not on this machine; add "
                f"it with `microturn corpus add FOLDER_OR_TAR name={name}` (docs/suites.md)"
            )


def require_people(suite: Suite, config: DatagenConfig) -> None:
    """Raise ValueError that names the first corpus of which others ask than the list has."""
    asking = set(Strangers(open_corpus(config), config).people)
    listed = set(listed_people(suite))
    for name in config.corpus.split(","):
        there, wanted = (
            {person for person in people if _corpus_of(person, config) == name}
            for people in (asking, listed)
        )
        if there != wanted:
            differences = [
                f"{what} {_shown(people)}"
                for what, people in (("without", wanted - there), ("also with", there - wanted))
                if people
            ]
            raise ValueError(
                f"suite {suite.name}: the corpus {name!r} of this machine holds out other people "
                f"than configs/{suite.people} lists, {' and '.join(differences)}; add the version "
                f"that docs/suites.md names with `microturn corpus add FOLDER_OR_TAR name={name}`"
            )


def _corpus_of(person: str, config: DatagenConfig) -> str:
    """The corpus that is in the name of each of its people; those of the one that ships go bare."""
    prefix = person.partition("-")[0]
    return prefix if prefix in config.corpus.split(",") else DEFAULT_NAME


def _shown(people: Collection[str]) -> str:
    some = ", ".join(sorted(people)[:_SHOWN])
    return some if len(people) <= _SHOWN else f"{some} and {len(people) - _SHOWN} more"
