"""`pymem compressibility`: would zswap help with this memory, and with which codec?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from pymem.compressibility import CodecReport, Report
    from pymem.content import PageSource

BAR = 40  # characters of the longest bar


def command(
    target: Annotated[
        Path | None,
        typer.Argument(help="A file, taken as it is, or an ELF core dump, of which the memory is taken."),
    ] = None,
    pid: Annotated[
        int | None, typer.Option(help="Look at the anonymous memory of this live process.")
    ] = None,
    codec: Annotated[
        list[str] | None,
        typer.Option(help="Codec to try; may be given several times. Default: all installed."),
    ] = None,
    sample: Annotated[
        int, typer.Option(help="Most pages to look at, chosen at random; 0: all.", min=0)
    ] = 2048,
    seed: Annotated[int, typer.Option(help="Seed of that choice.")] = 0,
    allocator: Annotated[str, typer.Option(help="Allocator of the pool: zsmalloc or zbud.")] = "zsmalloc",
    chain: Annotated[
        int, typer.Option(help="Most frames per zspage: 8 since Linux 6.3, 4 before.", min=4, max=16)
    ] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print all numbers as JSON.")] = False,
) -> None:
    """Measure how well pages compress, and say whether compressed swap would help and with which codec."""
    from pymem.compressibility import analyse

    source = open_source(target, pid, sample or None, seed)
    report = analyse(
        source, codecs=codec or None, sample=sample or None, seed=seed, allocator=allocator, chain=chain
    )
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=2))
        return
    from rich.console import Console

    console = Console()
    for part in render(report):
        console.print(part)


def open_source(target: Path | None, pid: int | None, sample: int | None, seed: int) -> PageSource:
    """The source that the arguments name. ContentError unless it is exactly one, and readable."""
    from pymem.content import ContentError, ElfCoreSource, FileSource, ProcessSource
    from pymem.content.sources import is_elf_core

    if (target is None) == (pid is None):
        raise ContentError("name either a file or, with --pid, a process")
    if pid is not None:
        return ProcessSource(pid, sample=sample, seed=seed)
    assert target is not None
    return ElfCoreSource(target) if is_elf_core(target) else FileSource(target)


def render(report: Report) -> list[RenderableType]:
    """What the terminal shows: facts, a table of codecs, a histogram per codec, the verdict."""
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    from pymem.compressibility import verdict

    seen = f"{report.sampled} of {report.pages}" if report.sampled < report.pages else f"{report.pages}"
    head = Text.assemble(
        (report.name, "bold"),
        f": {seen} pages looked at; {report.zero_share:.1%} zero, "
        f"{report.same_filled_share - report.zero_share:.1%} otherwise same-filled",
    )
    if report.note:
        head.append(f"\n{report.note}", "dim")
    frames = (
        f"{report.allocator}, chain {report.chain}" if report.allocator == "zsmalloc" else report.allocator
    )
    table = Table(title=f"pool: {frames}", title_justify="left")
    table.add_column("codec")
    for title in ("ratio", "pool ratio", "saved", "no gain", "comp. µs", "decomp. µs"):
        table.add_column(title, justify="right")
    for one in report.codecs:
        table.add_row(
            one.codec + ("*" if one.modelled else ""),
            f"{one.ratio:.2f}" if one.ratio == one.ratio else "-",
            f"{one.pool_ratio:.2f}",
            f"{one.saved:.0%}",
            f"{one.incompressible:.1%}",
            f"{one.compress_us:.1f}",
            f"{one.decompress_us:.1f}",
        )
    if any(one.modelled for one in report.codecs):
        table.caption = "* modelled: sizes follow the stream format, times are estimates"
        table.caption_justify = "left"
    pictures = [histogram(one) for one in report.codecs if sum(one.histogram)]
    return [head, table, *pictures, Panel(verdict(report), title="verdict", title_align="left")]


def histogram(report: CodecReport) -> Text:
    """Bars of the compressed sizes, 512 bytes each, the longest one 40 characters long."""
    from rich.text import Text

    total, most = sum(report.histogram), max(report.histogram)
    out = Text(f"\n{report.codec}: compressed bytes of pages that are not same-filled\n", style="bold")
    for i, count in enumerate(report.histogram):
        label = "4096 and more" if i == len(report.histogram) - 1 else f"{i * 512:4} to {i * 512 + 511:4}"
        eighths = round(count / most * BAR * 8)
        bar = "█" * (eighths // 8) + ("", *"▏▎▍▌▋▊▉")[eighths % 8]
        style = "red" if i == len(report.histogram) - 1 else "green" if i < 4 else "yellow"
        out.append(f"{label:>13} ", style="dim")
        out.append(bar, style=style)
        out.append(f" {count / total:.1%}\n" if count else "\n", style="not bold")
    out.rstrip()
    return out
