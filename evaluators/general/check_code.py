"""Checks code_completion.jsonl: of each item's four completions, only the right one passes its test.

Run it with Python 3, from anywhere; it uses the standard library alone, prints one line for each
item that is wrong, and exits with 1 if there are any. Every program runs in a process of its own,
which is stopped after five seconds.
"""

import json
import subprocess
import sys
from pathlib import Path

TIME_LIMIT_SECONDS = 5


def program(item, choice):
    """The whole program: prompt, completion, what follows it, and the test."""
    completed = f"{item['prompt']} {choice}"
    return f"{completed}\n{item['rest']}\nassert {item['test']}\n"


def passes(source):
    """Whether a program ends by itself, in time and without an error."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-W", "ignore", "-c", source],
            capture_output=True,
            timeout=TIME_LIMIT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def main():
    path = Path(__file__).with_name("code_completion.jsonl")
    lines = path.read_text(encoding="utf-8").splitlines()
    wrong = 0
    for number, line in enumerate(lines, 1):
        item = json.loads(line)
        passing = [i for i, choice in enumerate(item["choices"]) if passes(program(item, choice))]
        if passing != [item["gold"]]:
            wrong += 1
            print(f"line {number}: choices {passing} pass, and only {item['gold']} should")
    print(f"{len(lines)} items, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
