"""The cases of functions.py: module, kind of function, names of functions, and what they are given."""


def rows(column, values):
    return [{column: value, "n": index} for index, value in enumerate(values)]


MMLU = rows("subject", ["anatomy", "Anatomy", "virology", "anatomy"])

PRO = [
    dict(question="Which is it? ", options=[" one", "two "], category="computer science",
         cot_content="A: Let's think step by step. It is two. The answer is (B).", answer="B"),
    dict(question="And\nnow?", options=["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"],
         category="math", cot_content="No beginning.", answer="K"),
]

PROX = [
    dict({f"option_{index}": option for index, option in enumerate(options)}, question=question,
         category=category, cot_content=cot)
    for question, category, cot, options in [
        ("Was?", "health", "A: Let's think step by step. So (A).", ["x", "y"] + [None] * 8),
        ("é?", "computer science", "A: 一歩一歩考えていきましょう。はい", [str(i) for i in range(10)]),
    ]
]

NLI = [dict(premise="It rains. ", hypothesis="It's wet", label=label) for label in range(3)]

AFRIMMLU = [
    dict(subject="law", question="What's {it}?", choices="['a', \"it's\", 'c\\n', 'd']"),
    dict(subject="art", question="", choices="['', '2', '3', '4']"),
]

PAIRS = [
    [[0, 0], [1, 1], [2, 0], [2, 2], [1, 0]],
    [[0, 1], [0, 2]],
    [[3, 3]],
    [[0, 5], [5, 5], [4, 0], [3, 3], [2, 3], [1, 1], [0, 0], [3, 0]],
]

CASES = [
    ("global_mmlu/full/en/utils.py", "documents", ["process_anatomy"], MMLU),
    ("global_mmlu/default/en/utils.py", "documents", ["process_social_sciences", "process_stem"],
     rows("subject_category", ["STEM", "Social Sciences", "stem", "Other", "STEM"])),
    ("openai-mmmlu/default/utils.py", "documents", ["process_anatomy"],
     rows("Subject", ["anatomy", "anatomy_test.csv_sw-KE.csv", "anatomy_test-x", None, "virology",
                      "anatomy_test-_test.csv"])),
    ("include/default/Albanian/utils.py", "documents",
     ["process_arts_humanities", "process_general_knowledge"],
     rows("domain", ["Arts & Humanities", "General knowledge", "General Knowledge", "STEM"])),
    ("mmlu_pro/utils.py", "documents", ["process_computer_science", "process_math"], PRO),
    ("mmlu_pro/utils.py", "value", ["doc_to_text", "fewshot_to_text", "fewshot_to_target"], PRO),
    ("mmlu-pro-plus/utils.py", "value", ["doc_to_text", "fewshot_to_text", "fewshot_to_target"], PRO),
    ("mmlu_prox/??/utils.py", "value", ["doc_to_text", "fewshot_to_text"], PROX),
    ("mmlu_prox/de/utils.py", "documents", ["process_computer_science", "process_health"], PROX),
    ("llama3/instruct/mmlu_pro/utils.py", "documents", ["process_computer_science"], PRO),
    ("llama3/instruct/mmlu_pro/utils.py", "value", ["fewshot_to_text"], PRO),
    ("llama3/instruct/mmlu_??/utils.py", "documents",
     ["process_docs_anatomy", "process_docs_high_school_us_history"],
     rows("subtask_name", [f"mmlu_{language}_chat.{subject}" for subject in ["anatomy", "virology",
                           "high_school_us_history"] for language in ["de", "th", "it"]])),
    ("afrixnli/anli prompt/native-direct/utils.py", "aggregation", ["weighted_f1_score"], PAIRS),
    ("afrixnli/*/prompt_[24]/utils.py", "value", ["doc_to_target"], NLI),
    ("afrixnli/*/prompt_1/utils.py", "value", ["doc_to_text", "doc_to_target"], NLI),
    ("afrixnli/*/prompt_[35]/utils.py", "value", ["doc_to_target"], NLI),
    ("afrixnli/translate/prompt_3/utils.py", "value", ["doc_to_text"], NLI),
    ("afrimmlu/*/prompt_*/utils.py", "value", ["doc_to_text", "doc_to_choice"], AFRIMMLU),
]
