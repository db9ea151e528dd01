"""What block traces share: bounds of a plausible request, and the numbering of devices and processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SECTOR = 512
MOST_OFFSET = (1 << 52) - 1  # 4 PiB
MOST_SIZE = 1 << 30  # no request moves more than 1 GiB


class Streams:
    """Numbers names in the order in which they come."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._known: dict[bytes, int] = {}

    def numbers(self, names: list[bytes]) -> NDArray[np.uint32]:
        """The number of each name."""
        for name in dict.fromkeys(names):
            if name not in self._known:
                self._known[name] = len(self.names)
                self.names.append(name.decode("utf-8", "backslashreplace"))
        return np.array([self._known[name] for name in names], np.uint32)
