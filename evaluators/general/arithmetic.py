"""Questions of arithmetic: eight skills, each from small numbers to larger ones."""

import random
from fractions import Fraction

ROWS_PER_SKILL = 20
CHOICES = 4


def addition(rng, level):
    top = 10 ** (level + 1)
    a, b = rng.randrange(top // 10 + 1, top), rng.randrange(top // 10 + 1, top)
    return f"What is {a} + {b}?", a + b, [a + b + 10, a + b - 10, a + b + 1, a + b - 1, abs(a - b)]


def subtraction(rng, level):
    top = 10 ** (level + 1)
    a, b = rng.randrange(top // 10 + 1, top), rng.randrange(top // 10 + 1, top)
    return f"What is {a} - {b}?", a - b, [a - b + 10, a - b - 10, a - b + 1, a - b - 1, b - a]


def multiplication(rng, level):
    a, b = rng.randrange(3, (12, 100, 100, 1000)[level]), rng.randrange(3, (12, 12, 100, 12)[level])
    return f"What is {a} * {b}?", a * b, [(a + 1) * b, (a - 1) * b, a * (b + 1), a * b + 10, a * b - 10]


def remainder(rng, level):
    b = rng.randrange(5, 10 + 5 * level)
    a = rng.randrange(2 * b, (50, 100, 300, 1000)[level])
    right = a % b
    return f"What is the remainder when {a} is divided by {b}?", right, [
        other for other in (right + 1, right - 1, right + 2, right - 2, right + 3, right - 3) if 0 <= other < b]


def order(rng, level):
    a, b, c, d = (rng.randrange(2, 10 + 3 * level) for _ in range(4))
    text = rng.choice([f"{a} + {b} * {c}", f"({a} + {b}) * {c}", f"{a} * {b} - {c} * {d}", f"{a} * ({b} + {c}) - {d}"])
    right = eval(text)
    from_left = text.replace("(", "").replace(")", "").split()
    wrong = int(from_left[0])
    for sign, number in zip(from_left[1::2], from_left[2::2]):
        wrong = {"+": wrong + int(number), "-": wrong - int(number), "*": wrong * int(number)}[sign]
    return f"What is {text}?", right, [wrong, right + 1, right - 1, right + c, right - c, right + 10]


def largest(rng, level):
    whole, digits = rng.randrange(0, 3 + 7 * level), rng.sample("123456789", 3)
    a, b, c = digits
    numbers = [f"{whole}.{a}", f"{whole}.{a}{b}", f"{whole}.0{c}{a}", f"{whole}.{b}0{c}"]
    if level > 1:
        numbers = ["-" + number for number in numbers]
    rng.shuffle(numbers)
    right = max(numbers, key=Fraction)
    listed = ", ".join(numbers[:3]) + " or " + numbers[3]
    return f"Which number is the largest: {listed}?", right, [number for number in numbers if number != right]


def part(rng, level):
    if rng.randrange(2):
        percent = rng.choice(([10, 50], [20, 25, 75], [5, 15, 30, 60], [12, 35, 45, 85])[level])
        whole = 20 * rng.randrange(2, 6 + 10 * level)
        share, text = Fraction(percent, 100), f"{percent}%"
    else:
        below = rng.randrange(3, 6 + 2 * level)
        above = rng.choice([n for n in range(1, below) if Fraction(n, below).denominator == below])
        whole, share, text = below * rng.randrange(3, 8 + 6 * level), Fraction(above, below), f"{above}/{below}"
    right = share * whole
    if right.denominator != 1:
        return part(rng, level)
    right = int(right)
    return f"What is {text} of {whole}?", right, [whole - right, right + 1, right - 1, right + 10, right * 2, right + 5]


def sequence(rng, level):
    if rng.randrange(3):
        step = rng.choice([-1, 1]) * rng.randrange(2, 6 + 6 * level)
        numbers = [rng.randrange(20, 60 + 40 * level)]
        for _ in range(4):
            numbers.append(numbers[-1] + step)
        wrong = [numbers[4] + 1, numbers[4] - 1, numbers[4] + step, numbers[3], numbers[4] - 2]
    else:
        ratio, numbers = rng.randrange(2, 3 + level), [rng.randrange(2, 8)]
        for _ in range(4):
            numbers.append(numbers[-1] * ratio)
        wrong = [2 * numbers[3] - numbers[2], numbers[4] + ratio, numbers[4] - ratio, numbers[4] + numbers[3]]
    shown = ", ".join(map(str, numbers[:4]))
    return f"Which number comes next: {shown}?", numbers[4], wrong


SKILLS = [addition, subtraction, multiplication, remainder, order, largest, part, sequence]


def row(rng, skill, level, place):
    question, right, wrong = skill(rng, level)
    wrong = list(dict.fromkeys(str(other) for other in wrong if str(other) != str(right)))
    if len(wrong) < CHOICES - 1:
        return row(rng, skill, level, place)
    choices = rng.sample(wrong, CHOICES - 1)
    choices.insert(place, str(right))
    return {"skill": skill.__name__, "level": level + 1, "question": question, "answer": str(right),
            "choices": choices, "right": place}


def items():
    """Examples, one of each skill, and the evaluated items, in an order that mixes the skills."""
    rng = random.Random(20260)
    seen, rows = set(), []
    for number in range(ROWS_PER_SKILL + 1):
        for skill in SKILLS:
            while True:
                made = row(rng, skill, max(number - 1, 0) * 4 // ROWS_PER_SKILL, rng.randrange(CHOICES))
                if made["question"] not in seen:
                    break
            seen.add(made["question"])
            rows.append(made)
    examples, rows = rows[:len(SKILLS)], rows[len(SKILLS):]
    rng.shuffle(rows)
    return examples, rows
