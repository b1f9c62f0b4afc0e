"""Makes corpus.json: what sacrebleu 2.6.0 makes of small corpora, which metrics are compared with.

    python3 corpus.py > corpus.json

A corpus is a list of pairs of a right text and an answer. The texts are random, from few words, so
that they share n-grams and blocks of words in another order.
"""

import json
import random
import sys

import sacrebleu

random.seed(7)

WORDS = ["the", "The", "heron", "boat", "3,000.5", "2-3", "it's", "(quietly)", "\"so\"", "re-use",
         "&amp;", "<skipped>", "größe", "水鳥", "end.", "...", "a", "b", "c", "A,b", "x/y", "né?"]
SPACES = [" ", " ", " ", " ", "  ", "\n", "-\n", "\t", "\u00a0"]


def text(words, few):
    chosen = [random.choice(WORDS[:few]) for _ in range(words)]
    return "".join(word + random.choice(SPACES) for word in chosen)


def changed(right):
    """Blocks of words moved, some left out, some new."""
    words = right.split()
    for _ in range(random.randint(0, 3)):
        if len(words) > 2:
            start, length = random.randrange(len(words)), random.randint(1, 6)
            block, words = words[start:start + length], words[:start] + words[start + length:]
            place = random.randint(0, len(words))
            words = words[:place] + block + words[place:]
    words = [word for word in words if random.random() > 0.15]
    words += [random.choice(WORDS) for _ in range(random.randint(0, 2))]
    return " ".join(words)


def corpus(texts, longest, few):
    pairs = []
    for _ in range(texts):
        right = text(random.randint(1, longest), few)
        answer = changed(right) if random.random() < 0.8 else text(random.randint(0, longest), few)
        pairs.append([right, answer])
    return pairs


corpora = [corpus(1, 12, 22) for _ in range(25)]
corpora += [corpus(1, 5, 4) for _ in range(15)]
corpora += [corpus(8, 20, few) for few in (4, 8, 22)]
corpora += [corpus(2, 90, 6), corpus(1, 160, 22)]
corpora += [[["a b c", ""]], [["The same, twice.", "The same, twice."]], [["abcdefgh", "hgfedcba"]],
            [[" ".join("abcdefghij" * 9), "b a"]], [["a", " ".join("ab" * 70)]]]

results = []
for pairs in corpora:
    rights, answers = [right for right, _ in pairs], [answer for _, answer in pairs]
    results.append({
        "pairs": pairs,
        "bleu": sacrebleu.corpus_bleu(answers, [rights]).score,
        "chrf": sacrebleu.corpus_chrf(answers, [rights]).score,
        "chrf++": sacrebleu.corpus_chrf(answers, [rights], word_order=2).score,
        "ter": sacrebleu.corpus_ter(answers, [rights]).score,
    })
lines = [json.dumps(result, ensure_ascii=False) for result in results]
sys.stdout.write("[\n" + ",\n".join(lines) + "\n]\n")
