"""Symmetric matrices tile by tile, in threads: what fits the cache, and what fits the memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import psutil

from helpers.arrays import Matrix, is_tensor
from helpers.progress import track

Tile = tuple[slice, slice]
Block = Callable[[slice, slice, Matrix], tuple[Matrix, ...]]
Task = TypeVar("Task")
Result = TypeVar("Result")
WIDTH = 256  # a tile of doubles and its temporaries stay in the cache
SMALL_WIDTH = 128  # of few samples: the allocator keeps arrays of this size for the next tile
FEW = 512  # samples up to which one thread is faster: those of BLAS still spin after the product
TENSOR_WIDTH = 2048  # a device wants large pieces


def bands(n: int, width: int) -> list[slice]:
    """Cut 0 … n-1 into slices of a width."""
    return [slice(start, min(start + width, n)) for start in range(0, n, width)]


def upper(n: int, width: int) -> list[Tile]:
    """Tiles of the upper triangle of an (n, n) matrix, of a ``width``, diagonal included."""
    cuts = bands(n, width)
    return [(rows, columns) for index, rows in enumerate(cuts) for columns in cuts[index:]]


def fill(kernels: tuple[Matrix, ...], block: Block) -> None:
    """Overwrite symmetric matrices, the first of which holds the Gram matrix, tile by tile.

    Parameters
    ----------
    kernels : tuple of (n, n) arrays or tensors
    block : callable
        ``block(rows, columns, gram)`` returns the kernels' values on a tile.
    """

    def work(tile: Tile) -> None:
        rows, columns = tile
        for kernel, values in zip(kernels, block(rows, columns, kernels[0][rows, columns])):
            kernel[rows, columns] = (values + values.T) / 2 if rows == columns else values
            if rows != columns:
                kernel[columns, rows] = values.T

    tensors = is_tensor(kernels[0])
    n = len(kernels[0])
    width = TENSOR_WIDTH if tensors else min(WIDTH, max(SMALL_WIDTH, n // 4))
    tasks = upper(n, width)
    alone = tensors or n <= FEW
    for _ in in_threads(work, tasks, "kernel", 1 if alone else threads()):
        pass


def in_threads(
    work: Callable[[Task], Result], tasks: Sequence[Task], what: str, workers: int
) -> Iterator[Result]:
    """Results of ``work`` on the tasks, in their order, by ``workers`` threads, under a progress bar; an interrupt drops what has not begun."""
    if workers == 1:
        yield from map(work, track(tasks, len(tasks), what))
        return
    with ThreadPoolExecutor(workers) as pool:
        futures = deque(pool.submit(work, task) for task in tasks)
        try:
            for _ in track(tasks, len(tasks), what):
                yield futures.popleft().result()
        finally:
            for future in futures:
                future.cancel()


def threads() -> int:
    """Threads to use: ``OMP_NUM_THREADS``, or every core."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return max(1, int(asked)) if asked.isdigit() else os.cpu_count() or 1


def require_memory(n: int, matrices: int, itemsize: int) -> None:
    """Refuse before allocating when ``matrices`` of n x n numbers of ``itemsize`` bytes cannot fit.

    Raises
    ------
    MemoryError
        That names what is needed, what there is, and the way out.
    """
    need, there_is = itemsize * n * n * matrices, psutil.virtual_memory().available
    if need > there_is:
        raise MemoryError(
            f"{matrices} kernel(s) of n = {n} samples need {need / 2**30:.1f} GiB, "
            f"{there_is / 2**30:.1f} GiB are free: kernels.operator multiplies without storing them"
        )
