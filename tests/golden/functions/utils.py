"""Functions of the tasks in this folder, which functions.yaml stands for."""

from functools import partial

from lm_eval.utils import weighted_f1_score

LETTERS = "ABC"


def pick(dataset, topic):
    def change(row):
        return {"choices": [choice.strip().capitalize() for choice in row["choices"]], "gold": row["label"] - 1}

    return dataset.filter(lambda row: row["topic"] == topic).map(change)


pick_plants = partial(pick, topic="plants")
pick_stones = partial(pick, topic="stones")


def question(row):
    lines = [f"{letter}. {choice}\n" for letter, choice in zip(LETTERS, row["choices"])]
    return f"{row['question']}\n{''.join(lines)}Answer:"


def answer(row):
    return row["gold"]


def letters(row):
    return list(LETTERS[: len(row["choices"])])


def written_answer(row):
    return row["choices"][row["gold"]]


def hint(row):
    return f"Question: {row['question']} (one of {', '.join(row['choices'])})\nAnswer:"
