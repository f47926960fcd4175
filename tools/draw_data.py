"""Draw the images that ship with the book from full copies of MNIST and Fashion-MNIST.

    python tools/draw_data.py FOLDER

FOLDER holds ``mnist_full.npz`` and ``fashion_mnist_full.npz`` with the keys x_train, y_train, x_test,
y_test. Two runs write the same bytes.
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
PER_CLASS = {"train": 1000, "test": 200}
SEED = 20240


def draw(
    images: NDArray[np.uint8], labels: NDArray[np.uint8], per_class: int, seed: int
) -> NDArray[np.int64]:
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
            body = io.BytesIO()
            np.lib.format.write_array(body, array, allow_pickle=False)
            archive.writestr(entry, body.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)
    return buffer.getvalue()


def main(folder: Path) -> None:
    """Write both archives and their SHA-256 sums."""
    OUT.mkdir(exist_ok=True)
    sums = {}
    for name in ("mnist", "fashion_mnist"):
        full = np.load(folder / f"{name}_full.npz", allow_pickle=False)
        arrays = {}
        for split, per_class in PER_CLASS.items():
            images, labels = full[f"x_{split}"], full[f"y_{split}"].astype(np.uint8)
            index = draw(images, labels, per_class, SEED)
            arrays |= {f"x_{split}": images[index], f"y_{split}": labels[index]}
        packed = pack(arrays)
        (OUT / f"{name}.npz").write_bytes(packed)
        sums[f"{name}.npz"] = hashlib.sha256(packed).hexdigest()
        print(f"{name}.npz: {len(packed) / 1e6:.1f} MB")
    (OUT / "sha256.json").write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
