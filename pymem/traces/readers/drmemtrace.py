"""Offline traces of DynamoRIO (drmemtrace): entries of 12 bytes, and the text of its `view` tool."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from pymem.traces import _binary

from .base import Batch, Reader
from .blocks import Streams

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from .base import Source

ENTRY = np.dtype([("type", "<u2"), ("size", "<u2"), ("addr", "<u8")])
WRITE, HEADER, FOOTER, MARKER, LAST = 1, 25, 26, 28, 49
_TIMESTAMP = 2  # of a marker; the value is in microseconds
_MOST_VERSION = 64
# Instructions that were fetched: 10 to 16, sysenter, and conditional jumps that were or were not taken.
_FETCHED = np.isin(np.arange(LAST + 1), [*range(10, 17), 31, 48, 49])
_ACCEPTED = f"an entry of a type from 0 to {LAST}, with a user address if it is an access"


class DrMemTrace(Reader):
    """Loads, stores and fetches of each process; prefetches, flushes and instructions without a fetch are left out."""

    name = "drmemtrace"
    title = "DynamoRIO drmemtrace"
    kind = "address"

    def sniff(self, head: bytes) -> bool:
        count = len(head) // ENTRY.itemsize
        if not count or (len(head) < 1 << 16 and len(head) % ENTRY.itemsize):
            return False
        found = np.frombuffer(head, ENTRY, count)
        return bool(found["type"][0] == HEADER and found["addr"][0] <= _MOST_VERSION and _plausible(found).all())

    def read(self, source: Source) -> Iterator[Batch]:
        entries, last, seen = _binary.Entries(_FETCHED.view(np.uint8)), b"", 0
        for first, found in source.records(ENTRY, "drmemtrace entry"):
            last, seen = found[-1:].tobytes(), first + len(found)
            bad, bundles, place, size, write, time, stream = entries.take(found.view(np.uint8))
            source.reject_records(bad, first, found, _ACCEPTED)
            source.leave_out("bundles of instructions", bundles)
            self.streams = [f"pid{pid}" for pid in entries.pids] or ["main"]
            yield Batch(place, size, write, time, stream)
        if last and int.from_bytes(last[:2], "little") != FOOTER:
            source.reject(f"record {seen - 1}", last, f"a footer (type {FOOTER}) at the end: the trace was cut off")


def _plausible(found: NDArray[np.void]) -> NDArray[np.bool_]:
    kind = found["type"]
    access = (kind <= WRITE) | _FETCHED[np.minimum(kind, LAST)]
    stamp = (kind == MARKER) & (found["size"] == _TIMESTAMP)
    return np.asarray(
        (kind <= LAST) & (~access | (found["addr"] < 1 << 56)) & (~stamp | (found["addr"] < (1 << 63) // 1000))
    )


# ---- text of the view tool --------------------------------------------------------------------------------

_PREFIX = rb" *(?:\d+ +\d+: +)?(?:W(?P<workload>\d+)\.)?T?(?P<tid>-?\d+) +"
_LINE = re.compile(
    _PREFIX
    + rb"(?:(?P<kind>read|write|ifetch) +(?P<size>\d{1,5}) byte\(s\) @ 0x(?P<at>[0-9a-f]{1,16})(?: (?P<rest>.*))?"
    rb"|<marker: timestamp (?P<us>\d{1,18})>|<(?:marker|thread|entry)\b.*>"
    rb"|(?P<other>(?:iflush|dflush|pref[\w-]*) +\d{1,5} byte\(s\) @ 0x[0-9a-f]{1,16} .*)| *(?:[0-9a-f]{2} ?)+)"
)
_AROUND = re.compile(rb"|Output format:|<--record#->.*|-{10,}|<\.\.\.>")
_END = b"View tool results:"
_VIEW_ACCEPTED = "a line of the view tool, such as '12 3: 4711 read 8 byte(s) @ 0x7ffe1000 by PC 0x401000'"


class DrMemView(Reader):
    """What ``drrun -t drmemtrace -tool view`` prints; threads are one task, of each workload if it names some."""

    name = "drmemview"
    title = "DynamoRIO drmemtrace, text of the view tool"
    kind = "address"

    def sniff(self, head: bytes) -> bool:
        lines = [line.rstrip() for line in head.splitlines()[:50]]
        if len(head) >= 1 << 16 or len(lines) == 50:
            lines.pop()
        lines = [line for line in lines if not _AROUND.fullmatch(line)]
        lines = lines[: lines.index(_END)] if _END in lines else lines
        told = b"byte(s) @ 0x" in head or b"<marker: " in head
        return told and all(_LINE.fullmatch(line) for line in lines)

    def read(self, source: Source) -> Iterator[Batch]:
        workloads = Streams()
        moment, ended = -1, False
        for number, block in source.lines():
            rows: list[tuple[int, int, bool, int]] = []
            names: list[bytes] = []
            others = 0
            for i, line in enumerate(block.splitlines()):
                line = line.rstrip()
                ended |= line == _END
                if ended or _AROUND.fullmatch(line):
                    continue
                found = _LINE.fullmatch(line)
                if found is None or (found["at"] and int(found["at"], 16) >> 56):
                    source.reject(f"line {number + i}", line, _VIEW_ACCEPTED)
                elif found["us"]:
                    moment = int(found["us"])
                elif found["kind"] and found["rest"] != b"non-fetched instruction":
                    rows.append((int(found["at"], 16), int(found["size"]), found["kind"] == b"write", max(moment, 0)))
                    names.append(b"main" if found["workload"] is None else b"workload" + found["workload"])
                elif found["kind"] or found["other"]:
                    others += 1
            source.leave_out("prefetches, flushes and instructions without a fetch", others)
            if rows:
                place, size, write, time = (np.array(column) for column in zip(*rows, strict=True))
                stream = workloads.numbers(names)
                self.streams = workloads.names
                yield Batch(place.astype(np.uint64), size, write, time * 1000 if moment >= 0 else None, stream)
