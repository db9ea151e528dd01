"""From lackey text to a native trace, in bounded memory and two steps.

While the text comes in, `LackeyConverter` translates its records to object pages (see `address_space`) and
spools them to a temporary file, because the regions and so the dense page numbers are known only at the end.
`LackeyConverter.finish` then numbers the pages and writes the trace.
"""

from __future__ import annotations

import os
import re
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np

from pymem.errors import TraceError

from . import store
from ._lackey import LackeyParser
from .address_space import FILE_SPACE, AddressSpace, Area
from .model import RegionInfo, TraceInfo
from .syscalls import SyscallTracker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

#: Pages that the filter keeps: replay is exact for LRU with at least this much memory.
WINDOW = 64
SPOOL_RECORDS = 1 << 18

_PAGE = np.uint64((1 << 40) - 1)
_OP_SHIFT, _COUNT_SHIFT = np.uint64(40), np.uint64(46)
_OP = np.uint64(63)
_COMMAND = re.compile(rb"==(\d+)== Command: (.*)")
_VALGRIND = re.compile(rb"==\d+== Using (Valgrind\S*)")


class LackeyConverter:
    """Takes lackey text piece by piece and leaves a native trace.

    Parameters
    ----------
    name : str
        Name of the input for error messages.
    window : int
        Pages that the filter keeps (`LackeyParser`); 0 keeps every run.
    directory : str
        Working directory of the traced program: files below it are named relative to it.
    on_bad_call : callable, optional
        Gets error, line and line number of a system call that does not read, instead of TraceError being raised.

    Use it as a context manager: the temporary file is removed at the end.
    """

    def __init__(
        self, *, name: str = "<lackey>", window: int = WINDOW, directory: str = ".",
        on_bad_call: Callable[[Exception, bytes, int], None] | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self.on_bad_call = on_bad_call
        self.window = window
        self.space = AddressSpace()
        self.valgrind: str | None = None
        self.command: str | None = None
        self.pid: int | None = None
        self._spool = tempfile.TemporaryFile(prefix="pymem-spool-")  # noqa: SIM115 (closed by __exit__)
        self._touched: list[NDArray[np.int64]] = []
        self._touched_sum = np.empty(0, np.int64)
        self.parser = LackeyParser(self._sink, self._other, window, name)
        self.tracker = SyscallTracker(self.space, directory, self.parser.flush)
        self.tracker.attach(self.parser)

    def __enter__(self) -> LackeyConverter:
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()

    def feed(self, data: bytes) -> None:
        """Take the next piece of text; lines may be cut anywhere."""
        self.parser.feed(data)

    @property
    def records(self) -> int:
        """Records made so far."""
        return int(self.parser.records)

    def _other(self, line: bytes, number: int) -> None:
        if line.startswith(b"SYSCALL[") or not line.startswith(b"=="):
            try:
                self.tracker.line(line)
            except (ValueError, IndexError) as error:
                if self.on_bad_call is not None:
                    self.on_bad_call(error, line, number)
                    return
                if isinstance(error, TraceError):
                    raise
                shown = line[:60] + (b"..." if len(line) > 60 else b"")
                raise TraceError(f"{self.name}, line {number}: system call {shown!r} does not read") from None
        elif self.valgrind is None and (match := _VALGRIND.match(line)):
            self.valgrind = match[1].decode()
        elif self.command is None and (match := _COMMAND.match(line)):
            self.pid, self.command = int(match[1]), os.fsdecode(match[2])

    def _sink(self, records: NDArray[np.uint64]) -> None:
        """Translate to object pages, under the mappings that hold now, and spool."""
        pages = (records & _PAGE).astype(np.int64)
        plain = (records >> _OP_SHIFT & _OP) <= 1  # what a system call adds is in object pages already
        objects = np.where(plain, self.space.translate(pages), pages)
        self._spool.write((records & ~_PAGE | objects.astype(np.uint64)).tobytes())
        used = plain | (pages >= FILE_SPACE)
        self._touched.append(np.unique(objects[used]))
        if len(self._touched) >= 256:
            self._merge_touched()

    def _merge_touched(self) -> NDArray[np.int64]:
        self._touched_sum = np.unique(np.concatenate([self._touched_sum, *self._touched]))
        self._touched = []
        return self._touched_sum

    def counts(self) -> dict[str, int]:
        """What the text held, for the provenance."""
        p = self.parser
        return {
            "lines": int(p.lines), "instructions": int(p.fetches), "loads": int(p.loads),
            "stores": int(p.stores), "modifies": int(p.modifies), "page_runs": int(p.runs),
            "system_calls": self.tracker.calls,
        }  # fmt: skip

    def _areas(self) -> list[Area]:
        touched = self._merge_touched()
        pages, seen = self.parser.touched()
        return self.space.layout(touched, pages[seen & 4 != 0].astype(np.int64))

    def finish(
        self, out: str | Path, *, task: str = "main", provenance: dict[str, Any] | None = None,
        compression: str = "lzma",
    ) -> TraceInfo:  # fmt: skip
        """Parse what is left, number the pages and write the trace.

        Raises
        ------
        TraceError
            The text held no access, or its last line is garbage.
        """
        self.parser.close()
        if not self.parser.records:
            raise TraceError(f"{self.name}: no memory access in {self.parser.lines} lines")
        areas = self._areas()
        regions = [
            RegionInfo(a.kind, a.name, a.start, a.pages, a.shared, a.writable, a.offset, a.executable) for a in areas
        ]
        about = {
            "source": "valgrind lackey",
            "valgrind": self.valgrind,
            "filter": {"kind": "safely allowed drop", "window_pages": self.window},
            "input": self.counts(),
            **(provenance or {}),
        }
        numbering = _Numbering(areas)
        with store.Writer(out, compression=compression, provenance=about) as writer:
            index = writer.add_task(task, regions)
            self._spool.flush()
            self._spool.seek(0)
            while data := self._spool.read(SPOOL_RECORDS * 8):
                for part in numbering.dense(np.frombuffer(data, np.uint64)):
                    writer.append(part, task=index)
        return writer.info()


class _Numbering:
    """Object pages to dense pages."""

    def __init__(self, areas: list[Area]) -> None:
        ordered = sorted(areas, key=lambda a: a.first_object_page)
        self.first = np.array([a.first_object_page for a in ordered], np.int64)
        self.pages = np.array([a.pages for a in ordered], np.int64)
        self.base = np.array([a.base for a in ordered], np.int64)

    def dense(self, records: NDArray[np.uint64]) -> list[NDArray[np.uint64]]:
        """Records with dense pages.  A range across regions becomes one record for each; one outside goes."""
        pages = (records & _PAGE).astype(np.int64)
        ops = records >> _OP_SHIFT & _OP
        which = np.maximum(np.searchsorted(self.first, pages, side="right") - 1, 0)
        dense = pages - self.first[which] + self.base[which]
        out = records & ~_PAGE | dense.astype(np.uint64)
        ranged = np.flatnonzero(ops > 1)
        if not len(ranged):
            return [out]
        parts, last = [], 0
        for i in ranged.tolist():
            parts.append(out[last:i])
            parts.append(self._range(int(pages[i]), int(ops[i]), int(records[i] >> _COUNT_SHIFT) + 1))
            last = i + 1
        parts.append(out[last:])
        return [np.concatenate(parts)]

    def _range(self, page: int, op: int, count: int) -> NDArray[np.uint64]:
        low = np.maximum(page, self.first)
        high = np.minimum(page + count, self.first + self.pages)
        keep = np.flatnonzero(low < high)
        made = (low - self.first + self.base)[keep].astype(np.uint64)
        made |= np.uint64(op) << _OP_SHIFT
        return np.asarray(made | ((high - low)[keep] - 1).astype(np.uint64) << _COUNT_SHIFT)
