"""Makes python.json: what Jinja2 3.1 and CPython's `re` and `repr` make of templates, patterns and
values, with the harness's settings (strict undefined, trailing newline kept).

    python3 python.py        (needs jinja2)
"""

import json
import pathlib
import random
import re

import jinja2

random.seed(5)
VARIABLES = dict(
    q="  What is it? ", choices=["a", "b", "it's"], n=3, f=2.5, b=True, z=None,
    d={"k": "v", "m": [1, 2.0]}, text="a,b c,d", rows=[{"t": "r1"}, {"t": "r2"}],
    uni="Éa日本\u2028")
# One on each line; a line of several expressions is taken apart.
TEMPLATES = r"""{{q}}
{{q.strip()}} {{q|trim}}
{{ q.lstrip() ~ '|' ~ q.rstrip() }}
{{choices}}
{{choices[0]}} {{choices[-1]}} {{choices[1:]}} {{choices[::-1]}}
{{choices.index('b')}}
{{choices|length}} {{choices|join(', ')}} {{choices|first}} {{choices|last}}
{{n}} {{n+1}} {{n-1}} {{n*2}} {{n/2}} {{n//2}} {{n%3}} {{n**2}} {{-n}}
{{f}} {{f*2}} {{f+n}} {{f//1}} {{f|int}} {{f|round}} {{f|round(1)}}
{{b}} {{not b}} {{b and n}} {{b or q}}
{{z}} {{z is none}} {{z is defined}} {{nope is defined}} {{nope is undefined}}
{{nope|default('d')}}
{{d}} {{d.k}} {{d['k']}} {{d.get('k')}} {{d.get('x')}} {{d.get('x', 5)}} {{d.keys()|list}} {{d.values()|list}} {{d.items()|list}}
{% for k, v in d.items() %}{{k}}={{v}};{% endfor %}
{% for c in choices %}{{loop.index}}.{{c}}{% if not loop.last %},{% endif %}{% endfor %}
{%- if n == 3 -%} three {%- else -%} other {%- endif -%}
{{ 'yes' if b else 'no' }}
{{ ['A','B','C'][n-2] }}
{{ 'ABCDE'[n] }} {{ 'ABCDE'.index('C') }} {{ 'abc'.find('z') }} {{'abc'.upper()}} {{'ABC'|lower}} {{'abc def'.title()}} {{'abc def'.capitalize()}}
{{ text.split(',') }} {{ text.split() }} {{ text.split(',')[0] }} {{ text.split(',', 1) }}
{{ text.replace(',', ';') }} {{ text|replace(',', '') }} {{ text.count(',') }} {{text.startswith('a')}} {{text.endswith('d')}}
{{ ', '.join(choices) }} {{ ' '.join(text.split(',')) }}
{{ '{} and {}'.format(n, q) }} {{ "%s"|format(q) }}
{% set x = n + 1 %}{{x}} {{ range(3)|list }} {{ range(1, n) | list }}
{{ rows|map(attribute='t')|list }} {{ rows|map(attribute='t')|join('\n') }}
{{ rows[0].t }} {{ rows[1]['t'] }}
{{ [q, n, f, b, z] }} {{ {'a': n, 'b': q} }} {{ (n, q) }}
{{ [choices[0], ' ' ~ choices[1]] }}
{{ n == 3 }} {{ n in [1,2,3] }} {{ 'a' in choices }} {{ 'x' not in text }} {{ n > 2 and n < 5 }}
{{ n|string ~ 'x' }} {{ f|string }} {{ b|string }} {{ choices|string }}
{{ 'a' ~ n ~ f ~ b ~ z }}
{{ "it's" }} {{ ["it's", 'say "x"'] }}
{{ text[:3] }} {{ text[1:-1] }} {{ text[::2] }}
{{ uni }} {{ uni|length }} {{ uni[0] }} {{ uni.upper() }} {{ [uni] }}
{{ 1e20 }} {{ 10/3 }} {{ 1.0 }} {{ 7//2 }} {{ -7//2 }} {{ -7 % 3 }} {{ 2**10 }} {{ 0.1+0.2 }}
{{ q | upper | trim }} {{ q|title }} {{ q|capitalize }}
{{ choices|map('upper')|list }} {{ choices|select('equalto', 'b')|list }} {{ choices|reject('equalto','b')|list }}
{{ choices|sort|list }} {{ choices|reverse|list }} {{ [3,1,2]|sort }} {{ [3,1,2]|max }} {{ [3,1,2]|sum }} {{ [3,1]|min }}
{{ rows|selectattr('t', 'equalto', 'r1')|list }}
{{ d|tojson }} {{ [1,2]+[3] }} {{ 'a'*3 }} {{ [0]*2 }}
{# comment #}x{# y #}
{% raw %}{{ q }}{% endraw %}
  lead
trail  
{{ "a\nb" }} {{ 'tab\t' }}
{%- set letters = ['A','B'] -%}{% for c in choices[:2] %}{{ letters[loop.index0] }}. {{ c }}{% endfor %}Answer:
{{ {0: 'x', 1: 'y'}[1] }} {{ {'a': 1}['a'] }} {{ 'x' if n is number else 'y' }} {{ q is string }} {{ n is odd }} {{ n is divisibleby 3 }}
{{ choices|list|length }} {{ q.split('?')[0] }} {{ text.split(',')|last }} {{ text.rsplit(',', 1) }} {{ text.partition(',') }} {{ text.splitlines() }}
{{ q.strip().split(' ')[0].lower() }} {{ 'a-b'.split('-')|join('+') }} {{ text.isdigit() }} {{ '12'.isdigit() }}
{{ q.strip('? ') }} {{ q.strip()[0] }} {{ q.strip().removeprefix('wh') }} {{ text.rpartition(',') }} {{ text.removesuffix('d') }} {{ text.partition('x') }}
{{ choices.count('a') }} {{ choices + ['z'] }} {{ n|float }} {{ '5'|int + 1 }} {{ '5.5'|float }} {{ n|abs }}
{{ d.k if d.k is defined else 'none' }} {{ d.missing|default('m') }} {{ z if z is not none else 'null' }} {{ z == None }} {{ b == true }} {{ b == True }}""".split("\n")
PATTERNS = [
    '#### (\\-?[0-9\\.\\,]+)',
    '(-?[$0-9.,]{2,})|(-?[0-9]+)',
    'The answer is (\\-?[0-9\\.\\,]*[0-9]+)',
    '((?<=The answer is )(.*)(?=.)|(?<=the answer is )(.*)(?=.))',
    '(\\([A-Z]\\))',
    '(?i)final answer:? (\\w+)',
    'answer is \\(?([ABCDEFGHIJ])\\)?',
    '(?s).*[aA]nswer:\\s*([A-J])',
    '\\b([A-D])\\b',
    '^\\s*([A-D])',
    '([^\\n]+)$',
    '\\$?\\\\?boxed\\{([^}]*)\\}',
    '[^a-z]+',
    'a|b*',
    'x*',
    '(\\d+)\\s*[,;]\\s*(\\d+)',
    '\\s*$',
    '\\S+\\Z',
    '[\\s\\-]+',
    "[\\w']+",
    '\\.$',
    '(?m)^(\\w)',
    '[-+]?\\d*\\.?\\d+(?:[eE][-+]?\\d+)?',
    '(?:Final|Best) [Aa]nswer[^A-Z]*([A-Z])',
    '\\"([^\\"]*)\\"',
    '(a)?b',
    '[\\[\\]]',
    '[^\\]]x',
    'a{2}',
    'a{2',
    'a{,1}',
    '\\(([^)]*)\\)',
    '(?P<n>[a-c])(?P=n)',
    '(.)\\1',
    '\\/\\/',
    '\\#',
    "\\'",
    '[a&&b]',
    '[a~~b|-]',
    '\\d{1,3}(?:,\\d{3})*',
    '(?<!\\d)\\d(?!\\d)',
    'é|[À-ÿ]+',
    '[^\\W\\d_]+',
    '\\t|\\n',
    '',
    '$',
    '^',
    '\\b',
]
PIECES = [
    'a', 'b', 'x', ' ', '\n', '1', '2', ',', '.', 'A', 'B', '(', ')', 'The answer is ', '#### ',
    '-', '$', '[', ']', '{', '}', 'é', '\t', '\x1c', 'answer: ', "'", '"', '/', '|', '&', '~',
    '\\boxed{', '\\',
]
NUMBERS = [0.1, 1.0, -2.5, 1e22, 1e-7, 123456.789, 1e16, 5e-324, 1e300, 0.0001, 100000.0]
CHARACTERS = "a'\"\n\\é\u200b\x7f日\U0001f600\t \xa0\x00"


