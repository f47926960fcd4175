"""Keep what a deep test found in ``results/deep``, dated, for the page on reproducibility."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from helpers.files import whole
from helpers.sweeps import circumstances

FOLDER = Path(__file__).resolve().parents[1] / "results" / "deep"


def keep(name: str, what: str, rows: list[dict[str, Any]]) -> Path:
    """Write the rows of one deep test: name, value, bound, note."""
    made = circumstances()
    record = {"what": what, "date": made["date"], "machine": made["machine"], "rows": rows}
    FOLDER.mkdir(parents=True, exist_ok=True)
    with whole(FOLDER / f"{name}.json") as place:
        place.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return FOLDER / f"{name}.json"
