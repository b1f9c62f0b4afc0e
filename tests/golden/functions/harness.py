"""Makes expected.json: what lm-evaluation-harness 0.4.13 (Hugging Face backend, float32 on CPU, one thread)
says of the tasks in this folder, whose functions it runs, with the model in ../evaluate/model.

    python3 harness.py        in this folder
"""

import json
import os
import pathlib

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import torch
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

torch.set_num_threads(1)
TASKS = sorted(path.stem for path in pathlib.Path(".").glob("fn_*.yaml"))
model = HFLM(pretrained="../evaluate/model", device="cpu", dtype="float32", batch_size=1)
results = simple_evaluate(
    model=model, tasks=TASKS, task_manager=TaskManager(include_path=".", include_defaults=False),
    bootstrap_iters=1000, log_samples=True)
expected = {}
for task in TASKS:
    samples = results["samples"][task]
    kept = [{"doc": s["doc"], "doc_hash": s["doc_hash"], "prompt_hash": s["prompt_hash"],
             "target_hash": s["target_hash"], "prompt": s["arguments"][0][0]} for s in samples]
    expected[task] = {"results": results["results"][task], "samples": kept}
text = json.dumps(expected, ensure_ascii=False, indent=1, default=float)
pathlib.Path("expected.json").write_text(text + "\n", encoding="utf-8")
