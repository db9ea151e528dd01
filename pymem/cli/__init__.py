"""The command `pymem`: one file per sub-command.

Exit codes: 0 done, 2 a mistake in what was asked for, 3 the simulated kernel panicked or got stuck, 130 Ctrl-C.
"""

from __future__ import annotations

import sys
from typing import Any

from pymem.errors import PymemError


def main() -> None:
    """Entry point of the command; prints a PymemError as one line and exits with 2."""
    try:
        _app()()
    except PymemError as error:
        print("error:", " ".join(str(error).splitlines()), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # `pymem ... | head`
        sys.stderr.close()
        sys.exit(1)


def _app() -> Any:  # typer is imported only when the command runs
    import typer

    from pymem.cli import compare, compressibility, explain, machine, oom, run, sweep, trace, tunables, tune, validate

    app = typer.Typer(
        name="pymem", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
        help="What will this machine do under memory pressure, and why?",
    )  # fmt: skip

    @app.callback(invoke_without_command=True)
    def _options(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
        if version:
            from pymem.provenance import version as installed

            typer.echo(f"pymem {installed()}")
            raise typer.Exit

    app.command("run")(run.command)
    app.command("oom")(oom.command)
    app.command("compare")(compare.command)
    app.command("sweep")(sweep.command)
    app.command("tune")(tune.command)
    app.command("tunables")(tunables.command)
    app.command("validate")(validate.command)
    app.command("compressibility")(compressibility.command)
    app.command("explain")(explain.command)
    app.add_typer(machine.app, name="machine")
    app.add_typer(trace.app, name="trace")
    return app
