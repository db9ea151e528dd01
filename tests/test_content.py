"""What pages contain: models, mixes, text forms, and real bytes from files, dumps, arrays and processes."""

import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymem import codecs, content
from pymem.content import (
    SAME_FILLED,
    ZERO_FILLED,
    ArraySource,
    Compressible,
    ContentError,
    ElfCoreSource,
    FileSource,
    Half,
    Histogram,
    Mix,
    ProcessSource,
    Random,
    RealBytes,
    SameFilled,
    Zero,
    Zero64,
    parse,
)
from pymem.content.base import flags_of, uniform
from pymem.content.sources import is_elf_core, sample_indices
from pymem.errors import PymemError

PAGE = 4096
MODELS = [
    "zero",
    "same",
    "same(value=0x1234)",
    "random",
    "half",
    "zero64",
    "compressible",
    "compressible(ratio=1.3, spread=0.5)",
    "histogram(weights=[0, 1, 5, 2, 0, 0, 0, 1])",
    "heap",
    "executables",
    "typical",
    "15*zero + 82*compressible(changes_on_write=true) + 3*random",
]


# ---- what every content promises --------------------------------------------------------------------------


@pytest.mark.parametrize("spec", MODELS)
def test_sizes_and_flags_agree(spec):
    one = parse(spec, seed=3)
    pages = np.arange(500)
    for codec in codecs.REGISTRY:
        sizes, flags = one.sizes(pages, 0, codec), one.flags(pages)
        assert (sizes.dtype, flags.dtype) == (np.uint16, np.uint8)
        assert sizes.shape == flags.shape == pages.shape
        assert ((sizes == 0) == ((flags & SAME_FILLED) != 0)).all()
        assert ((flags & SAME_FILLED) >= (flags & ZERO_FILLED) >> 1).all()
        assert sizes.max(initial=0) <= 4200
    assert one.sizes([7]).shape == (1,)
    assert one.sizes([]).shape == (0,)


@pytest.mark.parametrize("spec", MODELS)
def test_a_page_is_the_same_however_it_is_asked_for(spec):
    one = parse(spec, seed=5)
    pages = np.random.default_rng(1).permutation(400)
    together = one.sizes(pages)
    assert (together == np.concatenate([one.sizes(pages[:100]), one.sizes(pages[100:])])).all()
    assert (together == parse(spec, seed=5).sizes(pages, np.zeros(400, int))).all()
    assert one.page(17) == parse(spec, seed=5).page(17)


@pytest.mark.parametrize("spec", MODELS)
def test_real_pages_of_a_model_have_its_flags_and_sizes(spec):
    one = parse(spec, seed=9)
    for number in range(30):
        page = one.page(number)
        assert len(page) == PAGE
        assert flags_of(page) == one.flags([number])[0]
        if flags_of(page) == 0:
            said = int(one.sizes([number], 0, "zlib")[0])
            got = codecs.get("zlib").size(page)
            # sizes under another codec than the reference are scaled by typical ratios
            assert got < 1.8 * said + 64


@pytest.mark.parametrize("codec", codecs.available())
@pytest.mark.parametrize("model", [Random, Half, Zero64])
def test_known_sizes_are_those_of_the_codec(model, codec):
    sizes = [codecs.get(codec).size(model(seed=4).page(n)) for n in range(20)]
    assert np.mean(sizes) == pytest.approx(int(model().sizes([0], 0, codec)[0]), rel=0.01, abs=4)


def test_a_codec_that_nobody_measured_is_asked_once():
    calls = []

    def size(page):
        calls.append(page)
        return 1234

    mine = codecs.Codec(
        name="mine", compress=bytes, decompress=bytes, bound=len, size=size,
        cost=codecs.CostModel(compress_ns=1, decompress_ns=1, ratio=2.0),
    )  # fmt: skip
    assert (Half().sizes(range(1000), 0, mine) == 1234).all()
    assert (Half().sizes(range(1000), 0, mine) == 1234).all()
    assert len(calls) == 1
    assert Compressible(ratio=2.6, spread=0).sizes([0], 0, mine)[0] == round(PAGE / 2.0)


