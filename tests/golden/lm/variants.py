"""Tiny models of every family, as their config.json would say it; both spellings of RoPE and dtype occur.

Where transformers surprises, a comment gives the formula of its source.
"""

SIZES = dict(
    vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
)
GATED = dict(SIZES, hidden_act="silu", tie_word_embeddings=False)


def family(class_name, model_type, sizes=GATED, **fields):
    return dict(sizes, architectures=[class_name], model_type=model_type, **fields)


LLAMA = family("LlamaForCausalLM", "llama", rms_norm_eps=1e-5)
MISTRAL = family("MistralForCausalLM", "mistral", rms_norm_eps=1e-5)
QWEN2 = family("Qwen2ForCausalLM", "qwen2")
QWEN3 = family("Qwen3ForCausalLM", "qwen3")
GEMMA = family("GemmaForCausalLM", "gemma", SIZES, head_dim=12, hidden_act="gelu")
GEMMA2 = family("Gemma2ForCausalLM", "gemma2", SIZES, head_dim=10, query_pre_attn_scalar=7,
    hidden_activation="gelu_pytorch_tanh", num_hidden_layers=4, sliding_window=6,
    attn_logit_softcapping=5.0, final_logit_softcapping=4.0)
GEMMA3 = family("Gemma3ForCausalLM", "gemma3_text", SIZES, head_dim=12, query_pre_attn_scalar=9,
    hidden_activation="gelu_pytorch_tanh", num_hidden_layers=4, sliding_window=6)
PHI = family("PhiForCausalLM", "phi", hidden_act="gelu_new", tie_word_embeddings=False, sizes=SIZES,
    layer_norm_eps=1e-5)
PHI3 = family("Phi3ForCausalLM", "phi3", rms_norm_eps=1e-5, pad_token_id=0, eos_token_id=2)
STABLELM = family("StableLmForCausalLM", "stablelm", layer_norm_eps=1e-5)
GPT_NEOX = dict(vocab_size=50, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
    num_attention_heads=4, max_position_embeddings=128, architectures=["GPTNeoXForCausalLM"],
    model_type="gpt_neox", hidden_act="gelu", layer_norm_eps=1e-5, tie_word_embeddings=False)
GPT2 = dict(vocab_size=50, n_embd=32, n_layer=2, n_head=4, n_positions=128, n_ctx=128,
    architectures=["GPT2LMHeadModel"], model_type="gpt2", activation_function="gelu_new",
    layer_norm_epsilon=1e-5)
STARCODER2 = family("Starcoder2ForCausalLM", "starcoder2", SIZES, hidden_act="gelu_pytorch_tanh",
    norm_epsilon=1e-5)
FALCON = dict(vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
    architectures=["FalconForCausalLM"], model_type="falcon", layer_norm_epsilon=1e-5)
OLMO = family("OlmoForCausalLM", "olmo", pad_token_id=1)
OLMO2 = family("Olmo2ForCausalLM", "olmo2", rms_norm_eps=1e-6, pad_token_id=1)
GRANITE = family("GraniteForCausalLM", "granite", rms_norm_eps=1e-5)
COHERE = family("CohereForCausalLM", "cohere", SIZES, hidden_act="silu", logit_scale=0.75)
COHERE2 = family("Cohere2ForCausalLM", "cohere2", SIZES, hidden_act="silu", logit_scale=0.75,
    num_hidden_layers=4, sliding_window=6)
SMOLLM3 = family("SmolLM3ForCausalLM", "smollm3", SIZES, hidden_act="silu", num_hidden_layers=4,
    pad_token_id=0)
GLM = family("GlmForCausalLM", "glm", head_dim=12, pad_token_id=0)
GLM4 = family("Glm4ForCausalLM", "glm4", head_dim=12, pad_token_id=0)
EXAONE4 = family("Exaone4ForCausalLM", "exaone4", num_hidden_layers=4, rms_norm_eps=1e-5)
EXAONE = dict(vocab_size=50, hidden_size=32, intermediate_size=48, num_layers=2,
    num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=128,
    architectures=["ExaoneForCausalLM"], model_type="exaone", activation_function="silu",
    layer_norm_epsilon=1e-5, tie_word_embeddings=False)
INTERNLM2 = family("InternLM2ForCausalLM", "internlm2", rms_norm_eps=1e-5, bias=False,
    rope_theta=1000000.0)
