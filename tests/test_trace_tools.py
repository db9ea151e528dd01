"""What is made of traces: cuts, mergers, samples, exports and analyses, against slow models of each."""

import itertools
import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymem.errors import TraceError
from pymem.records import Op, pack, unpack
from pymem.regions import Anon, File
from pymem.traces import edit, export, references
from pymem.traces._reuse import ReuseDistances
from pymem.traces.analysis import analyze, buckets, curve, shades, zipf
from pymem.traces.importer import import_trace
from pymem.traces.readers.oracle_general import REQUEST
from pymem.traces.store import TraceFile, Writer

ANON, FILE = 30, 20
record = st.one_of(
    st.tuples(st.integers(0, ANON - 1), st.sampled_from([Op.LOAD, Op.STORE]), st.integers(1, 5)),
    st.tuples(st.integers(ANON, ANON + 9), st.sampled_from([Op.READ, Op.WRITE, Op.FSYNC]), st.integers(1, 10)),
    st.tuples(st.integers(0, ANON - 6), st.sampled_from([Op.DONTNEED, Op.MUNMAP, Op.MLOCK]), st.integers(1, 6)),
    st.tuples(st.integers(0, 10**9), st.just(Op.SLEEP), st.just(1)),
)
streams = st.lists(record, min_size=1, max_size=60)


def written(path, tasks, times=False, **about):
    """A trace of tasks given as {name: rows of (page, operation, count)}; record i is at i ns."""
    with Writer(path, compression="none", times=times, provenance=about) as writer:
        for name, rows in tasks.items():
            number = writer.add_task(name, [Anon(ANON, name="heap"), File(FILE, name="db", offset=3)])
            moments = np.arange(len(rows), dtype=np.uint64) if times else None
            writer.append(pack(*(np.array([row[i] for row in rows], np.int64) for i in range(3))), number, moments)
    return path


def rows_of(path):
    """Records of all tasks by name, and their times."""
    rows, moments = {}, {}
    with TraceFile(path) as trace:
        trace.verify()
        for number, task in enumerate(trace.info.tasks):
            parts = list(references.chunks(trace, number))
            columns = [[x.tolist() for x in unpack(part)] for part, _ in parts]
            rows[task.name] = [row for part in columns for row in zip(*part, strict=True)]
            moments[task.name] = [x for _, times in parts if times is not None for x in times.tolist()]
    return rows, moments


def steps(rows):
    """References by definition: (page, repeats, write)."""
    out = []
    for page, op, count in rows:
        if op <= Op.STORE:
            out.append((page, count, op == Op.STORE))
        elif op <= Op.WRITE:
            out += [(page + i, 1, op == Op.WRITE) for i in range(count)]
    return out


@given(streams, st.integers(1, 7))
def test_references_are_what_records_stand_for(tmp_path_factory, rows, limit):
    path = written(tmp_path_factory.mktemp("t") / "x.pmt", {"a": rows}, times=True)
    with pytest.MonkeyPatch.context() as patch, TraceFile(path) as trace:
        patch.setattr(references, "SLICE", limit)
        found = list(references.references(trace, 0))
    pages, repeats, writes = (
        [x for part in found for x in column(part)]
        for column in (lambda p: p.page.tolist(), lambda p: p.repeats.tolist(), lambda p: p.write.tolist())
    )
    assert list(zip(pages, repeats, writes, strict=True)) == steps(rows)
    at = [i for i, row in enumerate(rows) for _ in steps([row])]
    assert [x for part in found for x in part.time.tolist()] == at


# ---- cut and merge ----------------------------------------------------------------------------------------


@given(streams, streams, st.integers(0, 70), st.one_of(st.none(), st.integers(1, 70)))
def test_a_cut_keeps_the_range_of_each_task(tmp_path_factory, one, two, start, stop):
    folder = tmp_path_factory.mktemp("t")
    written(folder / "x.pmt", {"a": one, "b": two}, times=True)
    expected = {"a": one[start:stop], "b": two[start:stop]}
    if not any(expected.values()):
        with pytest.raises(TraceError, match=r"no record from \d+ on; the longest task has|is not empty"):
            edit.cut(folder / "x.pmt", folder / "y.pmt", start, stop, compression="none")
        assert not (folder / "y.pmt").exists()
        return
    edit.cut(folder / "x.pmt", folder / "y.pmt", start, stop, compression="none")
    rows, moments = rows_of(folder / "y.pmt")
    assert rows == {name: [tuple(map(int, row)) for row in part] for name, part in expected.items()}
    assert moments == {"a": list(range(len(one)))[start:stop], "b": list(range(len(two)))[start:stop]}


