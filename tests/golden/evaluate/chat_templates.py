"""Makes chat_templates.json: what transformers 5.24 makes of conversations with chat templates that use
Jinja in the ways of well-known models. The templates are written for this test.

    python3 chat_templates.py
"""

import json
import pathlib

import jinja2
from transformers.utils.chat_template_utils import render_jinja_template

TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}

TEMPLATES = {
    # One turn after the other, between two tokens.
    "turns": """\
{%- for message in messages -%}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
""",
    # Headers, trimmed contents, a beginning token, a date only where it is asked for.
    "headers": """\
{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = "1 May 2024" %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|head|>system<|body|>\\n\\nToday: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|end|>" }}
{%- if tools is not none and tools is defined %}
    {{- "Tools: " }}
    {%- for t in tools %}{{- t | tojson(indent=4) }}{%- endfor %}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or 'tool_calls' in message) %}
        {{- '<|head|>' + message['role'] + '<|body|>\\n\\n' + message['content'] | trim + '<|end|>' }}
    {%- elif 'tool_calls' in message %}
        {{- raise_exception("one call at a time") }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|head|>assistant<|body|>\\n\\n' }}
{%- endif %}
""",
    # Instructions in brackets; roles have to alternate; the system message joins the last question.
    "brackets": """\
{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set ns = namespace(index=0, last=-1) %}
{%- for message in loop_messages %}
    {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
        {{- raise_exception("After the optional system message, roles must alternate user/assistant/user/assistant/...") }}
    {%- endif %}
    {%- set ns.index = ns.index + 1 %}
    {%- if message.role == "user" %}{% set ns.last = loop.index0 %}{% endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.index0 == ns.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported, with the exception of an initial optional system message!") }}
    {%- endif %}
{%- endfor %}
""",
    # No system message; the assistant is called model; contents are trimmed.
    "no_system": """\
{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<turn>' + role + '
' + message['content'] | trim + '<turn_end>
' }}{% endfor %}{% if add_generation_prompt %}{{'<turn>model
'}}{% endif %}
""",
    # A default system message, tools, loops with conditions and neighbours.
    "default_system": """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "<|im_end|>\\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>system\\nYou answer questions.<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\\n' + message.content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
""",
    # Thoughts that are cut from earlier answers, a loop from the end, macros, content in parts.
    "thoughts": """\
{%- macro render_content(content) -%}
    {%- if content is string -%}
        {{- content -}}
    {%- elif content is iterable and content is not mapping -%}
        {%- for item in content if item.type == 'text' -%}{{- item.text -}}{%- endfor -%}
    {%- elif content is none or content is undefined -%}
        {{- '' -}}
    {%- else -%}
        {{- raise_exception('Unexpected content type') -}}
    {%- endif -%}
{%- endmacro -%}
{%- set ns = namespace(multi_step=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step and message.role == "user" and message.content is string and not(message.content.startswith('<tool>') and message.content.endswith('</tool>')) %}
        {%- set ns.multi_step = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = render_content(message.content) %}
    {%- if message.role == "assistant" %}
        {%- set reasoning = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and (loop.last or reasoning) %}
            {{- '<' + message.role + '>\\n<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<' + message.role + '>\\n' + content }}
        {%- endif %}
    {%- else %}
        {{- '<' + message.role + '>\\n' + content }}
    {%- endif %}
    {{- '<end>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<assistant>\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
""",
    # Blocks on lines of their own, whose white space is trimmed; what the model says is marked.
    "blocks": """\
{% set greeting = {'a': [1, 2.5, none, true], 'ü': '<&>"'} %}
{{ greeting | tojson }}
  {% if true %}
    kept {{ messages | map(attribute='role') | join(', ') | upper }}
  {% endif %}
{% for message in messages %}
{% if loop.index > 3 %}
{% break %}
{% endif %}
{% if message.role == 'system' %}
{% continue %}
{% endif %}
{{ loop.index }}/{{ loop.length }}: {{ message.role | title }}
{% if message.role == 'assistant' %}
  {% generation %}
{{ message.content }}
  {% endgeneration %}
{% else %}
{{ message.content | replace('a', 'A') }}{{ unknown }}
{% endif %}
{% endfor %}
{# nothing #}
{{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ [1, 2, 3] | last }} {{ greeting }} {{ 7 // 2 }} {{ 7 / 2 }} {{ none }}
{{ eos_token if add_generation_prompt else pad_token }}

""",
}

USER = {"role": "user", "content": "What is 1 + 1?"}
ASSISTANT = {"role": "assistant", "content": "It is 2."}
SYSTEM = {"role": "system", "content": "Be brief. "}
CONVERSATIONS = {
    "question": ([USER], False),
    "system": ([SYSTEM, USER], False),
    "turns": ([SYSTEM, USER, ASSISTANT, {"role": "user", "content": "  And 2 + 2?\n"}], False),
    "open": ([USER, {"role": "assistant", "content": "The answer is"}], True),
    "open with a space": ([SYSTEM, USER, ASSISTANT, USER, {"role": "assistant", "content": "So: "}], True),
    "thoughts": ([USER, {"role": "assistant", "content": "<think>\nhm\n</think>\n\n2"}, USER,
                  {"role": "assistant", "content": "<think>\naha\n</think>\n\n3"}], False),
    "not in turn": ([USER, USER], False),
    "empty": ([{"role": "user", "content": ""}], False),
}

out = []
for name, template in TEMPLATES.items():
    cases = []
    for case, (messages, is_open) in CONVERSATIONS.items():
        result = {"name": case, "messages": [[m["role"], m["content"]] for m in messages], "open": is_open}
        try:
            rendered, _ = render_jinja_template(
                [messages], chat_template=template, continue_final_message=is_open,
                add_generation_prompt=not is_open, **TOKENS)
            result["text"] = rendered[0]
        except (jinja2.exceptions.TemplateError, ValueError) as error:
            result["error"] = str(error).split("\n")[0]
        cases.append(result)
    out.append({"name": name, "template": template, "cases": cases})
path = pathlib.Path(__file__).with_suffix(".json")
table = {"special_tokens": TOKENS, "templates": out}
path.write_text(json.dumps(table, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
