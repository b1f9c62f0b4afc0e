"""Merges tiny models of many classes, and compares what transformers computes with the merged models.

    python logits.py path/to/mergekit [CLASS ...]

For every class, or those that are named, three models with random weights are merged with linear, slerp
and ties by the program, and by the few lines of PyTorch below on the same files. Both results are opened
with transformers. A class passes when no key is missing or unexpected, and when the logits of both are the
same within 1e-4 of the largest. The linear merge is also written as pytorch_model.bin, which has to be a
sound archive that torch.load opens with weights_only, with the same tensors. The exit status is 1 when a
class fails. Needs torch, transformers and safetensors.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

import saved

TOLERANCE = 1e-4

# Classes of saved.py that take more than tokens, and what they take.
TOKENS = {"input_ids": torch.tensor([[5, 9, 3, 17, 21, 8, 30, 11, 4], [7, 7, 12, 26, 19, 3, 14, 6, 28]])}
DECODER = {"decoder_input_ids": torch.tensor([[1, 6, 18], [1, 23, 9]])}
INPUTS = {
    "T5ForConditionalGeneration": {**TOKENS, **DECODER},
    "BartForConditionalGeneration": {**TOKENS, **DECODER},
    "WhisperForConditionalGeneration": {
        "input_features": torch.randn(2, 8, 32, generator=torch.Generator().manual_seed(0)), **DECODER},
    "BertForMultipleChoice": {"input_ids": TOKENS["input_ids"][None]},
}

# transformers 5.24 cannot run these without an image: only this part of them is run.
PARTS = {"Llama4ForConditionalGeneration": "language_model"}

CONFIGS = {
    "linear": "merge_method: linear\nmodels:\n- {model: A, parameters: {weight: 0.3}}\n"
              "- {model: B, parameters: {weight: 0.9}}\n",
    "slerp": "merge_method: slerp\nbase_model: A\nmodels: [{model: A}, {model: B}]\nparameters: {t: 0.4}\n",
    "ties": "merge_method: ties\nbase_model: BASE\nmodels:\n"
            "- {model: A, parameters: {weight: 0.6, density: 0.5}}\n"
            "- {model: B, parameters: {weight: 0.8, density: 0.7}}\n",
}


def linear(base, a, b):
    return (0.3 * a + 0.9 * b) / 1.2


def slerp(base, a, b, t=0.4):
    cosine = torch.dot(a.flatten() / a.norm().clamp(min=1e-8), b.flatten() / b.norm().clamp(min=1e-8))
    if cosine.abs() > 0.9995:
        return (1 - t) * a + t * b
    angle = cosine.acos()
    return (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / angle.sin()


def ties(base, a, b):
    deltas = []
    for model, weight, density in ((a, 0.6, 0.5), (b, 0.8, 0.7)):
        delta = model - base
        kept = torch.zeros_like(delta).flatten()
        largest = delta.flatten().abs().topk(max(int(density * delta.numel()), 1)).indices
        kept[largest] = delta.flatten()[largest]
        deltas.append((weight, kept.view_as(delta)))
    total = sum(weight * delta for weight, delta in deltas)
    sign = torch.where(total >= 0, 1.0, -1.0)
    agreeing = [(weight, delta, (delta.sign() == sign).float()) for weight, delta in deltas]
    merged = sum(weight * delta * mask for weight, delta, mask in agreeing)
    weights = sum(weight * mask for weight, _, mask in agreeing)
    return base + merged / torch.where(weights.abs() < 1e-8, 1.0, weights)


METHODS = {"linear": linear, "slerp": slerp, "ties": ties}


def make(name, folder):
    """Three models whose every weight differs."""
    paths = {}
    for seed, role in enumerate(("BASE", "A", "B")):
        model = saved.make(name, saved.CLASSES[name], seed)
        generator = torch.Generator().manual_seed(100 + seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        paths[role] = folder / role
        model.save_pretrained(paths[role])
    return type(model), paths


def run(program, method, paths, out, *options):
    config = out.with_suffix(".yml")
    text = CONFIGS[method]
    for role, path in paths.items():
        text = text.replace(f": {role}", f": {path}")
    config.write_text(text)
    done = subprocess.run([program, "merge", str(config), str(out), *options], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())


def in_pytorch(method, paths, out):
    """The same merge of the same files, with the config of the model that gives it."""
    tensors = [load_file(paths[role] / "model.safetensors") for role in ("BASE", "A", "B")]
    donor = paths["BASE" if method == "ties" else "A"]
    out.mkdir()
    (out / "config.json").write_text((donor / "config.json").read_text())
    merged = {}
    for name, value in tensors[1].items():
        inputs = [model[name] for model in tensors]
        merged[name] = METHODS[method](*inputs).contiguous() if value.is_floating_point() else value
    save_file(merged, out / "model.safetensors", {"format": "pt"})


def distance(ours, theirs):
    """The largest difference, as a share of the largest value."""
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def logits(cls, name, path):
    model, info = cls.from_pretrained(path, output_loading_info=True, dtype=torch.float32)
    wrong = [f"{what}: {sorted(keys)[:4]}" for what, keys in info.items() if keys]
    if wrong:
        raise RuntimeError("; ".join(wrong))
    with torch.no_grad():
        model = getattr(model.eval(), PARTS.get(name, ""), model)
        output = model(**INPUTS.get(name, TOKENS))
    return output.logits if "logits" in output else output.last_hidden_state


def check_pickle(out, expected):
    """The pickled output is sound, and has the tensors of the other one."""
    file = out / "pytorch_model.bin"
    with zipfile.ZipFile(file) as archive:
        damaged = archive.testzip()
    if damaged:
        raise RuntimeError(f"checksum of {damaged}")
    wanted = load_file(expected / "model.safetensors")
    for mmap in (False, True):
        found = torch.load(file, weights_only=True, mmap=mmap)
        if list(sorted(found)) != list(sorted(wanted)):
            raise RuntimeError("other tensors in the pickle")
        for key, value in wanted.items():
            if found[key].dtype != value.dtype or not torch.equal(found[key], value):
                raise RuntimeError(f"other values in the pickle: {key}")


def check(program, name, folder):
    cls, paths = make(name, folder)
    worst = 0.0
    for method in METHODS:
        out, expected = folder / method, folder / f"{method}-pytorch"
        run(program, method, paths, out)
        in_pytorch(method, paths, expected)
        difference = distance(logits(cls, name, out), logits(cls, name, expected))
        if not difference <= TOLERANCE:
            raise RuntimeError(f"{method}: logits differ by {difference:.1e} of the largest")
        worst = max(worst, difference)
    pickled = folder / "pickled"
    run(program, "linear", paths, pickled, "--no-safe-serialization")
    check_pickle(pickled, folder / "linear")
    # The same weights elsewhere in memory may be added in another order.
    if not distance(logits(cls, name, pickled), logits(cls, name, folder / "linear")) <= 1e-6:
        raise RuntimeError("the pickled model has other logits")
    return worst


def main():
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    program, *names = sys.argv[1:]
    names = names or list(saved.CLASSES)
    failed = 0
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            try:
                print(f"{name}: ok, within {check(program, name, Path(folder)):.1e}", flush=True)
            except Exception as error:  # the other classes are of interest too
                failed += 1
                print(f"{name}: FAILED: {type(error).__name__}: {error}"[:500], flush=True)
    print(f"{len(names) - failed} of {len(names)} classes: no missing or unexpected keys, the same logits")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
