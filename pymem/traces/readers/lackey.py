"""Text of ``valgrind --tool=lackey --trace-mem=yes``, with system calls if ``--trace-syscalls=yes`` was given."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from pymem.traces._lackey import LackeyParser

from .base import Batch, Reader, about_source
from .text import sniffed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from pymem.traces.model import TraceInfo

    from .base import Source

ACCEPTED = "an access such as ' L 1ffe000,8', a system call or a message of valgrind"
_ACCESS = rb"(?:I  | [LSM] )[0-9a-f]{1,16},[1-9]\d{0,4}"
_KNOWN = rb"==\d+==.*|--\d+--.*|SYSCALL\[.*"
_LINE = re.compile(_ACCESS + rb"|" + _KNOWN + rb"|")


class Lackey(Reader):
    """Everything lackey prints; `convert` goes by the converter of recordings, which knows system calls."""

    name = "lackey"
    title = "valgrind lackey text"
    kind = "address"

    def sniff(self, head: bytes) -> bool:
        return sniffed(head, rb"(?:I  |[LSM] )[0-9a-f]{1,16},\d{1,5}|" + _KNOWN) and (
            re.search(rb"(?m)^(?:I  | [LSM] )[0-9a-f]+,\d", head) is not None or b"Lackey" in head[:4096]
        )

    def _text(self, source: Source) -> Iterator[bytes]:
        """The content; without the lines that are none, where those are to be left out."""
        if not source.skip_bad:
            yield from source.pieces()
            return
        for number, block in source.lines():
            lines = block.splitlines(keepends=True)
            good = [_LINE.fullmatch(line.rstrip(b"\r\n")) is not None for line in lines]
            source.good(np.array(good), range(number, number + len(lines)), lines.__getitem__, ACCEPTED)
            yield b"".join(line for line, ok in zip(lines, good, strict=True) if ok)

    def read(self, source: Source) -> Iterator[Batch]:
        made: list[NDArray[np.uint64]] = []
        parser = LackeyParser(made.append, None, 0, source.name)

        def batches() -> Iterator[Batch]:
            for records in made:
                count = (records >> np.uint64(46)).astype(np.int64) + 1
                place = np.repeat((records & np.uint64((1 << 40) - 1)) << np.uint64(12), count)
                write = np.repeat((records >> np.uint64(40) & np.uint64(63)) == 1, count)
                yield Batch(place, np.ones(len(place), np.int64), write)
            made.clear()

        for text in self._text(source):
            parser.feed(text)
            yield from batches()
        parser.close()
        yield from batches()

    def convert(
        self, source: Source, out: Path, task: str, compression: str, progress: Callable[[int], None] | None
    ) -> TraceInfo:
        from pymem.traces.convert import LackeyConverter

        def skip(error: Exception, line: bytes, number: int) -> None:
            source.reject(f"system call near line {number}", line, "a system call as valgrind prints it")

        with LackeyConverter(name=source.name, on_bad_call=skip if source.skip_bad else None) as converter:
            for text in self._text(source):
                converter.feed(text)
                if progress is not None:
                    progress(int(converter.parser.loads + converter.parser.stores))
            about = {"imported": about_source(source, self)}
            return converter.finish(out, task=task, provenance=about, compression=compression)
