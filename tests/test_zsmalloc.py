"""The pool allocators: published vectors, equality with the reference model, real bytes."""

import threading
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from reference.zsmalloc import ZbudPool, ZsPool

from memcore.compressed_pool import CompressedPool, PoolModel

pytestmark = pytest.mark.engine

PAGE = 4096


class Zlib:
    """A codec as the pool wants it."""

    name = "zlib"

    def compress(self, page):
        return zlib.compress(page, 1)

    def decompress(self, data, size):
        return zlib.decompress(data)


class Raw(Zlib):
    """A codec that compresses a page to its first bytes, as many as the last two say."""

    def compress(self, page):
        return bytes(page[: int.from_bytes(page[-2:], "little")])

    def decompress(self, data, size):
        return bytes(data).ljust(size - 2, b"\1") + len(data).to_bytes(2, "little")

    def page(self, length, fill):
        return self.decompress(bytes([fill]) * length, PAGE)


# ---- size classes -----------------------------------------------------------------------------------------

# compressed length -> bytes of the slot with chains of up to 8 (6.3 and later) and of up to 4 (6.1)
SLOTS = [
    (64, 80, 80),
    (200, 208, 208),
    (1000, 1024, 1024),
    (1365, 1424, 1488),
    (2048, 2176, 2336),
    (2500, 2512, 2720),
    (3000, 3072, 3072),
    (3264, 3408, 4096),
    (3500, 3584, 4096),
    (3624, 3632, 4096),
    (3625, 4096, 4096),
]


@pytest.mark.parametrize(("length", "chain8", "chain4"), SLOTS)
def test_size_class_of_a_length(length, chain8, chain4):
    assert PoolModel(chain=8).size_class(length) == chain8
    assert PoolModel(chain=4).size_class(length) == chain4


def test_the_classes_of_6_12():
    pool = PoolModel(chain=8)
    shape = [(c["size"], c["chain"], c["objects_per_zspage"]) for c in pool.size_classes()]
    assert pool.kernel == "6.12"
    assert len(shape) == 119
    assert pool.huge_class_size == 3625
    assert shape[:23] == [
        (4096, 1, 1), (3632, 8, 9), (3584, 7, 8), (3504, 6, 7), (3408, 5, 6), (3264, 4, 5), (3184, 7, 9),
        (3072, 3, 4), (2976, 8, 11), (2912, 5, 7), (2864, 7, 10), (2720, 2, 3), (2592, 7, 11), (2560, 5, 8),
        (2512, 8, 13), (2448, 3, 5), (2384, 7, 12), (2336, 4, 7), (2272, 5, 9), (2224, 6, 11), (2192, 7, 13),
        (2176, 8, 15), (2048, 1, 2),
    ]  # fmt: skip


def test_the_classes_of_6_1():
    pool = PoolModel(chain=4)
    shape = [(c["size"], c["chain"], c["objects_per_zspage"]) for c in pool.size_classes()]
    assert pool.kernel == "6.1"
    assert len(shape) == 69
    assert pool.huge_class_size == 3257
    assert shape[:10] == [
        (4096, 1, 1), (3264, 4, 5), (3072, 3, 4), (2720, 2, 3), (2448, 3, 5), (2336, 4, 7), (2048, 1, 2),
        (1808, 4, 9), (1744, 3, 7), (1632, 2, 5),
    ]  # fmt: skip


def test_effective_cost_of_an_object():
    for chain, length, cost in [(8, 200, 208.3), (4, 200, 210.1), (8, 2048, 2185), (4, 2048, 2341)]:
        pool = PoolModel(chain=chain)
        zspage = next(c for c in pool.size_classes() if c["size"] == pool.size_class(length))
        got = zspage["chain"] * PAGE / zspage["objects_per_zspage"]
        assert got == pytest.approx(cost, abs=0.5)


