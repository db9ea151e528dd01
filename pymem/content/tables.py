"""Contents as the engine takes them: rows of sizes and flags that its pages draw from.

Each different content gives a sample of `ROWS` pages. Which row a page shows is the engine's draw from the seed of
its region, the page and, where pages change on write, their version; so a sample serves any number of pages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pymem.content.base import SAME_FILLED, Content
from pymem.content.distributions import Mix
from pymem.content.spec import parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

ROWS = 4096
# What a codec makes of a page of one repeated word, for tiers that compress it like any other. LZ4: a token, 8
# literals, an offset and 16 bytes of match length, then a token and the 5 literals that end a block.
SAME_FILLED_BYTES = 33


def _changes(content: Content) -> bool:
    # where a part of a mix changes on write, its pages are drawn anew from the whole mix
    parts = content.parts if isinstance(content, Mix) else ()
    return content.changes_on_write or any(_changes(part) for _, part in parts)


class Table:
    """Rows of all contents of a run.

    Parameters
    ----------
    codecs
        Names of the codecs that sizes are needed for.

    """

    def __init__(self, codecs: Sequence[str]) -> None:
        self.codecs = list(codecs)
        self._places: dict[str, tuple[int, bool]] = {}
        self._sizes: list[NDArray[np.uint16]] = []
        self._flags: list[NDArray[np.uint8]] = []

    def place(self, spec: object) -> tuple[int, int, bool]:
        """First row, number of rows, and whether pages change on write, of a content.

        Equal contents share their rows. Raises ContentError and CodecError as `parse` and the contents do.
        """
        content: Content = parse(spec)  # type: ignore[arg-type]
        key = repr(content)
        if key not in self._places:
            pages = np.arange(ROWS)
            flags = content.flags(pages)
            sizes = np.zeros((ROWS, len(self.codecs)), np.uint16)
            for column, codec in enumerate(self.codecs):
                sizes[:, column] = content.sizes(pages, codec=codec)
            sizes[(flags & SAME_FILLED) != 0] = SAME_FILLED_BYTES
            self._places[key] = (len(self._sizes) * ROWS, _changes(content))
            self._sizes.append(sizes)
            self._flags.append(flags)
        first, changes = self._places[key]
        return first, ROWS, changes

    def arrays(self) -> tuple[NDArray[np.uint16], NDArray[np.uint8]] | None:
        """Sizes (rows x codecs, bytes) and flags (rows); None where no content was asked for and nothing compresses."""
        if not self._sizes:
            if not self.codecs:
                return None
            self.place(None)
        return np.ascontiguousarray(np.concatenate(self._sizes)), np.concatenate(self._flags)
