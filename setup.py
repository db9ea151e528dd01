"""Compiled extensions of pymem and the one place for their compiler directives.

Everything else about the distribution is in pyproject.toml.  Every ``.pyx`` file in the folders of
``EXTENSION_FOLDERS`` becomes one extension module; nothing has to be listed here.

Variants, chosen by environment variables that may be combined:

====================  ===========================================================================
``PYMEM_DEBUG=1``     ``MM_BUG_ON`` checks (macro ``MM_DEBUG``), bounds checks, ``-O1 -g``
``PYMEM_ASAN=1``      address and undefined-behaviour sanitizers; run with libasan preloaded
``PYMEM_COVERAGE=1``  gcov instrumentation, C lines mapped back to the Cython sources
====================  ===========================================================================

A variant adds checks and never changes a result.  Each keeps its C files and objects in its own folder under
``build/``, and what was built last is recorded beside the libraries, so that a change of variant, of Cython
or of this file rebuilds instead of leaving a mixture.
"""

import hashlib
import multiprocessing
import os
import re
import shutil
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

EXTENSION_FOLDERS = ("memcore", "pymem/traces", "pymem/workloads")
VARIANTS = ("debug", "asan", "coverage")

HERE = Path(__file__).resolve().parent
ACTIVE = tuple(v for v in VARIANTS if os.environ.get(f"PYMEM_{v.upper()}", "0") not in ("", "0"))
TAG = "-".join(ACTIVE) or "release"
CHECKED = "debug" in ACTIVE
JOBS = min(2, os.cpu_count() or 1)

DIRECTIVES = {
    "language_level": 3,
    "cdivision": True,  # C semantics in every variant: turning it off would change results
    "wraparound": False,
    "boundscheck": CHECKED,
    "initializedcheck": CHECKED,
    "nonecheck": CHECKED,
    "embedsignature": True,
}


def compile_args() -> list[str]:
    """Flags of the active variant; they follow, and so override, those Python was built with."""
    # Contraction to fused multiply-add would make results depend on the processor.
    # The two warnings are about what Cython generates, not about what is written here.
    args = ["-std=gnu11", "-ffp-contract=off", "-Wno-unused-function", "-Wno-sign-compare"]
    if "coverage" in ACTIVE:
        return [*args, "-O0", "-g", "--coverage"]
    args += ["-O1", "-g"] if CHECKED or "asan" in ACTIVE else ["-O3", "-g0"]
    if "asan" in ACTIVE:
        args += ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
    return args


def link_args() -> list[str]:
    """Linker flags of the active variant."""
    args = []
    if "asan" in ACTIVE:
        args.append("-fsanitize=address,undefined")
    if "coverage" in ACTIVE:
        args.append("--coverage")
    return args


def include_dirs(source: Path) -> list[str]:
    """``memcore`` for its C headers, and NumPy's headers only for a module that cimports NumPy."""
    dirs = ["memcore"]
    text = source.read_text(encoding="utf-8")
    if re.search(r"^\s*(cimport\s+numpy\b|from\s+numpy\S*\s+cimport\b)", text, re.MULTILINE):
        import numpy

        dirs.append(numpy.get_include())
    return dirs


def extensions() -> list[Extension]:
    """One extension per ``.pyx`` file, in sorted order; an empty list where there are none."""
    headers = sorted(path.relative_to(HERE).as_posix() for path in (HERE / "memcore").glob("*.h"))
    found = []
    for folder in EXTENSION_FOLDERS:
        for path in sorted((HERE / folder).glob("*.pyx")):
            source = path.relative_to(HERE)
            found.append(
                Extension(
                    ".".join(source.with_suffix("").parts),
                    [source.as_posix()],
                    include_dirs=include_dirs(path),
                    define_macros=[("MM_DEBUG", "1")] if CHECKED else [],
                    extra_compile_args=compile_args(),
                    extra_link_args=link_args(),
                    depends=headers,
                )
            )
    return found


class BuildExt(build_ext):
    """Translate all modules first (dependencies tracked through ``.pxd`` files), then compile in parallel."""

    def finalize_options(self) -> None:
        super().finalize_options()
        if self.parallel is None:
            self.parallel = JOBS

    def run(self) -> None:
        if not self.extensions:
            return
        import Cython
        from Cython.Build import cythonize
        from Cython.Compiler.Errors import CompileError as CythonError

        if self.editable_mode:  # pip hands over throw-away folders: the usual ones make it incremental
            platform = f"{self.plat_name}-{sys.implementation.cache_tag}"
            self.build_lib, self.build_temp = f"build/lib.{platform}", f"build/temp.{platform}"
        self.build_temp = f"{self.build_temp}-{TAG}"
        # C files or libraries of another recipe are removed, not reused.
        recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
        made_by = f"{TAG} cython-{Cython.__version__} {recipe}\n"
        c_folder = Path("build", f"cython-{TAG}")
        if not is_stamped(c_folder / "stamp", made_by):
            shutil.rmtree(c_folder, ignore_errors=True)
            write_stamp(c_folder / "stamp", made_by)
        lib_stamp = Path(f"{self.build_lib}.stamp")
        if not is_stamped(lib_stamp, made_by):
            for ext in self.extensions:
                Path(self.build_lib, self.get_ext_filename(ext.name)).unlink(missing_ok=True)
            write_stamp(lib_stamp, made_by)
        try:
            translated = cythonize(
                self.extensions,
                build_dir=str(c_folder),
                compiler_directives=DIRECTIVES,
                emit_linenums="coverage" in ACTIVE,
                nthreads=translators(),
                force=bool(self.force),
                quiet=True,
            )
        except CythonError as error:  # Cython has printed the details
            raise CompileError(f"cannot translate {error}") from None
        by_name = {ext.name: ext for ext in translated}
        for ext in self.extensions:
            ext.sources, ext.depends = by_name[ext.name].sources, by_name[ext.name].depends
        super().run()


def translators() -> int:
    """Processes that translate; 0 (none besides this one) where semaphores are not to be had."""
    try:
        multiprocessing.Lock()
    except OSError:  # a sandbox or chroot without a writable /dev/shm
        return 0
    return JOBS


def is_stamped(path: Path, text: str) -> bool:
    """Whether the stamp file exists and says exactly this."""
    return path.is_file() and path.read_text(encoding="utf-8") == text


def write_stamp(path: Path, text: str) -> None:
    """Write the stamp file, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExt})
