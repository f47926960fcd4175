"""Measure how fast the explorer redraws: ``python benchmarks/explorer.py``, after the book is built.

In headless Chromium, 100 changes of sliders at random places, each an ``input`` event of the page. ``draw`` is
the clock's time from before the event until after the layout of what was drawn. ``thread`` is what the page's main
thread has worked until the next frame is done, which other programs on the machine hardly change. Median and largest
are printed and saved in ``results/benchmark_explorer.json``, with the sizes of the files.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import CDPSession, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "_build" / "html" / "book" / "explorer.html"
RESULT = ROOT / "results" / "benchmark_explorer.json"
CHANGES = 100
MOVE = """async ([k, share]) => {
  const name = ["sigma_a2", "distance", "norms", "ratio"][k % 4];
  const slider = document.getElementById("explorer-" + name);
  slider.value = Number(slider.min) + share * (slider.max - slider.min);
  const start = performance.now();
  slider.dispatchEvent(new Event("input", {bubbles: true}));
  document.getElementById("explorer").getBoundingClientRect();
  const drawn = performance.now() - start;
  await new Promise(done => requestAnimationFrame(() => setTimeout(done, 0)));
  return drawn;
}"""


def measure(page: Page) -> dict[str, float]:
    """Milliseconds of a redraw on the clock, and of the page's thread until its frame is done."""
    page.goto(PAGE.as_uri())
    page.wait_for_function("explorer.redraws > 0")
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    drawn, worked = [], []
    for k, share in enumerate(np.random.default_rng(0).uniform(size=CHANGES)):
        before = thread_time(session)
        drawn.append(page.evaluate(MOVE, [k, float(share)]))
        worked.append(1000 * (thread_time(session) - before))
    found = {"draw_median": statistics.median(drawn), "draw_largest": max(drawn)}
    found |= {"thread_median": statistics.median(worked), "thread_largest": max(worked)}
    return {key: round(value, 1) for key, value in found.items()}


def thread_time(session: CDPSession) -> float:
    """Seconds that the page's main thread has worked."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return next(one["value"] for one in metrics if one["name"] == "ThreadTime")


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
