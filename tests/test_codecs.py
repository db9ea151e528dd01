"""Codecs: round trips, bounds, the size model of LZO, missing libraries."""

import importlib.util
import random
import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymem import codecs
from pymem.codecs import CodecError, CostModel
from pymem.codecs.lzo import stream_size
from pymem.errors import PymemError

PAGE = 4096
WITH_BYTES = ["lz4", "zlib", "zstd"]

PIECES = st.lists(st.tuples(st.binary(min_size=1, max_size=64), st.integers(1, 600)), min_size=1, max_size=12)
PAGES = PIECES.map(lambda pieces: b"".join(text * times for text, times in pieces).ljust(PAGE, b"\0")[:PAGE])


def codec(name):
    found = codecs.get(name)
    if not found.installed:
        pytest.skip(f"the library of {name} is not installed")
    return found


def half(seed):
    rng = random.Random(seed)
    return b"".join(rng.randbytes(20) + bytes(44) for _ in range(64))


# ---- codecs with bytes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_BYTES)
@given(page=PAGES)
def test_round_trip(name, page):
    one = codec(name)
    data = one.compress(page)
    assert type(data) is bytes
    assert one.decompress(data, PAGE) == page
    assert len(data) == one.size(page) <= one.bound(PAGE)


@pytest.mark.parametrize("name", WITH_BYTES)
def test_incompressible_pages_stay_within_the_bound(name):
    one = codec(name)
    for seed in range(50):
        page = random.Random(seed).randbytes(PAGE)
        assert PAGE < one.size(page) <= one.bound(PAGE)
        assert one.decompress(one.compress(page), PAGE) == page


@pytest.mark.parametrize("name", WITH_BYTES)
def test_any_buffer_can_be_compressed(name):
    one = codec(name)
    page = half(1)
    assert one.compress(bytearray(page)) == one.compress(memoryview(page)) == one.compress(page)


