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

LETTERS = dict(A="one", B="two", C="3", D="", question="Which?", answer="C", subject="some_thing else")

OPTIONS = [
    {"Level": "Univ", "Country": "UAE", "Subject": "Law", "Context": "It is so.", "Question": "Why?",
     "Option 1": "a", "Option 2": "b", "Option 3": None, "Option 4": "d", "Option 5": None},
    {"Level": None, "Country": "", "Subject": "Math", "Context": None, "Question": "How?",
     "Option 1": "a", "Option 2": "b", "Option 3": "c", "Option 4": "d", "Option 5": "e"},
]

WITH_CHOICES = [
    dict(subject_darija="x", egy_subject="y", context="", question="Q?", choices=["a", "b"]),
    dict(subject_darija="x", egy_subject="y", context="So.", question="Q?", choices=["a", "b", "c", "d"]),
]

HELLASWAG = [
    dict(activity_label="Baking [x]", ctx_a="A cook stands.", ctx_b="he THEN", label="1",
         endings=[" sits  down [title] Up [y] [z].", "goes [a\nb] away.  ", "[all]", ""]),
    dict(activity_label="ß", ctx_a="", ctx_b="", label="0", endings=["a   b", "c", "d", "e"]),
]

OKAPI_ARC = [
    dict(id="q1", instruction=" What [is]  it? ", option_a="a [title] b", option_b=" b", option_c="",
         option_d="d", option_e=None, answer="D"),
]

OTHER_COLUMNS = [
    {"query": "Which?", "sol1": "a", "sol2": "b{c}", "sol3": "", "label": "2", "__few_shots": True},
]

ARADICE = [
    {"Subject": "Law", "Level": "Univ", "Country": "UAE", "context": "So.", "question": "Why?",
     "options": {"A": "a", "B": "b", "C": None, "D": "d", "E": None}, "Answer Key": "B"},
    {"Subject": "Political Science", "Level": "", "Country": None, "context": None, "question": "How?",
     "options": {"A": "a", "B": "b", "C": "c", "D": "d", "E": "e"}, "Answer Key": "E"},
]

QUESTION = dict(stem=" What? ", choices=[dict(label="A", text="a"), dict(label="B", text="b")])

WINOGRANDE = [
    dict(sentence="The cup beat the jug because _ was  new. ", option1="the cup", option2="é", answer="2"),
    dict(sentence="_", option1="", option2="b", answer="1"),
]

COPA = [
    dict(premise=" It rained. ", question="cause", choice1="The sky was grey.", choice2="X", label=0),
    dict(premise="I ate.", question="effect", choice1="Éa", choice2="I slept.", label=1),
]

RACE = [
    dict(article="A text.", problems=repr([
        dict(question="He is  _  .", answer="B", options=["a", "b", "c", "d"]),
        dict(question="Who is it?", answer="A", options=["it's", "b", "c", "d"]),
        dict(question="What _ ?", answer="D", options=["a", "b", "c", 'say "d"']),
    ])),
]

MATHQA = [dict(options=o) for o in [
    "a ) 38 , b ) 27.675 , c ) 30 , d ) data inadequate , e ) none of these",
    "a ) rs . 400 , b ) rs . 300 , c ) rs . 500, d ) x , e ) , ",
]]

# Words and signs apart, with white space of all kinds.
TOKENS = [
    " \n = = = A title = = = \n  It was 3 @.@ 5 @-@ fold , said \" he \" ( a cook ) ; so : [ 1 ] { b } ! \n",
    "The dogs ' bowl isn 't N full ? ' Yes ' . 5 ° C \n\n = B = \n", "", " ", "a\t b\u00a0c  ", "( ( a ) ) '  ' /' 3/",
]

