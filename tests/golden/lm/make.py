"""Makes families.json: log-probabilities and greedy continuations of tiny models by transformers.

Weights are a formula of the tensor's name and the element's index, so that they need not be stored;
tests/lm.rs computes the same ones from the names and shapes in the file, which are those on disk.
Usage: python make.py [NAME...]    (needs torch, transformers; with names, the others stay as they are)
"""
import json
import pathlib
import sys
import tempfile
import warnings

import numpy
import safetensors
import safetensors.torch
import torch
import transformers
from transformers.models.phimoe import modeling_phimoe as phimoe

import variants

LENGTHS = [60, 23, 9]
PROMPT_TOKENS = 11
NEW_TOKENS = 30
# These look at how long the longest text of a call is.
LENGTH_DEPENDENT = ["dynamic", "longrope", "su"]


def stream(seed, count):
    """Numbers in [-1, 1) with 24 bits, from a 64-bit linear congruential generator."""
    state, values = seed, []
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        values.append((state >> 40) / 2**23 - 1.0)
    return values


def hash_of(name):
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    return seed


def tensor(name, shape):
    values = numpy.array(stream(hash_of(name), int(numpy.prod(shape))), dtype=numpy.float32)
    if ("norm" in name or "ln_" in name) and name.endswith("weight"):
        values = numpy.float32(1.0) + values * numpy.float32(0.25)
    else:
        values = values * numpy.float32(0.5)
    return torch.from_numpy(values.reshape(shape))


def tokens(seed, count):
    return [int((value + 1.0) * 25.0) for value in stream(seed, count)]


def names_and_shapes(path):
    with safetensors.safe_open(path, "pt") as file:
        return {name: list(file.get_slice(name).get_shape()) for name in sorted(file.keys())}


def internlm2_names(config):
    """Names and shapes as the remote code of InternLM2 has them."""
    hidden, wide = config["hidden_size"], config["intermediate_size"]
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    rows = (heads + 2 * groups) * (hidden // heads)
    shapes = {"model.tok_embeddings.weight": [config["vocab_size"], hidden],
        "model.norm.weight": [hidden], "output.weight": [config["vocab_size"], hidden]}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        shapes[prefix + "attention.wqkv.weight"] = [rows, hidden]
        shapes[prefix + "attention.wo.weight"] = [hidden, hidden]
        if config["bias"]:
            shapes[prefix + "attention.wqkv.bias"] = [rows]
            shapes[prefix + "attention.wo.bias"] = [hidden]
        shapes[prefix + "attention_norm.weight"] = shapes[prefix + "ffn_norm.weight"] = [hidden]
        shapes[prefix + "feed_forward.w1.weight"] = [wide, hidden]
        shapes[prefix + "feed_forward.w3.weight"] = [wide, hidden]
        shapes[prefix + "feed_forward.w2.weight"] = [hidden, wide]
    return shapes


def internlm2_as_llama(config, weights):
    """transformers has no InternLM2, which is a llama whose wqkv holds, for each head of keys, its heads
    of queries, then the keys, then the values."""
    groups = config["num_key_value_heads"]
    renamed = {}
    for name, value in weights.items():
        if ".wqkv." in name:
            head_dim = config["hidden_size"] // config["num_attention_heads"]
            grouped = value.unflatten(0, (groups, -1, head_dim))
            parts = {"q": grouped[:, :-2], "k": grouped[:, -2:-1], "v": grouped[:, -1:]}
            for letter, part in parts.items():
                new = name.replace("attention.wqkv", f"self_attn.{letter}_proj")
                renamed[new] = part.flatten(0, 2).contiguous()
            continue
        for old, new in [("tok_embeddings", "embed_tokens"), ("output.", "lm_head."),
                ("attention.wo.", "self_attn.o_proj."), ("attention_norm", "input_layernorm"),
                ("ffn_norm", "post_attention_layernorm"), ("feed_forward.w1", "mlp.gate_proj"),
                ("feed_forward.w3", "mlp.up_proj"), ("feed_forward.w2", "mlp.down_proj")]:
            name = name.replace(old, new)
        renamed[name] = value
    as_llama = dict(config, architectures=["LlamaForCausalLM"], model_type="llama",
        attention_bias=config["bias"])
    return as_llama, renamed


def configuration(config):
    """What transformers makes of a config.json."""
    with tempfile.TemporaryDirectory() as directory:
        pathlib.Path(directory, "config.json").write_text(json.dumps(config))
        return transformers.AutoConfig.from_pretrained(directory)


def build(name, config):
    """Names and shapes on disk, the model loaded from there, and the config as transformers saves it."""
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "model.safetensors")
        saved_config = None
        if config["model_type"] == "internlm2":
            shapes = internlm2_names(config)
            weights = {key: tensor(key, shape) for key, shape in shapes.items()}
            config, weights = internlm2_as_llama(config, weights)
        else:
            model = transformers.AutoModelForCausalLM.from_config(configuration(config))
            model.float().save_pretrained(directory, save_original_format=name not in variants.FUSED)
            shapes = names_and_shapes(path)
            saved_config = json.loads(pathlib.Path(directory, "config.json").read_text())
            if name.endswith("_without_prefix"):
                shapes = {key.removeprefix("transformer."): shape for key, shape in shapes.items()}
            weights = {key: tensor(key, shape) for key, shape in shapes.items()}
        safetensors.torch.save_file(weights, path, metadata={"format": "pt"})
        model = load(directory, config)
        if saved_config is not None:
            text = torch.tensor([tokens(1, 40)])
            again = load(directory, saved_config)
            assert torch.equal(model(text).logits, again(text).logits), "saving changes the model"
            forget_lengths(model)
    return shapes, model, saved_config


