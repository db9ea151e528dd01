"""Packed foreign traces: each packing is unpacked while it is read, and damage to it is noticed."""

import hashlib
import io
import sys
import zipfile
import zlib
from types import SimpleNamespace

import pytest
from foreign import FILES, PACKERS, imported

from pymem.errors import TraceError
from pymem.traces.readers import packing as packings


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize("name", ["lackey", "msr", "oracleGeneral", "damon"])
def test_packed_files_are_unpacked(tmp_path, name, packing):
    tasks, source = imported(tmp_path, PACKERS[packing](FILES[name].data))
    assert tasks == FILES[name].tasks
    assert source.packing == packing


def test_zstd_is_unpacked_frame_by_frame(tmp_path, monkeypatch):
    magic = b"\x28\xb5\x2f\xfd"

    class Frame:
        """As a frame of the package, with zlib inside."""

        def __init__(self):
            self.inner, self.fresh = zlib.decompressobj(), True
            self.eof, self.unused_data = False, b""

        def decompress(self, data):
            if self.fresh and not data.startswith(magic):
                raise zlib.error("no frame")
            found = self.inner.decompress(data[4:] if self.fresh else data)
            self.fresh, self.eof, self.unused_data = False, self.inner.eof, self.inner.unused_data
            return found

    package = SimpleNamespace(ZstdDecompressor=lambda: SimpleNamespace(decompressobj=Frame), ZstdError=zlib.error)
    monkeypatch.setitem(sys.modules, "zstandard", package)
    monkeypatch.setattr(packings, "ZSTD_BYTES", 70)
    text = b"".join(b"R 0x%x\n" % (i * 7919 % 997 << 12) for i in range(2000))
    half = text.index(b"\n", len(text) // 2) - 3
    packed = b"".join(magic + zlib.compress(part) for part in (text[:half], text[half:]))
    tasks, source = imported(tmp_path, packed)
    assert source.packing == "zstd"
    assert [page for page, _, count in tasks[0].records for _ in range(count)] == [i * 7919 % 997 for i in range(2000)]
    for data, message in ((packed[:-5], "the frame has no end"), (packed + b"junk", "no frame")):
        with pytest.raises(TraceError, match=rf"x\.dat: does not unpack after \d+ bytes \({message}\)"):
            imported(tmp_path, data)


def test_zstd_needs_a_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(TraceError, match=r"x\.dat: is packed with zstd; pip install zstandard, or unpack it first"):
        imported(tmp_path, b"\x28\xb5\x2f\xfd" + bytes(20))


def test_lz4_goes_by_its_package(tmp_path, monkeypatch):
    packed = b"\x04\x22\x4d\x18" + zlib.compress(FILES["drmemtrace"].data)

    class Frame(io.BytesIO):
        """As the file of the package, with zlib inside."""

        def __init__(self, file):
            try:
                super().__init__(zlib.decompress(file.read()[4:]))
            except zlib.error as error:
                raise RuntimeError(f"LZ4F_decompress failed ({error})") from None

    frame = SimpleNamespace(LZ4FrameFile=Frame)
    monkeypatch.setitem(sys.modules, "lz4", SimpleNamespace(frame=frame))
    monkeypatch.setitem(sys.modules, "lz4.frame", frame)
    tasks, source = imported(tmp_path, packed)
    assert (tasks, source.packing) == (FILES["drmemtrace"].tasks, "lz4")
    monkeypatch.setitem(sys.modules, "lz4", None)
    with pytest.raises(TraceError, match=r"x\.dat: is packed with lz4; pip install lz4, or unpack it first"):
        imported(tmp_path, packed)


def zipped(*parts, method=zipfile.ZIP_DEFLATED, seekable=True):
    """An archive of chunks; written to a pipe its lengths come after the data."""

    class Pipe(io.BytesIO):
        def seekable(self):
            return seekable

        def seek(self, *where):
            if not seekable:
                raise io.UnsupportedOperation
            return super().seek(*where)

        def tell(self):
            if not seekable:
                raise io.UnsupportedOperation
            return super().tell()

    out = Pipe()
    with zipfile.ZipFile(out, "w", method) as archive:
        for number, part in enumerate(parts):
            archive.writestr(f"chunk.{number:04}", part)
    return out.getvalue()


@pytest.mark.parametrize(
    "settings", [{}, {"method": zipfile.ZIP_STORED}, {"seekable": False}], ids=["deflated", "stored", "piped"]
)
def test_zip_archives_are_read_member_after_member(tmp_path, settings):
    data = FILES["drmemtrace"].data
    packed = zipped(data[:40], b"", data[40:], **settings)
    tasks, source = imported(tmp_path, packed)
    assert (tasks, source.packing) == (FILES["drmemtrace"].tasks, "zip")
    assert source.sha256 == hashlib.sha256(packed).hexdigest()
    for place in range(0, len(packed), 3):
        damaged = bytearray(packed)
        damaged[place] ^= 4
        for cut in (packed[:place], bytes(damaged)):
            try:
                found = imported(tmp_path, cut, form="drmemtrace")[0]
            except TraceError:
                continue
            assert found == FILES["drmemtrace"].tasks  # names, dates and the table at the end do not matter


@pytest.mark.parametrize("packing", PACKERS)
def test_a_packed_file_that_is_damaged_or_cut_off_is_noticed(tmp_path, packing):
    text = b"".join(b"R 0x%x\n" % (i * 7919 % 100_003) for i in range(20_000))
    packed = PACKERS[packing](text)
    for data in (packed[: len(packed) // 2], packed[:-3], packed[:40] + bytes(len(packed) - 40)):
        with pytest.raises(TraceError, match=r"x\.dat: does not unpack after \d+ bytes \(.*damaged or cut off"):
            imported(tmp_path, data, form="address")
        assert not (tmp_path / "x.pmt").exists()
