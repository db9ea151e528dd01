"""What a page holds, as far as compression sees it.

A content answers two questions about any page numbers, always the same for the same seed:

* `sizes`: how many bytes the page takes compressed by a codec (uint16). 0 means same-filled: every 8-byte
  word of the page is equal and nothing but that word need be kept. A size above 4096 is what the codec
  really returns for an incompressible page.
* `flags`: SAME_FILLED and ZERO_FILLED (uint8), so that the zero page and other same-filled pages can be told
  apart. A page has size 0 exactly where it has the flag SAME_FILLED.

The *version* of a page counts how often it was written to. It matters only for a content that changes on
write; others ignore it.

Random draws are a hash of (seed, page, version, draw): no state, any order, vectorised.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from pymem.codecs.base import PAGE_SIZE, Codec
from pymem.errors import PymemError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

SAME_FILLED = 1
ZERO_FILLED = 2  # together with SAME_FILLED

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_MASK = (1 << 64) - 1


class ContentError(PymemError):
    """A content model has impossible parameters, or real bytes cannot be read."""


def mix64(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Finaliser of splitmix64, on an array."""
    z = (z ^ (z >> np.uint64(30))) * _MIX1
    z = (z ^ (z >> np.uint64(27))) * _MIX2
    return z ^ (z >> np.uint64(31))


def hash_pages(seed: int, pages: ArrayLike, version: ArrayLike = 0, draw: int = 0) -> NDArray[np.uint64]:
    """One random 64-bit word per page, a function of seed, page, version and the number of the draw."""
    start = np.array([(seed * 0x9E3779B97F4A7C15 + draw * 0xD1B54A32D192ED03 + 1) & _MASK], np.uint64)
    z = mix64(mix64(start) + np.atleast_1d(np.asarray(pages, np.uint64)) * _GOLDEN)
    return mix64(z + np.atleast_1d(np.asarray(version, np.uint64)) * _MIX2)


def uniform(seed: int, pages: ArrayLike, version: ArrayLike = 0, draw: int = 0) -> NDArray[np.float64]:
    """One number in [0, 1) per page."""
    words = hash_pages(seed, pages, version, draw) >> np.uint64(11)
    return words.astype(np.float64) * 2.0**-53


def random_bytes(seed: int, page: int, version: int, count: int) -> bytes:
    """`count` random bytes that belong to one page."""
    start = hash_pages(seed, [page], [version], draw=-1)
    words = mix64(start + np.arange(1, count // 8 + 2, dtype=np.uint64) * _GOLDEN)
    return words.astype("<u8").tobytes()[:count]


@dataclass(frozen=True, kw_only=True)
class Content(ABC):
    """What the pages of a region hold; see the module for the meaning of sizes and flags."""

    seed: int = 0
    """Any integer; the engine gives each region its own."""
    changes_on_write: bool = False
    """Whether a page that was written to is drawn anew."""

    def with_seed(self, seed: int) -> Self:
        """The same content with another seed."""
        return replace(self, seed=seed)

    def _version(self, version: ArrayLike) -> ArrayLike:
        return version if self.changes_on_write else 0

    def _one_version(self, version: int) -> int:
        return version if self.changes_on_write else 0

    @abstractmethod
    def sizes(
        self, pages: ArrayLike, version: ArrayLike = 0, codec: str | Codec = "lz4"
    ) -> NDArray[np.uint16]:
        """Compressed size of each page.

        Parameters
        ----------
        pages
            Page numbers within the region, integers of shape (n,).
        version
            How often each page was written to: one number or shape (n,).
        codec
            Name or codec.

        Returns
        -------
        numpy.ndarray
            uint16 of shape (n,), bytes; 0 for same-filled pages.

        """

    @abstractmethod
    def flags(self, pages: ArrayLike, version: ArrayLike = 0) -> NDArray[np.uint8]:
        """SAME_FILLED and ZERO_FILLED of each page, uint8 of shape (n,)."""

    @abstractmethod
    def page(self, number: int, version: int = 0) -> bytes:
        """4096 bytes such as the page holds."""


def flags_of(page: bytes) -> int:
    """Flags of real bytes."""
    words = np.frombuffer(page, np.uint64)
    if (words != words[0]).any():
        return 0
    return SAME_FILLED if words[0] else SAME_FILLED | ZERO_FILLED


def constant(pages: ArrayLike, value: int) -> NDArray[np.int64]:
    """One value per page."""
    return np.full(np.atleast_1d(np.asarray(pages)).shape, value, np.int64)


def same_filled_page(word: int) -> bytes:
    """A page of equal 8-byte words."""
    return word.to_bytes(8, "little") * (PAGE_SIZE // 8)