@pytest.mark.parametrize("chain", range(4, 17))
@pytest.mark.parametrize("kernel", ["6.1", "6.12"])
def test_every_chain_size_agrees_with_the_reference(chain, kernel):
    pool, model = PoolModel(chain=chain, kernel=kernel), ZsPool(kernel, chain)
    assert without_fragmentation(pool.size_classes()) == model.size_classes()
    assert [pool.size_class(n) for n in range(1, 4097)] == [model.class_for(n).size for n in range(1, 4097)]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"chain": 3}, "chain size 3: must lie in 4..16"),
        ({"chain": 17}, "chain size 17"),
        ({"allocator": "z3fold"}, "'z3fold': must be 'zsmalloc' or 'zbud'"),
        ({"kernel": "5.4"}, "'5.4': must be '6.1' or '6.12'"),
        ({"max_pages": -1}, "-1 pages"),
    ],
)
def test_wrong_parameters(wrong, said):
    with pytest.raises(ValueError, match=said):
        PoolModel(**wrong)


@pytest.mark.parametrize(("allocator", "longest"), [("zsmalloc", 4096), ("zbud", 3968)])
def test_lengths_that_cannot_be_stored(allocator, longest):
    pool = PoolModel(allocator=allocator)
    assert pool.max_size == longest
    for length in (-1, 0, longest + 1, 1 << 20):
        with pytest.raises(ValueError, match=f"object of {length} bytes: {allocator} takes 1..{longest}"):
            pool.alloc(length)
    assert pool.size_of(pool.alloc(longest)) == longest
    assert pool.fill(np.array([0, 1, longest, 4097], np.uint16)) == (2, 1, 0)


# ---- equality with the reference model --------------------------------------------------------------------


def without_fragmentation(classes):
    return [{key: value for key, value in c.items() if key != "fragmentation"} for c in classes]


VARIANTS = [("zsmalloc", "6.12", 8), ("zsmalloc", "6.1", 4), ("zsmalloc", "6.12", 5), ("zbud",)]
LENGTHS = [1, 24, 100, 1000, 1600, 2048, 3000, 3500, 3700, 3968]


class Allocators(RuleBasedStateMachine):
    """Drives an allocator and its model through random stores, frees, compactions and frame shortages."""

    def __init__(self):
        super().__init__()
        self.live = []

    @initialize(
        variant=st.sampled_from(VARIANTS),
        limit=st.sampled_from([0, 5, 40, 1 << 20]),
    )
    def open(self, variant, limit):
        self.allocator = variant[0]
        if self.allocator == "zbud":
            self.pool, self.model = PoolModel(allocator="zbud", max_pages=limit), ZbudPool(limit)
        else:
            _, kernel, chain = variant
            self.pool, self.model = (
                PoolModel(kernel=kernel, chain=chain, max_pages=limit),
                ZsPool(kernel, chain, limit),
            )

    def store(self, length):
        before = self.pool.stats()
        handle = self.pool.alloc(length)
        assert handle == self.model.alloc(length)
        if handle:
            self.live.append((handle, length))
        else:
            assert self.pool.stats() | {"peak_pages": 0} == before | {"peak_pages": 0}

    # few distinct lengths, so that classes fill up; many objects at once, so that zspages multiply
    @rule(length=st.sampled_from(LENGTHS), times=st.integers(1, 40))
    def store_many(self, length, times):
        for _ in range(times):
            self.store(length)

    @rule(length=st.integers(1, 3968))
    def store_any(self, length):
        self.store(length)

    @precondition(lambda self: self.live)
    @rule(picks=st.lists(st.integers(0, 1 << 20), min_size=1, max_size=60))
    def free_some(self, picks):
        for pick in picks:
            if self.live:
                handle, _ = self.live.pop(pick % len(self.live))
                self.pool.free(handle)
                self.model.free(handle)

    @rule()
    def compact(self):
        freeable = self.pool.freeable()
        freed = self.pool.compact()
        assert freed == self.model.compact() == freeable
        assert self.pool.freeable() == 0

    @rule(limit=st.integers(0, 200))
    def limit_frames(self, limit):
        self.pool.max_pages = self.model.frames.limit = limit

    @invariant()
    def same(self):
        self.pool.verify()
        stats = self.pool.stats()
        assert stats.pop("peak_pages") >= stats["pages"] == self.model.frames.held
        assert stats == self.model.stats()
        assert self.pool.freeable() == self.model.freeable()
        assert without_fragmentation(self.pool.size_classes()) == self.model.size_classes()
        for handle, length in self.live:
            assert self.pool.size_of(handle) == length
            assert self.pool.place_of(handle) == self.model.place_of(handle)