def load(directory, config):
    """The model whose weights are in a directory."""
    pathlib.Path(directory, "config.json").write_text(json.dumps(config))
    # Falcon's eager attention counts the bias of ALiBi twice, its default attention once.
    attention = "sdpa" if config.get("alibi") else "eager"
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation=attention,
        experts_implementation="eager", output_loading_info=True)
    for problem in ["missing_keys", "unexpected_keys", "mismatched_keys"]:
        assert not report[problem], (directory, problem, report[problem])
    return model.eval()


def phimoe_turns(rotary, x, position_ids=None):
    """What PhimoeRotaryEmbedding.forward was before transformers 5, and is in the published code: it no
    longer tells rope_init_fn the length, so that long texts get the short factors."""
    length = int(position_ids.max()) + 1
    rope = rotary.config.rope_parameters
    frequencies, factor = rotary.rope_init_fn(rotary.config, seq_len=length)
    if rope["rope_type"] != "default":
        is_long = length > rope["original_max_position_embeddings"]
        factor = rope["long_mscale" if is_long else "short_mscale"]
    angles = (position_ids[..., None].float() * frequencies).repeat(1, 1, 2)
    return angles.cos() * factor, angles.sin() * factor


def forget_lengths(model):
    """Dynamic RoPE keeps the longest length it has seen until a text is short enough."""
    model(torch.tensor([[0]]), use_cache=False)


def log_probabilities_of(model, texts):
    """Of each text's tokens from the second on; texts are padded on the right. The last token is not fed:
    nothing is asked after it, and it would count for RoPE that looks at the length."""
    forget_lengths(model)
    fed = [text[:-1] for text in texts]
    width = max(map(len, fed))
    ids = torch.tensor([text + [0] * (width - len(text)) for text in fed])
    mask = torch.tensor([[1] * len(text) + [0] * (width - len(text)) for text in fed])
    rows = model(ids, attention_mask=mask, use_cache=False).logits.log_softmax(-1)
    return [rows[row, :len(text) - 1].gather(1, torch.tensor(text[1:])[:, None])[:, 0]
        for row, text in enumerate(texts)]


