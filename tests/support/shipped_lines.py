"""The manifest of the corpus that ships, unpacked."""

from microturn.configs.reading import lines_of
from microturn.datagen.corpora.index.packed_lines import content_of, lines_file
from microturn.datagen.corpora.manifest import DEFAULT_FOLDER, MANIFEST_NAME


def shipped_manifest() -> bytes:
    return b"".join(content_of(lines_file(DEFAULT_FOLDER, MANIFEST_NAME)))


def shipped_lines() -> list[str]:
    return lines_of(shipped_manifest().decode())