def test_a_cut_of_one_task_says_where_it_comes_from(tmp_path):
    written(tmp_path / "x.pmt", {"a": [(0, 0, 1)] * 9, "b": [(1, 1, 1)] * 5}, made="here")
    info = edit.cut(tmp_path / "x.pmt", tmp_path / "y.pmt", 2, 4, "b")
    assert rows_of(tmp_path / "y.pmt")[0] == {"b": [(1, 1, 1)] * 2}
    assert info.provenance["cut"] == {"start": 2, "stop": 4, "task": "b"}
    assert (info.provenance["from"]["file"], info.provenance["from"]["provenance"]) == ("x.pmt", {"made": "here"})
    with pytest.raises(TraceError, match=r"no task 'c'; accepted are a, b"):
        edit.cut(tmp_path / "x.pmt", tmp_path / "z.pmt", 0, None, "c")
    with pytest.raises(TraceError, match=r"records 3 to 3; accepted is a range"):
        edit.cut(tmp_path / "x.pmt", tmp_path / "z.pmt", 3, 3)


def test_a_merger_has_all_tasks_under_different_names(tmp_path):
    first = written(tmp_path / "x.pmt", {"a": [(0, 0, 1)], "b": [(1, 1, 1)]}, times=True)
    second = written(tmp_path / "y.pmt", {"a": [(2, 0, 3)]}, times=True)
    third = written(tmp_path / "z.pmt", {"a": [(3, 0, 1)]})
    info = edit.merge([first, second], tmp_path / "m.pmt")
    rows, moments = rows_of(tmp_path / "m.pmt")
    assert rows == {"a": [(0, 0, 1)], "b": [(1, 1, 1)], "a-2": [(2, 0, 3)]}
    assert moments == {"a": [0], "b": [0], "a-2": [0]}
    assert [one["file"] for one in info.provenance["merged"]] == ["x.pmt", "y.pmt"]
    assert not edit.merge([first, third, third], tmp_path / "n.pmt").times
    assert list(rows_of(tmp_path / "n.pmt")[0]) == ["a", "b", "a-2", "a-3"]


# ---- sampling ---------------------------------------------------------------------------------------------


@given(streams, streams, st.sampled_from([0.2, 0.5, 0.8]), st.integers(0, 50))
def test_a_sample_has_all_records_of_its_pages_and_no_other(tmp_path_factory, one, two, rate, seed):
    folder = tmp_path_factory.mktemp("t")
    tasks = {"a": one, "b": two}
    path = written(folder / "x.pmt", tasks, times=True)
    # Which pages are kept is seen from a trace with a record for every page, as the choice is by the page alone.
    every = [(page, Op.LOAD, 1) for page in range(ANON + FILE)]
    written(folder / "all.pmt", {"a": every, "b": every}, times=True)
    edit.sample(folder / "all.pmt", folder / "kept.pmt", rate, seed, compression="none")
    chosen = {name: set(moments) for name, moments in rows_of(folder / "kept.pmt")[1].items()}
    assert {p for p in chosen.get("a", ()) if p >= ANON} == {p for p in chosen.get("b", ()) if p >= ANON}
    # A file shows in both tasks: a page is kept if either touches it.
    touched = {name: {page for page, _, _ in steps(rows)} for name, rows in tasks.items()}
    files = {page for pages in touched.values() for page in pages if page >= ANON}
    kept = {
        name: sorted(p for p in chosen.get(name, ()) if p in (files if p >= ANON else touched[name])) for name in tasks
    }
    expected, when = {}, {}
    for name, rows in tasks.items():
        if not kept[name]:
            continue
        expected[name], when[name] = [], []
        for i, (page, op, count) in enumerate(rows):
            inside = [kept[name].index(p) for p in range(page, page + (1 if op <= 1 else count)) if p in kept[name]]
            if op == Op.SLEEP:
                expected[name].append((page, int(op), 1))
            elif inside:
                expected[name].append((inside[0], int(op), count if op <= 1 else len(inside)))
            else:
                continue
            when[name].append(i)
    if not expected:
        with pytest.raises(TraceError, match="no touched page is left at a rate of"):
            edit.sample(path, folder / "y.pmt", rate, seed, compression="none")
        return
    info = edit.sample(path, folder / "y.pmt", rate, seed, compression="none")
    assert rows_of(folder / "y.pmt") == (expected, when)
    assert info.provenance["sample"] == {
        "kind": "SHARDS spatial", "rate": round(rate * 2**24) / 2**24, "seed": seed
    }  # fmt: skip
    for task in info.tasks:
        assert [r.pages for r in task.regions] == [
            n for n in (sum(p < ANON for p in kept[task.name]), sum(p >= ANON for p in kept[task.name])) if n
        ]


