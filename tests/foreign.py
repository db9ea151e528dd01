"""Hand-made files of every foreign format, and by hand what they become; used by tests of readers and commands."""

import bz2
import gzip
import json
import lzma
import zlib
from dataclasses import dataclass

import numpy as np

from pymem.records import Op, unpack
from pymem.traces.importer import import_trace
from pymem.traces.readers import READERS, Source
from pymem.traces.readers.champsim import INSTRUCTION
from pymem.traces.readers.drmemtrace import ENTRY
from pymem.traces.readers.lcs import HEADER_BYTES, LAYOUTS, header
from pymem.traces.readers.oracle_general import REQUEST, REQUEST_OP
from pymem.traces.readers.vscsi import VERSION_1, VERSION_2
from pymem.traces.references import chunks
from pymem.traces.store import TraceFile

KINDS = {kind.name: kind for kind in READERS}
PACKERS = {"gzip": gzip.compress, "xz": lzma.compress, "bzip2": bz2.compress, "zlib": zlib.compress}
L, S, R, W = Op.LOAD, Op.STORE, Op.READ, Op.WRITE


@dataclass
class Task:
    """A task as it must come out: regions as (kind, name, start, pages), records as (page, operation, count)."""

    name: str
    regions: list
    records: list
    times: list | None = None


@dataclass
class Foreign:
    """A file, and what it becomes.  `bad` is a line or record that no reader of the format may take."""

    data: bytes
    tasks: list
    bad: bytes = b"what is this?\n"
    places: bool = True  # whether a batch has places that do not depend on the records before


def file(name, pages):
    return ("file", name, None, pages)


def anon(start, pages):
    return ("anon", f"anon@{start:x}", start, pages)


def damon(*snapshots):
    """Records of damo, with numbers as it writes them."""
    record = {
        "kdamond_idx": "0", "context_idx": "0", "intervals": {"sample_us": "5,000", "aggr_us": "10,000"},
        "target_id": "7", "snapshots": list(snapshots),
    }  # fmt: skip
    return json.dumps([record]).encode()


def snapshot(start, *regions):
    return {
        "start_time": start, "end_time": "0",
        "regions": [{"start": a, "end": b, "nr_accesses": {"samples": n, "percent": 0}} for a, b, n in regions],
    }  # fmt: skip


def instructions(*rows):
    """ChampSim instructions from (ip, loads, stores)."""
    made = np.zeros(len(rows), INSTRUCTION)
    for one, (ip, loads, stores) in zip(made, rows, strict=True):
        one["ip"], one["src_mem"][: len(loads)], one["dst_mem"][: len(stores)] = ip, loads, stores
    return made.tobytes()


def lcs(version, rows):
    """An lcs file of requests given as (time, id, size, operation, next)."""
    made = np.zeros(len(rows), LAYOUTS[version])
    for one, (time, key, size, op, following) in zip(made, rows, strict=True):
        one["time"], one["id"], one["size"], one["next"] = time, key, size, following
        if version > 1:
            one["op"] = op | 5 << 8  # of tenant 5
    return header(version, len(rows)) + made.tobytes()


