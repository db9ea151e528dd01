"""Readers of foreign traces, one file per format.

A new format is a class with the protocol of `base.Reader` and one line here.  Files are recognised by their
content in this order, so what is particular comes before what is general.
"""

from __future__ import annotations

from pymem.errors import TraceError
from pymem.traces.container import MAGIC

from .address import Address
from .arc import Arc
from .base import Batch, Reader, Source
from .champsim import ChampSim
from .cloud_blocks import Alibaba, Tencent
from .csv_table import Csv
from .damon import Damon
from .damon_script import DamonScript
from .drmemtrace import DrMemTrace, DrMemView
from .kvcache import KvCache
from .lackey import Lackey
from .lcs import Lcs
from .lirs import Lirs
from .msr import Msr
from .oracle_general import OracleGeneral, OracleGeneralOpNS
from .perf import Perf
from .pin import Pin
from .ramulator import Ramulator
from .spc import Spc
from .twitter import Twitter
from .txt import Txt
from .vscsi import Vscsi
from .webcachesim import WebCacheSim

__all__ = ["READERS", "Batch", "Reader", "Source", "reader_for"]

READERS: tuple[type[Reader], ...] = (
    Lackey,
    Pin,
    DrMemView,
    Perf,
    DamonScript,
    Damon,
    KvCache,
    Csv,
    Msr,
    Spc,
    Alibaba,
    Tencent,
    Twitter,
    Arc,
    Lirs,
    Ramulator,
    Address,
    Txt,
    WebCacheSim,
    Lcs,
    DrMemTrace,
    Vscsi,
    OracleGeneral,
    OracleGeneralOpNS,
    ChampSim,
)


def reader_for(source: Source, name: str | None = None) -> Reader:
    """The reader of a source: the named one, or the first that knows its content.

    Raises
    ------
    TraceError
        No such format, or a content that no reader knows; the message lists the formats.
    """
    if source.head.startswith(MAGIC):
        raise TraceError(f"{source.name}: is a trace of pymem already")
    known = ", ".join(sorted(kind.name for kind in READERS))
    for kind in READERS:
        reader = kind()
        if reader.name == name if name is not None else reader.sniff(source.head):
            return reader
    if name is not None:
        raise TraceError(f"format {name!r}; accepted are {known}")
    found = f"begins with {source.head[:40]!r}" if source.head else "is empty"
    raise TraceError(f"{source.name}: {found}, which no reader knows; if you do, give --format: {known}")
