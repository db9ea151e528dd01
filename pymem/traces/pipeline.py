"""Work beside work: steps that leave Python to itself (reading, hashing, packing) run in threads, and come in order.

The results are those of doing one after the other, errors included.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Item = TypeVar("Item")
Made = TypeVar("Made")

#: Most threads that pack or unpack: each holds a few megabytes.
MOST_THREADS = 8


def usable_cpus() -> int:
    """CPUs of the host that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads() -> int:
    """How many threads may pack at a time: one for each processor, within reason."""
    return min(usable_cpus(), MOST_THREADS)


def ahead(
    pool: ThreadPoolExecutor | None, step: Callable[[Item], Made], items: Iterable[Item], depth: int
) -> Iterator[Made]:
    """What `step` makes of each item, up to `depth` of them made before they are asked for; without a pool none."""
    if pool is None:
        yield from map(step, items)
        return
    coming = iter(items)
    begun = deque(pool.submit(step, item) for item in islice(coming, depth))
    while begun:
        made = begun.popleft().result()
        begun.extend(pool.submit(step, item) for item in islice(coming, 1))
        yield made


class Behind:
    """Calls that are made one after another in a thread of its own, at most `depth` of them still to come.

    An error is raised by a later `call`, or by `wait`.
    """

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._pool = ThreadPoolExecutor(1, "pymem-behind")
        self._begun: deque[Future[None]] = deque()

    def call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call a function after all those before it."""
        self._begun.append(self._pool.submit(function, *arguments))
        while len(self._begun) > self._depth:
            self._begun.popleft().result()

    def wait(self) -> None:
        """Until everything is done."""
        while self._begun:
            self._begun.popleft().result()

    def stop(self) -> None:
        """Drop what has not begun, and wait for what has."""
        self._pool.shutdown(cancel_futures=True)
