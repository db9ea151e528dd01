"""Block traces of VMware's vscsiStats, as CloudPhysics published them: version 1 of 32 bytes, version 2 of 40."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pymem.errors import TraceError
from pymem.traces import _binary

from .base import Batch, Reader
from .blocks import MOST_OFFSET, MOST_SIZE, SECTOR
from .keys import OTHER, READ, WRITE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from .base import Source

VERSION_1 = np.dtype([
    ("sn", "<u4"), ("bytes", "<u4"), ("segments", "<u4"), ("command", "<u2"), ("version", "<u2"),
    ("block", "<u8"), ("us", "<u8"),
])  # fmt: skip
VERSION_2 = np.dtype([
    ("command", "<u2"), ("version", "<u2"), ("sn", "<u4"), ("bytes", "<u4"), ("segments", "<u4"),
    ("block", "<u8"), ("us", "<u8"), ("response", "<u8"),
])  # fmt: skip
_LAYOUTS = {1: VERSION_1, 2: VERSION_2}
_MEANING = np.full(256, OTHER, np.uint8)
# READ and WRITE of 6, 10, 16 and 12 bytes
_MEANING[[0x08, 0x28, 0x88, 0xA8]], _MEANING[[0x0A, 0x2A, 0x8A, 0xAA]] = READ, WRITE


def version(head: bytes) -> int | None:
    """The version by the records in sight; None if they are of neither."""
    for number, layout in _LAYOUTS.items():
        count = len(head) // layout.itemsize
        whole = len(head) >= 1 << 16 or len(head) % layout.itemsize == 0
        if count and whole and bool(_plausible(np.frombuffer(head, layout, count), number).all()):
            return number
    return None


def _plausible(found: NDArray[np.void], number: int) -> NDArray[np.bool_]:
    return np.asarray(
        (found["version"] >> 8 == number) & (found["command"] <= 0xFF) & (found["bytes"] <= MOST_SIZE)
        & (found["block"] <= MOST_OFFSET // SECTOR) & (found["us"] < 1 << 53)
    )  # fmt: skip


class Vscsi(Reader):
    """SCSI reads and writes; other commands are counted and left out."""

    name = "vscsi"
    title = "VSCSI (CloudPhysics), versions 1 and 2"
    kind = "block"

    def sniff(self, head: bytes) -> bool:
        return version(head) is not None

    def read(self, source: Source) -> Iterator[Batch]:
        # A damaged record must not hide which version it is: one good record at the beginning is enough.
        number = version(source.head) or next(
            (n for n, layout in _LAYOUTS.items() if version(source.head[: layout.itemsize]) == n), None
        )
        if number is None:
            raise TraceError(f"{source.name}, record 0: {source.head[:32]!r} is of neither version of VSCSI")
        for first, found in source.records(_LAYOUTS[number], f"VSCSI {number} record"):
            accepted = f"a record of version {number} with a command below 256 and at most 1 GiB below 4 PiB"
            bad, others, *columns = _binary.commands(found.view(np.uint8), found.dtype, number, _MEANING)
            source.reject_records(bad, first, found, accepted)
            source.leave_out("other SCSI commands", others)
            yield Batch(*columns)