# ---- models -----------------------------------------------------------------------------------------------


def test_half_as_recorded():
    # 20 random and 44 zero bytes in each 64: 2.44:1 under zram's lzo-rle
    page = Half(seed=1).page(5)
    blocks = [page[i : i + 64] for i in range(0, PAGE, 64)]
    assert all(block[20:] == bytes(44) and any(block[:20]) for block in blocks)
    assert len(set(blocks)) == 64
    assert PAGE / Half().sizes([0], 0, "lzo-rle")[0] == pytest.approx(2.44, abs=0.005)
    assert PAGE / Half().sizes([0], 0, "lz4")[0] == pytest.approx(2.56, abs=0.005)


@pytest.mark.parametrize(("ratio", "spread"), [(1.5, 0.1), (2.6, 0.0), (2.6, 0.3), (4.0, 0.3), (8.0, 0.5)])
def test_mean_and_spread(ratio, spread):
    sizes = Compressible(ratio=ratio, spread=spread, seed=2).sizes(np.arange(100_000)).astype(float)
    assert PAGE / sizes.mean() == pytest.approx(ratio, rel=0.01)
    assert sizes.std() / sizes.mean() == pytest.approx(spread, abs=0.01)


def test_ratio_belongs_to_the_reference_codec():
    pages = np.arange(50_000)
    mine = Compressible(ratio=3.0, codec="zstd", seed=1)
    assert PAGE / mine.sizes(pages, 0, "zstd").mean() == pytest.approx(3.0, rel=0.01)
    assert PAGE / mine.sizes(pages, 0, "lz4").mean() == pytest.approx(3.0 * 2.6 / 3.4, rel=0.01)
    for codec in ("lz4", "zstd", "lzo-rle"):
        sizes = Compressible(seed=1).sizes(pages, 0, codec)
        assert PAGE / sizes.mean() == pytest.approx(codecs.get(codec).cost.ratio, rel=0.01)


def test_histogram_gives_back_its_weights():
    weights = [0, 10, 0, 30, 60, 0, 0, 0]
    sizes = Histogram(weights=weights, seed=4).sizes(np.arange(100_000))
    counted = np.histogram(sizes, np.linspace(0, PAGE, 9))[0] / 1000
    assert counted == pytest.approx(weights, abs=0.6)


@pytest.mark.parametrize(
    ("name", "codec", "ratio", "zero", "incompressible"),
    [
        ("heap", "lz4", 3.61, 0.276, 0.004),
        ("heap", "lzo", 4.07, 0.276, 0.004),
        ("heap", "zstd", 7.51, 0.276, 0.004),
        ("executables", "lz4", 1.55, 0.0, 0.012),
        ("executables", "zstd", 2.00, 0.0, 0.012),
        ("typical", "lz4", 2.6, 0.15, 0.03),
    ],
)
def test_presets_have_the_measured_figures(name, codec, ratio, zero, incompressible):
    sizes = parse(name, seed=1).sizes(np.arange(100_000), 0, codec)
    stored = sizes[(sizes > 0) & (sizes < PAGE)].astype(float)
    assert (sizes == 0).mean() == pytest.approx(zero, abs=0.01)
    assert (sizes > PAGE).mean() == pytest.approx(incompressible, abs=0.003)
    assert PAGE / stored.mean() == pytest.approx(ratio, rel=0.03)


def test_weights_of_a_mix():
    one = Mix(parts=((1, Zero()), (2, SameFilled(value=5)), (0, Half()), (1, Random())), seed=6)
    flags, sizes = one.flags(np.arange(40_000)), one.sizes(np.arange(40_000))
    assert (flags == SAME_FILLED | ZERO_FILLED).mean() == pytest.approx(0.25, abs=0.01)
    assert (flags == SAME_FILLED).mean() == pytest.approx(0.5, abs=0.01)
    assert set(sizes.tolist()) == {0, 4114}


