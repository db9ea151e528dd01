"""Records made ahead: while the engine works on one chunk, a second thread of the host makes the next ones.

A chunk depends only on those before it in its stream, and one thread makes them all, in order: results are the same
with and without it.  What drawing random numbers takes is hidden where the host has a CPU to spare.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Collection, Iterator
from queue import SimpleQueue
from typing import Any

from numpy.typing import NDArray

from pymem.traces.pipeline import usable_cpus

Stream = Iterator[NDArray[Any]]
Made = tuple[NDArray[Any] | None, BaseException | None]

DEPTH = 4  # chunks of each stream that are made ahead, of 256 KiB each
MOST_STREAMS = 64  # with more of them chunks are made when they are wanted: the memory is better left to the machine


class Ahead:
    """Streams of records whose next chunks are made in a thread of their own.

    The thread begins with the first `next`.  It ends with an error of a stream, when nobody refers to this object any
    more, or with the process.
    Without a second CPU, or for more than `MOST_STREAMS` streams, there is none and `next` makes the chunk itself.

    Parameters
    ----------
    streams : dict of iterators
        By any key; each gives arrays of records.
    costly : collection of keys
        The streams that are worth it.
    """

    def __init__(self, streams: dict[int, Stream], costly: Collection[int]) -> None:
        self._streams = streams
        apart = costly if len(costly) <= MOST_STREAMS and usable_cpus() > 1 else ()
        self._ready: dict[int, SimpleQueue[Made]] = {key: SimpleQueue() for key in apart}
        self._wanted: SimpleQueue[int | None] = SimpleQueue()
        self._begun = False

    def next(self, key: int) -> NDArray[Any] | None:
        """The next chunk of a stream; None at its end.  What the stream raises is raised here."""
        if key not in self._ready:
            return next(self._streams[key], None)
        if not self._begun:
            self._begin()
        records, error = self._ready[key].get()
        if error is not None:
            self._wanted.put(None)
            raise error
        self._wanted.put(key)
        return records

    def _begin(self) -> None:
        self._begun = True
        for _ in range(DEPTH):
            for key in self._ready:
                self._wanted.put(key)
        weakref.finalize(self, self._wanted.put, None)
        # A daemon: a stream that waits for something must not keep the process from ending.
        threading.Thread(
            target=_make, args=(self._streams, self._ready, self._wanted), name="pymem-ahead", daemon=True
        ).start()


def _make(
    streams: dict[int, Stream], ready: dict[int, SimpleQueue[Made]], wanted: SimpleQueue[int | None]
) -> None:
    """Make what is wanted until that is nothing; knows no `Ahead`, so that one can go."""
    while (key := wanted.get()) is not None:
        try:
            ready[key].put((next(streams[key], None), None))
        except BaseException as error:  # whatever it is, it belongs to who waits for the chunk
            ready[key].put((None, error))
