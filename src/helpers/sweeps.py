"""Tables of measurements over a grid: run in parallel, resumed after an interrupt, read only when intact."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import itertools
import json
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from joblib import Parallel, delayed
from joblib.parallel import LokyBackend, get_active_backend
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from helpers.files import whole
from helpers.progress import track

CLONE = Path(__file__).resolve().parents[2]
RESULTS = (
    CLONE / "results" if (CLONE / "pyproject.toml").exists() else Path(__file__).parent / "results"
)
Values = dict[str, float]


@dataclass(frozen=True)
class Sweep:
    """A task and the grid of arguments that it is run on.

    Attributes
    ----------
    name : str
        Of the result file.
    version : int
        To be raised when the task changes its meaning: old results are then not read any more.
    task : callable
        Takes the grid's axes as keyword arguments and returns named numbers; importable by name, so that other
        processes find it.
    grid : dict
        Axis to its values, in the order of the table's axes.
    """

    name: str
    version: int
    task: Callable[..., Values]
    grid: dict[str, list[Any]]

    @property
    def parameters(self) -> dict[str, Any]:
        """What a result file is keyed on."""
        return {"task": self.task.__name__, "version": self.version, "grid": self.grid}

    def points(self) -> Iterator[dict[str, Any]]:
        """Arguments of every run, the last axis fastest."""
        for values in itertools.product(*self.grid.values()):
            yield dict(zip(self.grid, values))

    def key(self, point: dict[str, Any]) -> str:
        """Content hash of one run at a ``point`` of the grid."""
        return digest([self.task.__name__, self.version, point])


@dataclass(frozen=True)
class Table:
    """The result of a sweep.

    Attributes
    ----------
    grid : dict
        Axis to its values.
    values : dict
        Quantity to an array with one axis for every axis of the grid.
    made : str
        When, on what kind of machine, and with which versions.
    """

    grid: dict[str, list[Any]]
    values: dict[str, NDArray[np.float64]]
    made: str

    def of(self, quantity: str, **chosen: Any) -> NDArray[np.float64]:
        """A quantity at chosen values of some axes; the other axes remain, in the grid's order.

        Raises
        ------
        ValueError
            For an unknown quantity, axis or value.
        """
        if quantity not in self.values:
            raise ValueError(f"quantity must be one of {', '.join(self.values)}, got {quantity!r}")
        for axis, value in chosen.items():
            if value not in self.grid.get(axis, ()):
                raise ValueError(
                    f"{axis} = {value!r} is not in the table: {self.grid.get(axis, 'no such axis')}"
                )
        index = tuple(
            values.index(chosen[axis]) if axis in chosen else slice(None)
            for axis, values in self.grid.items()
        )
        return self.values[quantity][index]


def run(sweep: Sweep, workers: int | None = None, folder: Path | None = None) -> Table:
    """The table of a sweep: read if it is there and intact, measured and written otherwise.

    The table is the same for any number of workers. Finished runs are noted in a journal beside the result, so that a second call goes on where an
    interrupted one stopped. Parallel runs go through joblib: inside ``joblib.parallel_config("dask")``, and
    likewise for any other backend, they go to that cluster.

    Parameters
    ----------
    sweep : Sweep
    workers : int, optional
        Processes, -1 for all cores; what joblib's configuration says unless given.
    folder : Path, optional
        Where the result goes, ``results/`` unless given.

    Returns
    -------
    Table
    """
    with contextlib.suppress(FileNotFoundError, ValueError):
        return read(sweep, folder)
    journal = (folder or RESULTS) / f"{sweep.name}.journal"
    journal.parent.mkdir(parents=True, exist_ok=True)
    done = _noted(journal)
    points = list(sweep.points())
    missing = [point for point in points if sweep.key(point) not in done]
    parallel = Parallel(n_jobs=workers, return_as="generator_unordered", **_tie())
    runs = parallel(delayed(_alone)(sweep.task, sweep.key(point), point) for point in missing)
    with open(journal, "a", encoding="utf-8") as notes:
        notes.write("\n")  # the last line of a killed run may have no end
        for key, values in track(runs, len(missing), sweep.name):
            notes.write(json.dumps([key, values, digest([key, values])]) + "\n")
            notes.flush()
            done[key] = values
    shape = [len(values) for values in sweep.grid.values()]
    rows = [done[sweep.key(point)] for point in points]
    table = {name: np.reshape([row[name] for row in rows], shape).tolist() for name in rows[0]}
    save({"parameters": sweep.parameters, **circumstances(), "values": table}, sweep.name, folder)
    journal.unlink()
    return read(sweep, folder)


def read(sweep: Sweep, folder: Path | None = None) -> Table:
    """The table of a sweep that was run and left in ``folder``.

    Raises
    ------
    FileNotFoundError, ValueError
        When it is missing, damaged or of other parameters; all say to run ``make experiments``.
    """
    result = load(sweep.name, sweep.parameters, folder)
    values = {name: np.array(table) for name, table in result["values"].items()}
    made = f"{result['date']}, {result['machine']}, {result['versions']}"
    return Table(sweep.grid, values, made)


def _tie() -> dict[str, Any]:
    """What makes joblib's own processes end with this one; another backend has its own ways."""
    backend, _ = get_active_backend()
    own = isinstance(backend, LokyBackend)
    return {"initializer": _watch, "initargs": (os.getpid(),)} if own else {}


