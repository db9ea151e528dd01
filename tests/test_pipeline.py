"""Work in threads beside the import: its results are those of doing one after the other, and no thread outlives it."""

import hashlib
import itertools
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from foreign import imported

from pymem.errors import TraceError
from pymem.regions import Anon
from pymem.traces import container, importer, store
from pymem.traces.importer import import_trace
from pymem.traces.pipeline import Behind, ahead
from pymem.traces.readers import Source, packing
from pymem.traces.readers.oracle_general import REQUEST
from pymem.traces.store import TraceFile, Writer


def requests(count=200_000, **changes):
    """An oracleGeneral file of several blocks."""
    made = np.zeros(count, REQUEST)
    made["id"], made["size"], made["next"], made["time"] = np.arange(count) * 7919 % 3001, 4096, -1, np.arange(count)
    for field, (place, value) in changes.items():
        made[field][place] = value
    assert made.nbytes > 4 * packing.BLOCK_BYTES
    return made.tobytes()


def ours():
    """Threads of the import that run."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("pymem-")]


# ---- steps ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [None, 1, 3])
def test_results_come_in_their_order_and_errors_in_their_place(threads):
    def step(number):
        if number == 7:
            raise ValueError("seven")
        return number * number

    pool = ThreadPoolExecutor(threads) if threads else None
    made, found = ahead(pool, step, itertools.count(), 4), []
    with pytest.raises(ValueError, match="seven"):
        found.extend(made)
    assert found == [n * n for n in range(7)]
    assert list(ahead(pool, step, range(7), 4)) == found
    if pool:
        pool.shutdown()


def test_no_more_is_begun_than_asked_for():
    begun = []
    with ThreadPoolExecutor(1) as pool:
        made = ahead(pool, begun.append, range(100), 3)
        assert [next(made) for _ in range(2)] == [None, None]
        made.close()
    assert begun == list(range(5))


def test_calls_are_made_in_their_order():
    done, behind = [], Behind(2)
    for number in range(50):
        behind.call(done.append, number)
    behind.wait()
    assert done == list(range(50))
    behind.stop()


def test_an_error_of_a_call_is_raised_later():
    def fail():
        raise OSError("disk full")

    behind = Behind(0)  # nothing is left to come: the error is raised at once
    with pytest.raises(OSError, match="disk full"):
        behind.call(fail)
    behind.stop()
    behind = Behind(5)
    behind.call(fail)
    with pytest.raises(OSError, match="disk full"):
        behind.wait()
    behind.stop()


def test_calls_that_have_not_begun_are_dropped():
    gate, done, behind = threading.Event(), [], Behind(5)
    behind.call(gate.wait)
    behind.call(done.append, 1)
    threading.Timer(0.05, gate.set).start()
    behind.stop()
    assert done == []


# ---- the import -------------------------------------------------------------------------------------------


def test_the_hash_is_that_of_the_whole_file(tmp_path):
    data = requests()
    _, source = imported(tmp_path, data)
    assert source.sha256 == hashlib.sha256(data).hexdigest()
    assert ours() == []


def test_the_same_file_gives_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "CHUNK_RECORDS", 5000)
    (tmp_path / "x.dat").write_bytes(requests())
    for compression in container.COMPRESSIONS:
        found = set()
        for _ in range(3):
            import_trace(tmp_path / "x.dat", tmp_path / "x.pmt", compression=compression)
            found.add((tmp_path / "x.pmt").read_bytes())
        assert len(found) == 1


def test_a_pipe_is_read_without_a_thread(tmp_path):
    data = requests()
    expected, _ = imported(tmp_path, data)
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(data,))
    writer.start()
    import_trace(tmp_path / "pipe", tmp_path / "y.pmt")
    writer.join()
    with TraceFile(tmp_path / "y.pmt") as trace, TraceFile(tmp_path / "x.pmt") as other:
        assert trace.info.sha256 == other.info.sha256
        assert trace.info.provenance["imported"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert sum(count for _, _, count in expected[0].records) == 200_000


def left(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "x.dat")


def test_a_bad_record_far_in_the_file_leaves_nothing(tmp_path):
    with pytest.raises(TraceError, match=r"x\.dat, record 150000: "):
        imported(tmp_path, requests(next=(150_000, 5)))
    assert (left(tmp_path), ours()) == ([], [])


def test_ctrl_c_leaves_nothing(tmp_path):
    (tmp_path / "x.dat").write_bytes(requests())
    for turn in (1, 3):
        seen = itertools.count(1)

        def progress(_, turn=turn, seen=seen):
            if next(seen) == turn:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            import_trace(tmp_path / "x.dat", tmp_path / "x.pmt", progress=progress)
        assert (left(tmp_path), ours()) == ([], [])


@pytest.mark.parametrize("last", [False, True])
def test_what_goes_wrong_behind_the_import_ends_it(tmp_path, monkeypatch, last):
    """A chunk that cannot be written: the first of six, or the last, whose error nothing but the end can raise."""
    whole = container.pack_chunk

    def pack_chunk(number, *others):
        if number == 5 * last:
            raise OSError(28, "No space left on device")
        return whole(number, *others)

    monkeypatch.setattr(container, "pack_chunk", pack_chunk)
    monkeypatch.setattr(store, "CHUNK_RECORDS", 35_000)
    (tmp_path / "x.dat").write_bytes(requests())
    with pytest.raises(OSError, match="No space left"):
        import_trace(tmp_path / "x.dat", tmp_path / "x.pmt", compression="none")
    assert (left(tmp_path), ours()) == ([], [])


def test_a_spool_that_does_not_fit_ends_the_import(tmp_path, monkeypatch):
    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def write(self, _):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(importer.tempfile, "TemporaryFile", lambda **_: Full())
    (tmp_path / "x.dat").write_bytes(requests())
    with pytest.raises(OSError, match="No space left"):
        import_trace(tmp_path / "x.dat", tmp_path / "x.pmt")
    assert (left(tmp_path), ours()) == ([], [])


def test_a_source_that_is_left_early_is_left(tmp_path):
    (tmp_path / "x.dat").write_bytes(requests())
    with Source(tmp_path / "x.dat") as source:
        pieces = source.pieces()
        assert next(pieces) == source.head
        assert len(next(pieces)) == packing.BLOCK_BYTES
    assert ours() == []


def test_a_writer_uses_the_memory_of_chunks_again(tmp_path, monkeypatch):
    made = []

    class Chunk(store._Chunk):
        def __init__(self, times):
            made.append(self)
            super().__init__(times)

    monkeypatch.setattr(store, "_Chunk", Chunk)
    monkeypatch.setattr(store, "CHUNK_RECORDS", 100)
    monkeypatch.setattr(store, "threads", lambda: 2)
    records = np.arange(100_000, dtype=np.uint32) % 977
    with Writer(tmp_path / "x.pmt", compression="none") as writer:
        writer.add_task("a", [Anon(1000)])
        writer.append(records)
    with TraceFile(tmp_path / "x.pmt") as trace:
        trace.verify()
        assert len(trace._places) == 1000
        assert np.array_equal(np.concatenate(list(trace.records())), records)
    assert len(made) <= 2 + 1 + 2  # what two threads and one behind them are at, what is filled, what was just done
