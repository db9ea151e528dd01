"""What pages contain: models of compressibility, and real bytes.

    >>> from pymem.content import parse
    >>> parse("15*zero + 82*compressible(ratio=2.6) + 3*random").sizes(range(5), codec="lz4").dtype
    dtype('uint16')

See `base` for what a content answers, `spec` for how scenarios write one, `sources` for real bytes.
"""

from pymem.content.base import SAME_FILLED, ZERO_FILLED, Content, ContentError
from pymem.content.distributions import Compressible, Histogram, Mix, executables, heap, typical
from pymem.content.models import Half, Random, SameFilled, Zero, Zero64
from pymem.content.real import RealBytes
from pymem.content.sources import ArraySource, ElfCoreSource, FileSource, PageSource, ProcessSource
from pymem.content.spec import parse

__all__ = [
    "SAME_FILLED",
    "ZERO_FILLED",
    "ArraySource",
    "Compressible",
    "Content",
    "ContentError",
    "ElfCoreSource",
    "FileSource",
    "Half",
    "Histogram",
    "Mix",
    "PageSource",
    "ProcessSource",
    "Random",
    "RealBytes",
    "SameFilled",
    "Zero",
    "Zero64",
    "executables",
    "heap",
    "parse",
    "typical",
]
