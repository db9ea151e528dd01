"""What a codec is: three functions and a cost model.

Adding one takes a file that makes a `Codec` named ``CODEC`` and one line in the registry of this package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from pymem.errors import PymemError

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE_SIZE = 4096


class CodecError(PymemError):
    """A codec is unknown, its library is missing, or it could not work on some data."""


@dataclass(frozen=True, slots=True)
class CostModel:
    """What one 4 KiB page costs on a modern core, and how well typical pages compress.

    The defaults of the codecs are published or measured figures for kernel compressors; each can be replaced
    with `dataclasses.replace(codec, cost=...)`.
    """

    compress_ns: int
    """Time to compress one page, ns."""
    decompress_ns: int
    """Time to decompress one page, ns."""
    ratio: float
    """Mean ratio of compressible pages (original to compressed bytes), same-filled pages left out."""

    def __post_init__(self) -> None:
        if self.compress_ns < 0 or self.decompress_ns < 0:
            raise CodecError(f"codec cost {self.compress_ns}/{self.decompress_ns} ns: must not be negative")
        if not self.ratio >= 1.0:
            raise CodecError(f"codec ratio {self.ratio}: must be at least 1")


@dataclass(frozen=True, slots=True)
class Codec:
    """A compressor of pages."""

    name: str
    """As the kernel calls it where it has it."""
    compress: Callable[[bytes], bytes]
    """Page (bytes-like, 4096 bytes) to compressed bytes, as long as they come out; never refuses a page."""
    decompress: Callable[[bytes, int], bytes]
    """Compressed bytes and the original length to the original bytes; CodecError for damaged data."""
    bound: Callable[[int], int]
    """Length of the input to the most bytes `compress` can return."""
    cost: CostModel
    """Simulated time and typical ratio."""
    size: Callable[[bytes], int]
    """Page to its compressed length in bytes."""
    has_bytes: bool = True
    """False for a model that knows the compressed length but produces no bytes."""
    installed: bool = True
    """False if the library is missing: cost and typical ratio are there, the three functions only raise."""
    note: str = ""
    """What a user of figures from this codec has to know."""


def missing_library(codec: str, library: str) -> Callable[..., NoReturn]:
    """The function of a codec whose library is not installed: any call is a CodecError that says so."""

    def unavailable(*_: object, **__: object) -> NoReturn:
        raise CodecError(
            f"codec {codec!r} needs the Python package {library!r}, which is not installed: "
            "pip install 'pymem-sim[codecs]'"
        )

    return unavailable
