"""Files written whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pymem.errors import PymemError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, which takes its place when the block ends well and is removed otherwise.

    Raises
    ------
    PymemError
        The place cannot be written; the message names it.
    """
    path = Path(path)
    check_file(path)
    try:
        # A folder of its own, as some libraries write by name and choose the mode of the file themselves.
        with tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=f".{path.name}.") as folder:
            fresh = Path(folder) / path.name
            yield fresh
            fresh.replace(path)
    except OSError as error:
        raise PymemError(f"{path}: cannot be written: {error.strerror or error}") from None


def write_text(path: str | Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all. PymemError where that is not possible."""
    with replacing(path) as fresh:
        fresh.write_text(text, encoding="utf-8")


def check_file(path: Path) -> None:
    """Raise PymemError unless the folder of the path exists and the path is not a folder itself."""
    if not path.absolute().parent.is_dir():
        raise PymemError(f"{path}: the folder {path.absolute().parent} does not exist")
    if path.is_dir():
        raise PymemError(f"{path}: is a folder; accepted is the name of a file")
