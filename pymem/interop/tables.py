"""The time line and lists of rows as tables of other libraries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl
    import xarray as xr
    from numpy.typing import NDArray

    from pymem.result import Result


def to_polars(result: Result) -> pl.DataFrame:
    """The time line as a polars frame, one int64 column each. Needs polars: ``pip install 'pymem-sim[interop]'``."""
    import polars as pl

    return pl.DataFrame(result.timeline.columns)


def to_xarray(rows: Sequence[Mapping[str, Any]], dims: Sequence[str]) -> xr.Dataset:
    """A list of rows, such as one per run, as a grid. Needs xarray: ``pip install 'pymem-sim[interop]'``.

    Parameters
    ----------
    rows : sequence of mapping
        All with the same keys.
    dims : sequence of str
        The keys that span the grid; every other key that holds a number becomes a variable over them.

    Returns
    -------
    xarray.Dataset
        NaN where the grid has no row.

    Raises
    ------
    ValueError
        A dimension that the rows lack, or two rows at one place of the grid.
    """
    import xarray as xr

    keys = list(rows[0]) if rows else []
    for dim in dims:
        if dim not in keys:
            raise ValueError(f"dimension {dim!r}: is not in the rows; they have {', '.join(keys)}")
    coords = {dim: sorted({row[dim] for row in rows}) for dim in dims}
    places = [tuple(coords[dim].index(row[dim]) for dim in dims) for row in rows]
    if len(set(places)) != len(places):
        raise ValueError(f"two rows have the same {', '.join(dims)}; a further dimension has to tell them apart")
    index = tuple(np.array(places).T)
    variables = {}
    for key in keys:
        if key in dims or not all(isinstance(row[key], (int, float)) for row in rows):
            continue
        values = np.full([len(coords[dim]) for dim in dims], np.nan)
        values[index] = [row[key] for row in rows]
        variables[key] = (list(dims), values)
    return xr.Dataset(variables, coords)


def write_csv(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    """A table of whole numbers and plain names as CSV with a head line."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(",".join(columns) + "\n")
        for row in zip(*(column.tolist() for column in columns.values()), strict=True):
            file.write(",".join(map(str, row)) + "\n")