def test_a_sampled_file_is_the_same_file_in_all_its_regions(tmp_path):
    with Writer(tmp_path / "x.pmt", times=True) as writer:
        for name, pages, offset in (("whole", 200, 0), ("part", 90, 110)):
            number = writer.add_task(name, [File(pages, name="db", offset=offset)])
            writer.append(np.arange(pages, dtype=np.uint32), number, np.arange(offset, offset + pages, dtype=np.uint64))
    whole, part = edit.sample(tmp_path / "x.pmt", tmp_path / "y.pmt", 0.5).tasks
    rows, moments = rows_of(tmp_path / "y.pmt")
    # The times are the pages of the file before: in both tasks the same one is the same page now.
    now = {task.name: [task.regions[0].offset + row[0] for row in rows[task.name]] for task in (whole, part)}
    shown = dict(zip(moments["whole"], now["whole"], strict=True))
    assert [shown[page] for page in moments["part"]] == now["part"]
    assert part.regions[0].offset == sum(page < 110 for page in moments["whole"]) > 0


def test_rates_of_samples(tmp_path):
    rng = np.random.default_rng(1)
    pages = rng.permutation(20_000)
    with Writer(tmp_path / "x.pmt") as writer:
        writer.add_task("a", [Anon(20_000)])
        writer.append(pages.astype(np.uint32))
    kept = {}
    for rate, seed in ((0.1, 0), (0.1, 1), (0.3, 0), (1.0, 0)):
        info = edit.sample(tmp_path / "x.pmt", tmp_path / "y.pmt", rate, seed, compression="none")
        # Pages are chosen independently: within five standard deviations of the binomial distribution.
        assert abs(info.records - rate * 20_000) <= 5 * math.sqrt(20_000 * rate * (1 - rate))
        kept[rate, seed] = info.records, info.sha256
    assert kept[0.1, 0] != kept[0.1, 1]
    assert rows_of(tmp_path / "y.pmt") == rows_of(tmp_path / "x.pmt")
    for rate in (0, -1, 1.1, 1e-9, math.nan):
        with pytest.raises(TraceError, match=r"rate .*; accepted is a number from 6\.0e-08 to 1"):
            edit.sample(tmp_path / "x.pmt", tmp_path / "z.pmt", rate)
    assert not (tmp_path / "z.pmt").exists()


# ---- export -----------------------------------------------------------------------------------------------


@given(streams, st.booleans(), st.integers(1, 9))
def test_oracle_general_knows_the_next_request(tmp_path_factory, rows, repeats, limit):
    folder = tmp_path_factory.mktemp("t")
    written(folder / "x.pmt", {"a": rows})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "_SLICE", limit)
        count = export.export(folder / "x.pmt", folder / "x.bin", "oracleGeneral", repeats=repeats)
    found = np.fromfile(folder / "x.bin", REQUEST)
    pages = [page for page, n, _ in steps(rows) for _ in range(n if repeats else 1)]
    assert count == len(found) == len(pages)
    assert found["id"].tolist() == pages
    assert set(found["size"].tolist()) <= {4096}
    expected = [next((j + 1 for j in range(i + 1, len(pages)) if pages[j] == page), -1) for i, page in enumerate(pages)]
    assert found["next"].tolist() == expected
    if pages:
        info, _ = import_trace(folder / "x.bin", folder / "y.pmt", compression="none")
        assert info.provenance["imported"]["format"] == "oracleGeneral"
        rank = {page: i for i, page in enumerate(dict.fromkeys(pages))}
        assert [page for page, _, _ in rows_of(folder / "y.pmt")[0]["x"]] == [rank[page] for page in pages]


def test_times_of_requests_are_seconds(tmp_path):
    with Writer(tmp_path / "x.pmt", times=True) as writer:
        writer.add_task("a", [Anon(3)])
        writer.append(np.array([0, 1, 2], np.uint32), times=np.array([0, 999_999_999, 5_000_000_000], np.uint64))
    export.export(tmp_path / "x.pmt", tmp_path / "x.bin", "oracleGeneral")
    assert np.fromfile(tmp_path / "x.bin", REQUEST)["time"].tolist() == [0, 0, 5]


def test_addresses_survive_a_round_trip(tmp_path):
    text = b"R 0x7f0000001000\nW 0x7f0000001000\nR 0x7f0000009000\nR 0x7f0000001000\nW 0x400000\n"
    (tmp_path / "x.txt").write_bytes(text)
    import_trace(tmp_path / "x.txt", tmp_path / "x.pmt")
    assert export.export(tmp_path / "x.pmt", tmp_path / "y.txt", "address") == 5
    assert (tmp_path / "y.txt").read_bytes() == text