def value(depth):
    kind = random.randint(0, 7)
    if kind == 0:
        return random.choice([None, True, False])
    if kind == 1:
        return random.choice([0, 1, -7, 10**15, 2**53])
    if kind == 2:
        return random.choice(NUMBERS) * random.choice([1, 3, 7])
    if kind <= 4 or depth > 2:
        return "".join(random.choice(CHARACTERS) for _ in range(random.randint(0, 5)))
    if kind <= 6:
        return [value(depth + 1) for _ in range(random.randint(0, 3))]
    return {"abc"[i]: value(depth + 1) for i in range(random.randint(0, 3))}


environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
templates = []
for line in TEMPLATES:
    is_whole = "{%" in line or "{#" in line or "{{" not in line
    for template in [line] if is_whole else re.findall(r"{{.*?}}(?!})", line):
        templates.append([template, environment.from_string(template).render(**VARIABLES)])

patterns = []
for pattern in PATTERNS:
    for _ in range(8):
        text = "".join(random.choice(PIECES) for _ in range(random.randint(0, 12)))
        found = [list(m) if isinstance(m, tuple) else [m] for m in re.findall(pattern, text)]
        patterns.append([pattern, text, found, re.sub(pattern, "", text)])

values = [value(0) for _ in range(200)]
table = {
    "variables": VARIABLES,
    "templates": templates,
    "patterns": patterns,
    "values": [[v, repr(v)] for v in values],
}
path = pathlib.Path(__file__).with_name("python.json")
path.write_text(json.dumps(table, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
