"""Native traces to formats of others: oracleGeneral of libCacheSim, and addresses as text.

A record of a load or store becomes one request however often it repeats, unless all repeats are asked for;
``read()`` and ``write()`` become a request per page.  Records of other operations are left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pymem.errors import TraceError
from pymem.files import replacing

from .readers.oracle_general import REQUEST
from .references import only_task, references
from .store import TraceFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

FORMATS = ("oracleGeneral", "address")
PAGE_SIZE = 4096
MOST_PAGES = 1 << 32
_SLICE = 1 << 20


def export(
    path: str | Path, out: str | Path, form: str, *, task: str | None = None, repeats: bool = False
) -> int:
    """Write a task of a trace in another format; gives the number of requests.

    Parameters
    ----------
    form : {"oracleGeneral", "address"}
        Objects of the first are pages of the task's flat space, of 4096 bytes; they have no operations.  Addresses
        are those of the recorded program if all regions have some, else flat pages times 4096.
    task : str, optional
        May be left out where there is only one.
    repeats : bool
        Write a load or store as often as it repeats.

    Raises
    ------
    TraceError
        Unknown format or task, or a damaged trace; no file is left then.
    """
    if form not in FORMATS:
        raise TraceError(f"format {form!r}; accepted are {', '.join(FORMATS)}")
    with TraceFile(path) as trace:
        number = only_task(trace, task)
        with replacing(out) as partial:
            if form == "address":
                return _addresses(trace, number, partial, repeats)
            count = _requests(trace, number, partial, repeats)
            _link(partial, count, trace.info.tasks[number].pages)
            return count


def _pages(trace: TraceFile, number: int, repeats: bool) -> Iterator[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Pages, whether they are written, and times."""
    for found in references(trace, number):
        if not repeats:
            yield found.page, found.write, found.time
            continue
        part = np.cumsum(found.repeats) // _SLICE
        for rows in np.split(np.arange(len(part)), np.flatnonzero(np.diff(part)) + 1):
            row = np.repeat(rows, found.repeats[rows])
            yield found.page[row], found.write[row], found.time[row]


def _addresses(trace: TraceFile, number: int, out: Path, repeats: bool) -> int:
    task = trace.info.tasks[number]
    known = all(region.start is not None for region in task.regions)
    count = 0
    with out.open("w", encoding="ascii") as file:
        if not known:
            file.write(f"# pages of the trace times {PAGE_SIZE}: not all regions have addresses\n")
        for page, write, _ in _pages(trace, number, repeats):
            address = task.addresses(page) if known else page * PAGE_SIZE
            words = np.where(write, "W", "R").tolist()
            file.writelines(f"{word} 0x{where:x}\n" for word, where in zip(words, address.tolist(), strict=True))
            count += len(page)
    return count


def _requests(trace: TraceFile, number: int, out: Path, repeats: bool) -> int:
    if trace.info.tasks[number].pages > MOST_PAGES:
        raise TraceError(f"{trace.path}: more than {MOST_PAGES} pages; sample the trace first")
    count = 0
    with out.open("wb") as file:
        for page, _, time in _pages(trace, number, repeats):
            made = np.zeros(len(page), REQUEST)
            made["id"], made["size"], made["time"] = page, PAGE_SIZE, time // 10**9
            file.write(made.tobytes())
            count += len(page)
    return count


def _link(path: Path, count: int, pages: int) -> None:
    """Fill in the next request to the same page, counted from 1: backwards, slice by slice."""
    if not count:
        return
    made = np.memmap(path, REQUEST, "r+", shape=(count,))
    following = np.zeros(pages, np.int64)  # 0: none
    for first in reversed(range(0, count, _SLICE)):
        part = made[first : first + _SLICE]
        page = part["id"].astype(np.int64)
        order = np.argsort(page, kind="stable")
        same = page[order][:-1] == page[order][1:]
        after = following[page]
        after[order[:-1][same]] = order[1:][same] + first + 1
        heads = order[np.concatenate([[True], ~same])]
        following[page[heads]] = heads + first + 1
        part["next"] = np.where(after == 0, -1, after)
    made.flush()
