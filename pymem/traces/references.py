"""Records as references to pages: what analysis and export look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pymem.errors import TraceError
from pymem.records import Op, unpack

from .columns import widen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from .store import TraceFile

#: References that are held at once, at most one record more.
SLICE = 1 << 18


class References(NamedTuple):
    """Consecutive references: page in the flat space, repeats (1 for pages of ``read()`` and ``write()``), ..."""

    page: NDArray[np.int64]
    repeats: NDArray[np.int64]
    write: NDArray[np.bool_]
    call: NDArray[np.bool_]  # by read() or write()
    time: NDArray[np.int64]  # ns, 0 in a trace without times


def chunks(trace: TraceFile, task: int) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.uint64] | None]]:
    """Chunks of a task in the general form, with their times if the trace has them."""
    if trace.info.times:
        for records, times in zip(trace.records(task), trace.times(task), strict=True):
            yield widen(records), times
    else:
        for records in trace.records(task):
            yield widen(records), None


def references(trace: TraceFile, task: int) -> Iterator[References]:
    """Loads, stores and the pages of ``read()`` and ``write()``; other records are no references."""
    for records, times in chunks(trace, task):
        page, op, count = unpack(records)
        moves = op <= Op.WRITE
        page, op, count = page[moves], op[moves], count[moves]
        time = np.zeros(len(page), np.int64) if times is None else times[moves].astype(np.int64)
        call = op >= Op.READ
        pages = np.where(call, count, 1)
        part = np.cumsum(pages) // SLICE
        for rows in np.split(np.arange(len(page)), np.flatnonzero(np.diff(part)) + 1):
            if not len(rows):
                continue
            n = pages[rows]
            row = np.repeat(rows, n)
            inside = np.arange(len(row)) - np.repeat(np.cumsum(n) - n, n)
            yield References(
                page[row] + inside, np.where(call, 1, count)[row], (op & 1 == 1)[row], call[row], time[row]
            )


def chosen_tasks(trace: TraceFile, name: str | None) -> list[int]:
    """Numbers of the task of this name, or of all; TraceError if there is none."""
    names = [task.name for task in trace.info.tasks]
    if name is None:
        return list(range(len(names)))
    if name not in names:
        shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        raise TraceError(f"{trace.path}: no task {name!r}; accepted are {shown}")
    return [names.index(name)]


def only_task(trace: TraceFile, name: str | None) -> int:
    """The number of the task of this name; without a name, of the only one."""
    tasks = chosen_tasks(trace, name)
    if len(tasks) != 1:
        shown = ", ".join(task.name for task in trace.info.tasks[:20]) or "none"
        raise TraceError(f"{trace.path}: has {len(tasks)} tasks, name one by --task: {shown}")
    return tasks[0]
