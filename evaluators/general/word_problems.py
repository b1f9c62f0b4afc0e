"""Word problems: each story is told a few times, with other names and numbers."""

import ast
import operator
import random

from stories import NAMES, STORIES

TELLINGS = 3
EXAMPLE_STORIES = (1, 4, 14, 23)
OPERATIONS = {ast.Add: ("+", operator.add), ast.Sub: ("-", operator.sub), ast.Mult: ("*", operator.mul),
              ast.Div: ("/", operator.floordiv)}


def solve(node, steps):
    """The value of an expression; adds its steps to `steps`. None where a step is no positive whole number."""
    if isinstance(node, ast.Constant):
        return node.value
    left, right = solve(node.left, steps), solve(node.right, steps)
    if left is None or right is None:
        return None
    sign, apply = OPERATIONS[type(node.op)]
    value = apply(left, right)
    if value < 1 or (sign == "/" and value * right != left):
        return None
    steps.append(f"{left} {sign} {right} = {value}")
    return value


def tell(rng, story):
    """A telling of the story whose numbers come out even."""
    text, expression, ranges = story
    while True:
        drawn = {name: rng.randint(*bounds) for name, bounds in ranges.items()}
        steps = []
        answer = solve(ast.parse(expression.format(**drawn), mode="eval").body, steps)
        if answer is not None and answer > 1 and len(set(drawn.values())) == len(drawn):
            break
    people = dict(zip("NMO", rng.sample(NAMES, 3)))
    return {"question": text.format(**people, **drawn), "expression": expression.format(**drawn),
            "steps": ". ".join(steps) + ".", "answer": str(answer)}


def items():
    """Examples of four stories that are not evaluated otherwise, and the evaluated items, mixed."""
    rng = random.Random(20262)
    examples = [tell(rng, STORIES[index]) for index in EXAMPLE_STORIES]
    told = [story for index, story in enumerate(STORIES) if index not in EXAMPLE_STORIES]
    rows = []
    for story in told * TELLINGS:
        made = tell(rng, story)
        while any(made["expression"] == row["expression"] for row in rows):
            made = tell(rng, story)
        rows.append(made)
    rng.shuffle(rows)
    return examples, rows
