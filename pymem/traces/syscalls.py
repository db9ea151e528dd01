"""System calls in the output of ``valgrind --trace-syscalls=yes``: mappings, files, advice.

Valgrind prints a call in one line when it returns at once and in two when it may block::

    SYSCALL[42,1](9) sys_mmap ( 0x0, 8192, 3, 34, 4294967295, 0 ) --> [pre-success] Success(0x4835000)
    SYSCALL[42,1](0) sys_read ( 4, 0x40355d0, 4096 ) --> [async] ...
    SYSCALL[42,1](0) ... [async] --> Success(0x1000)

`SyscallTracker` keeps the address space and the open files of the traced program and adds to its trace what
the kernel does on its behalf and no load or store shows: the file pages that ``read()`` and ``write()`` use, the
program's buffer pages that the kernel fills or reads for them, and ``munmap``, ``madvise``, ``mlock`` and
``fsync``.
"""

from __future__ import annotations

import os.path
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .address_space import FILE_PAGES, PAGE_SHIFT, PAGE_SIZE, AddressSpace

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._lackey import LackeyParser

OP_READ, OP_WRITE = 2, 3
OP_MLOCK, OP_MUNLOCK, OP_MUNMAP, OP_MMAP, OP_FSYNC = 12, 13, 14, 15, 16
#: Linux's MADV_* numbers and the operations for them.
MADVICE = {4: 4, 8: 5, 20: 6, 21: 7, 3: 8, 2: 9, 1: 10, 0: 11}
PROT_WRITE, PROT_EXEC, MAP_SHARED, MAP_ANONYMOUS = 2, 4, 1, 0x20
O_WRONLY, O_RDWR, O_APPEND, O_TRUNC = 1, 2, 0o2000, 0o1000
AT_FDCWD = (-100, 0xFFFFFF9C)
MAX_COUNT = 1 << 18

_CALL = re.compile(
    rb"SYSCALL\[\d+,(\d+)\]\( *\d+\) ?(?:(\w+)\S* ?\((.*)\))?"
    rb"(?:\.\.\.)? *(?:\[sync\])? *(?:\[async\])? *--> (?:\[[\w-]+\] )?(.*)"
)
_RESULT = re.compile(rb"(Success|Failure)\(0x([0-9a-f]+)\)")
_TAIL = re.compile(rb"(I |L|S|M) +?(?: )?([0-9a-f]+),(\d+)$")
_PATH = re.compile(rb"0x[0-9a-f]+\((.*)\)(?:, (.*))?$", re.DOTALL)


@dataclass
class _OpenFile:
    name: str | None  # None: not a regular file
    position: int = 0
    append: bool = False


def _number(text: bytes) -> int:
    text = text.strip()
    return int(text, 16) if text.startswith(b"0x") else int(text)


def _span(address: int, size: int) -> tuple[int, int]:
    """First page and number of pages of a range of bytes."""
    first = address >> PAGE_SHIFT
    return first, ((address + size + PAGE_SIZE - 1) >> PAGE_SHIFT) - first


