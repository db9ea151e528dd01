"""The analysis behind `pymem compressibility`, its verdict in words, and the sub-command."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from memcore.compressed_pool import CompressedPool as BarePool
from pymem import codecs
from pymem.cli.compressibility import command, histogram
from pymem.codecs import CodecError
from pymem.compressed_pool import CompressedPool, PoolError
from pymem.compressibility import CompressibilityError, analyse, recommend, verdict
from pymem.content import ArraySource, ContentError, parse
from pymem.errors import PymemError

PAGE = 4096


def source(spec, pages=200, seed=1):
    one = parse(spec, seed=seed)
    data = b"".join(one.page(n) for n in range(pages))
    return ArraySource(np.frombuffer(data, np.uint8), name=spec)


# ---- the numbers ------------------------------------------------------------------------------------------


def test_shares_and_ratios():
    report = analyse(source("25*zero + 25*same + 50*half", 400), codecs=["zlib", "lzo-rle"])
    assert (report.pages, report.sampled) == (400, 400)
    assert report.zero_share == pytest.approx(0.25, abs=0.06)
    assert report.same_filled_share == pytest.approx(0.5, abs=0.06)
    real, modelled = report.codecs
    assert (real.codec, real.modelled, modelled.codec, modelled.modelled) == ("zlib", False, "lzo-rle", True)
    assert modelled.ratio == pytest.approx(2.44, abs=0.02)
    # an object of 1683 bytes and its handle take a slot of 1696: 12 in five frames; half the pages are free
    expected = (PAGE * 12 / (5 * PAGE)) / (1 - report.same_filled_share)
    assert modelled.pool_ratio == pytest.approx(expected, rel=0.01)
    assert sum(modelled.histogram) == sum(real.histogram) == round(400 * (1 - report.same_filled_share))
    assert modelled.histogram[3] == sum(modelled.histogram)
    assert real.compress_us > real.decompress_us > 0


def test_modelled_times_follow_those_measured():
    report = analyse(source("half", 60), codecs=["zlib", "lzo"])
    real, modelled = report.codecs
    zlib_cost, lzo_cost = codecs.get("zlib").cost, codecs.get("lzo").cost
    assert modelled.compress_us / lzo_cost.compress_ns == pytest.approx(
        real.compress_us / zlib_cost.compress_ns
    )
    alone = analyse(source("half", 60), codecs=["lzo"]).codecs[0]
    assert (alone.compress_us, alone.decompress_us) == (5.0, 2.2)


def test_incompressible_pages_are_a_loss():
    report = analyse(source("random"), codecs=["zlib"])
    [one] = report.codecs
    assert one.ratio < 1
    assert one.incompressible == 1.0
    assert one.pool_ratio == pytest.approx(1.0)
    assert one.histogram[-1] == 200
    assert one.saved == pytest.approx(0.0)


def test_nothing_but_zeros():
    report = analyse(source("zero", 50))
    assert report.zero_share == report.same_filled_share == 1.0
    for one in report.codecs:
        assert np.isnan(one.ratio)
        assert one.pool_ratio == pytest.approx(512)
        assert sum(one.histogram) == 0
    assert verdict(report).startswith("Yes, with any codec")
    assert json.loads(json.dumps(report.to_dict()))["codecs"][0]["ratio"] is None


@pytest.mark.parametrize(
    ("allocator", "chain", "frames"), [("zsmalloc", 8, 5 / 12), ("zsmalloc", 4, 3 / 7), ("zbud", 8, 1 / 2)]
)
def test_pool_ratio_follows_the_allocator(allocator, chain, frames):
    [one] = analyse(source("half", 50), codecs=["lzo-rle"], allocator=allocator, chain=chain).codecs
    assert 1 / one.pool_ratio == pytest.approx(frames, rel=0.01)


def test_the_pool_ratio_is_what_a_real_pool_shows(monkeypatch):
    monkeypatch.setattr("pymem.compressibility.POOL_PAGES", 1000)  # each page once
    pages = source("75*heap + 25*random", 1000)
    [one] = analyse(pages, codecs=["zlib"], sample=None).codecs
    pool = CompressedPool("zlib")
    for page in pages.read(range(1000)):
        pool.store(page)
    assert pool.stats()["ratio"] == pytest.approx(one.pool_ratio)
    assert pool.stats()["huge"] == pytest.approx(250, abs=50)


def test_the_sample_is_reproducible():
    pages = source("typical", 500)
    a, b = (analyse(pages, codecs=["lzo"], sample=60, seed=4) for _ in range(2))
    assert a == b
    assert (a.sampled, a.pages) == (60, 500)
    assert analyse(pages, codecs=["lzo"], sample=60, seed=5) != a


# ---- what can go wrong ------------------------------------------------------------------------------------


def test_wrong_parameters():
    pages = source("half", 2)
    for wrong, said in [
        ({"codecs": []}, "no codec"),
        ({"codecs": ["lz5"]}, "no codec is called 'lz5'"),
        ({"allocator": "z3fold"}, "'z3fold': must be"),
        ({"chain": 2}, "chain size 2"),
        ({"sample": 0}, "must be at least 1"),
    ]:
        with pytest.raises(PymemError, match=said):
            analyse(pages, **wrong)
    with pytest.raises(CompressibilityError):
        analyse(pages, codecs=[])


def test_a_codec_that_loses_bytes_is_found_out():
    broken = replace(codecs.get("zlib"), decompress=lambda data, size: bytes(size))
    with pytest.raises(CodecError, match="'zlib' does not give back the page"):
        analyse(source("half", 3), codecs=[broken])


def test_the_public_pool_checks_its_parameters():
    assert isinstance(CompressedPool("zlib"), BarePool)
    with pytest.raises(CodecError, match="no codec is called"):
        CompressedPool("lz5")
    with pytest.raises(CodecError, match="cannot store pages"):
        CompressedPool(codec="lzo")
    for wrong in ({"allocator": "z3fold"}, {"chain": 99}, {"kernel": "7.0"}, {"max_bytes": -1}):
        with pytest.raises(PoolError):
            CompressedPool("zlib", **wrong)


# ---- the verdict ------------------------------------------------------------------------------------------


def report_with(*codecs_, same=0.0):
    base = analyse(source("half", 20), codecs=["lzo"])
    parts = []
    for name, pool_ratio, compress, decompress, incompressible in codecs_:
        parts.append(
            replace(
                base.codecs[0],
                codec=name,
                pool_ratio=pool_ratio,
                compress_us=compress,
                decompress_us=decompress,
                incompressible=incompressible,
            )
        )
    return replace(base, same_filled_share=same, codecs=tuple(parts))


def test_the_fastest_codec_wins_if_others_save_hardly_more():
    report = report_with(("zstd", 2.7, 14, 5, 0), ("lz4", 2.5, 4, 1, 0))
    assert recommend(report).codec == "lz4"
    assert verdict(report).startswith("Yes, with lz4: 2.5 pages fit into one frame")
    assert "zstd would give back 63%, but takes 4 times as long" in verdict(report)


def test_a_slower_codec_wins_if_it_saves_clearly_more():
    report = report_with(("lz4", 1.5, 12, 3, 0), ("zstd", 2.2, 40, 16, 0), ("zlib", 2.9, 250, 40, 0))
    assert recommend(report).codec == "zstd"
    assert "comes back in about 18 microseconds where a fast disk needs 80" in verdict(report)


def test_a_pool_that_saves_too_little_is_not_recommended():
    report = report_with(("lz4", 1.05, 4, 1, 0.9), ("zstd", 1.2, 14, 5, 0.8))
    assert recommend(report) is None
    assert verdict(report).startswith("No: even zstd gives back only 17% of the memory")
    assert "80% do not get smaller" in verdict(report)


def test_pages_that_do_not_get_smaller_need_a_disk():
    assert "keep a disk behind the pool" in verdict(report_with(("lz4", 2.0, 4, 1, 0.15)))
    assert "disk behind" not in verdict(report_with(("lz4", 2.0, 4, 1, 0.05)))


# ---- the sub-command --------------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    app = typer.Typer()
    app.command()(command)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def test_what_the_terminal_shows(run, tmp_path):
    path = tmp_path / "pages.bin"
    path.write_bytes(b"".join(source("20*zero + 70*half + 10*random").read(range(200))) + b"rest")
    done = run(path, "--codec", "zlib", "--codec", "lzo", "--sample", 0)
    assert done.exit_code == 0, done.output
    for text in (
        "201 pages looked at",
        "only 4 bytes",
        "pool ratio",
        "lzo*",
        "4096 and more",
        "█",
        "verdict",
        "Yes, with",
    ):
        assert text in done.output
    assert max(len(line) for line in done.output.splitlines()) <= 100


def test_json(run, tmp_path):
    path = tmp_path / "pages.bin"
    path.write_bytes(b"".join(source("half", 30).read(range(30))))
    done = run(path, "--codec", "lzo-rle", "--sample", 10, "--json", "--chain", 4)
    numbers = json.loads(done.output)
    assert (numbers["pages"], numbers["sampled"], numbers["chain"]) == (30, 10, 4)
    assert numbers["codecs"][0]["pool_ratio"] == pytest.approx(7 / 3, rel=0.01)
    assert numbers["verdict"].startswith("Yes, with lzo-rle")


def test_a_core_dump_is_recognised(run, tmp_path):
    path = tmp_path / "core"
    path.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x04\x00" + bytes(46))
    done = run(path)
    assert isinstance(done.exception, ContentError)
    assert "holds no page of memory" in str(done.exception)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name either a file or, with --pid, a process"),
        (["x", "--pid", "1"], "name either a file or"),
        (["/nowhere"], "/nowhere: cannot be read"),
        (["--pid", "99999999"], "process 99999999: there is no such process"),
    ],
)
def test_wrong_arguments(run, words, said):
    done = run(*words)
    assert isinstance(done.exception, PymemError)
    assert said in str(done.exception)


def test_bars_of_the_histogram():
    report = replace(
        analyse(source("half", 20), codecs=["lzo"]).codecs[0], histogram=(0, 80, 0, 20, 0, 0, 0, 0, 1)
    )
    lines = histogram(report).plain.splitlines()[2:]
    bars = [line[14:].split(" ")[0] for line in lines]
    assert bars[1] == "█" * 40
    assert bars[3] == "█" * 10
    assert bars[8] == "▌"
    assert [bool(bar) for bar in bars] == [False, True, False, True, False, False, False, False, True]


def test_importing_the_analysis_loads_no_heavy_library():
    code = "import sys, pymem.compressibility, pymem.content; print(*{n.split('.')[0] for n in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"rich", "typer", "pydantic", "lz4", "zstandard"} & set(done.stdout.split())
