"""The rows of a sweep: one per run, with all settings and all measures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pymem.errors import ScenarioError

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from numpy.typing import NDArray

    from pymem.sweeps.store import Run, Store

ABOUT = ("point", "replicate", "seed", "status", "error")


@dataclass(frozen=True)
class SweepResult:
    """What came out of a sweep, sorted by point and replicate.

    Attributes
    ----------
    name : str
        Of the scenario.
    varied : dict of str
        What varies, by name, with its unit.
    fixed : dict
        All other settings.
    points : dict of dict
        The varied settings by number of point.
    runs : list of Run
    measures : list of str
    design : dict
        What the points follow from.
    scenario : dict
        All of the scenario, as `pymem.provenance.describe` has it.
    resumed : int
        Runs that were there before.
    """

    name: str
    varied: dict[str, str]
    fixed: dict[str, Any]
    points: dict[int, dict[str, Any]]
    runs: list[Run]
    measures: list[str]
    design: dict[str, Any] = field(repr=False)
    scenario: dict[str, Any] = field(repr=False)
    resumed: int = 0

    @classmethod
    def of(cls, store: Store, replicates: int | None = None, resumed: int = 0) -> SweepResult:
        """What a store holds; of each point up to so many replicates."""
        from pymem.objectives import OBJECTIVES

        runs = [run for run in store.runs() if replicates is None or run.replicate < replicates]
        return cls(
            store.meta("name"), store.meta("varied"), store.meta("fixed"), store.points(), runs,
            [*OBJECTIVES, *store.meta("identity")["measures"]], store.meta("design"), store.meta("scenario"), resumed,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.runs)

    @property
    def failed(self) -> list[Run]:
        """Runs that could not be simulated."""
        return [run for run in self.runs if run.status == "failed"]

    @property
    def settings(self) -> list[str]:
        """Names of all settings, varied ones first."""
        return [*self.varied, *self.fixed]

    @property
    def columns(self) -> list[str]:
        """Names of all columns of the rows."""
        return [*ABOUT, *self.settings, *self.measures, "host_seconds"]

    def rows(self) -> list[dict[str, Any]]:
        """One dict per run: `columns`. Measures of a failed run are None; only ``host_seconds`` is of the host."""
        nothing = dict.fromkeys(self.measures)
        return [
            {
                "point": run.point, "replicate": run.replicate, "seed": run.seed, "status": run.status,
                "error": run.error, **self.points[run.point], **self.fixed, **run.changed, **nothing, **run.outcome,
                "host_seconds": run.host_seconds,
            }
            for run in self.runs
        ]  # fmt: skip

    def __getitem__(self, name: str) -> NDArray[Any]:
        """One column as an array, one value per run; measures as float64, NaN where the run failed."""
        if name in self.measures:
            return np.array([run.outcome.get(name, math.nan) for run in self.runs], np.float64)
        if name in (*ABOUT, "host_seconds"):
            return np.array([getattr(run, name) for run in self.runs], np.uint64 if name == "seed" else None)
        if name in self.varied:
            return np.array([self.points[run.point][name] for run in self.runs])
        if name in self.fixed:
            return np.array([run.changed.get(name, self.fixed[name]) for run in self.runs])
        raise KeyError(f"{name!r}; the columns are {', '.join(self.columns)}")

    def to_pandas(self) -> pd.DataFrame:
        """A frame with one row per run. Needs pandas: ``pip install 'pymem-sim[sweep]'``."""
        import pandas as pd

        return pd.DataFrame({name: self[name] for name in self.columns})

    def to_xarray(self) -> xr.Dataset:
        """Measures over the settings that vary and the replicates; NaN where there is no result.

        A grid has one dimension per setting; draws have the dimension ``point``, with the settings as coordinates.
        Fixed settings are attributes. Needs xarray: ``pip install 'pymem-sim[sweep]'``.
        """
        import xarray as xr

        count = 1 + max((run.replicate for run in self.runs), default=0)
        if self.design["draws"] is None:
            coords: dict[str, Any] = dict(self.design["grid"])
            dims, shape = list(coords), [len(values) for values in coords.values()]
        else:
            coords = {name: ("point", [p[name] for p in self.points.values()]) for name in self.varied}
            coords["point"] = list(self.points)
            dims, shape = ["point"], [len(self.points)]
        where = [run.point for run in self.runs], [run.replicate for run in self.runs]
        variables = {}
        for name in self.measures:
            values = np.full((len(self.points), count), math.nan)
            values[where] = self[name]
            variables[name] = ([*dims, "replicate"], values.reshape([*shape, count]))
        return xr.Dataset(variables, {**coords, "replicate": np.arange(count)}, {"scenario": self.name, **self.fixed})

    @cached_property
    def _by_point(self) -> dict[int, list[Run]]:
        out: dict[int, list[Run]] = {}
        for run in self.runs:
            if run.status != "failed":
                out.setdefault(run.point, []).append(run)
        return out

    def summary(self, measures: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Mean and standard deviation over the replicates of every point.

        Parameters
        ----------
        measures : sequence of str
            Default: all.

        Returns
        -------
        list of dict
            ``point``, ``settings``, ``runs`` (that ended), and by measure ``mean`` and ``sd`` (None below two runs).
        """
        for name in measures:
            if name not in self.measures:
                raise ScenarioError(f"measure {name!r}: is not in these results; they have {', '.join(self.measures)}")
        out = []
        for point, settings in self.points.items():
            runs = self._by_point.get(point, [])
            row: dict[str, Any] = {"point": point, "settings": settings, "runs": len(runs)}
            for name in measures or self.measures:
                values = np.array([run.outcome[name] for run in runs], np.float64)
                row[name] = {
                    "mean": float(values.mean()) if len(values) else None,
                    "sd": float(values.std(ddof=1)) if len(values) > 1 else None,
                }
            out.append(row)
        return out