def test_addresses_of_a_trace_that_has_none_are_flat_pages(tmp_path):
    rows = [(1, Op.LOAD, 3), (ANON, Op.WRITE, 2), (0, Op.MUNMAP, 2)]
    written(tmp_path / "x.pmt", {"a": rows})
    for repeats, loads in ((False, 1), (True, 3)):
        export.export(tmp_path / "x.pmt", tmp_path / "x.txt", "address", repeats=repeats)
        lines = (tmp_path / "x.txt").read_text().splitlines()
        assert lines[0] == "# pages of the trace times 4096: not all regions have addresses"
        assert lines[1:] == ["R 0x1000"] * loads + ["W 0x1e000", "W 0x1f000"]


def test_what_cannot_be_exported(tmp_path):
    written(tmp_path / "x.pmt", {"a": [(0, 0, 1)], "b": [(0, 0, 1)]})
    for settings, message in (
        ({"form": "csv"}, "format 'csv'; accepted are oracleGeneral, address"),
        ({"form": "address"}, "has 2 tasks, name one by --task: a, b"),
        ({"form": "address", "task": "c"}, "no task 'c'"),
    ):
        with pytest.raises(TraceError, match=message):
            export.export(tmp_path / "x.pmt", tmp_path / "y", **settings)
    with Writer(tmp_path / "z.pmt") as writer:
        writer.add_task("a", [Anon((1 << 32) - 1), Anon(9)])
        writer.append(np.zeros(1, np.uint32))
    with pytest.raises(TraceError, match="more than 4294967296 pages; sample the trace first"):
        export.export(tmp_path / "z.pmt", tmp_path / "y", "oracleGeneral")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.pmt", "z.pmt"]


# ---- analysis ---------------------------------------------------------------------------------------------


def stack_distances(pages):
    """Different pages since the last reference to the same, by definition; None for the first."""
    held, found = [], []
    for page in pages:
        if page in held:
            found.append(held.index(page))
            held.remove(page)
        else:
            found.append(None)
        held.insert(0, page)
    return found


@given(st.lists(st.integers(0, 40), max_size=400), st.integers(2, 64), st.integers(1, 50))
def test_reuse_distances_are_exact(pages, slots, step):
    # Few slots: the table is compacted and grown on the way.
    kernel = ReuseDistances(41, slots=slots)
    for first in range(0, len(pages), step):
        kernel.feed(np.array(pages[first : first + step], np.int64))
    distances = stack_distances(pages)
    assert kernel.cold == distances.count(None) == kernel.live
    counted = Counter(d for d in distances if d is not None)
    histogram = kernel.histogram()
    assert {d: int(n) for d, n in enumerate(histogram) if n} == counted
    assert len(histogram) == max(len(set(pages)), 1)


def test_reuse_distances_of_pages_out_of_range():
    with pytest.raises(TraceError, match="4294967296 pages; accepted are up to 4294967295: sample the trace first"):
        ReuseDistances(1 << 32)
    for page in (-1, 5):
        with pytest.raises(TraceError, match=f"page {page}; accepted are 0 to 4"):
            ReuseDistances(5).feed(np.array([page]))


@given(st.lists(st.integers(0, 25), min_size=1, max_size=200))
def test_the_curve_is_that_of_lru_memories(pages):
    kernel = ReuseDistances(26)
    kernel.feed(np.array(pages))
    for point in curve(kernel.histogram(), kernel.cold, len(pages)):
        held, misses = [], 0
        for page in pages:
            if page in held:
                held.remove(page)
            else:
                misses += 1
            held = [*held, page][-point.pages :]
        assert (point.misses, point.ratio) == (misses, misses / len(pages))