def test_seeds_are_independent():
    pages = np.arange(20_000)
    draws = [uniform(seed, pages, version, draw) for seed in (0, 1) for version in (0, 1) for draw in (1, 2)]
    for i, a in enumerate(draws):
        assert a.mean() == pytest.approx(0.5, abs=0.01)
        assert 0 <= a.min() <= a.max() < 1
        assert np.unique(a).size == pages.size
        for b in draws[:i]:
            assert abs(np.corrcoef(a, b)[0, 1]) < 0.03
    assert (Compressible(seed=1).sizes(pages) != Compressible(seed=2).sizes(pages)).mean() > 0.9


def test_change_on_write():
    pages = np.arange(2000)
    for spec in ("compressible", "typical", "heap"):
        still, moving = parse(spec), parse(f"{spec}(changes_on_write=true)")
        assert (still.sizes(pages, 7) == still.sizes(pages, 0)).all()
        assert still.page(3, 7) == still.page(3, 0)
        assert (moving.sizes(pages, 0) == still.sizes(pages, 0)).all()
        written = moving.sizes(pages, pages % 2)
        assert (written[::2] == still.sizes(pages)[::2]).all()
        assert (written[1::2] != still.sizes(pages)[1::2]).mean() > 0.5
    for spec in ("compressible", "half", "random", "same"):
        moving = parse(f"{spec}(changes_on_write=true)")
        assert len({moving.page(3, version) for version in (0, 0, 1, 7)}) == 3


# ---- text forms -------------------------------------------------------------------------------------------


def test_parse():
    assert parse("half", seed=4) == Half(seed=4)
    assert parse(" compressible( ratio = 3 , spread=0.1,seed=9) ", seed=4) == Compressible(
        ratio=3, spread=0.1, seed=9
    )
    assert parse("same(value=0xff)") == SameFilled(value=255)
    assert parse("histogram(weights=[1, 2.5, 0], codec=zstd)") == Histogram(weights=(1, 2.5, 0), codec="zstd")
    assert parse(None, 3) == parse("typical", 3) == content.typical(3)
    one = Half()
    assert parse(one, seed=8) is one
    mix = parse("zero + 3*half + 1e1 * random", seed=2)
    assert [weight for weight, _ in mix.parts] == [1, 3, 10]
    assert parse({"zero": 1, "half": 3, "random": 10}, seed=2) == mix
    assert len({part.seed for _, part in mix.parts}) == 3


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("nothing", "nothing is called 'nothing'; known are compressible, executables, half"),
        ("", "no content at ''"),
        ("half +", "no content at ''"),
        ("half random", r"'\+' expected at 'random'"),
        ("1.2.3*half", "weight '1.2.3' is no number"),
        ("0*half + 0*zero", "must be 0 or more, not all of them 0"),
        ("compressible(ratio=0.5)", r"ratio 0.5: must lie in 1..128"),
        ("compressible(spread=9)", r"spread 9: must lie in 0..2"),
        ("compressible(codec=lz5)", "no codec is called 'lz5'"),
        ("compressible(size=3)", "wrong parameters for 'compressible': .*'size'"),
        ("compressible(ratio)", "'name=value' expected at 'ratio'"),
        ("histogram", "wrong parameters for 'histogram': .*weights"),
        ("histogram(weights=[0, 0])", "must be 0 or more, not all of them 0"),
        ("histogram(weights=[1, -1])", "must be 0 or more"),
        ("same(value=-1)", r"must lie in 0\.\.2\*\*64-1"),
        ({}, "an empty table"),
        ({"half": "much"}, "weight 'much' is no number"),
        (17, "must be text such as 'half'"),
        ("file:/nowhere/at/all", "/nowhere/at/all: cannot be read: No such file"),
        ("pid:12x", "'12x' is no process id"),
    ],
)
def test_wrong_text_is_explained(spec, said):
    with pytest.raises(PymemError, match=said):
        parse(spec)


