"""Page faults as ``perf script`` prints them, the software event or the tracepoints of ``exceptions:``.

``perf record -e page-faults -c 1 -d CMD`` and ``perf script -F comm,pid,tid,time,event,addr,ip``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from .base import Batch, Reader
from .blocks import Streams
from .text import told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .base import Source

_LINE = re.compile(
    rb"\s*(?P<comm>\S.*?)\s+(?P<pid>\d{1,10})(?:/\d{1,10})?\s+(?:\[\d+\]\s+)?(?P<s>\d{1,9})\.(?P<us>\d{6}|\d{9}):\s+"
    # After the address an instruction pointer may follow, but not a symbol: then the first number is no address.
    rb"(?:(?:\d+\s+)?(?:page|major|minor)-faults(?::\w*)?:\s+(?P<addr>[0-9a-f]{1,16})(?:\s+[0-9a-f]{6,16}(?:\s.*)?)?"
    rb"|exceptions:page_fault_(?P<mode>user|kernel):\s+address=0x(?P<at>[0-9a-f]{1,16})\s+ip=\S+"
    rb"\s+error_code=(?P<error>0x[0-9a-f]{1,8}).*"
    rb"|(?P<event>(?:vmscan|kmem|compaction|oom|writeback|filemap|migrate):\w{1,60}):.*)"
)
ACCEPTED = "a fault as perf script -F comm,pid,tid,time,event,addr,ip prints it, or a tracepoint of vmscan and its like"
#: End of user space. Some versions of perf print an f after an address, which would make it a larger one.
_USER_END = 1 << 47
_WRITE_FAULT = 2  # X86_PF_WRITE in an error code


class Perf(Reader):
    """Each fault is an access of its process; only the tracepoints say whether it stored.

    Tracepoints of reclaim (``vmscan:`` and its like) are no accesses; how many there were of each is kept.
    """

    name = "perf"
    title = "perf script page faults"
    kind = "address"

    def __init__(self) -> None:
        super().__init__()
        self.sees_stores = False

    def sniff(self, head: bytes) -> bool:
        return told(head, _LINE)

    def read(self, source: Source) -> Iterator[Batch]:
        processes = Streams()
        for number, block in source.lines():
            names: list[bytes] = []
            rows: list[tuple[int, bool, int]] = []
            for i, line in enumerate(block.splitlines()):
                if not line.strip() or line.startswith(b"#"):
                    continue
                found = _LINE.fullmatch(line)
                if found is not None and found["event"]:
                    source.leave_out(found["event"].decode(), 1)
                    continue
                address = int(found["addr"] or found["at"], 16) if found else 0
                if found is None or (found["mode"] == b"user" and address >= _USER_END):
                    source.reject(f"line {number + i}", line, ACCEPTED)
                    continue
                moment = int(found["s"]) * 10**9 + int(found["us"].ljust(9, b"0"))
                self.sees_stores |= found["error"] is not None
                write = found["error"] is not None and bool(int(found["error"], 16) & _WRITE_FAULT)
                names.append(b"%s-%s" % (found["comm"], found["pid"]))
                rows.append((address, write, moment))
            if rows:
                stream = processes.numbers(names)
                self.streams = processes.names
                yield Batch(
                    np.array([row[0] for row in rows], np.uint64), np.ones(len(rows), np.int64),
                    np.array([row[1] for row in rows], np.bool_), np.array([row[2] for row in rows], np.int64), stream,
                )  # fmt: skip
