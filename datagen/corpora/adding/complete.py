"""What goes wrong in a reader of a corpus, as one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from gzip import BadGzipFile
from json import JSONDecodeError


@contextmanager
def complete_corpus(source: str, form: str) -> Iterator[None]:
    """Turn errors of a reader, where an entry lacks a field or a file is torn, into ValueError."""
    try:
        yield
    except (KeyError, TypeError, IndexError, EOFError, BadGzipFile, JSONDecodeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{source} is not a complete {form} corpus ({reason})") from error