def continuation(model, prompt):
    """A greedy answer with a cache, its log-probabilities, and the smallest lead of a best token."""
    forget_lengths(model)
    settings = transformers.GenerationConfig(do_sample=False, max_new_tokens=NEW_TOKENS,
        eos_token_id=None, pad_token_id=0, use_cache=True, return_dict_in_generate=True,
        output_logits=True)
    model.generation_config.eos_token_id = None
    ids = torch.tensor([prompt])
    output = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
    answer = output.sequences[0, len(prompt):].tolist()
    assert len(answer) == NEW_TOKENS
    rows = torch.cat(output.logits).float()
    best = rows.topk(2).values
    chosen = rows.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0]
    return answer, chosen, float((best[:, 0] - best[:, 1]).min())


def without_cache(model, prompt):
    """What a greedy answer would be if every token were computed anew."""
    text = list(prompt)
    for _ in range(NEW_TOKENS):
        forget_lengths(model)
        text.append(int(model(torch.tensor([text]), use_cache=False).logits[0, -1].argmax()))
    return text[len(prompt):]


def rounded(values):
    return [float(f"{float(value):.8g}") for value in values]


def evaluate(name, config):
    shapes, model, saved_config = build(name, config)
    rope = model.config.to_dict().get("rope_parameters") or {}
    depends_on_length = any(kind in json.dumps(rope) for kind in LENGTH_DEPENDENT)
    for salt in range(100):
        texts = [tokens(hash_of(f"{name}/{salt}/{length}"), length) for length in LENGTHS]
        prompt = texts[0][:PROMPT_TOKENS]
        answer, chosen, gap = continuation(model, prompt)
        if gap > 1e-3 and len(set(answer)) > 8:
            break
    alone = [log_probabilities_of(model, [text])[0] for text in texts]
    together = log_probabilities_of(model, texts)
    padding = max(float((a - b).abs().max()) for a, b in zip(alone, together))
    again = log_probabilities_of(model, [prompt + answer])[0][PROMPT_TOKENS - 1:]
    cache = float((again - chosen).abs().max())
    every = torch.cat(alone)
    rounding = 0.0
    if not config.get("reorder_and_upcast_attn"):
        # Norms and softmax stay as they are; the rest has twice the digits.
        exact = [log_probabilities_of(model.double(), [text])[0] for text in texts]
        rounding = float((torch.cat(exact) - every).abs().max())
    print(f"{name}: log-probability {every.mean():.3f} ± {every.std():.3f}, gap {gap:.1e}, padding "
          f"{padding:.1e}, cache {cache:.1e}, rounding {rounding:.1e}, {len(set(answer))} "
          f"different tokens, salt {salt}", flush=True)
    assert rounding < 3e-5, "the model makes much of rounding"
    assert gap > 1e-3 and len(set(answer)) > 8, "no text leads to a lively and certain answer"
    if depends_on_length:
        assert padding > 0.01 and cache > 0.01, "no text is long enough to matter"
        # Phi-3 and its sister drop the cache on the crossing, so that only they agree.
        drops = config["model_type"] in ["phi3", "phimoe"]
        assert (answer == without_cache(model, prompt)) == drops, "not what the source says"
    assert depends_on_length or (padding < 1e-5 and cache < 1e-4), "company matters"
    assert every.std() > 0.5, "the model says nothing"
    return dict(name=name, config=config, saved_config=saved_config,
        depends_on_length=depends_on_length, tensors=shapes, texts=texts,
        log_probabilities=[rounded(values) for values in alone], prompt=prompt, answer=answer,
        answer_log_probabilities=rounded(chosen))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    phimoe.PhimoeRotaryEmbedding.forward = phimoe_turns
    path = pathlib.Path(__file__).with_name("families.json")
    kept = {}
    if len(sys.argv) > 1 and path.exists():
        kept = {golden["name"]: golden for golden in json.loads(path.read_text())}
    wanted = sys.argv[1:] or list(variants.VARIANTS)
    for name in wanted:
        kept[name] = evaluate(name, variants.VARIANTS[name])
    lines = [json.dumps(kept[name]) for name in variants.VARIANTS if name in kept]
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")
