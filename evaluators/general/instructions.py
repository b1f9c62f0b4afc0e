"""Instructions with exactly one right reply. What to do stands in front of the first colon, with all its
numbers and quoted words; what to do it with stands behind the colon."""

import json
import random

ROWS_PER_KIND = 8
NOUNS = """anchor basket candle dragon engine feather garden hammer island jacket kettle lantern meadow needle
orchard pepper quarry ribbon saddle tunnel umbrella valley window yogurt zebra bridge copper desert forest
glacier harbour ink jungle kitchen ladder mirror nickel oyster pillow rocket""".split()
SENTENCES = """The old ferry crosses the river at noon
Seven geese slept beside the frozen pond
Our neighbour paints doors in bright colours
A small lamp burned above the harbour gate
Nobody heard the bell during the storm
The baker sold every loaf before sunrise
Wet leaves covered the path to school
My cousin repairs clocks in a quiet street
The train stopped twice between the two villages
Fresh snow hid the tracks of the fox
They planted onions behind the wooden shed
The pilot waved from the narrow cockpit
Dry wind carried sand across the road
Her sister keeps bees near the orchard
The library closes early on cold evenings
Three boats returned without any fish today
Grey clouds gathered over the empty stadium
The tailor measured cloth with great care""".split("\n")
CITIES = "Lima Oslo Accra Hanoi Quito Perth Dakar Turin Osaka Minsk Cairo Bogota".split()


def words(rng, low=3, high=5):
    return rng.sample(NOUNS, rng.randint(low, high))


def sentence(rng):
    return rng.choice(SENTENCES)


def say(rng, ways, given):
    return f"{rng.choice(ways)}: {given}"


def upper(rng):
    given = sentence(rng)
    return say(rng, ["Write this sentence in capital letters only", "Turn every letter into a capital letter"],
               given), given.upper()


def lower(rng):
    given = sentence(rng).upper()
    return say(rng, ["Write this sentence in small letters only", "Turn every letter into a small letter"],
               given), given.lower()


def repeat(rng):
    count, given = rng.randint(2, 6), rng.choice(NOUNS)
    return say(rng, [f"Write this word {count} times, with one space between", f"Repeat this word so that it stands "
                     f"there {count} times in all, with spaces between"], given), " ".join([given] * count)


def alphabetical(rng):
    given = words(rng, 4, 6)
    return say(rng, ["Put these words in alphabetical order, with a comma and a space between",
                     "Sort these words from A to Z and keep the commas"], ", ".join(given)), ", ".join(sorted(given))


def descending(rng):
    given = rng.sample(range(1, 200), rng.randint(4, 6))
    return say(rng, ["Put these numbers in order, the largest first, with a comma and a space between",
                     "Sort these numbers from largest to smallest and keep the commas"],
               ", ".join(map(str, given))), ", ".join(map(str, sorted(given, reverse=True)))


def bullets(rng):
    given = words(rng)
    return say(rng, [f"Write these {len(given)} words as a list, each on a line of its own that begins with \"- \"",
                     f"Make a list of {len(given)} lines from these words, with \"- \" in front of each"],
               ", ".join(given)), "\n".join("- " + word for word in given)


def numbered(rng):
    given = words(rng)
    return say(rng, ["Write these words as a numbered list, one a line, in the form \"1. word\"",
                     "Number these words, each on a line of its own, beginning with \"1. \""],
               ", ".join(given)), "\n".join(f"{place}. {word}" for place, word in enumerate(given, 1))


def as_json(rng):
    city, count = rng.choice(CITIES), rng.randint(2, 99)
    first, second = rng.choice([("city", "count"), ("place", "number"), ("name", "size")])
    return say(rng, [f"Write a JSON object on one line, with one space after each colon and comma, whose key \"{first}\" "
                     f"has the text and whose key \"{second}\" has the number given here"],
               f"{city}, {count}"), json.dumps({first: city, second: count})