MIXTRAL = family("MixtralForCausalLM", "mixtral", rms_norm_eps=1e-5, num_local_experts=5,
    num_experts_per_tok=2)
QWEN2_MOE = family("Qwen2MoeForCausalLM", "qwen2_moe", num_experts=6, num_experts_per_tok=3,
    moe_intermediate_size=20, shared_expert_intermediate_size=28)
QWEN3_MOE = family("Qwen3MoeForCausalLM", "qwen3_moe", head_dim=10, num_experts=6,
    num_experts_per_tok=3, moe_intermediate_size=20)
OLMOE = family("OlmoeForCausalLM", "olmoe", num_experts=5, num_experts_per_tok=2, pad_token_id=1)
PHIMOE = family("PhimoeForCausalLM", "phimoe", num_local_experts=4, num_experts_per_tok=2,
    attention_bias=True, lm_head_bias=True, router_jitter_noise=0.1)
DEEPSEEK_V2 = family("DeepseekV2ForCausalLM", "deepseek_v2", num_hidden_layers=3,
    num_key_value_heads=4, kv_lora_rank=12, q_lora_rank=None, qk_nope_head_dim=10,
    qk_rope_head_dim=6, v_head_dim=9, n_routed_experts=6, num_experts_per_tok=2,
    n_shared_experts=2, moe_intermediate_size=14, first_k_dense_replace=1, topk_method="greedy",
    n_group=1, topk_group=1, routed_scaling_factor=1.0, norm_topk_prob=False,
    scoring_func="softmax", rms_norm_eps=1e-6)
DEEPSEEK_V3 = family("DeepseekV3ForCausalLM", "deepseek_v3", num_hidden_layers=3,
    num_key_value_heads=4, kv_lora_rank=12, q_lora_rank=16, qk_nope_head_dim=10,
    qk_rope_head_dim=6, v_head_dim=9, n_routed_experts=8, num_experts_per_tok=3,
    n_shared_experts=1, moe_intermediate_size=14, first_k_dense_replace=1, n_group=4,
    topk_group=2, routed_scaling_factor=2.5, norm_topk_prob=True, topk_method="noaux_tc",
    scoring_func="sigmoid", num_nextn_predict_layers=0)

LLAMA3_SCALING = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
# Half of a frequency's ramp lies between these for 16 dimensions, theta 100 and 16 positions.
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16,
    "beta_fast": 2.0, "beta_slow": 0.5}
DEEPSEEK_YARN = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16,
    "beta_fast": 4, "beta_slow": 1, "mscale": 0.9, "mscale_all_dim": 0.6}


def longrope(pairs, **fields):
    """Factors for so many pairs of dimensions, different for short and long texts."""
    return dict(fields, short_factor=[1.0 + 0.05 * i for i in range(pairs)],
        long_factor=[1.5 + 0.4 * i for i in range(pairs)])


