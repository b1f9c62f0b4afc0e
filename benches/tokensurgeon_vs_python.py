#!/usr/bin/env python3
"""Transplants a vocabulary with the Python mergekit and with ours, and prints a table.

    python3 -m venv VENV && VENV/bin/pip install mergekit==0.1.5
    cargo build --release --locked
    python3 benches/tokensurgeon_vs_python.py --venv VENV --save results/tokensurgeon-speed.md

The models are made here: a Llama of one small layer with tied embeddings of random bfloat16 numbers, and a
donor that shares half of the model's vocabulary and has new tokens beside it. Both tools run as whole
commands with a warm page cache, in turn. How many new tokens there are is said in the table: their number
is what the Python tool's time depends on. Linux only.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from compare_python import ROOT, read_all, run, settle, version

# Of the upper byte of a bfloat16: sign and seven bits of the exponent, about as often as a normal
# distribution of standard deviation 1/32 has them.
SHARES = [(61, 60), (60, 40), (59, 14), (58, 4), (62, 10)]

# Bytes of random numbers that are made at a time.
PIECE = 1 << 24

COMPARE = """
import sys, torch
from safetensors import safe_open
def rows(path):
    with safe_open(path + "/model.safetensors", "pt") as file:
        return file.get_tensor("model.embed_tokens.weight").float()
