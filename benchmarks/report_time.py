"""What a report takes: the size of its file, seconds to write it from a cold shell and to draw it first.

    python benchmarks/report_time.py [--rounds 3] [--sizes 200x2000 1000x20000]

Every run folder is written by kgrad's own writer: dense layers with kernels and biases, all columns. "Written" is the
time of `kgrad report RUN` in a new process, imports included: on the wall and of the processors. On a busy machine the
second is the one to read. Modules are compiled to bytecode once before, as of any program that was started before.
"Drawn" is what the page itself notes when every chart stands: seconds since its navigation began, in headless Chromium
without a GPU. Medians of the rounds. The largest size needs 8 GB of memory or more.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from compare_time import made
from playwright.sync_api import Browser, sync_playwright

from kgrad.log import schema
from kgrad.log.store import Store
from kgrad.log.writer import RunWriter

CHROMIUM = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
CHUNK = 500  # steps handed to the writer at once, as a monitor does; bounds the memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", nargs="+", default=["200x2000", "1000x20000"], help="layers x steps")
    chosen = parser.parse_args()
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        parser.error("no Chromium on this machine: apt-get install chromium")
    print("| layers x steps | file | written, wall | written, CPU | drawn |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="kgrad-report-") as place, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(CHROMIUM))
        for size in chosen.sizes:
            layers, steps = map(int, size.split("x"))
            run, page = Path(place, size), Path(place, f"{size}.html")
            write(run, layers, steps)
            environment = with_bytecode(Path(place, "bytecode"))
            seconds_to_write(run, page, environment)
            rounds = [seconds_to_write(run, page, environment) for _ in range(chosen.rounds)]
            wall, cpu = map(statistics.median, zip(*rounds, strict=True))
            shutil.rmtree(run)
            drawn = statistics.median(milliseconds_to_draw(browser, page) for _ in range(chosen.rounds))
            megabytes = page.stat().st_size / 1e6
            print(
                f"| {layers:,} x {steps:,} | {megabytes:.2f} MB | {wall:.2f} s | {cpu:.2f} s | {drawn / 1000:.2f} s |",
                flush=True,
            )
        browser.close()


def write(place: Path, layers: int, steps: int) -> None:
    """A run folder as a monitor leaves it, in chunks so that a large one fits in memory."""
    first = made(0, layers, CHUNK, "relu", "HeNormal")
    writer = RunWriter(Store(str(place)), first.structure, {"optimizer": first.info["optimizer"], "loss": "mse"})
    for begin in range(0, steps, CHUNK):
        log = made(begin, layers, min(CHUNK, steps - begin), "relu", "HeNormal")
        series = {name: log[name] for name in schema.STEP_SERIES if name in log}
        writer.add_steps(log.steps + begin, series, {name: log[name] for name in schema.STATISTICS})
    writer.close("finished")


def with_bytecode(place: Path) -> dict[str, str]:
    """An environment in which compiled modules are kept, whatever the surrounding one says."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(place)}


def seconds_to_write(run: Path, page: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Wall-clock and processor seconds of the command in a process of its own."""
    command = [str(Path(sys.executable).with_name("kgrad")), "report", str(run), "-o", str(page)]
    begun, used = time.perf_counter(), cpu_of_children()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - begun, cpu_of_children() - used


def cpu_of_children() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def milliseconds_to_draw(browser: Browser, page: Path) -> float:
    """From the start of the navigation until every chart is drawn, as the page notes it."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.goto(page.as_uri())
    opened.locator("html[data-drawn]").wait_for(state="attached", timeout=120_000)
    drawn = float(opened.locator("html").get_attribute("data-drawn") or "nan")
    opened.close()
    return drawn


if __name__ == "__main__":
    main()
