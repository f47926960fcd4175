"""Real images: the class-balanced subsets that ship with the book; full sets and CIFAR-10 on request."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import math
import os
import tarfile
import warnings
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from helpers.checks import integer
from helpers.files import whole
from helpers.progress import track

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
    """Where a data set comes from, and the SHA-256 of its official files.

    Attributes
    ----------
    url : str
        The folder of the four compressed files.
    drawn_from : str
        What the images that ship were drawn from, in words.
    compressed, plain : dict of str
        SHA-256 of each file as ``.gz`` and unpacked, by the keys of ``PARTS``.
    """

    url: str
    drawn_from: str
    compressed: dict[str, str]
    plain: dict[str, str]


SOURCES = {
    "mnist": Source(
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "the official split",
        {
            "x_train": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "y_train": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "x_test": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "y_test": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
        {
            "x_train": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "y_train": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "x_test": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "y_test": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
    ),
    "fashion_mnist": Source(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "a random split, not the official one",
        {
            "x_train": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "y_train": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "x_test": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "y_test": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        },
        {
            "x_train": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "y_train": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "x_test": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "y_test": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
    ),
}

CIFAR10_FOLDER = "https://www.cs.toronto.edu/~kriz/"
CIFAR10_FILE = (
    "cifar-10-binary.tar.gz"  # bytes; the other two archives hold pickles and MATLAB files
)
CIFAR10_SUM = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"  # SHA-256
CIFAR10_BATCHES = {  # members of the archive
    "train": tuple(f"cifar-10-batches-bin/data_batch_{k}.bin" for k in range(1, 6)),
    "test": ("cifar-10-batches-bin/test_batch.bin",),
}
RECORD = 1 + 3 * 32 * 32  # a label, then the red, the green and the blue pixels
PER_CLASS = {"train": 1000, "test": 200}  # of the parts that full=False gives
NAMES = (*SOURCES, "cifar10")
UNWRITABLE = (errno.EROFS, errno.ENOSPC, errno.ENOTDIR, errno.EEXIST)


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
        """The same images minus their mean image, scaled to a mean squared norm of one.

        Raises
        ------
        ValueError
            If all images are the same: nothing is left to scale.
        """
        if not np.ptp(self.X, axis=1).any():
            raise ValueError(
                f"{self.name} cannot be normalized: its {len(self.labels)} images are equal"
            )
        X = self.X - self.X.mean(axis=1, keepdims=True)
        return replace(self, X=X / np.sqrt((X**2).sum(axis=0).mean()))

    def subset(self, classes: Iterable[int], n: int, seed: int = 0) -> Dataset:
        """A balanced draw from some classes, sorted by class, relabeled 0, 1, ... in that order.

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
        TypeError
            If ``classes`` does not list integers, or ``n`` or ``seed`` is not one.
        """
        chosen = self._chosen(classes)
        each, rest = divmod(integer(n, "n", 1), len(chosen))
        if rest:
            raise ValueError(f"n must be a multiple of the {len(chosen)} classes, got {n}")
        rng = np.random.default_rng(integer(seed, "seed"))
        index = [self._draw(label, each, rng) for label in chosen]
        labels = np.repeat(np.arange(len(chosen)), each)
        return replace(self, X=self.X[:, np.concatenate(index)], labels=labels)

    def _chosen(self, classes: Iterable[int]) -> list[int]:
        known = np.unique(self.labels).tolist()
        if not isinstance(classes, Iterable):
            raise TypeError(f"classes must list labels among {known}, got {classes!r}")
        chosen = [integer(label, "each of classes") for label in classes]
        if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(known):
            raise ValueError(f"classes must be different labels among {known}, got {chosen}")
        return chosen

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
    name : {"mnist", "fashion_mnist", "cifar10"}
        CIFAR-10 does not ship: its official binary archive (162 MB) is fetched, or taken from a folder, as
        the full sets are.
    split : {"train", "test"}
        Shipped: 10 000 and 2 000 images, 1000 and 200 a class; of CIFAR-10 the first ones of each class.
    full : bool
        All images, from the folder that the environment variable ``HELPERS_DATA`` names: an npz
        archive ``<name>.npz`` or ``<name>_full.npz`` with the keys x_train, y_train, x_test,
        y_test, whose split is reported as its own, or the official IDX files, plain or gzipped, in
        it or in its folder ``<name>``. Without the variable they are fetched from their official
        place into the user's cache. Official files are verified by their SHA-256.

    Returns
    -------
    Dataset
        With X of shape (784, n), of CIFAR-10 (3072, n): red, green, blue; float64 in [0, 1].

    Raises
    ------
    ValueError
        For an unknown name or split, or a ``full`` that is not True or False.
    DataError
        For a file that is truncated, altered or of another kind, with the hash expected and the hash found.
    OSError
        When the images are neither in a folder nor to be fetched, or the cache cannot be written; says
        what to do.
    """
    _check_choice(name, "name", NAMES)
    _check_choice(split, "split", SPLITS)
    if full is not True and full is not False:
        raise ValueError(f"full must be True or False, got {full!r}")
    if name == "cifar10":
        images, labels, split_name = _load_cifar10(split, full)
    else:
        images, labels, split_name = (_load_full if full else _load_shipped)(name, split)
    X = images.reshape(len(images), -1).T / 255.0
    return Dataset(X, labels.astype(np.int64), name, split_name)


