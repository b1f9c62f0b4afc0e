#!/usr/bin/env python3
"""Runs the Python mergekit beside ours on the same synthetic models and prints a table.

    python3 -m venv VENV && VENV/bin/pip install mergekit==0.1.5
    cargo build --release --locked
    python3 benches/compare_python.py --venv VENV --save results/merge-speed-python.md

Models and merge configs are those of `cargo bench --bench merge_end_to_end`. For every method both
tools run in turn, as whole commands with a warm page cache, and the medians count. Times of this
crate's program include waiting for the disk at the end, which the Python tool does not do. Linux only.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "target" / "bench-models"

# Seconds between two looks at a process's memory.
SAMPLE_EVERY = 0.005

# Dirty pages below which another run is not disturbed by writing them, in kB, and the longest wait.
SETTLED = 65536
LONGEST_WAIT = 20


@dataclass
class Cost:
    """What one command cost: seconds and MB."""

    seconds: float
    user: float
    system: float
    resident: float
    anonymous: float

    @property
    def processor(self):
        return self.user + self.system


def kilobytes(path, keys):
    """The sum of the numbers behind `keys` in a file of /proc."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:  # the process has ended
        return 0
    values = dict(line.split(":", 1) for line in lines if ":" in line)
    return sum(int(values[key].split()[0]) for key in keys if key in values)


def watch_anonymous(pid, stop, peak):
    while not stop.wait(SAMPLE_EVERY):
        peak[0] = max(peak[0], kilobytes(f"/proc/{pid}/status", ["RssAnon"]))


def run(command, log):
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=log, stderr=log)
    stop, peak = threading.Event(), [0]
    watcher = threading.Thread(target=watch_anonymous, args=(process.pid, stop, peak))
    watcher.start()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    stop.set()
    watcher.join()
    if process.returncode != 0:
        return None
    megabytes = 1024 * 1e-6
    return Cost(
        seconds,
        usage.ru_utime,
        usage.ru_stime,
        usage.ru_maxrss * megabytes,
        peak[0] * megabytes,
    )


def settle():
    """Waits until the disk has little left to write."""
    end = time.monotonic() + LONGEST_WAIT
    while time.monotonic() < end:
        if kilobytes("/proc/meminfo", ["Dirty", "Writeback"]) < SETTLED:
            return
        time.sleep(0.02)


def read_all(directory):
    """Reads every file once, so that the page cache is warm."""
    for path in sorted(directory.rglob("*.safetensors")):
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 20):
                pass


def typical(costs):
    return Cost(
        *(
            statistics.median(getattr(cost, part) for cost in costs)
            for part in ("seconds", "user", "system")
        ),
        *(max(getattr(cost, part) for cost in costs) for part in ("resident", "anonymous")),
    )


def measure(config, tools, repeat, directory):
    """The typical cost of each tool, None for one that failed."""
    costs = {name: [] for name in tools}
    for _ in range(repeat):
        for name, command in tools.items():
            if costs[name] is None:
                continue
            out = directory / "merged"
            log_path = directory / f"{name}.log"
            with log_path.open("wb") as log:
                cost = run([*command, str(config), str(out)], log)
            shutil.rmtree(out, ignore_errors=True)
            settle()
            if cost is None:
                last = log_path.read_text(errors="replace").strip().splitlines()[-1:]
                print(f"{config.stem}: {name} failed: {' '.join(last)}", file=sys.stderr)
                costs[name] = None
            else:
                costs[name].append(cost)
    return {name: typical(found) if found else None for name, found in costs.items()}


HEADER = """\
| method | ours s | Python s | × faster | ours CPU s | Python CPU s | × less CPU \
| ours RssAnon MB | Python RssAnon MB | ours RSS MB | Python RSS MB |
| --- |{}
""".format(" ---: |" * 10)


def row(name, ours, python):
    def number(cost, part, digits):
        return f"{getattr(cost, part):.{digits}f}" if cost else "failed"

    def ratio(part):
        if not (ours and python):
            return "–"
        return f"{getattr(python, part) / max(getattr(ours, part), 0.001):.0f}"

    cells = [
        name,
        number(ours, "seconds", 2),
        number(python, "seconds", 1),
        ratio("seconds"),
        number(ours, "processor", 2),
        number(python, "processor", 1),
        ratio("processor"),
        number(ours, "anonymous", 0),
        number(python, "anonymous", 0),
        number(ours, "resident", 0),
        number(python, "resident", 0),
    ]
    return f"| {' | '.join(cells)} |\n"


def version(python):
    code = "import importlib.metadata as m; print(m.version('mergekit'), m.version('torch'))"
    text = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
    mergekit, torch = text.split()
    return f"mergekit {mergekit} with torch {torch}"


def conditions(arguments, python):
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.split(": ", 1)[1] for line in lines if line.startswith("model name"))
    load = os.getloadavg()[0]
    return (
        f"{next(names, 'unknown CPU')}, {os.cpu_count()} cores; load {load:.1f} at the start. "
        f"{version(python)}. Models of {arguments.layers} layers, scale {arguments.scale}; "
        f"medians of {arguments.repeat}, memory the largest seen. `startup` merges two tiny layers.\n\n"
    )


def write_configs(arguments, directory):
    """Has the benchmark make models and configs, and gives the paths of the configs."""
    command = ["cargo", "bench", "--locked", "--bench", "merge_end_to_end", "--"]
    command += ["--layers", str(arguments.layers), "--scale", str(arguments.scale)]
    command += ["--dir", str(arguments.dir), "--write-configs", str(directory)]
    if arguments.methods:
        command += ["--methods", arguments.methods]
    subprocess.run(command, cwd=ROOT, check=True)
    configs = sorted(path for path in directory.glob("*.yml") if path.stem != "startup")
    return [directory / "startup.yml", *configs]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, required=True, help="where mergekit is installed")
    parser.add_argument(
        "--bin", type=Path, default=ROOT / "target/release/mergekit", help="our program"
    )
    parser.add_argument("--methods", help="names with commas between; all if not given")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each tool and method")
    parser.add_argument("--layers", type=int, default=24, help="layers of the models")
    parser.add_argument("--scale", type=int, default=1, help="4 for four times as many weights")
    parser.add_argument("--dir", type=Path, default=MODELS, help="where models are kept")
    parser.add_argument("--save", type=Path, help="write the table to this file, too")
    arguments = parser.parse_args()
    for path in (arguments.bin, arguments.venv / "bin/mergekit-yaml"):
        if not path.is_file():
            parser.error(f"there is no `{path}`")
    if arguments.repeat < 1:
        parser.error("--repeat has to be at least 1")
    return arguments


def main():
    arguments = parse_arguments()
    tools = {
        "ours": [str(arguments.bin.resolve()), "merge"],
        "python": [str(arguments.venv.absolute() / "bin/mergekit-yaml"), "--no-copy-tokenizer"],
    }
    text = f"`python3 benches/compare_python.py {' '.join(sys.argv[1:])}`\n\n"
    text += conditions(arguments, arguments.venv / "bin/python") + HEADER
    print(text, end="", flush=True)
    # Outputs lie on the same disk as the models.
    arguments.dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.dir) as temporary:
        directory = Path(temporary)
        configs = write_configs(arguments, directory / "configs")
        read_all(arguments.dir)
        for config in configs:
            costs = measure(config, tools, arguments.repeat, directory)
            line = row(config.stem, costs["ours"], costs["python"])
            print(line, end="", flush=True)
            text += line
    if arguments.save:
        arguments.save.write_text(text)


if __name__ == "__main__":
    main()
