"""Writes the items of the arithmetic, word-problem and instruction tasks beside this file.

    python3 evaluators/general/make.py

Every draw comes from a seed that is written here, so the same files come out, byte for byte.
"""

import json
from pathlib import Path

import arithmetic
import instructions
import word_problems

HERE = Path(__file__).parent


def write(name, rows):
    lines = [json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows]
    (HERE / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


for skill in (arithmetic, word_problems, instructions):
    examples, items = skill.items()
    write(f"{skill.__name__}_examples.jsonl", examples)
    write(f"{skill.__name__}.jsonl", items)