@given(st.text(max_size=40))
def test_any_text_is_understood_or_refused(text):
    if text.partition(":")[0].strip() in ("file", "core", "pid"):
        return
    try:
        parse(text).sizes([1, 2, 3])
    except PymemError as error:
        assert str(error)


# ---- real bytes -------------------------------------------------------------------------------------------


@pytest.fixture
def mixed(tmp_path):
    """A file of 6 pages: zero, same-filled, text, noise, zero, text and a bit."""
    rng = np.random.default_rng(1)
    text = (b"the quick brown fox %d " * 300)[:PAGE]
    pages = [bytes(PAGE), b"abcdefgh" * 512, text, rng.bytes(PAGE), bytes(PAGE), text[::-1]]
    path = tmp_path / "mixed.bin"
    path.write_bytes(b"".join(pages))
    return path, pages


def test_sizes_of_a_file_are_measured(mixed):
    path, pages = mixed
    one = RealBytes(source=FileSource(path))
    expected = [0, 0, codecs.get("zlib").size(pages[2]), codecs.get("zlib").size(pages[3]), 0]
    assert one.sizes(range(5), 0, "zlib").tolist() == expected
    assert one.flags(range(6)).tolist() == [3, 1, 0, 0, 3, 0]
    assert one.sizes([2, 8, 14, 6], 0, "zlib").tolist() == [expected[2]] * 3 + [0]
    assert one.page(9) == pages[3]
    assert parse(f"file:{path}").page(2) == pages[2]


def test_each_page_is_measured_once(mixed):
    path, _ = mixed
    calls = []

    def size(page):
        calls.append(page)
        return len(zlib.compress(page))

    counting = codecs.Codec(
        name="counting", compress=zlib.compress, decompress=zlib.decompress, bound=len, size=size,
        cost=codecs.get("zlib").cost,
    )  # fmt: skip
    one = RealBytes(source=FileSource(path))
    for _ in range(3):
        one.sizes(range(1000), 0, counting)
    assert len(calls) == 3


def test_real_bytes_may_change_on_write(mixed):
    path, _ = mixed
    one = RealBytes(source=FileSource(path), changes_on_write=True, seed=1)
    assert (
        one.sizes(range(6), 0, "zlib") == RealBytes(source=FileSource(path)).sizes(range(6), 0, "zlib")
    ).all()
    assert len({one.page(2, version) for version in range(40)}) > 3


def test_a_sample_bounds_what_is_read(tmp_path):
    path = tmp_path / "many.bin"
    path.write_bytes(np.random.default_rng(0).integers(0, 4, 300 * PAGE, np.uint8).tobytes())
    one = RealBytes(source=FileSource(path), sample=10, seed=3)
    assert len({one.page(n) for n in range(2000)}) == 10
    assert sample_indices(300, 10, 3).tolist() == sorted(set(sample_indices(300, 10, 3).tolist()))
    for wrong in (0, -4):
        with pytest.raises(ContentError, match="must be at least 1"):
            RealBytes(source=FileSource(path), sample=wrong)


def test_a_file_that_is_no_whole_number_of_pages(tmp_path):
    path = tmp_path / "odd"
    path.write_bytes(b"x" * (PAGE + 10))
    padded = FileSource(path)
    assert padded.pages == 2
    assert "only 10 bytes" in padded.note
    assert list(padded.read([1])) == [b"x" * 10 + bytes(PAGE - 10)]
    assert FileSource(path, tail="drop").pages == 1
    with pytest.raises(ContentError, match="4106 bytes are no multiple of 4096, 10 are left over"):
        FileSource(path, tail="error")
    with pytest.raises(ContentError, match="must be 'pad', 'drop' or 'error'"):
        FileSource(path, tail="cut")


