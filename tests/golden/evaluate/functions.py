"""Makes functions.json: what functions of the harness's task collection make of rows written for it.

    python3 functions.py TASKS        (needs lm_eval and datasets; TASKS is the folder lm_eval/tasks)

Each case names a module, a function of it, what it is given, and what came out; `digests` are those of
the module and of the files beside it that substitutes are tied to.
"""

import copy
import hashlib
import importlib.util
import json
import pathlib
import sys
from importlib.metadata import version

import datasets

from functions_rows import CASES

TASKS = pathlib.Path(sys.argv[1]).resolve()
OTHERS = ["../lang_libs.py", "../subjects.json"]


def digest(path):
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()


def load(path):
    # As the harness does it: a module of its own, found by its path.
    spec = importlib.util.spec_from_file_location("module", path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    spec.loader.exec_module(module)
    sys.path.pop(0)
    return module


def results(kind, function, given):
    given = copy.deepcopy(given)
    if kind == "documents":
        return [dict(row) for row in function(datasets.Dataset.from_list(given))]
    if kind == "value":
        return [function(row) for row in given]
    if kind == "samples":
        return function()
    if kind == "aggregation":
        return [float(function([tuple(pair) for pair in items])) for items in given]
    if kind == "results":
        return [function(row, [tuple(r) if isinstance(r, list) else r for r in said]) for row, said in given]
    raise ValueError(kind)


groups = []
for file, kind, names, given in CASES:
    paths = sorted(TASKS.glob(file))
    assert paths, file
    cases = []
    for path in paths:
        module = load(path)
        digests = {str(path.relative_to(TASKS)): digest(path)}
        for other in OTHERS:
            if (path.parent / other).is_file():
                digests[other] = digest(path.parent / other)
        for name in names:
            expected = results(kind, getattr(module, name), given)
            cases.append(dict(file=str(path.relative_to(TASKS)), digests=digests, function=name,
                              expected=expected))
    groups.append(dict(kind=kind, given=given, cases=cases))

made_with = f"lm-eval {version('lm_eval')}, datasets {datasets.__version__}"
text = json.dumps(dict(made_with=made_with, groups=groups), ensure_ascii=False, indent=1, default=lambda n: n.item())
pathlib.Path(__file__).with_suffix(".json").write_text(text + "\n")