def at_hand(name: str) -> bool:
    """Whether the full images are on this machine already: in the folder that ``HELPERS_DATA`` names or in the cache.

    Nothing is read, fetched or verified.

    Parameters
    ----------
    name : {"mnist", "fashion_mnist", "cifar10"}

    Raises
    ------
    ValueError
        For an unknown name.
    NotADirectoryError
        If the environment variable names no folder.
    """
    _check_choice(name, "name", NAMES)
    files = [CIFAR10_FILE] if name == "cifar10" else list(PARTS.values())
    folder = _named_folder()
    if folder is None:
        cached = files if name == "cifar10" else [f"{name}-{file}.gz" for file in files]
        return all((_cache() / file).exists() for file in cached)
    if any((folder / archive).exists() for archive in (f"{name}.npz", f"{name}_full.npz")):
        return name != "cifar10"
    places = (folder / name, folder)
    endings = ("",) if name == "cifar10" else (".gz", "")
    return all(
        any((place / (file + ending)).exists() for place in places for ending in endings)
        for file in files
    )


def _cache() -> Path:
    with warnings.catch_warnings():  # in a notebook tqdm misses a widget that nobody needs here
        warnings.simplefilter("ignore")
        import pooch

    return Path(pooch.os_cache("implicit-meets-explicit"))


def _check_choice(value: str, argument: str, allowed: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{argument} must be one of {', '.join(allowed)}, got {value!r}")


def _load_shipped(name: str, split: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8], str]:
    path = _shipped_folder() / f"{name}.npz"
    _verify(path, _shipped_sum(path))
    images, labels = _read_npz(path, split)
    drawn_from = SOURCES[name].drawn_from
    return images, labels, f"{split} (class-balanced subset of {len(labels)}, from {drawn_from})"


def _shipped_sum(path: Path) -> str:
    """The SHA-256 that a shipped archive must have, from the list beside it."""
    sums = path.with_name("sha256.json")
    try:
        return str(json.loads(sums.read_text(encoding="utf-8"))[path.name])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{sums} lists no SHA-256 of {path.name}: get it again") from error


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
    folder = _named_folder()
    candidates = [folder / f"{name}.npz", folder / f"{name}_full.npz"] if folder else []
    for candidate in candidates:
        if candidate.exists():
            images, labels = _read_npz(candidate, split)
            return images, labels, f"{split} (own split of {candidate.name})"
    keys = (f"x_{split}", f"y_{split}")
    paths = [_find(folder, name, key) if folder else _fetch(name, key) for key in keys]
    images, labels = (_read_idx(path) for path in paths)
    _check_arrays(images, labels, paths[0])
    return images, labels, f"{split} (official)"


