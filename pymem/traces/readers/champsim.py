"""Instructions as ChampSim reads them: 64 bytes each, with up to four loads and two stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pymem.traces import _binary

from .base import Batch, Reader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from .base import Source

INSTRUCTION = np.dtype([
    ("ip", "<u8"), ("is_branch", "u1"), ("taken", "u1"), ("dst_reg", "u1", 2), ("src_reg", "u1", 4),
    ("dst_mem", "<u8", 2), ("src_mem", "<u8", 4),
])  # fmt: skip
# Five-level page tables: 57 bits, the upper half sign-extended.
_USER_END, _KERNEL_START = np.uint64(1 << 56), np.uint64(0xFF << 56)


class ChampSim(Reader):
    """For each instruction its fetch, its loads and then its stores; an address of 0 is none."""

    name = "champsim"
    title = "ChampSim"
    kind = "address"

    def sniff(self, head: bytes) -> bool:
        count = len(head) // INSTRUCTION.itemsize
        if not count or (len(head) < 1 << 16 and len(head) % INSTRUCTION.itemsize):
            return False
        return bool(_plausible(np.frombuffer(head, INSTRUCTION, count)).all())

    def read(self, source: Source) -> Iterator[Batch]:
        for first, found in source.records(INSTRUCTION, "ChampSim instruction"):
            accepted = "an instruction with flags of 0 or 1 and addresses of the user or kernel half"
            bad, place, write = _binary.instructions(found.view(np.uint8), found.dtype)
            source.reject_records(bad, first, found, accepted)
            yield Batch(place, np.ones(len(place), np.int64), write)


def _plausible(found: NDArray[np.void]) -> NDArray[np.bool_]:
    def canonical(address: NDArray[np.uint64]) -> NDArray[np.bool_]:
        return (address < _USER_END) | (address >= _KERNEL_START)

    memory = np.concatenate([found["dst_mem"], found["src_mem"]], axis=1)
    flags = (found["is_branch"] <= 1) & (found["taken"] <= found["is_branch"])
    return np.asarray(canonical(memory).all(axis=1) & canonical(found["ip"]) & (found["ip"] > 0) & flags)
