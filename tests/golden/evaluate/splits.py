"""Makes splits.json: which rows the datasets library (5.2) selects for expressions of splits.

    python3 splits.py

`parts` has split, first row and the row behind the last one of each; it is null where the library refuses the expression.
"""

import json
import pathlib

import datasets

here = pathlib.Path(__file__).parent

LENGTHS = [{"train": 7, "test": 3}, {"train": 250, "test": 130}, {"train": 101, "test": 50}]
SPLITS = [
    "train", "train[:2]", "train[2:]", "train[1:3]", "train[-2:]", "train[:-1]", "train[-100:2]", "train[:1000]",
    "train[3:2]", "train[1_0:2_0]", "train[10%:]", "train[:10%]", "train[:50%]", "train[33%:67%]", "train[-15%:]",
    "train[:-5%]", "train[10:20%]", "train[:1%]", "train[:150%]", "train[:]", "train[0%:100%]", "train[:7%]", "train[:21%]",
    "train[:10%](closest)", "train[:10%](pct1_dropremainder)", "train[-10%:](pct1_dropremainder)",
    "train[10%:30%](pct1_dropremainder)", "train+test", "train[:2] + test[-1:]", "test+train[:10%]+test[:1]",
    "train[:10%](pct1_dropremainder)+test[:10%]", "test[:1]+train[:10%](pct1_dropremainder)+train[:10%]",
    "train[-100%:]", "train[:-101%]", "train(closest)", "train[:](closest)", "train[:5%](up)", "train[:3](pct1_dropremainder)", "train[1]", "train[:1",
]


def select(split, lengths):
    try:
        parts = datasets.ReadInstruction.from_spec(split).to_absolute(lengths)
    except (AssertionError, ValueError):
        return None
    return [[part.splitname, part.from_, part.to] for part in parts]


cases = [
    {"split": split, "lengths": lengths, "parts": select(split, lengths)} for lengths in LENGTHS for split in SPLITS
]
lines = [json.dumps(case) for case in cases]
(here / "splits.json").write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
