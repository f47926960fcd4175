"""Feed damaged files to every reader of the package: ``python deep/fuzz.py [--seconds 600]``.

The fuzzer is atheris, which is guided by the lines that an input reaches. A reader may return, or refuse with the error
that it documents; anything else, a hang, or more memory than the limit ends the run and is counted. The counts go to
``results/deep/fuzz.json``. The same targets run on a few inputs in the tests, without atheris.
"""

from __future__ import annotations

import argparse
import gzip
import io
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from helpers import datasets, sweeps
from helpers.datasets import DataError

MEGABYTES = 500
HANG = 10  # seconds for one input
INSTRUMENTED = ("helpers.datasets", "helpers.sweeps", "helpers.export", "helpers.recipes")
SMALL = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
LABELS = np.array([3, 1, 4], np.uint8)


# --- the readers ------------------------------------------------------------------------------------
# An input's first byte says whether the rest is the file, or what is packed in a file that is whole:
# a fuzzer would not find its way through checksums.


def idx(data: bytes, folder: Path) -> None:
    """IDX files, plain or gzipped."""
    packed, rest = data[:1] < b"\x80", data[1:]
    path = folder / ("images.gz" if packed else "images")
    path.write_bytes(gzip.compress(rest, 1) if packed and data[:1] >= b"\x40" else rest)
    refused(DataError, datasets._read_idx, path)


def npz(data: bytes, folder: Path) -> None:
    """A reader's own npz archive."""
    path = folder / "mnist.npz"
    if data[:1] < b"\x80":
        path.write_bytes(data[1:])
    else:
        cut = 1 + len(data) // 2
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for key in datasets.KEYS:
                archive.writestr(f"{key}.npy", data[1:] if key[0] == "x" else data[cut:])
    refused(DataError, datasets._read_npz, path, "train")


def cifar10(data: bytes, folder: Path) -> None:
    """The binary archive of CIFAR-10."""
    path = folder / datasets.CIFAR10_FILE
    if data[:1] < b"\x80":
        path.write_bytes(data[1:] if data[:1] < b"\x40" else gzip.compress(data[1:], 1))
    else:
        with tarfile.open(path, "w:gz", compresslevel=1) as archive:
            member = tarfile.TarInfo(datasets.CIFAR10_BATCHES["test"][0])
            member.size = len(data) - 1
            archive.addfile(member, io.BytesIO(data[1:]))
    refused(DataError, datasets._read_cifar10, path, "test")


def result(data: bytes, folder: Path) -> None:
    """Result files and journals of sweeps."""
    (folder / "a.json").write_bytes(data)
    refused(ValueError, sweeps.load, "a", {"grid": 1}, folder)
    (folder / "a.journal").write_bytes(data)
    sweeps._noted(folder / "a.journal")


def network(data: bytes, folder: Path) -> None:
    """Networks that were saved to a file."""
    from helpers import export

    path = folder / "network"
    if data[:1] < b"\x80":
        path.write_bytes(data[1:])
    else:
        record, _, arrays = data[1:].partition(b"\0\0\0\0")
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(export.RECORD, record)
            if arrays:
                archive.writestr("A.npy", arrays)
    refused(ValueError, export.load, path)


def refused(kind: type[Exception], read: Callable[..., object], *arguments: object) -> None:
    """Read; only this kind of error may come of it."""
    try:
        read(*arguments)
    except kind:
        return


TARGETS: dict[str, Callable[[bytes, Path], None]] = {
    f.__name__: f for f in (idx, npz, cifar10, result, network)
}


# --- inputs to start from ---------------------------------------------------------------------------


