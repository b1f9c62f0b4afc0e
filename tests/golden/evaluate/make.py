"""Makes the expected results in expected/ from a set of tasks scored by lm-evaluation-harness 0.4.13
(Hugging Face backend, transformers 5.23, float32 on CPU).

    python3 make.py GOLDEN

GOLDEN holds tasks/, data/, model/ and results/RUN/ with results.json and, for each task, TASK.jsonl:
one line per document and filter, with contexts, token ids, log-likelihoods, answers and metrics.
The tasks' data are local JSON lines; the one CSV file is rewritten as such.
"""

import csv
import json
import pathlib
import shutil
import sys

golden = pathlib.Path(sys.argv[1])
here = pathlib.Path(__file__).parent

TASKS = {
    "plain": ["ge_mc_words", "ge_mc_letters", "ge_val_endings", "ge_firstn_endings", "ge_yesno",
              "ge_which_context", "ge_gen_answer"],
    "bos": ["ge_mc_words", "ge_mc_letters", "ge_val_endings", "ge_firstn_endings", "ge_yesno",
            "ge_which_context", "ge_gen_answer"],
    "short_ctx": ["ge_mc_letters", "ge_gen_answer"],
    "limit5": ["ge_mc_letters", "ge_yesno"],
    "chat_multi": ["ge_mc_letters", "ge_yesno", "ge_which_context", "ge_gen_answer"],
    "chat_single": ["ge_mc_letters", "ge_yesno", "ge_which_context", "ge_gen_answer"],
}
# With a chat template prompts are others than in the run `plain`.
CHAT = {"chat_multi", "chat_single"}
# Corpus metrics that are not made of values on single items.
LEFT_OUT = {"f1", "mcc"}

for task in TASKS["plain"]:
    text = (golden / "tasks" / f"{task}.yaml").read_text(encoding="utf-8")
    text = text.replace("dataset_path: csv", "dataset_path: json").replace("_test.csv", "_test.jsonl")
    for metric in LEFT_OUT:
        text = text.replace(f"  - metric: {metric}\n", "")
    (here / f"{task}.yaml").write_text(text, encoding="utf-8")
shutil.copyfile(golden / "tasks" / "_base_mc.yaml.inc", here / "_base_mc.yaml.inc")
(here / "data").mkdir(exist_ok=True)
for name in ["endings_train", "endings_validation", "gen_answer_test", "mc_letters_test",
             "mc_letters_train", "mc_words_test", "which_context_test", "which_context_train"]:
    shutil.copyfile(golden / "data" / f"{name}.jsonl", here / "data" / f"{name}.jsonl")
with open(golden / "data" / "yesno_test.csv", encoding="utf-8", newline="") as file:
    rows = [{"statement": row["statement"], "label": int(row["label"])} for row in csv.DictReader(file)]
lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
(here / "data" / "yesno_test.jsonl").write_text("".join(lines), encoding="utf-8")
(here / "model").mkdir(exist_ok=True)
for name in ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
             "tokenizer_config.json", "chat_template.jinja"]:
    shutil.copyfile(golden / "model" / name, here / "model" / name)

fragile = json.loads((golden / "fragile.json").read_text())
for run, tasks in TASKS.items():
    aggregates = json.loads((golden / "results" / run / "results.json").read_text())["results"]
    expected = {}
    for task in tasks:
        documents = {}
        for line in (golden / "results" / run / f"{task}.jsonl").read_text(encoding="utf-8").splitlines():
            line = json.loads(line)
            document = documents.setdefault(line["doc_id"], {"metrics": {}})
            for metric, value in line["metrics"].items():
                if metric not in LEFT_OUT and isinstance(value, float):
                    document["metrics"][f"{metric},{line['filter']}"] = value
            if "resps" in line:
                document["prompts"] = [line["context"]]
                document["answer"] = line["resps"][0]
            else:
                document["prompts"] = line["contexts"]
                document["prompt_ids"] = line["context_ids"]
                document["requests"] = [
                    [r["ctx"], r["cont_ids"], round(r["ll"], 7), r["greedy"]] for r in line["requests"]]
            # Prompts are the same in all runs but those in conversations; one document shows the
            # tokens that differ.
            if run != "plain" and line["doc_id"] > 0:
                document.pop("prompt_ids", None)
                if run not in CHAT:
                    document.pop("prompts", None)
        figures = {name: value for name, value in aggregates[task].items()
                   if "," in name and name.split(",")[0].removesuffix("_stderr") not in LEFT_OUT}
        expected[task] = {
            "figures": figures,
            "documents": [documents[index] for index in sorted(documents)],
            # Where the best two logits are so close that rounding decides.
            "fragile": sorted({f["doc_id"] for f in fragile if f["run"] == run and f["task"] == task}),
        }
    text = json.dumps(expected, ensure_ascii=False, separators=(",", ":"))
    (here / "expected" / f"{run}.json").write_text(text + "\n", encoding="utf-8")
