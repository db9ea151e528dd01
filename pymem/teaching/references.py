"""The accesses to explain: a reference string as in textbooks, or the first part of a trace in any known format."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pymem.errors import TraceError

if TYPE_CHECKING:
    from collections.abc import Iterator

Page = int | str
_TOKEN = re.compile(r"(?:(\d{1,18})|([A-Za-z][A-Za-z0-9_]{0,31}))(:w)?")


class Reference(NamedTuple):
    """One access: a page, by number or name, and whether it is written."""

    page: Page
    write: bool = False


def parse_references(text: str, name: str = "reference string", limit: int | None = None) -> list[Reference]:
    """The accesses of a text such as ``"7 0 1 2 0:w 3"``, pages by number or name, ``:w`` for a write.

    Raises
    ------
    TraceError
        Empty, or a word that is no page; the message says which.
    """
    out = []
    for number, line in enumerate(text.splitlines(), 1):
        for token in re.split(r"[\s,]+", line.partition("#")[0].strip()):
            if not token:
                continue
            found = _TOKEN.fullmatch(token)
            if found is None:
                raise TraceError(
                    f"{name}, line {number}: {token!r:.40} is no page; accepted are numbers or names, with :w for a "
                    "write, such as '7 0 1 2 0:w 3'"
                )
            out.append(Reference(int(found[1]) if found[1] else found[2], bool(found[3])))
            if limit is not None and len(out) == limit:
                return out
    if not out:
        raise TraceError(f"{name}: no access in it; accepted are pages such as '7 0 1 2 0:w 3'")
    return out


def references_of(accesses: str | Iterable[Page | Reference]) -> list[Reference]:
    """Accesses from a reference string or from pages.  TraceError if there are none or one is no page."""
    if isinstance(accesses, str):
        return parse_references(accesses)
    out = []
    for item in accesses:
        page, write = item if isinstance(item, tuple) else (item, False)
        if not isinstance(page, str):
            try:
                page = int(page)  # numbers of numpy too
            except (TypeError, ValueError):
                raise TraceError(f"accesses: {item!r}; accepted are numbers, names, or (page, write)") from None
        out.append(Reference(page, bool(write)))
    if not out:
        raise TraceError("accesses: there are none; accepted is one or more")
    return out


def read_references(path: str | Path, limit: int, task: str | None = None, form: str | None = None) -> list[Reference]:
    """The first accesses of a trace file; pages are numbered from 0 in the order of their addresses.

    Parameters
    ----------
    path : str or Path
        A native trace (also ``"builtin:NAME"``) or one in any format that ``pymem trace import`` reads.
    limit : int
        Most accesses to read; a run of accesses to one page counts as so many.
    task : str, optional
        Of a trace of several tasks.
    form : str, optional
        Name of the format of a foreign trace; default is to go by its content.

    Raises
    ------
    TraceError
        Not a trace, or damaged.
    """
    from pymem.traces.container import MAGIC
    from pymem.workloads.trace import locate

    file = locate(path)
    try:
        with file.open("rb") as opened:
            native = opened.read(len(MAGIC)) == MAGIC
        found = list(islice(_native(file, task) if native else _foreign(file, form), limit))
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror or error}") from None
    if not found:
        raise TraceError(f"{path}: no access in it")
    dense = {place: number for number, place in enumerate(sorted({place for place, _ in found}))}
    return [Reference(dense[place], write) for place, write in found]


def _native(file: Path, task: str | None) -> Iterator[tuple[int, bool]]:
    from pymem.traces.references import only_task, references
    from pymem.traces.store import TraceFile

    with TraceFile(file) as trace:
        for part in references(trace, only_task(trace, task)):
            columns = (part.page.tolist(), part.repeats.tolist(), part.write.tolist())
            for page, repeats, write in zip(*columns, strict=True):
                for _ in range(repeats):
                    yield page, write


def _foreign(file: Path, form: str | None) -> Iterator[tuple[int, bool]]:
    from pymem.traces.readers import Source, reader_for

    with Source(file) as source:
        reader = reader_for(source, form)
        shift = 0 if reader.kind == "key" else 12
        for batch in reader.read(source):
            sizes = batch.size.tolist()
            for place, size, write in zip(batch.place.tolist(), sizes, batch.write.tolist(), strict=True):
                last = place if shift == 0 else place + max(size, 1) - 1
                for page in range(place >> shift, (last >> shift) + 1):
                    yield page, write
