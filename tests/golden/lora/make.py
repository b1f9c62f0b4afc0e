"""Adapters of every form, and what peft makes of them: run in this folder, with torch, peft and transformers.

A small module stands for a model, since adapters are about layers: an embedding, linear layers with and without
bias, a layer of transformers' Conv1D (whose weight is [in, out]), a square one of those, and a convolution. Adapter
weights are random, so that nothing is zero by its initial value. No case has square layers of both kinds: then the
files alone do not tell which is which.
"""

import json
import shutil
from pathlib import Path

import peft
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch import nn
from transformers.pytorch_utils import Conv1D

EVERY = ["embed", "wide", "turned", "turned_square", "conv"]

CASES = {
    "linear": (dict(r=3, lora_alpha=5, target_modules=["square", "wide"]), torch.float32),
    "patterns": (
        dict(
            r=2,
            lora_alpha=6,
            use_rslora=True,
            rank_pattern={"block.wide": 5, "embed": 3},
            alpha_pattern={"(block\\.)?wide": 10, "^square": 1},
            target_modules=["square", "wide", "embed"],
        ),
        torch.float32,
    ),
    "layers": (dict(r=4, lora_alpha=4, target_modules=EVERY, fan_in_fan_out=True), torch.float32),
    "dora": (dict(r=4, lora_alpha=6, target_modules=EVERY, use_dora=True, fan_in_fan_out=True), torch.float32),
    "dora_bfloat16": (dict(r=2, lora_alpha=6, target_modules=["square", "wide"], use_dora=True), torch.bfloat16),
    "bfloat16": (dict(r=3, lora_alpha=5, target_modules=["square", "wide", "embed"]), torch.bfloat16),
    "float16": (dict(r=3, lora_alpha=5, target_modules=["square", "wide", "embed"]), torch.float16),
    "bias_all": (dict(r=2, lora_alpha=3, target_modules=["square", "wide"], bias="all"), torch.float32),
    "bias_of_lora": (dict(r=2, lora_alpha=3, target_modules=["square"], lora_bias=True), torch.float32),
    "modules_to_save": (
        dict(r=2, lora_alpha=3, target_modules=["wide"], modules_to_save=["head", "norm"]),
        torch.bfloat16,
    ),
}


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.wide = nn.Linear(6, 10, bias=False)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 6)
        self.square = nn.Linear(6, 6)
        self.block = Block()
        self.turned = Conv1D(5, 6)
        self.turned_square = Conv1D(6, 6)
        self.conv = nn.Conv2d(3, 4, (2, 1))
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 7, bias=False)


def randomize(parameters):
    for parameter in parameters:
        parameter.data = torch.randn(parameter.shape).mul(0.3).to(parameter.dtype)


def tensors(module):
    return {name: tensor.clone().contiguous() for name, tensor in module.state_dict().items()}


def main():
    here = Path(__file__).parent
    for folder in here.iterdir():
        if folder.is_dir():
            shutil.rmtree(folder)
    for index, (name, (config, dtype)) in enumerate(CASES.items()):
        torch.manual_seed(index)
        model = Model()
        randomize(model.parameters())
        model = model.to(dtype)
        folder = here / name
        folder.mkdir()
        save_file(tensors(model), folder / "base.safetensors")
        adapted = get_peft_model(model, LoraConfig(**config))
        randomize(parameter for parameter in adapted.parameters() if parameter.requires_grad)
        for key, parameter in adapted.named_parameters():
            if "magnitude" in key:
                parameter.data = parameter.data.abs() + 0.5
        adapted.save_pretrained(folder, save_embedding_layers=False)
        (folder / "README.md").unlink()
        path = folder / "adapter_config.json"
        written = json.loads(path.read_text()) | {"auto_mapping": None}
        path.write_text(json.dumps(written, indent=2) + "\n")
        save_file(tensors(adapted.merge_and_unload()), folder / "expected.safetensors")
    made_with = {"peft": peft.__version__, "torch": torch.__version__, "transformers": transformers.__version__}
    (here / "made_with.json").write_text(json.dumps(made_with) + "\n")


main()