def npy(array: np.ndarray) -> bytes:
    """A plain array as numpy writes it."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def seeds(name: str, folder: Path) -> list[bytes]:
    """Whole files of each kind, and what goes into them."""
    if name == "idx":
        raw = b"\0\0\x08\x03" + b"".join(k.to_bytes(4, "big") for k in SMALL.shape)
        raw += SMALL.tobytes()
        return [b"\xff" + raw, b"\x50" + raw, b"\x10" + gzip.compress(raw, 1)]
    if name == "npz":
        buffer = io.BytesIO()
        np.savez_compressed(buffer, x_train=SMALL, y_train=LABELS, x_test=SMALL, y_test=LABELS)
        return [b"\x00" + buffer.getvalue(), b"\xff" + npy(SMALL) + npy(LABELS)]
    if name == "cifar10":
        record = bytes([3]) + SMALL.tobytes() + bytes(720)
        return [b"\xff" + record, b"\xff" + 2 * record, b"\x50" + tarfile.TarInfo("a").tobuf()]
    if name == "result":
        path = sweeps.save({"parameters": {"grid": 1}, "values": {"a": [1.0]}}, "seed", folder)
        line = f'["k", {{"a": 1.0}}, "{sweeps.digest(["k", {"a": 1.0}])}"]\n'
        return [path.read_bytes(), line.encode()]
    return network_seeds(folder)


def network_seeds(folder: Path) -> list[bytes]:
    """Two networks, one of them with weights."""
    from helpers import export, finite
    from helpers.networks import ExplicitNetwork, ImplicitNetwork

    implicit = ImplicitNetwork("relu", 0.2).centered(1.0)
    explicit = ExplicitNetwork(("tanh", "hard_tanh")).centered(1.0)
    found = []
    for made in (implicit, explicit, finite.realize(implicit, 2, 3, 0)):
        path = export.save(made, folder / "seed")
        found.append(b"\x00" + path.read_bytes())
        with zipfile.ZipFile(path) as archive:
            found.append(b"\xff" + archive.read(export.RECORD))
    return found


# --- the fuzzer -------------------------------------------------------------------------------------


def fuzz(name: str, seconds: int) -> None:
    """Run atheris in this process; it ends the process."""
    import atheris

    with tempfile.TemporaryDirectory(prefix="fuzz ") as place:
        folder, corpus = Path(place, "work"), Path(place, "corpus")
        folder.mkdir()
        corpus.mkdir()
        for k, content in enumerate(seeds(name, folder)):
            (corpus / str(k)).write_bytes(content)
        for module in list(sys.modules.values()):
            if getattr(module, "__name__", "") in INSTRUMENTED:
                instrument(atheris, module)
        options = [f"-max_total_time={seconds}", f"-rss_limit_mb={MEGABYTES}", f"-timeout={HANG}"]
        options += [
            "-seed=1",
            "-max_len=20000",
            "-print_final_stats=1",
            f"-artifact_prefix={place}/",
        ]
        target = TARGETS[name]
        atheris.Setup([sys.argv[0], *options, str(corpus)], lambda data: target(data, folder))
        atheris.Fuzz()


def instrument(atheris: object, module: object) -> None:
    """Let atheris see which lines of the readers an input reaches."""
    for name, value in vars(module).items():
        if getattr(value, "__module__", None) == module.__name__ and hasattr(value, "__code__"):  # type: ignore[attr-defined]
            setattr(module, name, atheris.instrument_func(value))  # type: ignore[attr-defined]


def run(name: str, seconds: int) -> dict[str, object]:
    """One reader in a process of its own: a row of the record."""
    command = [sys.executable, __file__, "--target", name, "--seconds", str(seconds)]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    inputs = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    peak = re.search(r"peak_rss_mb: +(\d+)", done.stderr)
    print(f"{name}: {inputs and inputs[1]} inputs, peak {peak and peak[1]} MB", flush=True)
    if done.returncode:
        print(done.stderr[-3000:], file=sys.stderr)
    numbers = (
        f"{inputs[1] if inputs else '?'} inputs in {seconds} s, peak {peak[1] if peak else '?'} MB"
    )
    return {"name": name, "value": int(done.returncode != 0), "bound": 0, "note": numbers}


def main() -> int:
    """Fuzz all readers one after another, or one of them in this process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=600, help="together, or of one target")
    parser.add_argument("--target", choices=TARGETS, help="fuzz this reader in this process")
    options = parser.parse_args()
    if options.target:
        fuzz(options.target, options.seconds)
        return 0
    from record import keep

    rows = [run(name, options.seconds // len(TARGETS)) for name in TARGETS]
    keep("fuzz", "Readers of files on damaged input: crashes, hangs, too much memory", rows)
    return int(any(row["value"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
