"""Makes the expected results in expected/ from a set of tasks scored by lm-evaluation-harness 0.4.13
(Hugging Face backend, transformers 5.23, float32 on CPU).

    python3 make.py GOLDEN

GOLDEN holds tasks/, data/, model/ and results/RUN/ with results.json and, for each task, TASK.jsonl:
one line per document and filter, with contexts, token ids, log-likelihoods, answers and metrics.
"""

import json
import pathlib
import shutil
import sys

golden = pathlib.Path(sys.argv[1])
here = pathlib.Path(__file__).parent

ALL = ["ge_mc_words", "ge_mc_letters", "ge_val_endings", "ge_firstn_endings", "ge_yesno", "ge_which_context",
       "ge_cloze", "ge_rolling", "ge_gen_answer", "ge_gen_rewrite"]
IN_CHAT = ["ge_mc_letters", "ge_yesno", "ge_which_context", "ge_gen_answer", "ge_gen_rewrite"]
TASKS = {
    "plain": ALL,
    "batch8": ALL,
    "bos": ALL,
    "short_ctx": ["ge_mc_letters", "ge_rolling", "ge_gen_answer"],
    "limit5": ["ge_mc_letters", "ge_yesno"],
    "chat_multi": IN_CHAT,
    "chat_single": IN_CHAT,
}
# With a chat template prompts are others than in the run `plain`.
CHAT = {"chat_multi", "chat_single"}

for path in (golden / "tasks").iterdir():
    shutil.copyfile(path, here / path.name)
(here / "data").mkdir(exist_ok=True)
for path in (golden / "data").iterdir():
    shutil.copyfile(path, here / "data" / path.name)
(here / "model").mkdir(exist_ok=True)
for name in ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
             "tokenizer_config.json", "chat_template.jinja"]:
    shutil.copyfile(golden / "model" / name, here / "model" / name)

fragile = json.loads((golden / "fragile.json").read_text())
for run, tasks in TASKS.items():
    aggregates = json.loads((golden / "results" / run / "results.json").read_text())["results"]
    groups = {name: result for name, result in aggregates.items() if "sample_count" in result}
    expected = {}
    for task in tasks:
        documents = {}
        for line in (golden / "results" / run / f"{task}.jsonl").read_text(encoding="utf-8").splitlines():
            line = json.loads(line)
            document = documents.setdefault(line["doc_id"], {"metrics": {}})
            for metric, value in line["metrics"].items():
                # Of answers there are texts instead of numbers, which are noted below.
                if not (isinstance(value, list) and isinstance(value[0], str)):
                    document["metrics"][f"{metric},{line['filter']}"] = value
            if "resps" in line:
                document["prompts"] = [line["context"]]
                document["answer"] = line["resps"][0]
            elif "requests" in line:
                document["prompts"] = line["contexts"]
                document["prompt_ids"] = line["context_ids"]
                document["requests"] = [
                    [r["ctx"], r["cont_ids"], round(r["ll"], 7), r["greedy"]] for r in line["requests"]]
            # Prompts are the same in all runs but those in conversations; one document shows the
            # tokens that differ.
            if run == "batch8" or run != "plain" and line["doc_id"] > 0:
                document.pop("prompt_ids", None)
                if run not in CHAT:
                    document.pop("prompts", None)
        figures = {name: value for name, value in aggregates[task].items() if "," in name}
        expected[task] = {
            "figures": figures,
            "documents": [documents[index] for index in sorted(documents)],
            # Where the best two logits are so close that rounding decides.
            "fragile": sorted({f["doc_id"] for f in fragile if f["run"] == run and f["task"] == task}),
        }
    text = json.dumps({"tasks": expected, "groups": groups}, ensure_ascii=False, separators=(",", ":"))
    (here / "expected" / f"{run}.json").write_text(text + "\n", encoding="utf-8")
