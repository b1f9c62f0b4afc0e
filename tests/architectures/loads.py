"""Merges two tiny models of each class of saved.py and opens the result with transformers.

    python loads.py path/to/mergekit

Prints the classes whose merged model lacks keys that transformers wants, has others that it does not
know, or has values other than the mean; the exit status is 1 when there are any. Needs torch,
transformers and safetensors.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers

import saved


def problems(program, name, folder):
    a, b = (saved.make(name, saved.CLASSES[name], seed) for seed in (0, 1))
    a.save_pretrained(folder / "a")
    b.save_pretrained(folder / "b")
    config = folder / "merge.yml"
    config.write_text(f"merge_method: linear\nmodels: [{{model: {folder / 'a'}}}, {{model: {folder / 'b'}}}]\n"
                      "parameters: {weight: 0.5}\n")
    done = subprocess.run([program, "merge", str(config), str(folder / "out")], capture_output=True, text=True)
    if done.returncode:
        return [done.stderr.strip()]
    merged, info = type(a).from_pretrained(folder / "out", output_loading_info=True)
    found = [f"{what}: {sorted(keys)[:4]}" for what, keys in info.items() if keys]
    others = b.state_dict()
    expected = {key: (value + others[key]) / 2 for key, value in a.state_dict().items()}
    for key, value in merged.state_dict().items():
        if value.is_floating_point() and not torch.allclose(value, expected[key], atol=1e-6):
            found.append(f"other values: {key}")
    return found


def main():
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    failed = 0
    for name in saved.CLASSES:
        with tempfile.TemporaryDirectory() as folder:
            found = problems(sys.argv[1], name, Path(folder))
        failed += bool(found)
        for problem in found[:4]:
            print(f"{name}: {problem}")
    print(f"{len(saved.CLASSES) - failed} of {len(saved.CLASSES)} load and have the right values")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