class SyscallTracker:
    """Follows the system calls of one program and completes its trace.

    Parameters
    ----------
    space : AddressSpace
        Kept up to date; records must be translated before it changes (`before_change` is called then).
    directory : str
        Working directory of the program.  Files below it get names relative to it.
    before_change : callable
        Called before the mappings change.
    """

    def __init__(self, space: AddressSpace, directory: str, before_change: Callable[[], None]) -> None:
        self.space = space
        self.directory = os.path.realpath(directory)
        self.before_change = before_change
        self.calls = 0
        self.sizes: dict[str, int] = {}
        self.break_low = 0
        self.break_now = 0
        self._files: dict[int, _OpenFile] = {}
        self._pending: dict[bytes, tuple[str, bytes]] = {}
        self._parser: LackeyParser | None = None
        self._start = b""
        self._handlers: dict[str, Callable[[list[int], int], None]] = {
            "brk": self._brk, "mmap": self._mmap, "munmap": self._munmap, "mremap": self._mremap,
            "mprotect": self._mprotect, "madvise": self._madvise, "mlock": self._mlock,
            "mlock2": self._mlock, "munlock": self._munlock, "close": self._close, "lseek": self._lseek,
            "dup": self._dup, "dup2": self._dup, "dup3": self._dup, "fcntl": self._fcntl,
            "read": self._read, "pread64": self._pread, "readv": self._readv,
            "write": self._write, "pwrite64": self._pwrite, "writev": self._writev,
            "fsync": self._fsync, "fdatasync": self._fsync,
        }  # fmt: skip

    def attach(self, parser: LackeyParser) -> None:
        """Set the parser that gets the records."""
        self._parser = parser

    @property
    def parser(self) -> LackeyParser:
        """The parser that gets the records."""
        assert self._parser is not None
        return self._parser

    # ---- lines ----------------------------------------------------------------------------------------------

    def line(self, text: bytes) -> None:
        """Take one line of valgrind; lines that are no system calls are ignored."""
        if text.startswith(b"SYSCALL["):
            self._start = b""
        elif self._start:  # the rest of a call that printed a message in between
            text, self._start = self._start + text, b""
        else:
            return
        # A new thread may print before the line of the call that made it has ended.
        parts = re.split(rb"(?=SYSCALL\[)", text)
        for part in parts:
            if part:
                self._one(part)

    def _one(self, text: bytes) -> None:
        match = _CALL.match(text)
        if match is None:
            if b"-->" not in text:
                self._start = text
            return
        thread, name, arguments, outcome = match.groups()
        if outcome.startswith(b"[async]") or outcome.strip() == b"...":
            if name is not None:
                self._pending[thread] = (name.decode(), arguments)
            return
        result = _RESULT.search(outcome)
        if result is None:
            return
        tail = _TAIL.search(outcome)
        if name is None:
            if thread not in self._pending:
                return
            called, arguments = self._pending.pop(thread)
        else:
            called = name.decode()
        if result[1] == b"Success":
            self._dispatch(called.removeprefix("sys_"), arguments, int(result[2], 16))
        if tail is not None:
            self.parser.touch(int(tail[2], 16) >> PAGE_SHIFT, tail[1] in (b"S", b"M"))

    def _dispatch(self, name: str, arguments: bytes, result: int) -> None:
        self.calls += 1
        if name in ("open", "openat", "creat"):
            self._open(name, arguments, result)
        elif name in self._handlers:
            numbers = [_number(part) for part in re.sub(rb"\(.*?\)", b"", arguments).split(b",")]
            self._handlers[name](numbers, result)

    # ---- records --------------------------------------------------------------------------------------------

    def _emit(self, op: int, spans: list[tuple[int, int]]) -> None:
        for low, high in spans:
            while low < high:
                count = min(high - low, MAX_COUNT)
                self.parser.event(low | op << 40 | (count - 1) << 46)
                low += count

    def _buffer(self, address: int, size: int, *, write: bool) -> None:
        if size > 0:
            first, pages = _span(address, size)
            for page in range(first, first + pages):
                self.parser.touch(page, write)

    def _transfer(self, fd: int, op: int, size: int, position: int | None) -> None:
        """File pages of one read() or write(); without `position` at the file's own, which moves."""
        file = self._files.get(fd)
        if file is None:
            return
        if position is None:
            if op == OP_WRITE and file.append and file.name is not None:
                file.position = self.sizes.get(file.name, 0)
            position = file.position
            file.position += size
        if file.name is None or size <= 0:
            return
        first, pages = _span(position, size)
        if first + pages > FILE_PAGES:
            return
        obj = self.space.file_object(file.name)
        obj.widen(first, first + pages)
        if op == OP_WRITE:
            obj.writable = True
            self.sizes[file.name] = max(self.sizes.get(file.name, 0), position + size)
        self._emit(op, [(obj.base + first, obj.base + first + pages)])

    # ---- files ----------------------------------------------------------------------------------------------

    def name_of(self, path: str) -> str | None:
        """Name of a file in the trace, None for devices and the kernel's own files."""
        path = os.path.realpath(os.path.join(self.directory, path))
        if path.startswith(("/dev/", "/proc/", "/sys/")) or path == "/":
            return None
        inside = os.path.relpath(path, self.directory)
        return path if inside.startswith("..") else inside

    def _open(self, name: str, arguments: bytes, fd: int) -> None:
        directory = -100
        if name == "openat":
            first, _, arguments = arguments.partition(b",")
            directory = _number(first)
        match = _PATH.match(arguments.strip())
        if match is None:
            return
        path = os.fsdecode(match[1])
        flags = _number(match[2].split(b",")[0]) if match[2] and name != "creat" else O_WRONLY | O_TRUNC
        if not path.startswith("/") and directory not in AT_FDCWD:
            base = self._files.get(directory)
            if base is None or base.name is None:
                return
            path = os.path.join(base.name, path)
        known = self.name_of(path)
        if known is not None:
            if flags & O_TRUNC:
                self.sizes[known] = 0
            elif known not in self.sizes:
                full = os.path.join(self.directory, known)
                self.sizes[known] = os.path.getsize(full) if os.path.isfile(full) else 0
        self._files[fd] = _OpenFile(known, append=bool(flags & O_APPEND))

    def _close(self, args: list[int], _result: int) -> None:
        self._files.pop(args[0], None)

    def _dup(self, args: list[int], result: int) -> None:
        if args[0] in self._files:
            self._files[result] = self._files[args[0]]

    def _fcntl(self, args: list[int], result: int) -> None:
        if args[1] in (0, 1030):  # F_DUPFD, F_DUPFD_CLOEXEC
            self._dup(args, result)

    def _lseek(self, args: list[int], result: int) -> None:
        if args[0] in self._files:
            self._files[args[0]].position = result

    def _read(self, args: list[int], result: int) -> None:
        self._transfer(args[0], OP_READ, result, None)
        self._buffer(args[1], result, write=True)

    def _pread(self, args: list[int], result: int) -> None:
        self._transfer(args[0], OP_READ, result, args[3])
        self._buffer(args[1], result, write=True)

    def _readv(self, args: list[int], result: int) -> None:
        self._transfer(args[0], OP_READ, result, None)

    def _write(self, args: list[int], result: int) -> None:
        self._buffer(args[1], result, write=False)
        self._transfer(args[0], OP_WRITE, result, None)

    def _pwrite(self, args: list[int], result: int) -> None:
        self._buffer(args[1], result, write=False)
        self._transfer(args[0], OP_WRITE, result, args[3])

    def _writev(self, args: list[int], result: int) -> None:
        self._transfer(args[0], OP_WRITE, result, None)

    def _fsync(self, args: list[int], _result: int) -> None:
        file = self._files.get(args[0])
        if file is None or file.name is None:
            return
        obj = self.space.files.get((file.name, True, None))
        if obj is not None:
            self._emit(OP_FSYNC, [(obj.base + obj.low, obj.base + obj.low + 1)])

    # ---- memory ---------------------------------------------------------------------------------------------

    def _brk(self, _args: list[int], result: int) -> None:
        page = (result + PAGE_SIZE - 1) >> PAGE_SHIFT
        if not self.break_now:
            self.break_low = self.break_now = page
        elif page > self.break_now:
            self.before_change()
            self._emit(OP_MMAP, self.space.map_anon(self.break_now, page - self.break_now, "heap"))
        elif self.break_low <= page < self.break_now:
            self.before_change()
            self._emit(OP_MUNMAP, self.space.unmap(page, self.break_now - page))
        self.break_now = page

    def _mmap(self, args: list[int], address: int) -> None:
        size, protection, flags, fd, offset = args[1:6]
        first, pages = _span(address, size)
        self.before_change()
        self._replace(first, pages, flags, fd, offset)
        file = self._files.get(fd) if not flags & MAP_ANONYMOUS else None
        if file is not None and file.name is not None and (offset >> PAGE_SHIFT) + pages <= FILE_PAGES:
            again = self.space.map_file(
                first, pages, file.name, offset >> PAGE_SHIFT,
                shared=bool(flags & MAP_SHARED), writable=bool(protection & PROT_WRITE),
                executable=bool(protection & PROT_EXEC),
            )  # fmt: skip
        else:
            again = self.space.map_anon(first, pages)
        self._emit(OP_MMAP, again)

    def _replace(self, first: int, pages: int, flags: int, fd: int, offset: int) -> None:
        """Unmap what a new mapping covers, unless it shows the same pages again."""
        file = self._files.get(fd) if not flags & MAP_ANONYMOUS else None
        if file is not None and file.name is not None:
            key = (file.name, bool(flags & MAP_SHARED), first - (offset >> PAGE_SHIFT))
            obj = self.space.files.get(key)
            covered = self.space.objects_in(first, pages)
            if obj is not None and all(obj.base <= low < obj.base + FILE_PAGES for low, _ in covered):
                return
        self._emit(OP_MUNMAP, self.space.unmap(first, pages))

    def _munmap(self, args: list[int], _result: int) -> None:
        self.before_change()
        self._emit(OP_MUNMAP, self.space.unmap(*_span(args[0], args[1])))

    def _mremap(self, args: list[int], address: int) -> None:
        """Move or resize.  The pages of a moved mapping are new ones, filled by their next access."""
        old, old_pages = _span(args[0], args[1])
        new, new_pages = _span(address, args[2])
        self.before_change()
        source = [m for m in self.space.mappings if m.start <= old < m.end]
        if new == old:
            if new_pages < old_pages:
                self._emit(OP_MUNMAP, self.space.unmap(new + new_pages, old_pages - new_pages))
                return
            old, new, new_pages = old + old_pages, new + old_pages, new_pages - old_pages
            shift = old_pages
        else:
            self._emit(OP_MUNMAP, self.space.unmap(old, old_pages))
            shift = 0
        if not new_pages:
            return
        if source and source[0].file is not None:
            file = source[0].file
            offset = (args[0] >> PAGE_SHIFT) + source[0].delta - file.base + shift
            again = self.space.map_file(
                new, new_pages, file.name, offset,
                shared=file.shared, writable=file.writable, executable=file.executable,
            )  # fmt: skip
        else:
            again = self.space.map_anon(new, new_pages)
        self._emit(OP_MMAP, again)

    def _mprotect(self, args: list[int], _result: int) -> None:
        first, pages = _span(args[0], args[1])
        self.space.protect(
            first, pages, writable=bool(args[2] & PROT_WRITE), executable=bool(args[2] & PROT_EXEC)
        )

    def _madvise(self, args: list[int], _result: int) -> None:
        if args[2] in MADVICE:
            op = MADVICE[args[2]]
            self._emit(op, self.space.objects_in(*_span(args[0], args[1])))

    def _mlock(self, args: list[int], _result: int) -> None:
        self._emit(OP_MLOCK, self.space.objects_in(*_span(args[0], args[1])))

    def _munlock(self, args: list[int], _result: int) -> None:
        self._emit(OP_MUNLOCK, self.space.objects_in(*_span(args[0], args[1])))