@given(streams, st.integers(1, 9), st.integers(1, 9))
def test_an_analysis_counts_what_is_there(tmp_path_factory, rows, windows, limit):
    path = written(tmp_path_factory.mktemp("t") / "x.pmt", {"a": rows})
    with pytest.MonkeyPatch.context() as patch, TraceFile(path) as trace:
        patch.setattr(references, "SLICE", limit)
        found = analyze(trace, 0, windows=windows)
    refs = steps(rows)
    pages = [page for page, _, _ in refs]
    assert (found.records, found.references) == (len(rows), len(refs))
    assert found.accesses == sum(n for _, n, _ in refs)
    by_kind = Counter()
    for _, op, count in rows:
        by_kind[op] += count if op <= Op.WRITE else 0
    assert (found.loads, found.stores, found.reads, found.writes) == tuple(by_kind[op] for op in range(4))
    assert found.footprint == {
        "all": len(set(pages)), "anon": len({p for p in pages if p < ANON}),
        "file": len({p for p in pages if p >= ANON}), "written": len({p for p, _, w in refs if w}),
    }  # fmt: skip
    assert found.window == max(math.ceil(found.accesses / windows), 1)
    sets, before = {}, 0
    for page, n, _ in refs:
        sets.setdefault(before // found.window, set()).add(page)
        before += n
    assert found.working_set == [len(sets.get(i, ())) for i in range(max(sets, default=-1) + 1)]
    heat, before = Counter(), 0
    for page, n, _ in refs:
        heat[page // found.band, before // found.window] += n
        before += n
    assert found.band == 1  # of 50 pages
    assert {(y, x): n for y, row in enumerate(found.heat) for x, n in enumerate(row) if n} == heat
    assert len(found.heat) == ANON + FILE
    assert {len(row) for row in found.heat} == {-(-found.accesses // found.window)}
    distances = stack_distances(pages)
    assert found.cold == distances.count(None)
    assert sum(b.references for b in found.reuse) == len(pages) - found.cold
    for bucket in found.reuse:
        assert bucket.references == sum(d is not None and bucket.low <= d <= bucket.high for d in distances)
    moves = [b - a for a, b in itertools.pairwise(pages) if a != b]
    assert found.sequential == (moves.count(1) / len(moves) if moves else 0)
    assert json.loads(json.dumps(found.to_dict()))["accesses"] == found.accesses


def test_a_heat_map_has_bands_of_pages_in_a_large_space(tmp_path):
    with Writer(tmp_path / "x.pmt") as writer:
        writer.add_task("a", [Anon(1000)])
        writer.append(pack(np.array([0, 15, 16, 999]), np.array([0, 0, 1, 0]), np.array([1, 2, 3, 4])))
    with TraceFile(tmp_path / "x.pmt") as trace:
        found = analyze(trace, 0, windows=2)
    assert (found.band, len(found.heat)) == (16, 63)  # 1000 pages in at most 64 bands of whole pages
    assert found.window == 5
    # Accesses 0 and 1 to 2 of the first band, 3 to 5 begin in the first half, 6 to 9 in the second.
    assert (found.heat[0], found.heat[1], found.heat[62]) == ([3, 0], [3, 0], [0, 4])
    assert sum(map(sum, found.heat)) == 10


def test_shades_are_decades():
    counts = np.array([0, 1, 9, 10, 100, 999, 1001, 10_000, 10_001, 100_000])
    # The darkest of four is the decade below the largest; what is more than four decades below is still there.
    assert shades(counts, 4).tolist() == [0, 1, 1, 1, 1, 2, 3, 3, 4, 4]
    assert shades(np.zeros(3, np.int64), 4).tolist() == [0, 0, 0]


def test_buckets_are_powers_of_two():
    histogram = np.array([5, 1, 0, 2, 0, 0, 7, 0, 0, 0], np.uint64)
    assert [(b.low, b.high, b.references) for b in buckets(histogram)] == [(0, 0, 5), (1, 1, 1), (2, 3, 2), (4, 7, 7)]
    assert buckets(np.zeros(4, np.uint64)) == []


@pytest.mark.parametrize("exponent", [0.5, 0.8, 1.0, 1.7])
def test_zipf_finds_the_exponent_of_a_law(exponent):
    counts = np.round(1e9 * np.arange(1, 2001) ** -exponent).astype(np.int64)
    found = zipf(np.random.default_rng(1).permutation(counts))
    assert found.exponent == pytest.approx(exponent, abs=1e-3)
    assert found.distance < 1e-3


def test_zipf_of_what_follows_no_law():
    assert zipf(np.array([7])) is None
    assert zipf(np.array([3, 3, 3])) is None
    # Half of the pages take nearly everything, evenly: far from any power law.
    assert zipf(np.array([1000] * 500 + [1] * 500)).distance > 0.1


def test_a_filter_is_told_of(tmp_path):
    rows = {"a": [(0, 0, 1), (1, 0, 1), (0, 0, 1)]}
    written(tmp_path / "x.pmt", rows, filter={"kind": "safely allowed drop", "window_pages": 64})
    written(tmp_path / "y.pmt", rows)
    edit.merge([tmp_path / "y.pmt", tmp_path / "x.pmt"], tmp_path / "m.pmt")
    for name, exact in (("x", 64), ("y", 1), ("m", 64)):
        with TraceFile(tmp_path / f"{name}.pmt") as trace:
            assert analyze(trace, 0).exact_from == exact