def test_files_that_cannot_be_used(tmp_path):
    empty = tmp_path / "empty"
    empty.touch()
    small = tmp_path / "small"
    small.write_bytes(b"x")
    for path, tail, said in [
        (empty, "pad", "empty: is empty"),
        (small, "drop", "1 bytes are less than a page"),
        (tmp_path, "pad", "is a directory"),
        (tmp_path / "none", "pad", "none: cannot be read: No such file"),
        ("a\0b", "pad", "cannot be read: embedded null"),
    ]:
        with pytest.raises(ContentError, match=said):
            FileSource(path, tail=tail)


def test_a_file_that_shrinks_or_vanishes(mixed):
    path, _ = mixed
    source = FileSource(path)
    path.write_bytes(bytes(PAGE))
    with pytest.raises(ContentError, match="page 3 is gone: the file became shorter"):
        list(source.read([0, 3]))
    path.unlink()
    with pytest.raises(ContentError, match="cannot be read: No such file"):
        list(source.read([0]))


# ---- arrays -----------------------------------------------------------------------------------------------


def test_arrays():
    array = np.arange(2 * 512, dtype=np.uint64).reshape(2, 512)
    source = ArraySource(array)
    assert source.pages == 2
    assert list(source.read([1])) == [array[1].tobytes()]
    assert list(ArraySource(array.T).read([0])) == [np.ascontiguousarray(array.T).tobytes()[:PAGE]]
    odd = ArraySource(np.ones(5, np.uint8))
    assert (odd.pages, "only 5 bytes" in odd.note) == (1, True)
    with pytest.raises(ContentError, match="is empty"):
        ArraySource(np.zeros((0, 4)))
    with pytest.raises(ContentError, match="Python objects"):
        ArraySource(np.array([object()]))


# ---- core dumps -------------------------------------------------------------------------------------------


def elf_core(segments, *, wide=True, order="<", kind=4, many=False):
    """An ELF core dump whose PT_LOAD segments hold these bytes, with a note segment before them."""
    head_size, entry = (64, 56) if wide else (52, 32)
    count = len(segments) + 1
    offset = head_size + entry * count + 40 + 64
    table = struct.pack(order + ("IIQQQQQQ" if wide else "IIIIIIII"), 4, 0, *[0] * 6)
    body = b""
    for data in segments:
        if wide:
            table += struct.pack(
                order + "IIQQQQQQ", 1, 6, offset + len(body), 0, 0, len(data), len(data) + PAGE, PAGE
            )
        else:
            table += struct.pack(
                order + "IIIIIIII", 1, offset + len(body), 0, 0, len(data), len(data), 6, PAGE
            )
        body += data
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    section = head_size + entry * count
    rest = struct.pack(
        order + ("HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"),
        kind, 62, 1, 0, head_size, section if many else 0, 0, head_size, entry,
        0xFFFF if many else count, 0, 0, 0,
    )  # fmt: skip
    info = bytes(44 if wide else 28) + struct.pack(order + "I", count)
    return (ident + rest + table + info).ljust(offset, b"\0") + body


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("many", [True, False])
def test_memory_in_a_core_dump(tmp_path, wide, order, many):
    rng = np.random.default_rng(3)
    pages = [rng.bytes(PAGE) for _ in range(3)]
    path = tmp_path / "core"
    path.write_bytes(
        elf_core([pages[0] + pages[1], b"", pages[2] + b"tail"], wide=wide, order=order, many=many)
    )
    source = ElfCoreSource(path)
    assert source.pages == 3
    assert list(source.read(range(3))) == pages
    assert "4 bytes of segments" in source.note
    assert is_elf_core(path)
    assert parse(f"core:{path}").page(1) == pages[1]


