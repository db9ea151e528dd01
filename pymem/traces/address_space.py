"""What is mapped where while a program runs, and how its addresses become pages of regions.

A virtual page number means different things at different times: a library that is unloaded gives its
addresses back, the next ``mmap`` hands them out again for something else.  Records are therefore translated
at once, while the mapping is known, to *object pages*, which never change their meaning:

* anonymous memory keeps its virtual page number (addresses used again are the same region mapped again);
* a mapped file is an object of its own, counted in pages of the file.  Objects differ by file, by shared or
  private, and by the distance of address and file offset, so that the two copies of a page that an executable
  maps twice, as code and as private data, stay two pages;
* a file used by ``read()`` and ``write()`` is an object without addresses.

`AddressSpace.layout` turns the objects that were touched into `Area` descriptions, one after another in the
dense numbering of a trace.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pymem.errors import TraceError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT
#: Object pages of files start here; virtual page numbers of user space stay below (2**36 with 48-bit addresses).
FILE_SPACE = 1 << 38
#: Object pages reserved for each file object: 64 GiB.
FILE_PAGES = 1 << 24
FILE_OBJECTS = (1 << 40) - FILE_SPACE >> 24
#: Touched pages of unknown origin closer than this belong together.
GAP = 16

_MAPS_LINE = re.compile(rb"([0-9a-f]+)-([0-9a-f]+) (....) ([0-9a-f]+) \S+ (\d+) *(.*)")


@dataclass(frozen=True)
class Area:
    """One region of a trace: `pages` pages from dense page `base`."""

    kind: str  # "anon" or "file"
    name: str
    start: int | None  # virtual address of the first page; None for a file that is only read and written
    pages: int
    base: int
    shared: bool = False
    writable: bool = True
    offset: int = 0  # page of the file that the first page shows
    first_object_page: int = 0
    executable: bool = False


@dataclass
class _FileObject:
    name: str
    shared: bool
    bias: int | None  # virtual page number minus file page; None: read() and write() only
    base: int
    writable: bool = False
    executable: bool = False
    low: int = 1 << 62
    high: int = 0

    def widen(self, low: int, high: int) -> None:
        self.low, self.high = min(self.low, low), max(self.high, high)


@dataclass
class _Mapping:
    start: int  # virtual page numbers, end exclusive
    end: int
    delta: int  # added to a virtual page number gives the object page
    file: _FileObject | None = None


def _without(spans: list[tuple[int, int]], start: int, end: int) -> list[tuple[int, int]]:
    """Half-open spans minus one span."""
    left = []
    for low, high in spans:
        if low < start and low < high:
            left.append((low, min(high, start)))
        if high > end and low < high:
            left.append((max(low, end), high))
    return left


def _merged(spans: Iterable[tuple[int, int]], gap: int = 0) -> list[tuple[int, int]]:
    """Sorted half-open spans, joined where they overlap or are at most `gap` apart."""
    out: list[tuple[int, int]] = []
    for low, high in sorted(spans):
        if out and low <= out[-1][1] + gap:
            out[-1] = (out[-1][0], max(out[-1][1], high))
        else:
            out.append((low, high))
    return out


def _intersection(spans: list[tuple[int, int]], start: int, end: int) -> list[tuple[int, int]]:
    return [(max(low, start), min(high, end)) for low, high in spans if low < end and high > start]


@dataclass
class AddressSpace:
    """Mappings of one program over time."""

    mappings: list[_Mapping] = field(default_factory=list)  # sorted, disjoint
    files: dict[tuple[str, bool, int | None], _FileObject] = field(default_factory=dict)
    anon: list[tuple[int, int, str]] = field(default_factory=list)  # every anonymous span ever mapped
    gone: list[tuple[int, int]] = field(default_factory=list)  # object pages unmapped just now
    _table: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | None = None

    # ---- changes --------------------------------------------------------------------------------------------

    def file_object(self, name: str, *, shared: bool = True, bias: int | None = None) -> _FileObject:
        """The object for one way to see a file; without `bias` the one of ``read()`` and ``write()``."""
        key = (name, shared, bias)
        if key not in self.files:
            if len(self.files) >= FILE_OBJECTS:
                raise TraceError(f"more than {FILE_OBJECTS} file mappings in one program")
            self.files[key] = _FileObject(name, shared, bias, FILE_SPACE + len(self.files) * FILE_PAGES)
        return self.files[key]

    def map_anon(self, start: int, pages: int, label: str = "anon") -> list[tuple[int, int]]:
        """Map anonymous memory; the object pages among it that had been unmapped before."""
        self.anon.append((start, start + pages, label))
        return self._insert(_Mapping(start, start + pages, 0))

    def map_file(
        self, start: int, pages: int, name: str, offset: int, *, shared: bool, writable: bool, executable: bool = False
    ) -> list[tuple[int, int]]:
        """Map pages of a file from page `offset`; the object pages among it that had been unmapped before."""
        if offset + pages > FILE_PAGES:
            raise TraceError(f"{name}: page {offset + pages} of a file; at most {FILE_PAGES} pages are supported")
        obj = self.file_object(name, shared=shared, bias=start - offset)
        obj.widen(offset, offset + pages)
        obj.writable |= writable
        obj.executable |= executable
        return self._insert(_Mapping(start, start + pages, obj.base + offset - start, obj))

    def _insert(self, new: _Mapping) -> list[tuple[int, int]]:
        self.mappings = self._cut(new.start, new.end)
        self.mappings.append(new)
        self.mappings.sort(key=lambda m: m.start)
        self._table = None
        low, high = new.start + new.delta, new.end + new.delta
        again = _intersection(self.gone, low, high)
        if again:
            self.gone = _without(self.gone, low, high)
        return again

    def _cut(self, start: int, end: int) -> list[_Mapping]:
        """Mappings without what lies in [start, end)."""
        left = []
        for m in self.mappings:
            if m.end <= start or m.start >= end:
                left.append(m)
                continue
            if m.start < start:
                left.append(_Mapping(m.start, start, m.delta, m.file))
            if m.end > end:
                left.append(_Mapping(end, m.end, m.delta, m.file))
        return left

    def objects_in(self, start: int, pages: int) -> list[tuple[int, int]]:
        """Spans of object pages that are mapped in [start, start + pages)."""
        end = start + pages
        return [
            (max(m.start, start) + m.delta, min(m.end, end) + m.delta)
            for m in self.mappings
            if m.start < end and m.end > start
        ]

    def unmap(self, start: int, pages: int) -> list[tuple[int, int]]:
        """Unmap; the spans of object pages that went."""
        spans = self.objects_in(start, pages)
        if spans:
            self.mappings = self._cut(start, start + pages)
            self._table = None
            self.gone = _merged([*self.gone, *spans])
        return spans

    def protect(self, start: int, pages: int, *, writable: bool, executable: bool) -> None:
        """Note that a file mapping becomes writable or executable."""
        for m in self.mappings:
            if m.file is not None and m.start < start + pages and m.end > start:
                m.file.writable |= writable
                m.file.executable |= executable

    def read_maps(self, text: bytes) -> None:
        """Take over the mappings that ``/proc/PID/maps`` shows, without those of valgrind itself."""
        for line in text.splitlines():
            match = _MAPS_LINE.match(line)
            if match is None:
                continue
            low, high = (int(match[i], 16) >> PAGE_SHIFT for i in (1, 2))
            perms, path = match[3], match[6].decode("utf-8", "replace")
            if "/valgrind/" in path and "vgpreload" not in path:
                continue
            if path.startswith("/") and match[5] != b"0":
                offset = int(match[4], 16) >> PAGE_SHIFT
                path = path.removesuffix(" (deleted)")
                self.map_file(
                    low, high - low, path, offset,
                    shared=perms[3:4] == b"s", writable=b"w" in perms, executable=b"x" in perms,
                )  # fmt: skip
            elif not path.startswith("[v"):
                self.map_anon(low, high - low, path.strip("[]") if path.startswith("[") else "anon")

    # ---- translation ----------------------------------------------------------------------------------------

    def translate(self, pages: NDArray[np.int64]) -> NDArray[np.int64]:
        """Object pages of virtual page numbers under the present mappings; unknown ones stay as they are."""
        if self._table is None:
            columns = [(m.start, m.end, m.delta) for m in self.mappings] or [(0, 0, 0)]
            starts, ends, deltas = np.array(columns, np.int64).T
            self._table = np.ascontiguousarray(starts), np.ascontiguousarray(ends), np.ascontiguousarray(deltas)
        starts, ends, deltas = self._table
        which = np.searchsorted(starts, pages, side="right") - 1
        inside = (which >= 0) & (pages < ends[which])
        return np.where(inside, pages + deltas[which], pages)

    # ---- the result -----------------------------------------------------------------------------------------

    def layout(self, touched: NDArray[np.int64], executed: NDArray[np.int64] | None = None) -> list[Area]:
        """Regions for a sorted array of touched object pages.

        Anonymous spans that touch are one region, as the kernel would merge them; what was never touched is
        left out.  Touched pages that no known mapping explains are grouped (gaps of up to 16 pages); groups of
        executed pages (`executed`: sorted object pages) are private file mappings, others anonymous.
        """
        anon = touched[touched < FILE_SPACE]
        known = _merged((low, high) for low, high, _ in self.anon)
        if known:
            edges = np.array(known, np.int64)
            which = np.searchsorted(edges[:, 0], anon, side="right") - 1
            unknown = anon[(which < 0) | (anon >= edges[which, 1])]
        else:
            unknown = anon
        code = np.isin(unknown, executed) if executed is not None else np.zeros(len(unknown), bool)
        breaks = np.flatnonzero((np.diff(unknown) > GAP) | (code[1:] != code[:-1])) + 1
        groups: list[tuple[int, int]] = []
        texts: list[tuple[int, int]] = []
        for part in np.split(np.arange(len(unknown)), breaks) if len(unknown) else []:
            span = (int(unknown[part[0]]), int(unknown[part[-1]]) + 1)
            (texts if code[part[0]] else groups).append(span)
        found = [
            Area("anon", self._label(low, high), low << PAGE_SHIFT, high - low, 0, first_object_page=low)
            for low, high in _merged([*known, *groups])
            if _any_between(anon, low, high)
        ]
        for low, high in texts:
            name = f"code@{low << PAGE_SHIFT:x}"
            found.append(Area(
                "file", name, low << PAGE_SHIFT, high - low, 0, writable=False, first_object_page=low, executable=True
            ))  # fmt: skip
        found.sort(key=lambda area: area.first_object_page)
        for obj in self.files.values():
            if not _any_between(touched, obj.base, obj.base + FILE_PAGES):
                continue
            start = None if obj.bias is None else (obj.bias + obj.low) << PAGE_SHIFT
            pages, first = obj.high - obj.low, obj.base + obj.low
            found.append(Area(
                "file", obj.name, start, pages, 0, obj.shared, obj.writable, obj.low, first, obj.executable
            ))  # fmt: skip
        areas, base = [], 0
        for area in found:
            areas.append(Area(**{**area.__dict__, "base": base}))
            base += area.pages
        return areas

    def _label(self, low: int, high: int) -> str:
        labels = {label for start, end, label in self.anon if start < high and end > low}
        for label in ("heap", "stack"):
            if label in labels:
                return label
        return f"anon@{low << PAGE_SHIFT:x}"


def _any_between(pages: NDArray[np.int64], low: int, high: int) -> bool:
    """Whether a sorted array has a value in [low, high)."""
    return int(np.searchsorted(pages, low)) < int(np.searchsorted(pages, high))
