"""Content made of real bytes: sizes are what the codec really makes of them, measured once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pymem.codecs import get
from pymem.content.base import SAME_FILLED, Content, ContentError, flags_of, hash_pages
from pymem.content.sources import PageSource, sample_indices

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from pymem.codecs.base import Codec

UNMEASURED = 0xFFFF  # no codec returns this much for a page
UNKNOWN = 0xFF


@dataclass(frozen=True, kw_only=True)
class RealBytes(Content):
    """Pages of a source, repeated where a region is larger than the source.

    Page p of the region is page p modulo the number of pages of the source, or of the sample taken from it.
    With `changes_on_write` a page that was written to becomes another page of the source.
    """

    source: PageSource
    sample: int | None = None
    """Most different pages to look at; None: all."""
    chosen: NDArray[np.int64] = field(init=False, repr=False, compare=False)
    """Pages of the source that are looked at."""
    known_flags: NDArray[np.uint8] = field(init=False, repr=False, compare=False)
    """Flags of the chosen pages as far as they are known."""
    known_sizes: dict[str, NDArray[np.uint16]] = field(init=False, repr=False, compare=False)
    """Codec to sizes of the chosen pages as far as they are known."""

    def __post_init__(self) -> None:
        if self.sample is not None and self.sample < 1:
            raise ContentError(f"sample of {self.sample} pages: must be at least 1")
        chosen = sample_indices(self.source.pages, self.sample, self.seed)
        object.__setattr__(self, "chosen", chosen)
        object.__setattr__(self, "known_flags", np.full(chosen.size, UNKNOWN, np.uint8))
        object.__setattr__(self, "known_sizes", {})

    def places(self, pages: ArrayLike, version: ArrayLike = 0) -> NDArray[np.int64]:
        """Position in `chosen` of each page of the region, int64 of shape (n,)."""
        pages = np.atleast_1d(np.asarray(pages, np.int64))
        at = pages % self.chosen.size
        if not self.changes_on_write:
            return at
        drawn = hash_pages(self.seed, pages, version, 4) % np.uint64(self.chosen.size)
        return np.where(np.asarray(version) == 0, at, drawn.astype(np.int64))

    def _measure_flags(self, places: NDArray[np.int64]) -> None:
        todo = np.unique(places[self.known_flags[places] == UNKNOWN])
        for place, page in zip(todo, self.source.read(self.chosen[todo]), strict=True):
            self.known_flags[place] = flags_of(page)

    def sizes(
        self, pages: ArrayLike, version: ArrayLike = 0, codec: str | Codec = "lz4"
    ) -> NDArray[np.uint16]:
        """Sizes measured with the codec; a CodecError if it has no library here."""
        found = get(codec)
        places = self.places(pages, version)
        self._measure_flags(places)
        known = self.known_sizes.setdefault(found.name, np.full(self.chosen.size, UNMEASURED, np.uint16))
        known[places[(self.known_flags[places] & SAME_FILLED) != 0]] = 0
        todo = np.unique(places[known[places] == UNMEASURED])
        for place, page in zip(todo, self.source.read(self.chosen[todo]), strict=True):
            known[place] = found.size(page)
        return known[places]

    def flags(self, pages: ArrayLike, version: ArrayLike = 0) -> NDArray[np.uint8]:
        """Flags of the real bytes."""
        places = self.places(pages, version)
        self._measure_flags(places)
        return self.known_flags[places]

    def page(self, number: int, version: int = 0) -> bytes:
        """The real bytes."""
        return next(self.source.read(self.chosen[self.places([number], version)]))