def test_damaged_core_dumps(tmp_path):
    path = tmp_path / "core"
    whole = elf_core([bytes(PAGE)])
    for data, said in [
        (b"not a dump at all" * 10, "is not an ELF file"),
        (whole[:30], "is not an ELF file"),
        (whole[:100], "truncated core dump: its headers are incomplete"),
        (whole[:-1], "truncated: a segment ends at"),
        (elf_core([bytes(PAGE)], kind=2), "is an ELF file but no core dump"),
        (elf_core([b"less than a page"]), "holds no page of memory"),
        (elf_core([]), "holds no page of memory"),
    ]:
        path.write_bytes(data)
        with pytest.raises(ContentError, match=said):
            ElfCoreSource(path)
    path.write_bytes(elf_core([bytes(PAGE)], kind=2))
    assert not is_elf_core(path)
    assert not is_elf_core(tmp_path / "none")
    assert not is_elf_core(tmp_path)


# ---- processes --------------------------------------------------------------------------------------------

CHILD = """
import ctypes, mmap, sys
memory = mmap.mmap(-1, 64 * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for page in range(32):
    memory[page * 4096:page * 4096 + 16] = b"here is page %03d" % page
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def child():
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.stdin.close()
        process.stdout.close()


def readable(pid):
    try:
        with open(f"/proc/{pid}/mem", "rb"), open(f"/proc/{pid}/pagemap", "rb"):
            return True
    except OSError:
        return False


def test_memory_of_a_live_process(child):
    if not readable(child.pid):
        pytest.skip("this machine does not let a process read its child's memory")
    source = ProcessSource(child.pid, sample=None)
    pages = list(source.read(range(source.pages)))
    found = {page[:16] for page in pages if page.startswith(b"here is page ")}
    assert found == {b"here is page %03d" % n for n in range(32)}
    few = ProcessSource(child.pid, sample=20, seed=1)
    assert few.pages == 20
    assert "20 of " in few.note
    one = parse(f"pid:{child.pid}")
    assert one.sizes(range(5), 0, "zlib").shape == (5,)


def test_a_process_that_is_not_there():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    with pytest.raises(ContentError, match=f"process {process.pid}: there is no such process"):
        ProcessSource(process.pid)
    with pytest.raises(ContentError, match="there is no such process"):
        ProcessSource(-1)


def fake_process(tmp_path, **files):
    folder = tmp_path / "77"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return str(tmp_path)


def test_a_process_that_vanishes_while_it_is_read(tmp_path):
    proc = fake_process(tmp_path, maps=b"1000-3000 rw-p 00000000 00:00 0\n", pagemap=bytes(8))
    with pytest.raises(ContentError, match="process 77: ended while it was being read"):
        ProcessSource(77, proc=proc)


def test_a_process_without_anonymous_memory(tmp_path):
    present_file_page = struct.pack("<Q", 1 << 63 | 1 << 61)
    proc = fake_process(
        tmp_path, maps=b"0-1000 rw-p 00000000 00:00 0\n1000-2000 ---p 00000000 00:00 0\n",
        pagemap=present_file_page, mem=bytes(PAGE),
    )  # fmt: skip
    with pytest.raises(ContentError, match="process 77: has no anonymous memory"):
        ProcessSource(77, proc=proc)


def test_a_process_that_may_not_be_read(tmp_path, monkeypatch):
    proc = fake_process(tmp_path, maps=b"", pagemap=b"")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(ProcessSource, "_anonymous_pages", staticmethod(refuse))
    with pytest.raises(ContentError, match=r"its memory may not be read: .*ptrace_scope"):
        ProcessSource(77, proc=proc)


def test_pages_that_vanish_are_left_out(tmp_path):
    entry = struct.pack("<Q", 1 << 63)
    proc = fake_process(
        tmp_path, maps=b"0-3000 rw-p 00000000 00:00 0 [heap]\n", pagemap=entry * 3, mem=b"y" * (2 * PAGE)
    )
    source = ProcessSource(77, proc=proc)
    assert list(source.read(range(source.pages))) == [b"y" * PAGE] * 2
