"""Measure how fast the explorer redraws: ``python benchmarks/explorer.py``, after the book is built.

In headless Chromium, 100 changes of sliders at random places, each an ``input`` event of the page. A time is from
before the event until after the layout of what was drawn, and, second, until the browser's next frame is done. Median
and largest are printed and saved in ``results/benchmark_explorer.json``, with the sizes of the files.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "_build" / "html" / "book" / "explorer.html"
RESULT = ROOT / "results" / "benchmark_explorer.json"
CHANGES = 100
DRAG = """async changes => {
  const names = ["sigma_a2", "distance", "norms", "ratio"];
  const frame = () => new Promise(done => requestAnimationFrame(() => setTimeout(done, 0)));
  let seed = 1;
  const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
  const times = [];
  for (let k = 0; k < changes; k++) {
    const slider = document.getElementById("explorer-" + names[k % names.length]);
    await frame();
    slider.value = Number(slider.min) + random() * (slider.max - slider.min);
    const start = performance.now();
    slider.dispatchEvent(new Event("input", {bubbles: true}));
    document.getElementById("explorer").getBoundingClientRect();
    const laid = performance.now() - start;
    await frame();
    times.push([laid, performance.now() - start]);
  }
  return times;
}"""


def measure(page: Page) -> dict[str, float]:
    """Milliseconds of a redraw, and until its frame is done."""
    page.goto(PAGE.as_uri())
    page.wait_for_function("explorer.redraws > 0")
    drawn, framed = zip(*page.evaluate(DRAG, CHANGES), strict=True)
    found = {"draw_median": statistics.median(drawn), "draw_largest": max(drawn)}
    found |= {"frame_median": statistics.median(framed), "frame_largest": max(framed)}
    return {key: round(value, 2) for key, value in found.items()}


def sizes() -> dict[str, int]:
    """Bytes of what the page loads for the explorer."""
    folder = ROOT / "web" / "explorer"
    return {path.name: path.stat().st_size for path in sorted(folder.glob("*.[jc]s*"))}


def main() -> None:
    """Measure, print and save."""
    chromium = shutil.which("chromium")
    if chromium is None or not PAGE.exists():
        sys.exit("error: install chromium and build the book first (make book)")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        times = measure(browser.new_page(viewport={"width": 1440, "height": 900}))
        browser.close()
    found = {
        "date": time.strftime("%Y-%m-%d"),
        "cores": os.cpu_count(),
        "changes": CHANGES,
        "milliseconds": times,
        "bytes": sizes(),
    }
    print(json.dumps(found, indent=2))
    RESULT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