CASES = [
    ("mmlusr/*/utils.py", "documents", ["process_docs"],
     [dict(choice1="a", choice2=None, choice3="", choice4="d", answer=" B "),
      dict(choice1="a", choice2="b", choice3="c", choice4="d", answer=None)]),
    ("bigbench/utils.py", "documents", ["filter_multiple_choice"],
     rows("multiple_choice_targets", [["a"], [], ["b", "c"]])),
    ("eus_exams/utils.py", "documents", ["process_docs"],
     [dict(answer=a, candidates=c) for a, c in [(0, ["a", "b", "c", "d"]), (None, ["a", "", "", ""]),
                                                (3, ["", "", "", ""]), (4, ["a", "b", "", ""]),
                                                (2, ["", "b", "", ""])]]),
    ("tmmluplus/default/utils.py", "documents", ["process_docs"], [LETTERS]),
    ("tmlu/default/utils.py", "documents", ["process_docs"],
     [dict(LETTERS, E="e", F=None), dict(LETTERS, E=None, F="f", answer="F"),
      dict(LETTERS, E="e", F="f", answer="E")]),
    ("tmlu/default/utils.py", "documents", ["process_docs"], [LETTERS]),
    ("okapi/arc_multilingual/utils.py", "documents", ["process_docs"], OKAPI_ARC),
    ("okapi/hellaswag_multilingual/utils.py", "documents", ["process_docs"], HELLASWAG),
    ("hellaswag/utils.py", "documents", ["process_docs"], HELLASWAG),
    ("darijammlu/utils.py", "value", ["doc_to_text", "doc_to_choice"], WITH_CHOICES),
    ("egymmlu/utils.py", "value", ["doc_to_text", "doc_to_choice"], WITH_CHOICES),
    ("arabicmmlu/utils.py", "value", ["doc_to_text", "doc_to_choice"], OPTIONS),
    ("aradice/cultural-benchmark/utils.py", "documents", ["process_docs"],
     [{"Option A": "a", "Option B": "b", "Option C": "c"}]),
    ("aradice/*/metrics.py", "aggregation", ["micro_f1_score", "weighted_f1_score"], PAIRS),
    ("aradice/openbookqa/utils.py", "value", ["doc_to_text", "doc_to_choice", "doc_to_target"],
     [dict(question=QUESTION, answerKey=" B")]),
    ("aradice/boolq/*/utils.py", "documents", ["process_docs"],
     [dict(question=q, answer=a) for q, a in [(" is it? ", True), ("so", False), ("x ؟", True), ("??", True)]]),
    ("aradice/boolq/*/utils.py", "documents", ["process_docs"],
     [dict(question=q, answer=a) for q, a in [("is it ?", "true"), ("\n", "false")]]),
    ("aradice/ArabicMMLU/*/utils.py", "documents", ["process_docs"], ARADICE),
    ("arabic_leaderboard_complete/arabic_leaderboard_alghafa/utils.py", "documents", ["process_docs"],
     OTHER_COLUMNS),
    ("arabic_leaderboard_complete/arabic_leaderboard_arabic_exams/utils.py", "documents", ["process_docs"],
     [LETTERS]),
    ("arabic_leaderboard_light/arabic_leaderboard_arabic_mmlu_light/utils.py", "documents", ["process_docs"],
     [LETTERS]),
    ("arabic_leaderboard_complete/arabic_leaderboard_arabic_mt_boolq/utils.py", "documents",
     ["process_docs"], [dict(question="q", passage="p\n", answer=a) for a in [True, False]]),
    ("arabic_leaderboard_complete/arabic_leaderboard_arabic_mt_toxigen/utils.py", "documents",
     ["process_docs"], [dict(text="t", toxicity_ai=a, toxicity_human=2.5) for a in [3.0, 3.5]]),
    ("arabic_leaderboard_complete/arabic_leaderboard_arabic_mt_copa/utils.py", "documents",
     ["process_docs"], COPA),
    ("arabic_leaderboard_complete/arabic_leaderboard_avca/utils.py", "documents", ["process_docs"],
     [dict(question="q", answer=a) for a in ["صح", "خطأ"]]),
    ("arabic_leaderboard_complete/arabic_leaderboard_arabic_mt_hellaswag/utils.py", "documents",
     ["process_docs"], [dict(ctx="So [it] goes [].", endings=repr(["a [b]", "it's", "c"]), label="2")]),
    ("winogrande/preprocess_winogrande.py", "value", ["doc_to_text", "doc_to_target", "doc_to_choice"],
     WINOGRANDE),
    ("aradice/winogrande/utils.py", "value", ["doc_to_text", "doc_to_target", "doc_to_choice"], WINOGRANDE),
    ("xwinograd/utils.py", "value", ["doc_to_text", "doc_to_target", "doc_to_choice"], WINOGRANDE),
    ("super_glue/copa/utils.py", "value", ["doc_to_text", "doc_to_target", "doc_to_choice"], COPA),
    ("xcopa/utils.py", "value", [f"doc_to_text_{language}" for language in
     ["et", "ht", "it", "id", "qu", "sw", "zh", "ta", "th", "tr", "vi"]] + ["doc_to_choice"], COPA),
    ("logiqa/utils_logiqa.py", "value", ["doc_to_text", "doc_to_target"],
     [dict(context="C", question="Q", options=["w", "x", "y", "z"], label="c\n")]),
    ("mathqa/utils.py", "value", ["doc_to_choice"], MATHQA),
    ("race/preprocess_race.py", "value", ["doc_to_text", "doc_to_choice", "doc_to_target"], RACE),
    ("pubmedqa/preprocess_pubmedqa.py", "value", ["doc_to_text"], [dict(CONTEXTS=["a", "b"], QUESTION="q")]),
    ("medqa/preprocess_medqa.py", "value", ["doc_to_text", "doc_to_target"],
     [dict(sent1="s", ending0="a", ending1="b", ending2="c", ending3=None, label=2)]),
    ("medmcqa/utils_medmcqa.py", "value", ["doc_to_text"],
     [dict(question="q", opa="a", opb="b", opc="c", opd="d")]),
    ("arithmetic/utils.py", "documents", ["process_docs"],
     [dict(context="\n\nQ: What is 1 + 1?\n\nA:", completion=" 2")]),
    ("glue/mnli/utils.py", "value", ["doc_to_text"],
     [dict(premise="p ", hypothesis=h) for h in [" so. ", "so", ""]]),
    ("webqs/utils.py", "value", ["doc_to_choice", "doc_to_target"],
     [dict(answers=["b", "a", "Ba", "abc", "c d", "c"]), dict(answers=["x"])]),
    ("paloma/paloma_utils.py", "value", ["doc_to_target"], [dict(text="a"), dict(text=None)]),
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
    ("truthfulqa/utils.py", "results", ["process_results_mc2"],
     [[dict(mc2_targets=dict(labels=[1, 0, 1])), [[-3.5, False], [-1.25, True], [-2.0, False]]],
      [dict(mc2_targets=dict(labels=[0, 1])), [[-30.5, False], [-31.0, False]]]]),
    ("wikitext/preprocess_wikitext.py", "value", ["wikitext_detokenizer"], [dict(page=t) for t in TOKENS]),
    ("c4/preprocess_c4.py", "value", ["c4_detokenizer"], [dict(text=t) for t in TOKENS]),
    ("wikitext/preprocess_wikitext.py", "results", ["process_results"],
     [[dict(page=t), [-12.5]] for t in TOKENS]),
    ("c4/preprocess_c4.py", "results", ["process_results"], [[dict(text=t), [-0.5]] for t in TOKENS]),
    ("crows_pairs/utils.py", "value", ["doc_to_choice"], [dict(sent_more="a", sent_less="b")]),
    ("crows_pairs/utils.py", "documents", ["filter_race_color", "filter_socio", "filter_gender", "filter_age",
     "filter_religion", "filter_disability", "filter_orientation", "filter_nationality",
     "filter_appearance", "filter_autre"],
     [dict(bias_type=kind) for kind in ["race-color", "race", "socioeconomic", "gender", "age", "religion",
      "disability", "sexual-orientation/gender", "nationality", "physical-appearance", "autre", ""]]),
    ("crows_pairs/utils.py", "results", ["process_results"],
     [[dict(), [[-3.5, False], [-1.25, True]]], [dict(), [[-1.0, False], [-1.0, False]]],
      [dict(), [[-1.0, False], [-2.5, False]]]]),
    ("agieval/utils.py", "results", ["process_results_mcqa"],
     [[dict(gold=[1], choices=["a long one", "b"]), [[-3.5, False], [-1.25, True]]],
      [dict(gold=[0, 2], choices=["a", "b", "ccc"]), [[-2.0, False], [-2.0, False], [-2.5, False]]]]),
    ("winogender/utils.py", "documents", ["filter_male", "filter_female", "filter_neutral"],
     [dict(gender=gender) for gender in ["male", "female", "neutral", "Male", ""]]),
    ("toxigen/utils.py", "value", ["doc_to_target"],
     [dict(toxicity_ai=a, toxicity_human=b) for a, b in [(3.0, 2.5), (3.0, 2.6), (1, 1), (5, 5)]]),
    ("wsc273/utils.py", "documents", ["process_doc"],
     [dict(text="So.  She ate it.", pronoun="She", pronoun_loc=5, options=["The cook", "A dog"]),
      dict(text="It was his  cup.", pronoun="his", pronoun_loc=7, options=["The cook", "Anna"]),
      dict(text="I saw it.  My cup", pronoun="My", pronoun_loc=10, options=["The cook", "Anna"])]),
]
