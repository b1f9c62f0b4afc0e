"""Makes harness/: what lm-evaluation-harness 0.4.13 (Hugging Face backend, float32 on CPU, one thread) writes of
the tasks in this folder. harness/RUN.json is its results.json without what it says of the machine;
harness/samples/ holds the sample files of two documents of each task.

    python3 harness.py        in this folder
"""

import json
import os
import pathlib
import shutil
import tempfile

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false",
                  DISABLE_MULTIPROC="1")

import torch
from lm_eval import simple_evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

torch.set_num_threads(1)
here = pathlib.Path(__file__).parent
out = here / "harness"

ALL = ["ge_suite", "ge_yesno", "ge_cloze", "ge_rolling", "ge_gen_answer", "ge_gen_rewrite", "ge_which_context"]
IN_CHAT = ["ge_mc_letters", "ge_yesno", "ge_gen_answer", "ge_gen_rewrite", "ge_which_context"]
CHAT = {"apply_chat_template": True}
RUNS = {
    "plain": (ALL, {}, {}),
    "batch8": (ALL, {"batch_size": 8}, {}),
    "bos": (ALL, {"add_bos_token": True}, {}),
    "short_ctx": (["ge_mc_letters", "ge_rolling", "ge_gen_answer"], {"max_length": 96}, {}),
    "chat_multi": (IN_CHAT, {}, {**CHAT, "fewshot_as_multiturn": True, "system_instruction": "Be brief."}),
    "chat_single": (IN_CHAT, {}, {**CHAT, "fewshot_as_multiturn": False}),
    "limit5": (["ge_mc_letters", "ge_yesno"], {}, {"limit": 5}),
    "samples": ([*ALL[1:], "ge_mc_letters"], {}, {"limit": 2}),
}
KEPT = ["results", "groups", "group_subtasks", "versions", "n-shot", "higher_is_better", "n-samples", "max_length",
        "eot_token_id", "tokenizer_bos_token", "tokenizer_eos_token", "system_instruction", "system_instruction_sha",
        "fewshot_as_multiturn", "chat_template", "chat_template_sha", "task_hashes"]

for run, (tasks, model, options) in RUNS.items():
    arguments = {"pretrained": "model", "device": "cpu", "dtype": "float32", "batch_size": 1, **model}
    manager = TaskManager(include_path=".", include_defaults=False)
    with tempfile.TemporaryDirectory() as folder:
        tracker = EvaluationTracker(output_path=folder)
        results = simple_evaluate(
            model=HFLM(**arguments), tasks=tasks, task_manager=manager, bootstrap_iters=1000, log_samples=True,
            evaluation_tracker=tracker, **options)
        samples = results.pop("samples")
        tracker.save_results_aggregated(results=results, samples=samples)
        written = json.loads(next(pathlib.Path(folder).rglob("results_*.json")).read_text(encoding="utf-8"))
        out.mkdir(exist_ok=True)
        kept = {name: written[name] for name in KEPT if name in written}
        (out / f"{run}.json").write_text(json.dumps(kept, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        if run == "samples":
            (out / "samples").mkdir(exist_ok=True)
            for task in samples:
                tracker.save_results_samples(task_name=task, samples=samples[task])
                path = next(pathlib.Path(folder).rglob(f"samples_{task}_2*.jsonl"))
                shutil.copyfile(path, out / "samples" / f"samples_{task}.jsonl")