VARIANTS = {
    "llama_grouped_heads": dict(LLAMA, rope_theta=10000.0, torch_dtype="float32"),
    "llama_plain_heads": dict(LLAMA, num_key_value_heads=4,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0}, dtype="float32"),
    "llama_one_key_head": dict(LLAMA, num_key_value_heads=1),
    "llama_tied_head": dict(LLAMA, tie_word_embeddings=True),
    "llama_head_dim": dict(LLAMA, head_dim=22),
    "llama_biases": dict(LLAMA, attention_bias=True, mlp_bias=True),
    # `default`, `linear` and `llama3` do not know how long a text is.
    "llama_default_rope_beyond": dict(LLAMA, max_position_embeddings=16),
    "llama_linear_rope": dict(LLAMA, rope_theta=1000.0, max_position_embeddings=16,
        rope_scaling={"type": "linear", "factor": 4.0}),
    "llama_llama3_rope": dict(LLAMA, rope_theta=500000.0, rope_scaling=LLAMA3_SCALING),
    "llama_llama3_rope_new_spelling": dict(LLAMA, rope_parameters={
        "rope_type": "llama3", "rope_theta": 100.0, "factor": 4.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 64}),
    # theta' = theta * ((factor * L / max_position_embeddings) - (factor - 1)) ** (d / (d - 2)), where
    # L = max(longest position in the whole call + 1, max_position_embeddings); with a cache, older keys
    # keep the rotation of their own step. L also only grows from call to call until one is shorter than
    # max_position_embeddings; make.py resets it.
    "llama_dynamic_rope": dict(LLAMA, rope_theta=100.0, max_position_embeddings=16,
        rope_scaling={"type": "dynamic", "factor": 4.0}),
    "llama_dynamic_rope_new_spelling": dict(LLAMA, max_position_embeddings=24, rope_parameters={
        "rope_type": "dynamic", "rope_theta": 1000.0, "factor": 2.0}),
    # cos and sin are multiplied by attention_factor, or by m(mscale) / m(mscale_all_dim) if both are
    # given and not 0, or else by m(1), where m(s) = 0.1 * s * ln(factor) + 1.
    "llama_yarn": dict(LLAMA, rope_theta=100.0, max_position_embeddings=64, head_dim=16,
        rope_scaling=YARN),
    "llama_yarn_untruncated": dict(LLAMA, max_position_embeddings=64, head_dim=16,
        rope_parameters=dict(YARN, rope_theta=100.0, truncate=False)),
    "llama_yarn_attention_factor": dict(LLAMA, rope_theta=100.0, max_position_embeddings=64,
        head_dim=16, rope_scaling=dict(YARN, attention_factor=0.8)),
    "llama_yarn_mscale": dict(LLAMA, rope_theta=100.0, max_position_embeddings=64, head_dim=16,
        rope_scaling=dict(YARN, mscale=0.9, mscale_all_dim=0.5)),
    # Without original_max_position_embeddings, max_position_embeddings stands in.
    "llama_yarn_defaults": dict(LLAMA, rope_theta=50.0, max_position_embeddings=32,
        rope_scaling={"type": "yarn", "factor": 2.0}),
    # The long factors count if the longest position in the whole call + 1 is above the original length.
    # With a cache, older keys keep the short factors: the crossing changes nothing in the past.
    # cos and sin are multiplied by sqrt(1 + ln(factor) / ln(original)), long or short, where factor is
    # max_position_embeddings / original unless given.
    "llama_longrope": dict(LLAMA, rope_theta=1000.0, max_position_embeddings=64,
        rope_scaling=longrope(4, rope_type="longrope", original_max_position_embeddings=16)),
    "llama_longrope_factor": dict(LLAMA, max_position_embeddings=64, rope_parameters=longrope(4,
        rope_type="longrope", rope_theta=1000.0, factor=3.0, original_max_position_embeddings=24)),
    "llama_longrope_attention_factor": dict(LLAMA, max_position_embeddings=64,
        original_max_position_embeddings=24, rope_theta=1000.0,
        rope_scaling=longrope(4, rope_type="longrope", attention_factor=0.9)),
    # rope_scaling wins, and does not take rope_theta from what it replaces.
    "llama_both_spellings": dict(LLAMA, rope_scaling={"type": "linear", "factor": 2.0},
        rope_parameters={"rope_type": "default", "rope_theta": 100.0}),

    "mistral_window": dict(MISTRAL, sliding_window=7),
    "mistral_no_window": dict(MISTRAL, sliding_window=None, head_dim=16),
    "mistral_yarn": dict(MISTRAL, sliding_window=None, max_position_embeddings=64,
        rope_theta=100.0, rope_scaling=YARN, head_dim=16),

    "qwen2": dict(QWEN2, tie_word_embeddings=True, use_sliding_window=False, sliding_window=None),
    "qwen2_unused_window": dict(QWEN2, use_sliding_window=False, sliding_window=5,
        max_window_layers=1, rope_theta=1000000.0, num_key_value_heads=None),
    # Layers from max_window_layers on have the window.
    "qwen2_window": dict(QWEN2, use_sliding_window=True, sliding_window=6, max_window_layers=1),
    "qwen2_layer_types": dict(QWEN2, use_sliding_window=True, sliding_window=6,
        layer_types=["sliding_attention", "full_attention"]),
    "qwen2_yarn": dict(QWEN2, max_position_embeddings=16, rope_theta=1000.0,
        rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}),
    "qwen3": dict(QWEN3, head_dim=10),
    "qwen3_window": dict(QWEN3, head_dim=8, attention_bias=True, use_sliding_window=True,
        sliding_window=5, layer_types=["sliding_attention", "full_attention"]),
    "qwen3_max_window_layers": dict(QWEN3, head_dim=8, use_sliding_window=True, sliding_window=5,
        max_window_layers=1, tie_word_embeddings=True),

    # Norms multiply by 1 + weight; embeddings are multiplied by sqrt(hidden_size), the head is not;
    # hidden_act "gelu" means the tanh form, as "gelu_pytorch_tanh" does.
    "gemma": GEMMA,
    "gemma_untied": dict(GEMMA, hidden_act="gelu_pytorch_tanh", tie_word_embeddings=False,
        num_key_value_heads=1, attention_bias=True),
    # Scores are divided by sqrt(query_pre_attn_scalar), then capped: c * tanh(score / c), then masked.
    "gemma2": GEMMA2,
    "gemma2_no_caps": dict(GEMMA2, attn_logit_softcapping=None, final_logit_softcapping=None,
        layer_types=["full_attention", "sliding_attention"] * 2, rope_theta=500.0,
        attention_bias=True, query_pre_attn_scalar=40),
    # rope_scaling counts in layers with full attention only; the others have rope_local_base_freq.
    # attn_logit_softcapping is accepted, but never applied.
    "gemma3": dict(GEMMA3, rope_theta=1000.0, rope_local_base_freq=10.0, sliding_window_pattern=3,
        rope_scaling={"rope_type": "linear", "factor": 8.0}),
    "gemma3_new_spelling": dict(GEMMA3, rope_parameters={
        "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 500.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 50.0}},
        layer_types=["sliding_attention", "full_attention"] * 2, attn_logit_softcapping=2.0,
        final_logit_softcapping=5.0, attention_bias=True),
    "gemma3_defaults": dict({field: value for field, value in GEMMA3.items()
        if field != "query_pre_attn_scalar"}, num_hidden_layers=7, num_attention_heads=2,
        head_dim=8, intermediate_size=24),

    "phi": dict(PHI, num_key_value_heads=4, partial_rotary_factor=0.5),
    "phi_qk_norm": dict(PHI, qk_layernorm=True, hidden_act="gelu", num_key_value_heads=4,
        rope_parameters={"rope_type": "default", "rope_theta": 20.0,
            "partial_rotary_factor": 0.75}),
    "phi_dynamic": dict(PHI, max_position_embeddings=16, partial_rotary_factor=0.75,
        rope_scaling={"type": "dynamic", "factor": 2.0}),

    "phi3": dict(PHI3, rope_scaling=None, sliding_window=9),
    "phi3_partial": dict(PHI3, partial_rotary_factor=0.75, tie_word_embeddings=True),
    # generate() drops the cache when the text grows beyond the top-level original length, so all keys
    # get the long factors; forward() with a cache alone would not.
    "phi3_longrope": dict(PHI3, max_position_embeddings=64, original_max_position_embeddings=24,
        rope_theta=1000.0, rope_scaling=longrope(4, type="longrope")),
    # "su" is the first name of "longrope", which transformers reads only with the length beside it.
    "phi3_su_partial": dict(PHI3, max_position_embeddings=64, original_max_position_embeddings=16,
        partial_rotary_factor=0.75, rope_theta=1000.0,
        rope_scaling=longrope(3, type="su", original_max_position_embeddings=16)),

    "stablelm_1": dict(STABLELM, num_key_value_heads=4, partial_rotary_factor=0.25),
    "stablelm_2": dict(STABLELM, use_qkv_bias=True, rope_theta=1000.0),
    "stablelm_2_12b": dict(STABLELM, qk_layernorm=True, use_parallel_residual=True,
        partial_rotary_factor=0.5),

    "gpt_neox": dict(GPT_NEOX, rotary_pct=0.25, rotary_emb_base=10000),
    "gpt_neox_sequential": dict(GPT_NEOX, rotary_pct=1.0, use_parallel_residual=False),
    "gpt_neox_new_spelling": dict(GPT_NEOX, attention_bias=False, hidden_act="gelu_new",
        rope_parameters={"rope_type": "default", "rope_theta": 100.0,
            "partial_rotary_factor": 0.5}),
    "gpt_neox_linear": dict(GPT_NEOX, rotary_pct=0.5,
        rope_scaling={"type": "linear", "factor": 2.0}),

    "gpt2": GPT2,
    "gpt2_options": dict(GPT2, n_inner=40, scale_attn_by_inverse_layer_idx=True,
        activation_function="relu", tie_word_embeddings=False),
    "gpt2_unscaled": dict(GPT2, scale_attn_weights=False, reorder_and_upcast_attn=True),
    # The first GPT-2 checkpoints have no "transformer." before their names.
    "gpt2_without_prefix": dict(GPT2, activation_function="gelu"),

    "starcoder2": STARCODER2,
    "starcoder2_window": dict(STARCODER2, sliding_window=7, use_bias=False, rope_theta=100.0,
        tie_word_embeddings=False),

    "falcon_7b": dict(FALCON, multi_query=True, parallel_attn=True, bias=False, alibi=False,
        new_decoder_architecture=False),
    "falcon_40b": dict(FALCON, new_decoder_architecture=True, num_kv_heads=2, bias=False,
        alibi=False, parallel_attn=True, rope_theta=100.0),
    "falcon_11b": dict(FALCON, new_decoder_architecture=True, num_kv_heads=2, ffn_hidden_size=40,
        num_ln_in_parallel_attn=1, tie_word_embeddings=False),
    # The bias of a key is slope * position, both of them and the product rounded to bfloat16, divided by
    # sqrt(head_dim) as scores are.
    "falcon_rw": dict(FALCON, hidden_size=48, num_attention_heads=12, alibi=True, bias=True,
        multi_query=False, parallel_attn=False, new_decoder_architecture=False),
    "falcon_alibi_multi_query": dict(FALCON, alibi=True, bias=False, multi_query=True),
    "falcon_bias": dict(FALCON, bias=True, multi_query=True, activation="gelu_new"),

    # Norms have neither weight nor bias; eps is always 1e-5.
    "olmo": dict(OLMO, clip_qkv=1.5),
    "olmo_unclipped": dict(OLMO, clip_qkv=None, tie_word_embeddings=True, rope_theta=100.0,
        attention_bias=True),
    # Only the outputs of attention and MLP are normed; q and k are normed over all heads together.
    "olmo2": OLMO2,
    "olmo2_theta": dict(OLMO2, rope_theta=20.0, attention_bias=True, num_key_value_heads=4),

    "granite": dict(GRANITE, embedding_multiplier=3.0, attention_multiplier=0.2,
        residual_multiplier=0.6, logits_scaling=2.0),
    # attention_multiplier is 1 by default, not 1 / sqrt(head_dim).
    "granite_defaults": dict(GRANITE, attention_bias=True, mlp_bias=True,
        tie_word_embeddings=True),

    # Pairs of dimensions that turn together are neighbours.
    "cohere": COHERE,
    "cohere_qk_norm": dict(COHERE, use_qk_norm=True, rope_theta=100.0, tie_word_embeddings=False,
        attention_bias=True),
    # Layers with full attention have no RoPE.
    "cohere2": dict(COHERE2, sliding_window_pattern=2),
    "cohere2_default_pattern": COHERE2,
    "cohere2_layer_types": dict(COHERE2, rope_theta=50000.0, attention_bias=True,
        layer_types=["full_attention"] + ["sliding_attention"] * 3),

    "smollm3": dict(SMOLLM3, no_rope_layers=[1, 0, 1, 1], rope_theta=1000.0),
    "smollm3_interval": dict(SMOLLM3, no_rope_layer_interval=2, tie_word_embeddings=False,
        use_sliding_window=True, sliding_window=6, attention_bias=True, mlp_bias=True),
    "smollm3_defaults": SMOLLM3,

    "glm": GLM,
    "glm_partial": dict(GLM, partial_rotary_factor=0.67, attention_bias=False, rope_theta=100.0),
    "glm4": GLM4,
    "glm4_new_spelling": dict(GLM4, attention_bias=False, rope_parameters={
        "rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.34}),

    "exaone": dict(EXAONE, rope_theta=500000, rope_scaling=None),
    "exaone_defaults": dict(EXAONE, num_key_value_heads=4),
    "exaone_llama3_rope": dict(EXAONE, rope_theta=1000.0, rope_scaling=LLAMA3_SCALING,
        tie_word_embeddings=True),
    # RoPE turns the layers with a window only, or all if there is no window at all.
    "exaone4": dict(EXAONE4, sliding_window=6, sliding_window_pattern=4),
    "exaone4_defaults": dict(EXAONE4, num_hidden_layers=5, intermediate_size=24),
    "exaone4_letters": dict(EXAONE4, sliding_window=6, sliding_window_pattern="LG",
        layer_types=["sliding_attention", "full_attention"] * 2),
    "exaone4_no_window": dict(EXAONE4, sliding_window=None, num_hidden_layers=2,
        layer_types=["full_attention"] * 2, rope_theta=1000.0, rope_scaling=LLAMA3_SCALING),
    "internlm2": dict(INTERNLM2, rope_scaling=None),
    "internlm2_dynamic": dict(INTERNLM2, bias=True, num_key_value_heads=1,
        max_position_embeddings=24, rope_scaling={"type": "dynamic", "factor": 2.0}),

    "mixtral": MIXTRAL,
    "mixtral_window": dict(MIXTRAL, sliding_window=7, num_experts_per_tok=3, rope_theta=1000.0),
    "mixtral_fused": dict(MIXTRAL, tie_word_embeddings=True),
    "mixtral_one_expert": dict(MIXTRAL, num_local_experts=4, num_experts_per_tok=1),
    "qwen2_moe": dict(QWEN2_MOE, norm_topk_prob=False),
    "qwen2_moe_sparse_step": dict(QWEN2_MOE, norm_topk_prob=True, num_hidden_layers=4,
        decoder_sparse_step=2, mlp_only_layers=[3], qkv_bias=False),
    # Other than in qwen2, even layers below max_window_layers have the window.
    "qwen2_moe_window": dict(QWEN2_MOE, use_sliding_window=True, sliding_window=6,
        max_window_layers=28),
    "qwen2_moe_fused": dict(QWEN2_MOE, norm_topk_prob=True),
    "qwen3_moe": dict(QWEN3_MOE, norm_topk_prob=True),
    # The window is in all layers: max_window_layers does not count here.
    "qwen3_moe_window": dict(QWEN3_MOE, norm_topk_prob=False, attention_bias=True,
        use_sliding_window=True, sliding_window=6, max_window_layers=1, mlp_only_layers=[0]),
    "qwen3_moe_fused": dict(QWEN3_MOE, norm_topk_prob=True, tie_word_embeddings=True),
    "olmoe": OLMOE,
    "olmoe_options": dict(OLMOE, clip_qkv=1.2, norm_topk_prob=True, attention_bias=True),
    "phimoe": PHIMOE,
    # cos and sin are multiplied by long_mscale if the longest position in the call + 1 is above the
    # original length, else by short_mscale. make.py gives transformers its long factors back.
    "phimoe_longrope": dict(PHIMOE, lm_head_bias=False, attention_bias=False,
        max_position_embeddings=64, original_max_position_embeddings=24, rope_theta=1000.0,
        rope_scaling=longrope(4, type="longrope", short_mscale=1.1, long_mscale=1.4,
            original_max_position_embeddings=24)),
    # The norms of compressed queries and keys have eps 1e-6 whatever rms_norm_eps says; norm_topk_prob is
    # not applied; softmax's scale is multiplied by m(mscale_all_dim) squared (m as for YaRN above).
    "deepseek_v2_lite": dict(DEEPSEEK_V2, max_position_embeddings=64, rope_theta=1000.0,
        rope_scaling=DEEPSEEK_YARN),
    "deepseek_v2": dict(DEEPSEEK_V2, q_lora_rank=16, topk_method="group_limited_greedy",
        n_group=3, topk_group=2, num_experts_per_tok=3, routed_scaling_factor=2.0,
        rms_norm_eps=1e-3, norm_topk_prob=True),
    # A 0 counts as absent.
    "deepseek_v2_biases": dict(DEEPSEEK_V2, max_position_embeddings=64, rope_theta=1000.0,
        rope_scaling=dict(DEEPSEEK_YARN, mscale=0.7, mscale_all_dim=0), attention_bias=True),
    "deepseek_v3": dict(DEEPSEEK_V3, max_position_embeddings=64, rope_theta=1000.0,
        rope_scaling=dict(DEEPSEEK_YARN, mscale=1.0, mscale_all_dim=1.0)),
    "deepseek_v3_defaults": dict({field: value for field, value in DEEPSEEK_V3.items()
        if field not in ["first_k_dense_replace", "n_group", "topk_group", "num_experts_per_tok",
            "n_shared_experts", "routed_scaling_factor", "norm_topk_prob", "topk_method",
            "scoring_func"]},
        num_hidden_layers=5, n_routed_experts=16, moe_intermediate_size=6),
    "deepseek_v3_halves": dict(DEEPSEEK_V3, rope_interleave=False, q_lora_rank=None,
        norm_topk_prob=False, first_k_dense_replace=0, num_hidden_layers=2),
}

# Saved with the experts of a layer in one tensor, as transformers holds them.
FUSED = {"mixtral_fused", "qwen2_moe_fused", "qwen3_moe_fused"}
