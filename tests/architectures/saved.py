"""Writes saved.json: what transformers saves of a tiny model of each class that it has.

    python saved.py > saved.json

Needs torch, transformers and safetensors. Only names, shapes and the configs are kept, so the result
tells what models of these classes consist of independently of our definitions.
"""

import json
import struct
import sys
import tempfile
from pathlib import Path

import torch
import transformers

SIZES = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 4, "vocab_size": 32, "max_position_embeddings": 16,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_inner": 24, "n_positions": 16, "vocab_size": 32}
DISTIL = {"dim": 16, "hidden_dim": 24, "n_layers": 2, "n_heads": 4, "vocab_size": 32,
          "max_position_embeddings": 16}
VISION = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
          "image_size": 28, "patch_size": 14}
FALCON = {key: SIZES[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")}
QWEN_VISION = {"depth": 3, "embed_dim": 16, "hidden_size": 16, "intermediate_size": 24, "num_heads": 4,
               "out_hidden_size": 16, "num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1, 2]}
ROPE = {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 0], "rope_theta": 1e4}}
EXPERTS = {"num_experts": 3, "num_local_experts": 3, "n_routed_experts": 3, "num_experts_per_tok": 2,
           "moe_intermediate_size": 12}

# By class: what its config has beside SIZES, or instead of them where it has sizes of its own.
CLASSES = {
    "ApertusForCausalLM": {}, "ArceeForCausalLM": {}, "CohereForCausalLM": {"use_qk_norm": True},
    "Cohere2ForCausalLM": {}, "GemmaForCausalLM": {}, "Gemma2ForCausalLM": {},
    "Gemma3ForCausalLM": {}, "Glm4ForCausalLM": {"attention_bias": True},
    "Glm4MoeForCausalLM": {**EXPERTS, "first_k_dense_replace": 1, "use_qk_norm": True},
    "GPTNeoXForCausalLM": {}, "GraniteForCausalLM": {"attention_bias": True, "mlp_bias": True},
    "GraniteMoeHybridForCausalLM": {**EXPERTS, "layer_types": ["mamba", "attention"],
        "layers_block_type": ["mamba", "attention"], "mamba_n_heads": 4, "mamba_d_head": 8,
        "mamba_n_groups": 1, "mamba_d_state": 4, "shared_intermediate_size": 12},
    "Lfm2ForCausalLM": {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
    "LlamaForSequenceClassification": {}, "LlamaForCausalLM": {"tie_word_embeddings": False},
    "MambaForCausalLM": {"state_size": 4}, "MistralForCausalLM": {},
    "MixtralForCausalLM": EXPERTS, "Olmo2ForCausalLM": {}, "PhiForCausalLM": {},
    "Phi3ForCausalLM": {}, "Qwen2ForCausalLM": {}, "Qwen3ForCausalLM": {},
    "Qwen3MoeForCausalLM": {**EXPERTS, "mlp_only_layers": [0]}, "StableLmForCausalLM": {"use_qkv_bias": True},
    "Starcoder2ForCausalLM": {}, "AfmoeForCausalLM": {**EXPERTS, "num_dense_layers": 1},
    "BertForMaskedLM": {}, "BertForSequenceClassification": {}, "BertForMultipleChoice": {},
    "BertForTokenClassification": {}, "BertModel": {},
    "RobertaForMaskedLM": {}, "RobertaForSequenceClassification": {},
    "RobertaForTokenClassification": {}, "RobertaModel": {},
    "FalconForCausalLM": {**FALCON, "new_decoder_architecture": True, "num_kv_heads": 2},
    "DistilBertForMaskedLM": DISTIL, "DistilBertForSequenceClassification": DISTIL,
    "DistilBertForTokenClassification": DISTIL, "DistilBertModel": DISTIL,
    "GPT2LMHeadModel": GPT2, "GPT2ForSequenceClassification": {**GPT2, "pad_token_id": 0},
    "GPTBigCodeForCausalLM": GPT2,
    "T5ForConditionalGeneration": {"d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2,
        "num_decoder_layers": 3, "num_heads": 4, "vocab_size": 32, "feed_forward_proj": "gated-gelu"},
    "WhisperForConditionalGeneration": {"d_model": 16, "encoder_layers": 2, "decoder_layers": 3,
        "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 24,
        "decoder_ffn_dim": 24, "vocab_size": 32, "num_mel_bins": 8, "max_source_positions": 16,
        "max_target_positions": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
        "decoder_start_token_id": 1},
    "Gemma3ForConditionalGeneration": {"text_config": SIZES, "vision_config": {**VISION, "vision_use_head": False},
        "mm_tokens_per_image": 4},
    "Llama4ForConditionalGeneration": {
        "text_config": {**SIZES, **EXPERTS, "intermediate_size_mlp": 24, "interleave_moe_layer_step": 2},
        "vision_config": {**VISION, "vision_output_dim": 16, "projector_input_dim": 16,
                          "projector_output_dim": 16, "pixel_shuffle_ratio": 0.5}},
    "Mistral3ForConditionalGeneration": {
        "text_config": {**SIZES, "model_type": "mistral"},
        "vision_config": {**VISION, "model_type": "pixtral", "head_dim": 4}},
    "Qwen2VLForConditionalGeneration": {"text_config": {**SIZES, **ROPE}, "vision_config": QWEN_VISION},
    "Qwen2_5_VLForConditionalGeneration": {"text_config": {**SIZES, **ROPE}, "vision_config": QWEN_VISION},
    "Qwen3VLForConditionalGeneration": {"text_config": {**SIZES, **ROPE}, "vision_config": QWEN_VISION},
    "Qwen3VLMoeForConditionalGeneration": {"text_config": {**SIZES, **ROPE, **EXPERTS},
        "vision_config": QWEN_VISION},
    # Without a definition.
    "Qwen2MoeForCausalLM": {**EXPERTS, "shared_expert_intermediate_size": 12, "mlp_only_layers": [1]},
    "OPTForCausalLM": {"ffn_dim": 24, "word_embed_proj_dim": 16},
    "OlmoeForCausalLM": EXPERTS, "DeepseekV2ForCausalLM": {**EXPERTS, "num_key_value_heads": 4, "n_group": 1, "topk_group": 1,
        "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4,
        "v_head_dim": 4, "first_k_dense_replace": 1, "n_shared_experts": 1},
    "LlavaForConditionalGeneration": {"text_config": {**SIZES, "model_type": "llama"},
        "vision_config": {**VISION, "model_type": "clip_vision_model"}},
    "BartForConditionalGeneration": {"d_model": 16, "encoder_layers": 2, "decoder_layers": 3,
        "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 24,
        "decoder_ffn_dim": 24, "vocab_size": 32, "max_position_embeddings": 16},
}
OWN_SIZES = ("DistilBert", "GPT2", "GPTBig", "T5", "Whisper", "Bart", "Falcon")
KEEP = ("architectures", "model_type", "vocab_size", "tie_word_embeddings", "n_layer", "n_layers",
        "depth", "num_layers", "num_decoder_layers", "encoder_layers", "decoder_layers",
        "num_hidden_layers", "num_experts", "num_local_experts", "n_routed_experts",
        "text_config", "vision_config")


def selected(config):
    return {key: selected(value) if isinstance(value, dict) else value
            for key, value in config.items() if key in KEEP}


def make(name, values, seed=0):
    torch.manual_seed(seed)
    cls = getattr(transformers, name)
    has_parts = "text_config" in values or name.startswith(OWN_SIZES)
    values = {**({} if has_parts else SIZES), **values}
    config = cls.config_class(**values)
    config.architectures = [name]
    return cls(config)


def save(name, values):
    model = make(name, values)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        files = sorted(Path(folder).glob("*.safetensors"))
        assert len(files) == 1
        data = files[0].read_bytes()
        header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
        header.pop("__metadata__", None)
        saved = json.loads((Path(folder) / "config.json").read_text())
    return {"config": selected(saved), "tensors": {k: header[k]["shape"] for k in sorted(header)}}


def main():
    result = {}
    for name, values in CLASSES.items():
        try:
            result[name] = save(name, values)
        except Exception as error:  # one class that cannot be made should not hide the others
            print(f"{name}: {type(error).__name__}: {error}"[:300], file=sys.stderr)
    print("{")
    for at, (name, entry) in enumerate(sorted(result.items())):
        comma = "," if at + 1 < len(result) else ""
        print(f' "{name}": {{"config": {json.dumps(entry["config"])},\n  "tensors": {{')
        lines = [f"   {json.dumps(k)}: {json.dumps(v)}" for k, v in entry["tensors"].items()]
        print(",\n".join(lines) + "}}" + comma)
    print("}")


if __name__ == "__main__":
    main()
