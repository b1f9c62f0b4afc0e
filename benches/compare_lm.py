#!/usr/bin/env python3
"""Runs lm-evaluation-harness and transformers beside `mergekit score` on the same model and prints a table.

    python3 -m venv VENV && VENV/bin/pip install lm-eval==0.4.13 transformers torch tokenizers
    cargo build --release --locked
    VENV/bin/python benches/compare_lm.py --save results/lm-speed.md
    VENV/bin/python benches/compare_lm.py --candidate MODEL --candidate-tasks DIRECTORY

Makes a Llama of 0.11 billion random parameters with a tokenizer of whole words, a task of questions behind
five fixed examples with four choices of four words each, 1000 tokens in all, and a task of answers to
write. Both tools run on the same number of threads, in f32. Of lm-eval the time of its requests counts,
of `mergekit score` the time that it says a task took, and beside it that of the whole command; its
processor time is always the whole command's. Linux only. With
`--candidate`, `mergekit score` is timed on a model and all tasks of a directory, too.
"""

import argparse
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "target" / "release" / "mergekit"

VOCABULARY = 32000
SHOTS = 5

# Words of the question of an example and of a document, and of a choice.
EXAMPLE, QUESTION, CHOICE = 156, 196, 4
CHOICES = 4

# Prompts that are continued at a time, words of each, and tokens that each is continued by.
BATCH, PROMPT, ANSWER = 16, 128, 64

CHOICE_TASK = """\
task: long_choices
dataset_path: json
dataset_kwargs:
  data_files:
    train: {directory}/train.jsonl
    test: {directory}/test.jsonl
fewshot_split: train
test_split: test
num_fewshot: {shots}
fewshot_config:
  sampler: first_n
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""

ANSWER_TASK = """\
task: answers
dataset_path: json
dataset_kwargs:
  data_files:
    test: {directory}/prompts.jsonl
test_split: test
output_type: generate_until
doc_to_text: "{{{{prompt}}}}"
doc_to_target: ""
generation_kwargs:
  until: []
  max_gen_toks: {tokens}
  do_sample: false
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""


@dataclass
class Cost:
    """Time on the clock, and time that processors spent, in seconds."""

    seconds: float
    processors: float


def children_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def make_model(directory):
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = {"<unk>": 0, "<s>": 1, "</s>": 2}
    words.update({f"w{index}": index for index in range(3, VOCABULARY)})
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<unk>",
    ).save_pretrained(directory)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=12,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(directory)


def make_tasks(directory, documents):
    draw = random.Random(0)

    def text(count):
        return " ".join(f"w{draw.randrange(3, VOCABULARY)}" for _ in range(count))

    def document(words):
        choices = [text(CHOICE) for _ in range(CHOICES)]
        return {"question": text(words), "choices": choices, "answer": draw.randrange(CHOICES)}

    def write(name, lines):
        (directory / name).write_text("".join(json.dumps(line) + "\n" for line in lines))

    write("train.jsonl", [document(EXAMPLE) for _ in range(SHOTS)])
    write("test.jsonl", [document(QUESTION) for _ in range(documents)])
    prompts = [text(PROMPT) for _ in range(BATCH)]
    write("prompts.jsonl", [{"prompt": prompt} for prompt in prompts])
    (directory / "long_choices.yaml").write_text(
        CHOICE_TASK.format(directory=directory, shots=SHOTS)
    )
    (directory / "answers.yaml").write_text(
        ANSWER_TASK.format(directory=directory, tokens=ANSWER)
    )
    return prompts


def run_theirs(model, tasks, prompts, arguments):
    """The cost of lm-eval's requests, its accuracy, and the cost of generate."""
    import torch

    torch.set_num_threads(arguments.threads)
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    lm = HFLM(
        pretrained=str(model),
        device="cpu",
        dtype="float32",
        batch_size=arguments.batch_size,
    )
    spent, processors = [], []
    loglikelihood = lm.loglikelihood

    def timed(requests, **options):
        start, before = time.perf_counter(), time.process_time()
        answers = loglikelihood(requests, **options)
        spent.append(time.perf_counter() - start)
        processors.append(time.process_time() - before)
        return answers

    lm.loglikelihood = timed
    manager = TaskManager(include_path=str(tasks), include_defaults=False)
    results = simple_evaluate(lm, tasks=["long_choices"], task_manager=manager, bootstrap_iters=0)
    accuracy = results["results"]["long_choices"]["acc,none"]

    ids = lm.tokenizer(prompts, return_tensors="pt", add_special_tokens=False)
    lengths = {"max_new_tokens": ANSWER, "min_new_tokens": ANSWER}
    best = Cost(float("inf"), float("inf"))
    with torch.inference_mode():
        for _ in range(arguments.repeat):
            start, before = time.perf_counter(), time.process_time()
            lm.model.generate(**ids, **lengths, do_sample=False, use_cache=True)
            cost = Cost(time.perf_counter() - start, time.process_time() - before)
            best = min(best, cost, key=lambda cost: cost.seconds)
    return Cost(sum(spent), sum(processors)), accuracy, best