Allocators.TestCase.settings = settings(max_examples=40, stateful_step_count=25)
TestAllocators = Allocators.TestCase


@pytest.mark.parametrize("variant", [{"chain": 8}, {"chain": 4}, {"allocator": "zbud"}])
def test_long_churn(variant):
    rng = np.random.default_rng(7)
    sizes = np.clip(rng.normal(1600, 900, 4000), 1, 3968).astype(np.uint16)
    pool = PoolModel(**variant)
    assert pool.churn(sizes, 100_000, 3) == 100_000
    pool.verify()
    stats = pool.stats()
    assert stats["objects"] == stats["pages"] == stats["bytes"] == 0
    assert pool.fill(sizes) == (4000, 0, 0)
    assert pool.stats()["bytes"] == int(sizes.sum())
    pool.verify()


def test_records_are_used_again():
    # Classes that come and go must not keep what others need: the arena of slots is packed anew.
    pool = PoolModel()
    for length in range(40, 3600, 40):
        handles = [pool.alloc(length) for _ in range(300)]
        pool.verify()
        for handle in handles[:-1]:
            pool.free(handle)
    pool.verify()
    assert pool.objects == len(range(40, 3600, 40))


def test_compaction_of_a_half_emptied_pool():
    pool = PoolModel(chain=8)
    handles = [pool.alloc(2040) for _ in range(2000)]  # slots of 2048: two in a frame
    for handle in handles[::2]:
        pool.free(handle)
    assert (pool.pages, pool.freeable()) == (1000, 500)
    [used] = [c for c in pool.size_classes() if c["used"]]
    assert used["fragmentation"] == 0.5
    assert pool.compact() == 500
    assert pool.stats() == {
        "objects": 1000, "bytes": 2_040_000, "pages": 500, "pages_compacted": 500, "peak_pages": 1000,
    }  # fmt: skip
    pool.verify()
    assert pool.compact() == 0


def test_a_missing_frame_in_mid_chain_changes_nothing():
    pool = PoolModel(max_pages=7)  # slots of 3632 bytes come eight frames at a time
    assert pool.alloc(3600) == 0
    assert (pool.pages, pool.objects) == (0, 0)
    pool.verify()
    pool.max_pages = 8
    assert [pool.alloc(3600) for _ in range(10)] == [*range(1, 10), 0]
    pool.verify()


def test_zbud_stores_two_objects_at_most():
    pool = PoolModel(allocator="zbud")
    a, b, c = (pool.alloc(n) for n in (1300, 1300, 1300))
    assert pool.pages == 2
    assert pool.place_of(a)[1] == 64
    assert pool.place_of(b)[1] == PAGE - 1344
    assert pool.place_of(a)[0] == pool.place_of(b)[0] != pool.place_of(c)[0]
    pool.free(a)
    assert pool.compact() == 0
    assert pool.alloc(2600) == a  # 41 chunks beside 21 of 63
    assert pool.pages == 2


def test_handles_that_name_nothing():
    pool = PoolModel()
    pool.free(pool.alloc(100))
    for handle in (0, 1, 2, 1 << 31):
        assert pool.size_of(handle) == 0
        with pytest.raises(KeyError):
            pool.free(handle)
        with pytest.raises(KeyError):
            pool.place_of(handle)


# ---- real bytes -------------------------------------------------------------------------------------------