def _named_folder() -> Path | None:
    """The folder that the environment variable names, or None where it is not set."""
    value = os.environ.get(FOLDER_VARIABLE)
    if not value:
        return None
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise NotADirectoryError(f"{FOLDER_VARIABLE} must name a folder, it is {value!r}")
    return folder


def _find(folder: Path, name: str, key: str) -> Path:
    """An official file in a folder (or in a folder of the data set's name in it), verified."""
    source = SOURCES[name]
    for place in (folder / name, folder):
        for ending, sums in ((".gz", source.compressed), ("", source.plain)):
            path = place / (PARTS[key] + ending)
            if path.exists():
                _verify(path, sums[key])
                return path
    raise FileNotFoundError(
        f"{FOLDER_VARIABLE}={folder} holds none of {name}.npz, {name}_full.npz, {PARTS[key]}.gz "
        f"and {PARTS[key]}: put the official files of {name} there"
    )


def _fetch(name: str, key: str) -> Path:
    """An official file from its place on the network, kept in the user's cache."""
    source, file = SOURCES[name], PARTS[key] + ".gz"
    return _retrieve(
        source.url,
        file,
        source.compressed[key],
        f"{name}-{file}",
        f"download the official files from {source.url} and name their folder in the environment "
        f"variable {FOLDER_VARIABLE}, or use full=False, the part that ships with the book",
    )


def _retrieve(place: str, file: str, expected: str, name: str, otherwise: str) -> Path:
    """A file of a known SHA-256 from the network, kept in the user's cache; nothing half written stays there."""
    cache = _cache()
    import pooch

    bar = track((), 1, f"fetching {file}")
    bar.unit, bar.unit_scale = "B", True  # it counts bytes
    path = cache / name
    try:
        if path.exists() and pooch.file_hash(str(path)) == expected:
            return path
        cache.mkdir(parents=True, exist_ok=True)
        # a killed download leaves nothing that the next one does not remove
        with whole(path) as fresh:
            pooch.retrieve(
                place + file, "sha256:" + expected, fresh.name, fresh.parent, progressbar=bar
            )
    except Exception as error:  # of many kinds: requests', urllib3's, the file system's
        if isinstance(error, ValueError) and not isinstance(error, OSError):
            raise DataError(f"{file} arrived truncated or altered: {error}") from error
        if isinstance(error, PermissionError) or getattr(error, "errno", None) in UNWRITABLE:
            raise OSError(
                f"the cache {cache} cannot be written ({type(error).__name__}), {file} has no place "
                f"there: {otherwise}"
            ) from error
        raise OSError(
            f"{file} could not be fetched ({type(error).__name__}): {otherwise}"
        ) from error
    return path


def _load_cifar10(split: str, full: bool) -> tuple[NDArray[np.uint8], NDArray[np.uint8], str]:
    images, labels = _read_cifar10(_cifar10_archive(), split)
    if full:
        return images, labels, f"{split} (official)"
    each = PER_CLASS[split]
    some = np.sort(np.concatenate([np.flatnonzero(labels == a)[:each] for a in range(10)]))
    return images[some], labels[some], f"{split} (the first {each} of a class, official split)"


def _cifar10_archive() -> Path:
    """The verified archive, in the reader's folder or in the cache."""
    folder = _named_folder()
    if folder is None:
        return _retrieve(
            CIFAR10_FOLDER,
            CIFAR10_FILE,
            CIFAR10_SUM,
            CIFAR10_FILE,
            f"download {CIFAR10_FOLDER}{CIFAR10_FILE} and name its folder in the environment variable "
            f"{FOLDER_VARIABLE}; CIFAR-10 does not ship with the book",
        )
    for path in (folder / "cifar10" / CIFAR10_FILE, folder / CIFAR10_FILE):
        if path.exists():
            _verify(path, CIFAR10_SUM)
            return path
    raise FileNotFoundError(
        f"{FOLDER_VARIABLE}={folder} holds no {CIFAR10_FILE}: put that file from {CIFAR10_FOLDER} there"
    )


