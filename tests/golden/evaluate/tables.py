"""Makes tables.json and types, times and codec_*.parquet with their .json: what the datasets library (5.2, with
pandas and pyarrow) makes of values in CSV and Parquet files.

    python3 tables.py

Numbers that JSON has no form for are the text that Python prints.
"""

import datetime
import decimal
import json
import math
import pathlib
import tempfile

import datasets
import pyarrow
import pyarrow.parquet

here = pathlib.Path(__file__).parent

CSV = {
    "a,b\n1,x\n007,y\n-3,\n": {},
    "a\n1\nNA\n3\n": {},
    "a\n1\n2.5\n1e20\n": {},
    "a\n.5\n1.\n-inf\n+2\n": {},
    "a,b\nTrue,true\nfalse,FALSE\n": {},
    "a,b\nTrue,1\n,2\nFALSE,3\n": {},
    "a\nTrue\nyes\n": {},
    "a\n1\nx\n2.50\n": {},
    "a,b\nnull,1\nNone,2\n#N/A,3\nn/a,4\nnan,5\nNaN,6\n<NA>,7\nok,8\n": {},
    "a,b\n,1\n,2\n": {},
    'a,b\n"x, ""y""",1\n"line\nbreak",2\n" s ",3\n"",4\n"NA",5\n': {},
    "a,b\n 1, x\n2 ,y \n": {},
    "a,b\n1,x\n\n2,y\n   \n": {},
    "a,b\n1\n2,y\n": {},
    "a,a,,b\n1,2,3,4\n": {},
    "a\n2024-01-02\n2024-01-03\n": {},
    "a\n0.1\n0.30000000000000004\n123456789.123456789\n": {},
    "a,b\r\n1,x\r\n2,y\r\n": {},
    "\ufeffa,b\n1,x\n": {},
    "a\nnan\n1\n": {},
    "a,b,c\n+1,1_000,0x10\n2,3,4\n": {},
    "a\nInfinity\n1\n": {},
    "a\n18446744073709551615\n1\n": {},
    'a\n"1,000"\n2\n': {},
    "a\tb\n1\tx\n": {"sep": "\t"},
    "a;b\n1;x\n": {"delimiter": ";"},
    "1,x\n2,y\n": {"column_names": ["n", "t"]},
    "a,b\n1,x\n": {"names": ["n", "t"], "header": 0},
    "1,x\n2,z\n": {"header": None},
}


def as_json(value):
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: as_json(child) for key, child in value.items()}
    if isinstance(value, list):
        return [as_json(child) for child in value]
    return value


def as_text(value):
    plain = value is None or isinstance(value, (bool, int, float, str))
    return value if plain else str(value)


def rows(builder, path, **options):
    with tempfile.TemporaryDirectory() as cache:
        split = datasets.load_dataset(builder, data_files=str(path), split="train", cache_dir=cache, **options)
        return [as_json(dict(row)) for row in split]


cases = []
with tempfile.TemporaryDirectory() as folder:
    for text, options in CSV.items():
        path = pathlib.Path(folder) / "t.csv"
        path.write_text(text, encoding="utf-8", newline="")
        cases.append({"text": text, "options": options, "rows": rows("csv", path, **options)})
lines = [json.dumps(case, ensure_ascii=False) for case in cases]
(here / "tables.json").write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")

table = pyarrow.table({
    "text": ["a", None, "né"],
    "whole": pyarrow.array([1, -2, None], pyarrow.int32()),
    "small": pyarrow.array([1, 255, 0], pyarrow.uint8()),
    "large": pyarrow.array([2**63, 1, None], pyarrow.uint64()),
    "single": pyarrow.array([0.1, 2.0, float("inf")], pyarrow.float32()),
    "double": [0.1, 2.0, None],
    "flag": [True, None, False],
    "list": [["x", "y"], [], None],
    "lists": [[[1], [2, 3]], [[]], [None]],
    "object": [{"k": "v", "n": 1}, {"k": None, "n": 2}, {"k": "w", "n": None}],
    "objects": [[{"k": 1.5}], [], [{"k": 2.0}, {"k": None}]],
})
pyarrow.parquet.write_table(table, here / "types.parquet", compression="snappy")
(here / "types.json").write_text(
    json.dumps(rows("parquet", here / "types.parquet"), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

# Times and decimals are the text that Python prints; bytes, zones and what holds them are left out.
times = pyarrow.table({
    "day": pyarrow.array([datetime.date(2024, 1, 2), None], pyarrow.date32()),
    "millis": pyarrow.array([1704164645006, 0], pyarrow.timestamp("ms")),
    "micros": pyarrow.array([1704164645000067, -315532800000000], pyarrow.timestamp("us")),
    "nanos": pyarrow.array([1704164645000000123, None], pyarrow.timestamp("ns")),
    "time": pyarrow.array([11045006, 0], pyarrow.time32("ms")),
    "fine": pyarrow.array([11045000007, None], pyarrow.time64("us")),
    "decimal": pyarrow.array([decimal.Decimal("1.50"), decimal.Decimal("-0.05")], pyarrow.decimal128(5, 2)),
    "units": pyarrow.array([decimal.Decimal("12"), None], pyarrow.decimal128(5, 0)),
    "large": pyarrow.array(["x", None], pyarrow.large_string()),
    "category": pyarrow.array(["x", "y"]).dictionary_encode(),
    "half": pyarrow.array([1.5, None], pyarrow.float16()),
})
others = {
    "bytes": pyarrow.array([b"\xff", None]),
    "image": [{"bytes": b"\x89PNG", "path": "a.png"}, None],
    "days": [[datetime.date(2024, 1, 2)], []],
    "zoned": pyarrow.array([0, 1], pyarrow.timestamp("us", "Europe/Berlin")),
}
everything = times
for index, (name, column) in enumerate(others.items()):
    everything = everything.add_column(2 * index, name, pyarrow.array(column))
pyarrow.parquet.write_table(everything, here / "times.parquet")
with tempfile.TemporaryDirectory() as folder:
    pyarrow.parquet.write_table(times, pathlib.Path(folder) / "t.parquet")
    found = rows("parquet", pathlib.Path(folder) / "t.parquet")
found = [{key: as_text(value) for key, value in row.items()} for row in found]
(here / "times.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

table = pyarrow.table({"text": ["a" * 100, "b" * 100], "number": [1, 2]})
for codec in ["none", "gzip", "brotli", "lz4", "zstd"]:
    pyarrow.parquet.write_table(table, here / f"codec_{codec}.parquet", compression=codec)
(here / "codec.json").write_text(
    json.dumps(rows("parquet", here / "codec_zstd.parquet"), indent=1) + "\n", encoding="utf-8")