class BytesPool(RuleBasedStateMachine):
    """A pool of real pages against a dict of the same pages."""

    def __init__(self):
        super().__init__()
        self.pages = {}
        self.codec = Raw()

    @initialize(
        variant=st.sampled_from([{"chain": 8}, {"chain": 4}, {"allocator": "zbud"}]),
        limit=st.sampled_from([None, 10 * PAGE, 100 * PAGE + 1]),
    )
    def open(self, variant, limit):
        self.pool = CompressedPool(self.codec, max_bytes=limit, **variant)
        self.limit = limit

    def keep(self, page):
        before = self.pool.stats()
        try:
            handle = self.pool.store(page)
        except (MemoryError, ValueError) as error:
            assert self.pool.stats() | {"peak_pool_bytes": 0} == before | {"peak_pool_bytes": 0}
            # the codec gives 4094 bytes at most
            assert self.limit if isinstance(error, MemoryError) else self.pool.allocator == "zbud"
        else:
            assert handle not in self.pages
            self.pages[handle] = page

    @rule(length=st.sampled_from(LENGTHS), fills=st.lists(st.integers(2, 255), max_size=30))
    def store_many(self, length, fills):
        for fill in fills:
            self.keep(self.codec.page(length, fill))

    @rule(length=st.integers(1, 4094), fill=st.integers(2, 255))
    def store_any(self, length, fill):
        self.keep(self.codec.page(length, fill))

    @rule(word=st.binary(min_size=8, max_size=8))
    def store_same_filled(self, word):
        pages = self.pool.pages
        self.keep(bytearray(word * 512))
        assert self.pool.pages == pages

    @precondition(lambda self: self.pages)
    @rule(picks=st.lists(st.integers(0, 1 << 20), min_size=1, max_size=40))
    def free_some(self, picks):
        for pick in picks:
            if self.pages:
                handle = sorted(self.pages)[pick % len(self.pages)]
                del self.pages[handle]
                self.pool.free(handle)
                assert handle not in self.pool

    @rule()
    def compact(self):
        assert self.pool.compact() == 0 or self.pool.allocator == "zsmalloc"
        for handle, page in self.pages.items():
            assert self.pool.load(handle) == page

    @invariant()
    def consistent(self):
        self.pool.verify()
        stats = self.pool.stats()
        assert len(self.pool) == stats["pages"] == len(self.pages)
        assert stats["pool_bytes"] <= (self.limit or 1 << 40)
        for handle in list(self.pages)[-3:]:
            assert self.pool.load(handle) == self.pages[handle]

    def teardown(self):
        for handle, page in self.pages.items():
            assert self.pool.load(handle) == page
            self.pool.free(handle)
        if hasattr(self, "pool"):
            assert self.pool.stats()["pool_bytes"] == 0


BytesPool.TestCase.settings = settings(max_examples=40, stateful_step_count=25)
TestBytesPool = BytesPool.TestCase


PIECES = st.lists(st.tuples(st.binary(min_size=1, max_size=64), st.integers(1, 600)), min_size=1, max_size=12)
PAGES = PIECES.map(lambda pieces: b"".join(text * times for text, times in pieces).ljust(PAGE, b"\0")[:PAGE])


@given(PAGES)
def test_round_trip_of_any_page(page):
    pool = CompressedPool(Zlib())
    for data in (page, bytearray(page), memoryview(page), np.frombuffer(page, np.uint64)):
        assert pool.load(pool.store(data)) == page


def test_what_stats_say():
    rng = np.random.default_rng(1)
    pool = CompressedPool(Zlib())
    assert str(pool.stats()["ratio"]) == "nan"
    same = [pool.store(bytes(PAGE)), pool.store(b"pymem..." * 512)]
    assert pool.stats()["ratio"] == float("inf")
    huge = pool.store(rng.bytes(PAGE))
    pool.store((b"never say never again" * 200)[:PAGE])
    stats = pool.stats()
    assert (stats["pages"], stats["same_filled"], stats["huge"]) == (4, 2, 1)
    assert stats["original_bytes"] == 4 * PAGE
    assert PAGE < stats["compressed_bytes"] < PAGE + 200
    assert stats["pool_bytes"] == sum(c["pages"] for c in stats["classes"]) * PAGE
    assert stats["ratio"] == stats["original_bytes"] / stats["pool_bytes"]
    pool.free(huge)
    pool.free(same[0])
    assert (pool.stats()["same_filled"], pool.stats()["huge"]) == (1, 0)


