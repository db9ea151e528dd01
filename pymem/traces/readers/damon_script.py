"""DAMON's tracepoints as ``perf script`` prints them: ``damon:damon_aggregated`` and ``damon:damos_before_apply``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from .base import Batch, Reader
from .blocks import Streams
from .damon import MOST_SLICES, check, expanded
from .text import told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .base import Source

#: The lines do not tell the sampling interval; this is DAMON's default, as is that of aggregation, 20 times as long.
SAMPLE_NS = 5_000_000
_LINE = re.compile(
    rb"\s*\S.*?\s+\d{1,10}(?:/\d{1,10})?\s+(?:\[\d+\]\s+)?(?P<s>\d{1,9})\.(?P<us>\d{6}|\d{9}):\s+"
    rb"(?:damon:damon_aggregated: target_id=(?P<target>\d{1,20})"
    rb"|damon:damos_before_apply: ctx_idx=(?P<context>\d{1,9}) scheme_idx=(?P<scheme>\d{1,9})"
    rb" target_idx=(?P<index>\d{1,9}))"
    rb" nr_regions=(?P<regions>\d{1,9}) (?P<low>\d{1,19})-(?P<high>\d{1,19}): (?P<seen>\d{1,9})(?: \d{1,10})?\s*"
)
ACCEPTED = (
    "'... TIME: damon:damon_aggregated: target_id=0 nr_regions=11 START-END: ACCESSES AGE' or damon:damos_before_apply"
)


class DamonScript(Reader):
    """A region seen `n` times is loaded whole in `n` slices from the time of its line.

    A file with both tracepoints tells everything twice; then `damon_aggregated` counts.  Of several schemes, which see
    the same regions, the first one counts.
    """

    name = "damon-script"
    title = "DAMON tracepoints of perf script"
    kind = "address"

    def __init__(self) -> None:
        super().__init__()
        self.sees_stores = False

    def sniff(self, head: bytes) -> bool:
        return told(head, _LINE)

    def read(self, source: Source) -> Iterator[Batch]:
        targets = Streams()
        aggregated = b"damon:damon_aggregated:" in source.head
        scheme: bytes | None = None
        snapshot: list[tuple[int, int, int]] = []
        key: tuple[bytes, int] | None = None  # of the snapshot that is being put together
        moment = left = 0
        for number, block in source.lines():
            for i, line in enumerate(block.splitlines()):
                if not line.strip() or line.startswith(b"#"):
                    continue
                found = _LINE.fullmatch(line)
                try:
                    if found is None:
                        raise ValueError
                    low, high, seen = (int(found[name]) for name in ("low", "high", "seen"))
                    check(low, high, seen, MOST_SLICES)
                    if high > 1 << 62:
                        raise ValueError
                except ValueError:
                    source.reject(f"line {number + i}", line, ACCEPTED)
                    continue
                assert found is not None
                scheme = scheme or found["scheme"]
                if (found["target"] is None and aggregated) or found["scheme"] not in (None, scheme):
                    source.leave_out("regions told again", 1)
                    continue
                name = b"target" + found["target"] if found["target"] else b"context%s-target%s" % (
                    found["context"], found["index"],
                )  # fmt: skip
                if key != (name, int(found["regions"])) or not left:
                    yield from self._accesses(snapshot, moment, targets, key)
                    key, left, snapshot = (name, int(found["regions"])), max(int(found["regions"]), 1), []
                    moment = int(found["s"]) * 10**9 + int(found["us"].ljust(9, b"0"))
                snapshot.append((low, high, seen))
                left -= 1
        yield from self._accesses(snapshot, moment, targets, key)

    def _accesses(
        self, snapshot: list[tuple[int, int, int]], moment: int, targets: Streams, key: tuple[bytes, int] | None
    ) -> Iterator[Batch]:
        if key is None:
            return
        stream = int(targets.numbers([key[0]])[0])
        self.streams = targets.names
        yield from expanded(np.array(snapshot, np.int64).reshape(-1, 3), moment, SAMPLE_NS, stream)