def _watch(parent: int) -> None:
    """End this process when its parent is gone: killed at once, that could not tell its workers."""

    def wait() -> None:
        while os.getppid() == parent and psutil.pid_exists(parent):
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _alone(task: Callable[..., Values], key: str, point: dict[str, Any]) -> tuple[str, Values]:
    # one thread a worker: the workers already use every core, and sums come out the same
    os.environ["OMP_NUM_THREADS"] = "1"
    with threadpool_limits(1):
        return key, {name: float(value) for name, value in task(**point).items()}


def _noted(journal: Path) -> dict[str, Values]:
    """Finished runs of a journal; a line that was cut or altered is as if it had never been."""
    done = {}
    for line in journal.read_bytes().splitlines() if journal.exists() else ():
        try:
            key, values, check = json.loads(line)
            if check == digest([key, values]):
                done[key] = values
        except (ValueError, TypeError, RecursionError):
            continue
    return done


def digest(content: Any) -> str:
    """Hash of ``content``, anything that JSON can write."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def circumstances() -> dict[str, str]:
    """When and on what kind of machine a result is made: nothing that names the machine."""
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "versions": f"Python {platform.python_version()}, numpy {np.__version__}",
    }


def save(result: dict[str, Any], name: str, folder: Path | None = None) -> Path:
    """Write a result under a ``name`` in ``folder`` as JSON with its hash, whole or not at all."""
    folder = folder or RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in result.items()]
    lines.append(f'"sha256": "{digest(result)}"')
    with whole(path) as place:
        place.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    return path


def load(name: str, parameters: dict[str, Any], folder: Path | None = None) -> dict[str, Any]:
    """Read the result ``name`` in ``folder`` that was computed with exactly these ``parameters`` and not touched since.

    Raises
    ------
    FileNotFoundError, ValueError
        When it is missing, damaged or of other parameters; all say to run ``make experiments``.
    """
    path = (folder or RESULTS) / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(f"results/{path.name} is missing: run `make experiments`")
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        intact = result.pop("sha256") == digest(result)
        recorded = result["parameters"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"results/{path.name} is not a result file: run `make experiments`"
        ) from error
    if not intact:
        raise ValueError(
            f"results/{path.name} was altered since it was computed: run `make experiments`"
        )
    if recorded != json.loads(json.dumps(parameters)):
        raise ValueError(
            f"results/{path.name} is of other parameters {recorded}: run `make experiments`"
        )
    return result