def test_an_almost_incompressible_page_is_kept_as_it_is():
    codec = Raw()
    for chain, threshold in ((8, 3625), (4, 3257)):
        pool = CompressedPool(codec, chain=chain)
        pool.store(codec.page(threshold - 1, 7))
        assert pool.stats()["huge"] == 0
        handle = pool.store(codec.page(threshold, 7))
        assert pool.stats()["huge"] == 1
        assert pool.load(handle) == codec.page(threshold, 7)
    pool = CompressedPool(codec, allocator="zbud")
    pool.store(codec.page(3968, 7))
    with pytest.raises(ValueError, match="compresses to 3969 bytes, zbud takes at most 3968"):
        pool.store(codec.page(3969, 7))


def test_a_refused_page_leaves_the_pool_unchanged():
    rng = np.random.default_rng(2)
    pool = CompressedPool(Zlib(), max_bytes=3 * PAGE - 1)
    kept = [rng.bytes(PAGE) for _ in range(2)]
    handles = [pool.store(page) for page in kept]
    with pytest.raises(MemoryError, match="no frame for 4096 bytes: the pool holds 8192 bytes of 8192"):
        pool.store(rng.bytes(PAGE))
    assert [pool.load(handle) for handle in handles] == kept
    assert pool.store(bytes(PAGE)) == 3  # same-filled pages need no frame
    pool.verify()


@pytest.mark.parametrize("size", [0, 1, 4095, 4097, 8192])
def test_only_pages_can_be_stored(size):
    pool = CompressedPool(Zlib())
    with pytest.raises(ValueError, match=f"a page has 4096 bytes, not {size}"):
        pool.store(bytes(size))
    with pytest.raises(TypeError):
        pool.store("x" * PAGE)
    assert len(pool) == 0


def test_a_failing_codec_is_heard_and_loses_nothing():
    class Broken(Zlib):
        fail = True

        def compress(self, page):
            if self.fail:
                raise RuntimeError("no luck")
            return super().compress(page)

        def decompress(self, data, size):
            return b"short"

    codec = Broken()
    pool = CompressedPool(codec)
    page = bytes(range(256)) * 16
    with pytest.raises(RuntimeError, match="no luck"):
        pool.store(page)
    assert len(pool) == 0
    pool.verify()
    codec.fail = False
    with pytest.raises(ValueError, match="codec returned 5 bytes"):
        pool.load(pool.store(page))


def test_unknown_handles():
    pool = CompressedPool(Zlib())
    handle = pool.store(bytes(PAGE))
    pool.free(handle)
    for unknown in (handle, 0, -1, 99):
        assert unknown not in pool
        for use in (pool.load, pool.free):
            with pytest.raises(KeyError):
                use(unknown)


def test_a_pool_that_was_not_initialised():
    pool = CompressedPool.__new__(CompressedPool)
    with pytest.raises(ValueError, match="not initialised"):
        pool.store(bytes(PAGE))
    with pytest.raises(KeyError):
        pool.load(1)
    with pytest.raises(ValueError, match="not initialised"):
        pool.stats()
    with pytest.raises(ValueError, match="initialised once"):
        PoolModel().__init__()


def test_threads_may_share_a_pool():
    pool = CompressedPool(Zlib())
    wrong = []

    def work(seed):
        rng = np.random.default_rng(seed)
        pages = [np.repeat(rng.integers(0, 256, 64, np.uint8), 64).tobytes() for _ in range(200)]
        handles = [pool.store(page) for page in pages]
        pool.compact()
        wrong.extend(h for h, page in zip(handles, pages, strict=True) if pool.load(h) != page)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pool.verify()
    assert not wrong
    assert len(pool) == 800