def run_ours(model, tasks, name, arguments, *options):
    """The cost of tasks' requests, of the whole command, and the figures.

    Of requests alone only the time on the clock is known; their processor time is the command's.
    """
    command = [PROGRAM, "score", model, "--tasks", name, "--include-path", tasks, "--json", "-v"]
    command += ["--threads", str(arguments.threads), "--bootstrap-iters", "0", *options]
    best = None
    for _ in range(arguments.repeat):
        start, before = time.perf_counter(), children_seconds()
        done = subprocess.run(command, capture_output=True, text=True)
        whole = Cost(time.perf_counter() - start, children_seconds() - before)
        if done.returncode != 0:
            sys.exit(f"mergekit score failed: {done.stderr.strip()}")
        of_tasks = [float(found) for found in re.findall(r"requests? in ([0-9.]+) s", done.stderr)]
        requests = Cost(sum(of_tasks), whole.processors)
        if best is None or requests.seconds < best[0].seconds:
            best = (requests, whole, json.loads(done.stdout))
    return best


def row(what, count, theirs, ours, unit):
    return (
        f"| {what} | {unit} | {count / theirs.seconds:.2f} | {count / ours.seconds:.2f} "
        f"| {theirs.seconds / ours.seconds:.1f} | {theirs.processors:.1f} | {ours.processors:.1f} "
        f"| {theirs.processors / ours.processors:.1f} |\n"
    )


HEADER = """\
| | per second | Python | ours | × faster | Python CPU s | ours CPU s | × less CPU |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |
"""


def compare(arguments):
    with tempfile.TemporaryDirectory() as directory:
        directory = Path(directory)
        model = directory / "model"
        make_model(model)
        prompts = make_tasks(directory, arguments.documents)
        theirs, accuracy, their_answers = run_theirs(model, directory, prompts, arguments)
        requests = arguments.documents * CHOICES
        text = HEADER
        for what, shared in [("nothing shared", "false"), ("beginnings shared", "true")]:
            ours, whole, figures = run_ours(
                model, directory, "long_choices", arguments, "--share-prefixes", shared
            )
            if figures["results"]["long_choices"]["acc,none"] != accuracy:
                sys.exit("the tools disagree about the accuracy")
            text += row(f"choices, {what}", requests, theirs, ours, "requests")
            text += row("the same with start and reading", requests, theirs, whole, "requests")
        ours, _, _ = run_ours(model, directory, "answers", arguments)
        tokens = BATCH * ANSWER
        text += row(f"answers, {BATCH} at a time", tokens, their_answers, ours, "tokens")
        return text


def time_candidate(arguments):
    names = sorted(path.stem for path in arguments.candidate_tasks.glob("*.yaml"))
    ours, whole, _ = run_ours(
        arguments.candidate, arguments.candidate_tasks, ",".join(names), arguments
    )
    return (
        f"\n`{arguments.candidate.name}` on {len(names)} tasks ({', '.join(names)}): {ours.seconds:.2f} s, "
        f"{whole.seconds:.2f} s with start and reading.\n"
    )


def conditions(arguments):
    import importlib.metadata as metadata

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.split(": ", 1)[1] for line in lines if line.startswith("model name"))
    packages = ", ".join(
        f"{name} {metadata.version(name)}" for name in ("lm-eval", "transformers", "torch")
    )
    return (
        f"{next(names, 'unknown CPU')}, {os.cpu_count()} cores, {arguments.threads} threads; load "
        f"{os.getloadavg()[0]:.1f} at the start. {packages}, batches of {arguments.batch_size}. "
        f"{arguments.documents} documents with {CHOICES} choices; the faster of {arguments.repeat} runs, "
        "of lm-eval one.\n\n"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--documents", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=4, help="of lm-eval")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--candidate", type=Path, help="a model for --candidate-tasks")
    parser.add_argument("--candidate-tasks", type=Path, help="a directory of task files")
    parser.add_argument("--only-candidate", action="store_true", help="leave the comparison out")
    parser.add_argument("--save", type=Path, help="write the table here, too")
    arguments = parser.parse_args()
    text = f"# Scoring and writing beside Python\n\nMade by `python3 {' '.join(sys.argv)}`.\n\n"
    text += conditions(arguments)
    if not arguments.only_candidate:
        text += compare(arguments)
    if arguments.candidate:
        text += time_candidate(arguments)
    print(text, end="")
    if arguments.save:
        arguments.save.write_text(text)


if __name__ == "__main__":
    main()