def yes_or_no(rng):
    if rng.randrange(2):
        a, b = rng.sample(range(10, 99), 2)
        return say(rng, ["Answer only yes or no, in small letters", "Reply with one word, yes or no, in small letters"],
                   f"is {a} larger than {b}?"), "yes" if a > b else "no"
    word = rng.choice(NOUNS)
    letter = rng.choice(word if rng.randrange(2) else [c for c in "abdeiklnoprst" if c not in word])
    return say(rng, ["Answer only yes or no, in small letters", "Reply with one word, yes or no, in small letters"],
               f"does \"{word}\" contain the letter \"{letter}\"?"), "yes" if letter in word else "no"


def initials(rng):
    given = words(rng, 4, 6)
    return say(rng, ["Write the first letter of each word, without spaces", "Join the first letters of these words, with "
                     "nothing between them"], " ".join(given)), "".join(word[0] for word in given)


def last_word(rng):
    given = sentence(rng)
    return say(rng, ["Write only the last word of this sentence", "Reply with the final word of this sentence and "
                     "nothing else"], given), given.split()[-1]


def count_words(rng):
    given = words(rng, 3, 9)
    return say(rng, ["Count these words and reply with the number in digits only",
                     "How many words follow here? Reply with digits only"], " ".join(given)), str(len(given))


def backwards(rng):
    given = words(rng)
    return say(rng, ["Write these words in the opposite order, with one space between",
                     "Write these words again, the last one first, with spaces between"],
               " ".join(given)), " ".join(reversed(given))


def replace(rng):
    given, new = sentence(rng).split(), rng.choice(NOUNS)
    old = rng.choice([word for word in given[1:] if given.count(word) == 1])
    return say(rng, [f"Copy this sentence with \"{new}\" in place of \"{old}\""],
               " ".join(given)), " ".join(new if word == old else word for word in given)


def brackets(rng):
    given = rng.choice(NOUNS)
    left, right = rng.choice(["[]", "()", "<>", "{}"])
    return say(rng, [f"Write this word between \"{left}\" and \"{right}\", without spaces",
                     f"Put \"{left}\" directly in front of this word and \"{right}\" directly behind it"],
               given), left + given + right


def first_words(rng):
    given, count = sentence(rng), rng.randint(2, 5)
    return say(rng, [f"Reply with exactly {count} words, the first {count} of this sentence",
                     f"Copy the first {count} words of this sentence and nothing else"],
               given), " ".join(given.split()[:count])


def join(rng):
    given, sign = words(rng), rng.choice(["-", "/", "+", "_"])
    return say(rng, [f"Join these words with \"{sign}\" and no spaces", f"Write these words in one line with \"{sign}\" "
                     "between them and no spaces"], " ".join(given)), sign.join(given)


def leave_out(rng):
    given = words(rng, 4, 6)
    gone = rng.choice(given)
    return say(rng, [f"Copy this list without \"{gone}\" and keep the commas", f"Leave \"{gone}\" out of this list and "
                     "write the rest with commas, as it is"], ", ".join(given)), ", ".join(w for w in given if w != gone)


KINDS = [upper, alphabetical, bullets, as_json, repeat, last_word, lower, descending, numbered, yes_or_no, initials,
         count_words, backwards, replace, brackets, first_words, join, leave_out]
EXAMPLE_KINDS = 4


def items():
    """Examples of the first kinds, and the evaluated items of all kinds, in an order that mixes them."""
    rng = random.Random(20261)
    seen, rows = set(), []
    for kind in KINDS[:EXAMPLE_KINDS] + KINDS * ROWS_PER_KIND:
        while True:
            instruction, answer = kind(rng)
            given = (kind, instruction.partition(": ")[2])
            if given not in seen:
                break
        seen.add(given)
        rows.append({"kind": kind.__name__, "instruction": instruction, "answer": answer})
    examples, rows = rows[:EXAMPLE_KINDS], rows[EXAMPLE_KINDS:]
    rng.shuffle(rows)
    return examples, rows
