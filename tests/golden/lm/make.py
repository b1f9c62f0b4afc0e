"""Makes decoders.json: log-probabilities and greedy continuations of tiny models by transformers.

Weights are a formula of the tensor's name and the element's index, so that they need not be stored;
tests/lm.rs computes the same ones. Usage: python make.py    (needs torch, transformers)
"""
import json
import pathlib

import numpy
import torch
import transformers

BASE = dict(
    vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
    hidden_act="silu", tie_word_embeddings=False,
)
LLAMA = dict(BASE, architectures=["LlamaForCausalLM"], model_type="llama", rms_norm_eps=1e-5)
MISTRAL = dict(BASE, architectures=["MistralForCausalLM"], model_type="mistral", rms_norm_eps=1e-5)
QWEN2 = dict(BASE, architectures=["Qwen2ForCausalLM"], model_type="qwen2")
QWEN3 = dict(BASE, architectures=["Qwen3ForCausalLM"], model_type="qwen3")

VARIANTS = {
    "llama_grouped_heads": dict(LLAMA, rope_theta=10000.0, torch_dtype="float32"),
    "llama_plain_heads": dict(LLAMA, num_key_value_heads=4,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0}, dtype="float32"),
    "llama_one_key_head": dict(LLAMA, num_key_value_heads=1),
    "llama_tied_head": dict(LLAMA, tie_word_embeddings=True),
    "llama_head_dim": dict(LLAMA, head_dim=22),
    "llama_biases": dict(LLAMA, attention_bias=True, mlp_bias=True),
    "llama_linear_rope": dict(LLAMA, rope_theta=1000.0,
        rope_scaling={"type": "linear", "factor": 4.0}),
    "llama_llama3_rope": dict(LLAMA, rope_theta=500000.0, rope_scaling={
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32}),
    "llama_llama3_rope_new_spelling": dict(LLAMA, rope_parameters={
        "rope_type": "llama3", "rope_theta": 100.0, "factor": 4.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 64}),
    "mistral_window": dict(MISTRAL, sliding_window=7),
    "mistral_no_window": dict(MISTRAL, sliding_window=None, head_dim=16),
    "qwen2": dict(QWEN2, tie_word_embeddings=True, use_sliding_window=False, sliding_window=None),
    "qwen2_window": dict(QWEN2, use_sliding_window=True, sliding_window=6, max_window_layers=1),
    "qwen3": dict(QWEN3, head_dim=10),
    "qwen3_window": dict(QWEN3, head_dim=8, attention_bias=True, use_sliding_window=True,
        sliding_window=5, layer_types=["sliding_attention", "full_attention"]),
}


def stream(seed, count):
    """Numbers in [-1, 1) with 24 bits, from a 64-bit linear congruential generator."""
    state, values = seed, []
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        values.append((state >> 40) / 2**23 - 1.0)
    return values


def tensor(name, shape):
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    count = int(numpy.prod(shape))
    values = numpy.array(stream(seed, count), dtype=numpy.float32)
    if "norm" in name:
        values = numpy.float32(1.0) + values * numpy.float32(0.25)
    elif "embed" in name:
        pass
    else:
        values = values * numpy.float32(0.5)
    return torch.from_numpy(values.reshape(shape))


def tokens(seed, count):
    return [int((value + 1.0) * 25.0) for value in stream(seed, count)]


def evaluate(name, config):
    torch.manual_seed(0)
    parsed = transformers.CONFIG_MAPPING[config["model_type"]].from_dict(dict(config))
    parsed._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(parsed, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            parameter.copy_(tensor(parameter_name, parameter.shape))
        model.tie_weights()
        text = tokens(len(name), 60)
        log_probabilities = model(torch.tensor([text])).logits[0].log_softmax(-1)
        of_tokens = [float(log_probabilities[i, text[i + 1]]) for i in range(len(text) - 1)]
        prompt, answer, gap = text[:11], [], numpy.inf
        for _ in range(40):
            logits = model(torch.tensor([prompt + answer])).logits[0, -1]
            best = logits.topk(2).values
            gap = min(gap, float(best[0] - best[1]))
            answer.append(int(logits.argmax()))
    print(f"{name}: log-probability {sum(of_tokens):.4f}, smallest gap {gap:.1e}, {answer[:8]}")
    assert gap > 1e-3, "a greedy step hangs on rounding"
    return dict(name=name, config=config, text=text,
                log_probabilities=[float(f"{value:.8g}") for value in of_tokens],
                prompt_tokens=len(prompt), answer=answer)


if __name__ == "__main__":
    torch.set_num_threads(1)
    lines = [json.dumps(evaluate(*variant)) for variant in VARIANTS.items()]
    path = pathlib.Path(__file__).with_name("decoders.json")
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")