ours, python = rows(sys.argv[1]), rows(sys.argv[2])
new = int(sys.argv[3])
assert ours.shape == python.shape, (ours.shape, python.shape)
assert torch.equal(ours[:-new], python[:-new]), "copied rows differ"
apart = (ours[-new:] - python[-new:]).norm(dim=1) / python[-new:].norm(dim=1)
print(f"{int((apart > 0.02).sum())} {float(apart.median()):.1e}")
"""


def upper_bytes():
    """A table that turns uniform bytes into upper bytes of bfloat16 numbers."""
    magnitudes = [upper for upper, share in SHARES for _ in range(share)]
    assert len(magnitudes) == 128
    return bytes(magnitudes) + bytes(upper | 0x80 for upper in magnitudes)


def normal_bfloat16(seed, elements):
    """Pieces of little-endian bfloat16 numbers."""
    generator, table = random.Random(seed), upper_bytes()
    while elements > 0:
        count = min(elements, PIECE)
        piece = bytearray(2 * count)
        piece[0::2] = generator.randbytes(count)
        piece[1::2] = generator.randbytes(count).translate(table)
        yield piece
        elements -= count


def write_weights(path, tensors, seed):
    """A safetensors file of random bfloat16 tensors."""
    header, end = {}, 0
    for name, shape in tensors.items():
        elements = 1
        for size in shape:
            elements *= size
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + 2 * elements]}
        end += 2 * elements
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for piece in normal_bfloat16(seed, end // 2):
            file.write(piece)


def write_model(directory, tokens, hidden, seed):
    """A Llama of one small layer and its tokenizer."""
    directory.mkdir(parents=True)
    heads, inner = 32, 64
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": 1,
        "num_attention_heads": heads,
        "num_key_value_heads": 1,
        "vocab_size": len(tokens),
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    head = hidden // heads
    layer = "model.layers.0."
    tensors = {
        "model.embed_tokens.weight": [len(tokens), hidden],
        layer + "input_layernorm.weight": [hidden],
        layer + "self_attn.q_proj.weight": [hidden, hidden],
        layer + "self_attn.k_proj.weight": [head, hidden],
        layer + "self_attn.v_proj.weight": [head, hidden],
        layer + "self_attn.o_proj.weight": [hidden, hidden],
        layer + "post_attention_layernorm.weight": [hidden],
        layer + "mlp.gate_proj.weight": [inner, hidden],
        layer + "mlp.up_proj.weight": [inner, hidden],
        layer + "mlp.down_proj.weight": [hidden, inner],
        "model.norm.weight": [hidden],
    }
    write_weights(directory / "model.safetensors", tensors, seed)
    special = ["<unk>", "<s>", "</s>"]
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": index, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True}
            for index, text in enumerate(special)
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {token: index for index, token in enumerate(tokens)},
            "unk_token": "<unk>",
        },
    }
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    names["tokenizer_class"] = "PreTrainedTokenizerFast"
    for name, content in [("config", config), ("tokenizer", tokenizer), ("tokenizer_config", names)]:
        (directory / f"{name}.json").write_text(json.dumps(content))


def write_pair(directory, arguments, new):
    """A model and a donor; the donor's last `new` tokens are not the model's."""
    special = ["<unk>", "<s>", "</s>"]
    shared = special + [f"shared{index}" for index in range(arguments.vocabulary // 2 - 3)]
    own = [f"own{index}" for index in range(arguments.vocabulary - len(shared))]
    write_model(directory / "model", shared + own, arguments.hidden, 1)
    added = [f"new{index}" for index in range(new)]
    write_model(directory / "donor", shared + added, arguments.hidden, 2)
    return len(shared)


def measure(command, log_path, out, repeat):
    """The fastest of some runs of a command that writes `out`, whose last output is kept."""
    costs = []
    for _ in range(repeat):
        shutil.rmtree(out, ignore_errors=True)
        settle()
        with log_path.open("wb") as log:
            cost = run([*command, str(out)], log)
        if cost is None:
            sys.exit(f"{command[0]} failed:\n{log_path.read_text(errors='replace')}")
        costs.append(cost)
    return min(costs, key=lambda cost: cost.seconds), statistics.pstdev(c.seconds for c in costs)


HEADER = """\
| new tokens | shared | ours s | Python s | × faster | ours CPU s | Python CPU s | ours RssAnon MB \
| Python RssAnon MB | rows with another choice | median difference of rows |
| ---: |{}
""".format(" ---: |" * 10)


def compare(arguments, directory, new):
    """One line of the table."""
    shared = write_pair(directory, arguments, new)
    read_all(directory)
    inputs = [str(directory / "model"), str(directory / "donor")]
    options = ["-a", "omp", "-k", str(arguments.k)]
    ours_command = [str(arguments.bin.resolve()), "tokensurgeon", *options, *inputs]
    ours, _ = measure(ours_command, directory / "ours.log", directory / "ours", arguments.repeat)
    cells = [f"{new}", f"{shared}", f"{ours.seconds:.1f}"]
    if new > arguments.most_for_python:
        cells += ["–", "–", f"{ours.processor:.1f}", "–", f"{ours.anonymous:.0f}", "–", "–", "–"]
        return f"| {' | '.join(cells)} |\n"
    tool = arguments.venv.absolute() / "bin"
    python_command = [str(tool / "mergekit-tokensurgeon"), *options, *inputs]
    python, _ = measure(python_command, directory / "python.log", directory / "python", 1)
    agreement = subprocess.run(
        [str(tool / "python"), "-c", COMPARE, str(directory / "ours"), str(directory / "python"),
         str(new)],
        capture_output=True, text=True, check=True,
    ).stdout.split()
    cells += [
        f"{python.seconds:.1f}",
        f"{python.seconds / ours.seconds:.1f}",
        f"{ours.processor:.1f}",
        f"{python.processor:.1f}",
        f"{ours.anonymous:.0f}",
        f"{python.anonymous:.0f}",
        *agreement,
    ]
    return f"| {' | '.join(cells)} |\n"


def conditions(arguments):
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.split(": ", 1)[1] for line in lines if line.startswith("model name"))
    return (
        f"{next(names, 'unknown CPU')}, {os.cpu_count()} cores; load {os.getloadavg()[0]:.1f} at the "
        f"start. {version(arguments.venv / 'bin/python')}. A model of {arguments.vocabulary} tokens × "
        f"{arguments.hidden} in bfloat16, half of them shared; {arguments.k} rows for each new token; the "
        f"faster of {arguments.repeat} runs of ours, one of Python's.\n\n"
    )


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, required=True, help="where mergekit is installed")
    parser.add_argument(
        "--bin", type=Path, default=ROOT / "target/release/mergekit", help="our program"
    )
    parser.add_argument("--vocabulary", type=int, default=32768, help="tokens of the model")
    parser.add_argument("--hidden", type=int, default=4096, help="columns of the embeddings")
    parser.add_argument("--k", type=int, default=64, help="shared tokens for each new one")
    parser.add_argument("--new", type=int, nargs="+", default=[512, 2048, 16384], help="new tokens")
    parser.add_argument(
        "--most-for-python", type=int, default=2048, help="new tokens that Python is given at most"
    )
    parser.add_argument("--repeat", type=int, default=2, help="runs of our program")
    parser.add_argument("--dir", type=Path, default=ROOT / "target", help="where models are kept")
    parser.add_argument("--save", type=Path, help="write the table to this file, too")
    arguments = parser.parse_args()
    for path in (arguments.bin, arguments.venv / "bin/mergekit-tokensurgeon"):
        if not path.is_file():
            parser.error(f"there is no `{path}`")
    return arguments


def main():
    arguments = parse_arguments()
    text = f"`python3 benches/tokensurgeon_vs_python.py {' '.join(sys.argv[1:])}`\n\n"
    text += conditions(arguments) + HEADER
    print(text, end="", flush=True)
    arguments.dir.mkdir(parents=True, exist_ok=True)
    for new in arguments.new:
        with tempfile.TemporaryDirectory(dir=arguments.dir) as temporary:
            line = compare(arguments, Path(temporary), new)
        print(line, end="", flush=True)
        text += line
    if arguments.save:
        arguments.save.write_text(text)


if __name__ == "__main__":
    main()
