"""Codecs: how pages are compressed, how long that takes in simulated time, how long the result is.

    >>> from pymem.codecs import get
    >>> get("zlib").size(bytes(4096))
    21

A library is imported when its codec is first asked for.
"""

from __future__ import annotations

from importlib import import_module

from pymem.codecs.base import PAGE_SIZE, Codec, CodecError, CostModel

__all__ = [
    "DEFAULT",
    "PAGE_SIZE",
    "REGISTRY",
    "Codec",
    "CodecError",
    "CostModel",
    "available",
    "get",
    "with_bytes",
]

DEFAULT = "lz4"

# name -> module and the name of its codec in it
REGISTRY = {
    "lz4": "pymem.codecs.lz4:CODEC",
    "lzo": "pymem.codecs.lzo:LZO",
    "lzo-rle": "pymem.codecs.lzo:LZO_RLE",
    "zlib": "pymem.codecs.deflate:CODEC",
    "zstd": "pymem.codecs.zstd:CODEC",
}


def get(codec: str | Codec) -> Codec:
    """The codec of a name; a codec is returned as it is.

    Where the library is not installed, `installed` is False: its cost model can be used all the same.

    Raises
    ------
    CodecError
        No codec has this name.

    """
    if isinstance(codec, Codec):
        return codec
    target = REGISTRY.get(codec)
    if target is None:
        raise CodecError(f"no codec is called {codec!r}; known are {', '.join(sorted(REGISTRY))}")
    module, _, name = target.partition(":")
    found: Codec = getattr(import_module(module), name)
    return found


def with_bytes(codec: str | Codec) -> Codec:
    """The codec of a name, if it can compress real bytes here.

    Raises
    ------
    CodecError
        No codec has this name, it is a model only, or its library is not installed (the message names the
        extra that brings it).

    """
    found = get(codec)
    if not (found.has_bytes and found.installed):
        found.compress(bytes(PAGE_SIZE))  # raises, with the reason
        raise CodecError(f"codec {found.name!r} cannot store real bytes")
    return found


def available(real_bytes: bool = False) -> list[str]:
    """Names of the codecs that can say how long a page becomes, in alphabetical order.

    `real_bytes` leaves out those that are only models.
    """
    codecs = [get(name) for name in sorted(REGISTRY)]
    return [c.name for c in codecs if c.installed and (c.has_bytes or not real_bytes)]