@pytest.mark.parametrize("name", WITH_BYTES)
def test_damaged_data_is_a_codec_error(name):
    one = codec(name)
    data = one.compress(half(2))
    with pytest.raises(CodecError, match=f"{name}: {len(data) // 2} bytes .*4096"):
        one.decompress(data[: len(data) // 2], PAGE)


@pytest.mark.parametrize("name", WITH_BYTES)
def test_threads_may_share_a_codec(name):
    one = codec(name)
    pages = [half(seed) for seed in range(40)]
    wrong = []

    def work():
        wrong.extend(page for page in pages * 5 if one.decompress(one.compress(page), PAGE) != page)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ---- the registry -----------------------------------------------------------------------------------------


def test_every_registered_codec_is_complete():
    for name in codecs.REGISTRY:
        one = codecs.get(name)
        assert one.name == name
        assert codecs.get(one) is one
        assert one.cost.compress_ns > one.cost.decompress_ns > 0
        assert one.bound(PAGE) >= PAGE
        assert one.has_bytes == (name in WITH_BYTES)
    assert set(codecs.available(real_bytes=True)) <= set(WITH_BYTES)
    assert {"lzo", "lzo-rle", "zlib"} <= set(codecs.available())


def test_default_costs():
    costs = {name: codecs.get(name).cost for name in ("lzo-rle", "lz4", "zstd")}
    assert costs == {
        "lzo-rle": CostModel(compress_ns=5000, decompress_ns=2000, ratio=2.7),
        "lz4": CostModel(compress_ns=4000, decompress_ns=1000, ratio=2.6),
        "zstd": CostModel(compress_ns=14000, decompress_ns=5000, ratio=3.4),
    }


def test_a_cost_model_can_be_replaced():
    slow = replace(codecs.get("zlib"), cost=CostModel(compress_ns=1, decompress_ns=2, ratio=1.5))
    assert codecs.get(slow).cost.compress_ns == 1
    with pytest.raises(CodecError, match="must not be negative"):
        CostModel(compress_ns=-1, decompress_ns=2, ratio=1.5)
    with pytest.raises(CodecError, match=r"ratio 0\.5: must be at least 1"):
        CostModel(compress_ns=1, decompress_ns=2, ratio=0.5)


def test_unknown_codec():
    with pytest.raises(PymemError, match="no codec is called 'lz5'; known are lz4, lzo, lzo-rle, zlib, zstd"):
        codecs.get("lz5")


@pytest.mark.parametrize(("name", "library"), [("lz4", "lz4"), ("zstd", "zstandard")])
def test_a_missing_library_is_named_with_its_extra(name, library, monkeypatch):
    found = importlib.util.find_spec(f"pymem.codecs.{name}")
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *rest: None if n == library else find_spec(n, *rest)
    )
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    one = module.CODEC
    assert not one.installed
    assert one.cost.compress_ns > 0
    assert one.bound(PAGE) > PAGE
    for use in (
        one.compress,
        one.size,
        lambda page: one.decompress(page, PAGE),
        lambda _: codecs.with_bytes(one),
    ):
        with pytest.raises(CodecError, match=rf"{name}.*{library}.*pip install 'pymem-sim\[codecs\]'"):
            use(bytes(PAGE))


# ---- LZO --------------------------------------------------------------------------------------------------


def test_lzo_has_no_bytes_and_says_so():
    for name in ("lzo", "lzo-rle"):
        one = codecs.get(name)
        assert "modelled" in one.note
        for use in (one.compress, lambda page, one=one: one.decompress(page, PAGE)):
            with pytest.raises(CodecError, match="models of size and cost and cannot store pages"):
                use(bytes(PAGE))
        with pytest.raises(CodecError, match="cannot store pages"):
            codecs.with_bytes(name)


def test_lzo_rle_size_as_a_kernel_measured_it():
    # zram of Linux 6.1 with lzo-rle: 1681.4 bytes on average over 21,000 such pages
    sizes = [codecs.get("lzo-rle").size(half(seed)) for seed in range(60)]
    assert sum(sizes) / len(sizes) == pytest.approx(1681.4, rel=0.005)


def lzo_pages():
    rng = random.Random(5)
    words = [rng.randbytes(rng.randrange(2, 9)) for _ in range(60)]
    text = b" ".join(rng.choice(words) for _ in range(1200))
    return {
        "zero": bytes(PAGE),
        "random": random.Random(6).randbytes(PAGE),
        "half": half(7),
        "zero64": random.Random(8).randbytes(64) + bytes(PAGE - 64),
        "text": text[:PAGE],
        "counter": b"".join(n.to_bytes(8, "little") for n in range(512)),
        "period": bytes(range(251)) * 17,
    }


# What lzo1x_1_compress of liblzo2 2.10 returns for these pages.
LZO_SIZES = {
    "zero": 44,
    "random": 4116,
    "half": 1678,
    "zero64": 109,
    "text": 1750,
    "counter": 1556,
    "period": 300,
}


@pytest.mark.parametrize("kind", LZO_SIZES)
def test_lzo_size_as_the_library_has_it(kind):
    got = codecs.get("lzo").size(lzo_pages()[kind][:PAGE])
    assert got == pytest.approx(LZO_SIZES[kind], rel=0.002, abs=3)


@given(PAGES)
def test_lzo_sizes_are_possible(page):
    plain, runs = stream_size(page, zero_runs=False), stream_size(page, zero_runs=True)
    assert 20 <= plain <= codecs.get("lzo").bound(PAGE)
    assert 20 <= runs <= codecs.get("lzo").bound(PAGE)
    assert stream_size(page, zero_runs=True) == runs


def test_lzo_spends_least_on_zeros_and_most_on_noise():
    for zero_runs in (False, True):
        sizes = [
            stream_size(page, zero_runs) for page in (bytes(PAGE), half(1), random.Random(1).randbytes(PAGE))
        ]
        assert sizes == sorted(sizes)
        assert sizes[0] < 60
        assert PAGE < sizes[2] < PAGE + 40
