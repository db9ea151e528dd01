"""Requests as a table with commas, as libCacheSim reads them: columns by their names in the first line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pymem.errors import TraceError

from .base import Batch, Reader
from .keys import OPERATIONS, Keys, batch
from .text import tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .base import Source

_NAMES = {
    "time": "time timestamp ts clock_time real_time",
    "key": "key id obj_id object_id objid obj obj-id lba",
    "size": "size obj_size object_size objsize obj-size",
    "op": "op operation",
}
COLUMNS = {name: column for column, names in _NAMES.items() for name in names.split()}
#: Columns that are there and not used.  Others are refused: a misspelt ``size`` would change every page.
UNUSED = set("ttl ns namespace tenant tenant_id client_id next_access_vtime".split())


def columns(head: bytes) -> tuple[dict[str, int], int] | None:
    """Places of the columns by the first line, and how many there are; None if it names no key, or unknown columns."""
    names = [name.strip().lower() for name in head.split(b"\n", 1)[0].lstrip(b"#").decode("latin-1").split(",")]
    found = {COLUMNS[name]: place for place, name in enumerate(names) if name in COLUMNS}
    known = len(found) + len(UNUSED & set(names)) == len(names)
    return (found, len(names)) if known and "key" in found and len(names) > 1 else None


class Csv(Reader):
    """Columns ``time`` (seconds), ``obj_id``, ``obj_size`` (bytes) and ``op``; without a size an object is one page."""

    name = "csv"
    title = "libCacheSim csv"
    kind = "key"

    def sniff(self, head: bytes) -> bool:
        return columns(head) is not None

    def read(self, source: Source) -> Iterator[Batch]:
        layout = columns(source.head)
        if layout is None:
            first = source.head.split(b"\n", 1)[0][:60]
            raise TraceError(
                f"{source.name}, line 1: {first!r} does not name the columns; accepted are time, obj_id (which must be "
                f"there), obj_size, op and, not used, {', '.join(sorted(UNUSED))}"
            )
        place, width = layout
        keys = Keys()
        for table in tables(source, width, width, comma=True, header=True):
            time = table.nanoseconds(place["time"]) if "time" in place else None
            size = table.decimal(place["size"], (1 << 32) - 1) if "size" in place else np.ones(len(table), np.uint64)
            operation = table.word(place["op"], OPERATIONS) if "op" in place else np.zeros(len(table), np.int64)
            _, length = table.span(place["key"])
            table.ok &= length > 0
            good = table.good(source, f"{width} fields: a key, time in seconds, size in bytes below 4 GiB, a known op")
            texts = [text for text, ok in zip(table.texts(place["key"]), good.tolist(), strict=True) if ok]
            yield batch(
                source, keys.numbers(texts), size[good].astype(np.int64), operation[good],
                None if time is None else time[good],
            )  # fmt: skip
