"""Draw the images that ship with the book from full copies of MNIST and Fashion-MNIST.

    python tools/draw_data.py FOLDER

FOLDER holds ``mnist_full.npz`` and ``fashion_mnist_full.npz`` with the keys x_train, y_train,
x_test, y_test. Two runs write the same bytes (with the same zlib; the arrays are the same anyway).
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

OUT = Path(__file__).resolve().parents[1] / "data"
NAMES = ("mnist", "fashion_mnist")
PER_CLASS = {"train": 1000, "test": 200}
SEED = 20240


def draw(labels: NDArray[np.uint8], per_class: int, seed: int) -> NDArray[np.int64]:
    """Indices of a shuffled, class-balanced draw without replacement."""
    rng = np.random.default_rng(seed)
    chosen = [
        rng.choice(np.flatnonzero(labels == digit), per_class, replace=False) for digit in range(10)
    ]
    return rng.permutation(np.concatenate(chosen))


def pack(arrays: dict[str, NDArray[np.uint8]]) -> bytes:
    """A compressed npz archive whose bytes depend on nothing but the arrays."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # the same byte on every operating system
            body = io.BytesIO()
            np.lib.format.write_array(body, array, allow_pickle=False)
            archive.writestr(entry, body.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)
    return buffer.getvalue()


def subset(path: Path) -> dict[str, NDArray[np.uint8]]:
    """The balanced draw from both splits of a full archive."""
    arrays = {}
    with np.load(path, allow_pickle=False) as full:
        for split, per_class in PER_CLASS.items():
            labels = full[f"y_{split}"].astype(np.uint8)
            index = draw(labels, per_class, SEED)
            arrays |= {f"x_{split}": full[f"x_{split}"][index], f"y_{split}": labels[index]}
    return arrays


def main(folder: Path, out: Path = OUT) -> None:
    """Write both archives and their SHA-256 sums, once both are drawn."""
    packed = {f"{name}.npz": pack(subset(folder / f"{name}_full.npz")) for name in NAMES}
    sums = {file: hashlib.sha256(content).hexdigest() for file, content in packed.items()}
    out.mkdir(exist_ok=True)
    for file, content in packed.items():
        (out / file).write_bytes(content)
        print(f"{sums[file]}  {file}, {len(content) / 1e6:.1f} MB")
    (out / "sha256.json").write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        main(Path(sys.argv[1]))
    except (OSError, KeyError, ValueError) as error:
        sys.exit(f"nothing was drawn: {error}")