def _read_cifar10(path: Path, split: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images (n, 3072) and labels (n,) of one split, from records of 3073 bytes."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            raw = [_member(archive, name) for name in CIFAR10_BATCHES[split]]
    except (tarfile.TarError, OSError, EOFError, zlib.error, KeyError) as error:
        raise DataError(f"{path} is not the binary archive of CIFAR-10: {error}") from error
    for name, content in zip(CIFAR10_BATCHES[split], raw, strict=True):
        if not content or len(content) % RECORD:
            raise DataError(
                f"{path}: {name} must hold records of {RECORD} bytes, it is {len(content)} bytes long"
            )
    records = np.frombuffer(b"".join(raw), np.uint8).reshape(-1, RECORD)
    if records[:, 0].max() > 9:
        raise DataError(f"{path} must hold labels 0 to 9, the largest is {records[:, 0].max()}")
    return records[:, 1:], records[:, 0]


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    """The content of a regular file of an archive, without unpacking it to disk."""
    file = archive.extractfile(name)
    if file is None:
        raise KeyError(f"{name} is no file")
    with file:
        return file.read()


def _verify(path: Path, expected: str) -> None:
    if not path.exists():
        raise FileNotFoundError(
            f"{path.name} is missing from {path.parent.name}/: get it again from the repository"
        )
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise DataError(
            f"{path} was truncated or altered, or is another file: its SHA-256 is {found}, "
            f"it should be {expected}; get it again"
        )


def _read_npz(path: Path, split: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            missing = [key for key in KEYS if key not in archive]
            if not missing:
                images, labels = archive[f"x_{split}"], archive[f"y_{split}"]
    except Exception as error:  # of many kinds: zipfile's, zlib's, numpy's, no memory
        raise DataError(f"{path} is not an npz archive of plain arrays: {error}") from error
    if missing:
        raise DataError(
            f"{path} must have the keys {', '.join(KEYS)}; {', '.join(missing)} missing"
        )
    if not isinstance(images, np.ndarray) or not isinstance(labels, np.ndarray):
        raise DataError(f"{path} must hold arrays: a part of it has no array's header")
    _check_arrays(images, labels, path)
    return images, labels


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """An IDX file of unsigned bytes (LeCun's format), its header held against its size."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a gzip file: {error}") from error
    if raw[:4] not in (b"\x00\x00\x08\x01", b"\x00\x00\x08\x03"):
        raise DataError(f"{path} is not an IDX file of unsigned bytes, of labels or images")
    start = 4 + 4 * raw[3]
    shape = tuple(int.from_bytes(raw[i : i + 4], "big") for i in range(4, start, 4))
    if len(raw) != start + math.prod(shape):
        raise DataError(f"{path} is {len(raw)} bytes long, too few or many for the shape {shape}")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def _check_arrays(images: NDArray[np.uint8], labels: NDArray[np.uint8], path: Path) -> None:
    n = len(images) if images.ndim == 3 else 0
    if n == 0 or images.shape[1:] != (28, 28) or images.dtype != np.uint8 or labels.shape != (n,):
        raise DataError(
            f"{path} must hold (n, 28, 28) images of unsigned bytes and n labels, n at least 1; "
            f"it holds {images.dtype} {images.shape} and {labels.shape}"
        )
    if labels.dtype.kind not in "iu":
        raise DataError(f"{path} must hold labels that are integers, not {labels.dtype}")
    if labels.min() < 0 or labels.max() > 9:
        raise DataError(f"{path} must hold labels 0 to 9, not {labels.min()} to {labels.max()}")