# fmt: off
FILES = {
    "lackey": Foreign(
        b"==9== Lackey, an example Valgrind tool\n S 1ffe000,8\nI  0401ab70,3\nI  0401ab73,3\n L 1ffeffc,8\n",
        # The last load reaches into the next page.  Of the code nothing is known but that it is executed.
        [Task("x", [anon(0x1FFE000, 2), ("file", "code@401a000", 0x401A000, 1)],
              [(0, S, 1), (2, L, 2), (0, L, 1), (1, L, 1)])],
    ),
    "pin": Foreign(
        b"0x401000: R 0x7ffe0ffc 8\n0x401004: W 0x7ffe1000\n#eof\n",
        [Task("x", [anon(0x7FFE0000, 2)], [(0, L, 1), (1, L, 1), (1, S, 1)])],
    ),
    "perf": Foreign(
        b"a b 27630 1311.754300: page-faults: 55daa5d385c0 7f11aabbcc\n"
        b"ls 9/10 [001] 1311.754400: exceptions:page_fault_user: address=0x2000 ip=0x7f11aabbcc error_code=0x6\n"
        b"a b 27630 1311.755300:          1 page-faults:u:     55daa5d395c0     7f11aabbcc main+0x1 (/bin/ls)\n",
        [
            Task("a b-27630", [anon(0x55DAA5D38000, 2)], [(0, L, 1), (1, L, 1)], [0, 1_000_000]),
            Task("ls-9", [anon(0x2000, 1)], [(0, S, 1)], [100_000]),
        ],
    ),
    "damon": Foreign(
        damon(snapshot("1,000", ("4,096", "12,288", "2"), (12288, 16384, 1), (16384, 1 << 44, 0))),
        # Two samples per aggregation: the first region is accessed in both, the second in the first only.
        [Task("target7", [anon(0x1000, 3)], [(0, S, 1), (1, S, 1), (2, S, 1), (0, L, 1), (1, L, 1)],
              [0] * 3 + [5_000_000] * 2)],
    ),
    "kvcache": Foreign(
        b"key,op,size,op_count,key_size,ttl\nab,GET,5000,2,10,0\ncd,SET,0,1,10,0\nab,DELETE,0,1,10,0\n",
        [Task("x", [file("x", 3)], [(0, R, 2), (0, R, 2), (2, W, 1)])],
        b"ab,FLY,1,1,10,0\n", places=False,
    ),
    "csv": Foreign(
        b"time,obj_id,obj_size,op\n1,7,100,read\n1.5,seven,5000,write\n2,7,4097,get\n",
        # The object 7 is two pages long in the end, so the other one begins after two.
        [Task("x", [file("x", 4)], [(0, R, 1), (2, W, 2), (0, R, 2)], [0, 500_000_000, 1_000_000_000])],
        b"1,7,100,fly\n", places=False,
    ),
    "msr": Foreign(
        b"128166372003061629,usr,0,Read,8192,4096,100\n128166372003061639,usr,1,Write,4095,2,100\n"
        b"128166372003061649,usr,0,Read,0,0,1\n",
        [Task("x", [file("usr-0", 1), file("usr-1", 2)], [(0, R, 1), (1, W, 2)], [0, 1000])],
    ),
    "spc": Foreign(
        b"0,20941264,8192,W,0.551706\n0,20939840,8192,R,0.554041\n1,0,512,r,1.0\n1,16,512,r,1.5\n",
        # 512-byte blocks: pages 2617658 and 2617480 of unit 0, with a hole of 176 pages that becomes one of 32.
        [Task("x", [file("asu0", 36), file("asu1", 3)], [(34, W, 2), (0, R, 2), (36, R, 1), (38, R, 1)],
              [0, 2_335_000, 448_294_000, 948_294_000])],
    ),
    "twitter": Foreign(
        b"10,a:a,2,10,1,get,0\n11,bb,2,9000,1,set,60\n11,a:a,2,10,1,delete,0\n12,a:a,2,10,1,gets,0\n",
        [Task("x", [file("x", 4)], [(0, R, 1), (1, W, 3), (0, R, 1)], [0, 10**9, 2 * 10**9])],
        b"10,aa,2,10,1,fly,0\n", places=False,
    ),
    "arc": Foreign(
        b"100 16 0 0\n200 1 0 1\n900000 8 0 2\n",
        # Bytes 51200 to 59391, 102400 to 102911 and 460800000 to 460804095; holes up to 32 pages stay.
        [Task("x", [file("x", 47)], [(0, R, 3), (13, R, 1), (46, R, 1)])],
    ),
    "lirs": Foreign(b"5\n6\n*\n9\n5\n", [Task("x", [file("x", 5)], [(0, R, 1), (1, R, 1), (4, R, 1), (0, R, 1)])]),
    "txt": Foreign(
        b"5\n18446744073709551615\n9\n5\n",
        [Task("x", [file("x", 3)], [(0, R, 1), (1, R, 1), (2, R, 1), (0, R, 1)])],
    ),
    "ramulator": Foreign(
        b"3 0x12345678\n0 305419896 305423992\n",
        [Task("x", [anon(0x12345000, 2)], [(0, L, 2), (1, S, 1)])],
    ),
    "address": Foreign(
        b"# a comment\nR 0x1000\nW 0x1008\nw 0x7fff0000\nR 0x2000 4\nR 0x2008\n",
        [Task("x", [anon(0x1000, 2), anon(0x7FFF0000, 1)], [(0, L, 1), (0, S, 1), (2, S, 1), (1, L, 2)])],
    ),
    "vscsi": Foreign(
        np.array(
            [(1, 4096, 1, 0x28, 0x100, 16, 5), (2, 4096, 1, 0x2A, 0x100, 0, 7), (3, 0, 0, 0, 0x100, 0, 7)], VERSION_1
        ).tobytes(),
        [Task("x", [file("x", 3)], [(2, R, 1), (0, W, 1)], [0, 2000])],
        b"\xff" * 32,
    ),
    "oracleGeneral": Foreign(
        np.array([(4, 9, 100, 3), (5, 8, 5000, -1), (6, 9, 0, -1)], REQUEST).tobytes(),
        [Task("x", [file("x", 3)], [(0, R, 1), (1, R, 2), (0, R, 1)], [0, 10**9, 2 * 10**9])],
        b"\0" * 24,
    ),
    "oracleGeneralOpNS": Foreign(
        np.array([(4, 9, 100, 1, 0, 3), (5, 8, 5000, 13, 2, -1), (6, 9, 0, 12, 0, -1), (7, 9, 0, 9, 0, -1)],
                 REQUEST_OP).tobytes(),
        # get, write, read, and a delete that is left out
        [Task("x", [file("x", 3)], [(0, R, 1), (1, W, 2), (0, R, 1)], [0, 10**9, 2 * 10**9])],
        b"\0" * 27,
    ),
    "lcs": Foreign(
        lcs(3, [(4, 9, 100, 1, 3), (5, 8, 5000, 13, -1), (6, 9, 0, 12, -1)]),
        [Task("x", [file("x", 3)], [(0, R, 1), (1, W, 2), (0, R, 1)], [0, 10**9, 2 * 10**9])],
        b"\xff" * 36,
    ),
    "drmemtrace": Foreign(
        np.array([(25, 0, 5), (22, 4, 78), (24, 4, 77), (28, 2, 1000), (10, 4, 0x401000), (0, 8, 0x7FFF0FFC),
                  (2, 1, 0x5000), (28, 3, 1), (28, 2, 1005), (1, 8, 0x7FFF1000), (26, 0, 0)], ENTRY).tobytes(),
        # version, thread, process, time; fetch, load across two pages; prefetch, processor, time; store; footer
        [Task("pid77", [anon(0x401000, 1), anon(0x7FFF0000, 2)], [(0, L, 1), (1, L, 1), (2, L, 1), (2, S, 1)],
              [0, 0, 0, 5000])],
        b"\xff" * 12,
    ),
    "drmemview": Foreign(
        b"Output format:\n<--record#-> <--instr#->: <---tid---> <record details>\n" + b"-" * 60 + b"\n"
        b"           1           0:          78 <marker: timestamp 1000>\n"
        b"           2           1:          78 ifetch       4 byte(s) @ 0x0000000000401000 48 8d 34 25   lea  0x1\n"
        b"           2           1:          78                                             00\n"
        b"           3           1:          78 read         8 byte(s) @ 0x000000007fff0ffc by PC 0x0000000000401000\n"
        b"           4           1:          78 pref-r-L1    1 byte(s) @ 0x0000000000005000 by PC 0x0000000000401000\n"
        b"           5           1:          78 <marker: timestamp 1005>\n"
        b"           6           1:          78 write        8 byte(s) @ 0x000000007fff1000 by PC 0x0000000000401000\n"
        b"View tool results:\n              1 : total instructions\n",
        [Task("x", [anon(0x401000, 1), anon(0x7FFF0000, 2)], [(0, L, 1), (1, L, 1), (2, L, 1), (2, S, 1)],
              [0, 0, 0, 5000])],
    ),
    "damon-script": Foreign(
        b"kdamond.0 46568 [027] 1.500000: damon:damon_aggregated: target_id=7 nr_regions=3 4096-12288: 2 10\n"
        b"kdamond.0 46568 [027] 1.500000: damon:damon_aggregated: target_id=7 nr_regions=3 12288-16384: 1 3\n"
        b"kdamond.0 46568 [027] 1.500001: damon:damon_aggregated: target_id=7 nr_regions=3 16384-17592186044416: 0\n"
        b"kdamond.0 46568 [027] 1.600000: damon:damon_aggregated: target_id=7 nr_regions=1 4096-8192: 1 0\n",
        [Task("target7", [anon(0x1000, 3)], [(0, S, 1), (1, S, 1), (2, S, 1), (0, L, 1), (1, L, 1), (0, L, 1)],
              [0] * 3 + [5_000_000] * 2 + [100_000_000])],
    ),
    "alibaba": Foreign(
        b"64,R,8192,4096,1577808144360767\n3,W,4095,2,1577808144360768\n64,R,0,1,1577808144360769\n",
        [Task("x", [file("device64", 3), file("device3", 2)], [(2, R, 1), (3, W, 2), (0, R, 1)], [0, 1000, 2000])],
    ),
    "tencent": Foreign(
        b"1538323200,16,8,0,1063\n1538323201,7,2,1,9\n1538323202,0,1,0,1063\n",
        [Task("x", [file("volume1063", 3), file("volume9", 2)], [(2, R, 1), (3, W, 2), (0, R, 1)],
              [0, 10**9, 2 * 10**9])],
    ),
    "webcachesim": Foreign(
        b"1 77 5000\n1 18446744073709551615 100 1 4\n3 77 100\n",
        [Task("x", [file("x", 3)], [(0, R, 2), (2, R, 1), (0, R, 1)], [0, 0, 2 * 10**9])],
        b"1 77 1.5\n",
    ),
    "champsim": Foreign(
        instructions((0x401000, [0x7FFF0000, 0x401000, 0x7FFF0000, 0x401000], [0x7FFF1000, 0x7FFF0008]),
                     (0x401004, [], [0x7FFF0008])),
        [Task("x", [anon(0x401000, 1), anon(0x7FFF0000, 2)],
              [(0, L, 1), (1, L, 1), (0, L, 1), (1, L, 1), (0, L, 1), (2, S, 1), (1, S, 1), (0, L, 1), (1, S, 1)])],
        b"\xff" * 64,
    ),
}
# fmt: on

