"""Real images: the class-balanced subsets that ship with the book, and the full sets on request."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from helpers.checks import integer

Array = NDArray[np.float64]
SPLITS = ("train", "test")
KEYS = ("x_train", "y_train", "x_test", "y_test")
FOLDER_VARIABLE = "HELPERS_DATA"
PARTS = {  # the official names of the four IDX files
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


@dataclass(frozen=True)
class Source:
    """Where the official files of a data set are, and what they hash to, compressed and (if known) plain."""

    url: str
    compressed: dict[str, str]
    plain: dict[str, str]


SOURCES = {
    "mnist": Source(
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        {
            "x_train": "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "y_train": "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "x_test": "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "y_test": "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
        {
            "x_train": "sha256:ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "y_train": "sha256:65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "x_test": "sha256:0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "y_test": "sha256:ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
    ),
    "fashion_mnist": Source(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        {  # the authors publish MD5 sums of the compressed files
            "x_train": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "y_train": "md5:25c81989df183df01b3e8a0aad5dffbe",
            "x_test": "md5:bef4ecab320f06d8554ea6380940ec79",
            "y_test": "md5:bb300cfdad3c16e7a12a480ee83cd310",
        },
        {},
    ),
}


class DataError(ValueError):
    """A data file that is truncated, altered or not of the kind its name says."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images as columns, with their labels.

    Attributes
    ----------
    X : (p, n) array
        Pixels; in [0, 1] as loaded.
    labels : (n,) array of int
    name : str
    split_name : str
        Which part of which split this is, in words.
    """

    X: Array
    labels: NDArray[np.int64]
    name: str
    split_name: str

    def normalized(self) -> Dataset:
        """The same images minus their mean image, scaled to a mean squared norm of one."""
        X = self.X - self.X.mean(axis=1, keepdims=True)
        return replace(self, X=X / np.sqrt((X**2).sum(axis=0).mean()))

    def subset(self, classes: Iterable[int], n: int, seed: int = 0) -> Dataset:
        """A balanced draw from some classes, sorted by class and relabeled 0, 1, ... in the order given.

        Parameters
        ----------
        classes : iterable of int
            Labels to keep, each once.
        n : int
            Samples in all, a multiple of the number of classes.
        seed : int
            The same seed draws the same images.

        Raises
        ------
        ValueError
            If a class is not there or repeated, or has too few images, or ``n`` does not divide.
        """
        chosen = list(classes)
        known = np.unique(self.labels)
        if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(known.tolist()):
            raise ValueError(
                f"classes must be different labels among {known.tolist()}, got {chosen}"
            )
        each, rest = divmod(integer(n, "n", 1), len(chosen))
        if rest or each == 0:
            raise ValueError(f"n must be a multiple of the {len(chosen)} classes, got {n}")
        rng = np.random.default_rng(integer(seed, "seed"))
        index = [self._draw(label, each, rng) for label in chosen]
        labels = np.repeat(np.arange(len(chosen)), each)
        return replace(self, X=self.X[:, np.concatenate(index)], labels=labels)

    def _draw(self, label: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        members = np.flatnonzero(self.labels == label)
        if count > len(members):
            raise ValueError(
                f"n asks for {count} images of class {label}, which has {len(members)}"
            )
        return np.sort(rng.choice(members, count, replace=False))


def load(name: str, split: str = "train", full: bool = False) -> Dataset:
    """A data set of images: the part that ships with the book, or all of it.

    Parameters
    ----------
    name : {"mnist", "fashion_mnist"}
    split : {"train", "test"}
        Shipped: 10 000 and 2 000 images, 1000 and 200 a class.
    full : bool
        All images, from the folder that the environment variable ``HELPERS_DATA`` names (the four
        official IDX files, plain or gzipped, or an npz archive ``<name>.npz`` or ``<name>_full.npz`` with
        the keys x_train, y_train, x_test, y_test, whose split is reported as its own), or else fetched
        from their official place into the user's cache, verified by hash.

    Returns
    -------
    Dataset
        With X of shape (784, n), float64 in [0, 1].

    Raises
    ------
    ValueError
        For an unknown name or split.
    DataError
        For a file that is truncated or altered, with the hash expected and the hash found.
    OSError
        When the full set is neither in a folder nor to be fetched; says what to do.
    """
    if name not in SOURCES:
        raise ValueError(f"name must be one of {', '.join(SOURCES)}, got {name!r}")
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    images, labels, split_name = (_load_full if full else _load_shipped)(name, split)
    X = images.reshape(len(images), -1).T / 255.0
    return Dataset(X, labels.astype(np.int64), name, split_name)


def _load_shipped(name: str, split: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8], str]:
    folder = _shipped_folder()
    path = folder / f"{name}.npz"
    sums = json.loads((folder / "sha256.json").read_text(encoding="utf-8"))
    _verify(path, "sha256:" + sums[path.name])
    images, labels = _read_npz(path, split)
    return images, labels, f"{split} (class-balanced subset of {len(labels)})"


def _shipped_folder() -> Path:
    """The data of the repository, or those inside an installed package."""
    here = Path(__file__).resolve().parent
    for folder in (here / "data", here.parents[1] / "data"):
        if (folder / "sha256.json").exists():
            return folder
    raise FileNotFoundError(
        "the data that ship with the book are missing: get the repository's folder data/ again"
    )


def _load_full(name: str, split: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8], str]:
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        paths = [_fetch(name, f"{part}_{split}") for part in "xy"]
    else:
        for candidate in (f"{name}.npz", f"{name}_full.npz"):
            if (Path(folder) / candidate).exists():
                images, labels = _read_npz(Path(folder) / candidate, split)
                return images, labels, f"{split} (split of {candidate})"
        paths = [_find(Path(folder), name, f"{part}_{split}") for part in "xy"]
    images, labels = (_read_idx(path) for path in paths)
    _check_arrays(images, labels, str(paths[0]))
    return images, labels, f"{split} (official)"


def _find(folder: Path, name: str, key: str) -> Path:
    """An official file in a folder (or in a folder of the data set's name in it), verified."""
    source = SOURCES[name]
    for place in (folder / name, folder):
        for ending, sums in ((".gz", source.compressed), ("", source.plain)):
            path = place / (PARTS[key] + ending)
            if path.exists() and key in sums:
                _verify(path, sums[key])
                return path
    raise FileNotFoundError(
        f"{FOLDER_VARIABLE}={folder} holds neither {name}.npz nor {PARTS[key]}.gz: put the official files there"
    )


def _fetch(name: str, key: str) -> Path:
    """An official file from its place on the network, kept in the user's cache."""
    import pooch

    source, file = SOURCES[name], PARTS[key] + ".gz"
    try:
        return Path(
            pooch.retrieve(
                source.url + file,
                known_hash=source.compressed[key],
                fname=f"{name}-{file}",
                path=pooch.os_cache("implicit-meets-explicit"),
            )
        )
    except Exception as error:  # whatever the network says, the way out is the same
        raise OSError(
            f"{file} of {name} could not be fetched ({type(error).__name__}): download the official files "
            f"and name their folder in the environment variable {FOLDER_VARIABLE}, or use full=False"
        ) from error


def _verify(path: Path, expected: str) -> None:
    algorithm, digest = expected.split(":")
    if not path.exists():
        raise FileNotFoundError(
            f"{path.name} is missing from {path.parent.name}/: get it again from the repository"
        )
    found = hashlib.file_digest(path.open("rb"), algorithm).hexdigest()
    if found != digest:
        raise DataError(
            f"{path} was truncated or altered: its {algorithm} is {found}, it should be {digest}; get it again"
        )


def _read_npz(path: Path, split: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [key for key in KEYS if key not in archive]
            if missing:
                raise DataError(
                    f"{path} must have the keys {', '.join(KEYS)}; {', '.join(missing)} missing"
                )
            images, labels = archive[f"x_{split}"], archive[f"y_{split}"]
    except (zipfile.BadZipFile, ValueError, OSError, EOFError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is not an npz archive of plain arrays: {error}") from error
    _check_arrays(images, labels, str(path))
    return images, labels


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """An IDX file of unsigned bytes (LeCun's format), its header held against its size."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise DataError(f"{path} is not a gzip file: {error}") from error
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08" or len(raw) < 4 + 4 * raw[3]:
        raise DataError(f"{path} is not an IDX file of unsigned bytes")
    shape = [int(size) for size in np.frombuffer(raw, ">u4", raw[3], 4)]
    start, size = 4 + 4 * raw[3], 1
    for length in shape:
        size *= length
    if len(raw) != start + size:
        raise DataError(
            f"{path} has {len(raw) - start} bytes for the shape {tuple(shape)} of its header"
        )
    return np.frombuffer(raw, np.uint8, size, start).reshape(shape)


def _check_arrays(images: NDArray[np.uint8], labels: NDArray[np.uint8], path: str) -> None:
    square = images.ndim == 3 and images.shape[1:] == (28, 28)
    if not square or images.dtype != np.uint8 or labels.shape != (len(images),):
        raise DataError(
            f"{path} must hold (n, 28, 28) images of unsigned bytes and n labels, "
            f"it holds {images.dtype} {images.shape} and {labels.shape}"
        )
    if labels.dtype.kind not in "iu" or len(labels) == 0 or labels.min() < 0 or labels.max() > 9:
        raise DataError(f"{path} must hold labels 0 to 9, {labels.dtype} found")