VSCSI_2 = np.array([(0x28, 0x200, 1, 4096, 1, 16, 5, 1), (0x2A, 0x200, 1, 4096, 1, 0, 7, 1)], VERSION_2).tobytes()
BINARY = {
    "vscsi": VERSION_1.itemsize, "oracleGeneral": REQUEST.itemsize, "oracleGeneralOpNS": REQUEST_OP.itemsize,
    "lcs": LAYOUTS[3].itemsize, "drmemtrace": ENTRY.itemsize, "champsim": INSTRUCTION.itemsize,
}  # fmt: skip
#: Bytes before the first record.
SKIPPED = dict.fromkeys(BINARY, 0) | {"lcs": HEADER_BYTES}
TEXT = sorted(set(FILES) - set(BINARY) - {"damon"})


def imported(folder, data, **settings):
    """The tasks that a file named x.dat becomes, and its source."""
    (folder / "x.dat").write_bytes(data)
    info, source = import_trace(folder / "x.dat", folder / "x.pmt", **settings)
    tasks = []
    with TraceFile(folder / "x.pmt") as trace:
        trace.verify()
        for number, task in enumerate(trace.info.tasks):
            regions = [(r.kind, r.name, r.start, r.pages) for r in task.regions]
            records, times = [], []
            for part, moments in chunks(trace, number):
                records += zip(*(x.tolist() for x in unpack(part)), strict=True)
                times += [] if moments is None else moments.tolist()
            tasks.append(Task(task.name, regions, records, times if info.times else None))
    return tasks, source


def accesses(folder, data, name, **settings):
    """What a reader gives, as one list of (place, size, write)."""
    (folder / "y.dat").write_bytes(data)
    with Source(folder / "y.dat", **settings) as source:
        found = [
            row
            for batch in KINDS[name]().read(source)
            for row in zip(batch.place.tolist(), batch.size.tolist(), batch.write.tolist(), strict=True)
        ]
    return found, source
