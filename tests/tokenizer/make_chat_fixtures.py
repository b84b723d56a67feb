#!/usr/bin/env python3
"""Regenerates chat.json: chat templates, conversations, and what transformers renders.

    pip install transformers jinja2
    python make_chat_fixtures.py

The templates are of the forms that published models use; the last group exercises the language
piece by piece. test_chat_template.c compares the runtime's renderer with all of it: equal text, or
a refusal where transformers raises (null).
"""
import json
from pathlib import Path

import transformers
from transformers.utils.chat_template_utils import _compile_jinja_template

HERE = Path(__file__).resolve().parent

MODELS = {
    "bitnet-2b-4t": (
        "{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
        "{% set role = message['role'] | capitalize %}{% set content = message['content'] | trim %}"
        "{{ role + ': ' + content + '<|eot_id|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"),
    "bundled": (
        "{% for message in messages %}"
        "{% set turn = message['role'] | capitalize + ': ' + message['content'] | trim %}"
        "{{ turn + '<|eot_id|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"),
    "llama-3": (
        "{% set loop_messages = messages %}{% for message in loop_messages %}"
        "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ "
        "message['content'] | trim + '<|eot_id|>' %}"
        "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}"
        "{% endfor %}{% if add_generation_prompt %}"
        "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"),
    "llama-3.2": """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_in_user_message is defined %}
    {%- set tools_in_user_message = true %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if custom_clock is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- This block extracts the system message, so we can slot it into the right place. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}

{#- System message #}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{%- if tools is not none and not tools_in_user_message %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {%- for arg_name, arg_val in tool_call.arguments | items %}
            {{- arg_name + '="' + arg_val + '"' }}
        {%- endfor %}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    "falcon-3": """{%- if tools %}
{{- '<|system|>\\n' }}
{%- if messages[0]['role'] == 'system' %}
{{- messages[0]['content'] }}
{%- set remaining_messages = messages[1:] %}
{%- else %}
{%- set remaining_messages = messages %}
{%- endif %}
{{- '# Tools\\n<tools>' + tools|tojson(indent=2) + '</tools>' }}
{%- for message in remaining_messages %}
{%- if message['role'] == 'user' %}
{{- '<|user|>\\n' + message['content'] + '\\n' }}
{%- endif %}
{%- endfor %}
{%- else %}
{%- for message in messages %}
{%- if message['role'] == 'system' %}
{{- '<|system|>\\n' + message['content'] + '\\n' }}
{%- elif message['role'] == 'user' %}
{{- '<|user|>\\n' + message['content'] + '\\n' }}
{%- elif message['role'] == 'assistant' %}
{%- if not loop.last %}
{{- '<|assistant|>\\n' + message['content'] + eos_token + '\\n' }}
{%- else %}
{{- '<|assistant|>\\n' + message['content'] + eos_token }}
{%- endif %}
{%- endif %}
{%- if loop.last and add_generation_prompt %}
{{- '<|assistant|>\\n' }}
{%- endif %}
{%- endfor %}
{%- endif %}
""",
    "qwen-2.5": """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- tool_call.arguments | tojson }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- message.content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
""",
    "qwen-3": """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\\n\\n' }}
    {%- endif %}
    {{- "Call one of these with {\\"name\\": <name>, \\"arguments\\": <object>}:\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- else %}
    {%- if messages[0].role == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
            {%- else %}
                {{- '<|im_start|>' + message.role + '\\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}
                    {{- '\\n' }}
                {%- endif %}
                {%- if tool_call.function %}
                    {%- set tool_call = tool_call.function %}
                {%- endif %}
                {{- '<tool_call>\\n{"name": "' }}
                {{- tool_call.name }}
                {{- '", "arguments": ' }}
                {%- if tool_call.arguments is string %}
                    {{- tool_call.arguments }}
                {%- else %}
                    {{- tool_call.arguments | tojson }}
                {%- endif %}
                {{- '}\\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' + content + '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
""",
    "chatml": (
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"),
    "chatml-default-system": (
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\nBe helpful.<|im_end|>\n' }}{% endif %}"
        "{{'<|im_start|>' + message['role'] + '\n' + message['content']}}"
        "{% if (loop.last and add_generation_prompt) or not loop.last %}{{ '<|im_end|>' + '\n'}}{% endif %}{% endfor %}"
        "{% if add_generation_prompt and messages[-1]['role'] != 'assistant' %}{{ '<|im_start|>assistant\n' }}{% endif %}"),
    "llama-2": (
        "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
        "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
        "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
        "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Roles must alternate user/assistant/...') }}{% endif %}"
        "{% if loop.index0 == 0 and system_message != false %}"
        "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
        "{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
        "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
        "{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"),
    "mistral-tools": """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or message.role == "tool_results" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("After the optional system message, roles must alternate") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {%- for key, val in tool.function.items() if key != "return" %}
                    {{- '"' + key + '": ' + val|tojson }}
                {%- endfor %}
            {%- endfor %}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[TOOL_CALLS] [" }}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token }}
    {%- elif message["role"] == "tool_results" or message["role"] == "tool" %}
        {%- set content = message.content.content if message.content.content is defined else message.content %}
        {{- '[TOOL_RESULTS] {"content": ' + content|string + "}[/TOOL_RESULTS]" }}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported") }}
    {%- endif %}
{%- endfor %}
""",
    "gemma-3": """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\n\n' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}
                {{ '<start_of_image>' }}
            {%- elif item['type'] == 'text' -%}
                {{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model\n'}}
{%- endif -%}
""",
    "reasoning-dropped": """{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}
{%- set ns = namespace(is_first=false, is_tool=false, system_prompt='') -%}
{%- for message in messages %}{%- if message['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}
{{- bos_token }}{{ ns.system_prompt }}
{%- for message in messages %}
{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{{ '<|User|>' + message['content'] }}{%- endif %}
{%- if message['role'] == 'assistant' and message['content'] is not none %}
{%- if ns.is_tool %}{{ '<|tool_outputs_end|>' + message['content'] + eos_token }}{%- set ns.is_tool = false -%}
{%- else %}{% set content = message['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>', 1)[1] %}{% endif %}{{ '<|Assistant|>' + content + eos_token }}{%- endif %}{%- endif %}
{%- if message['role'] == 'tool' %}{%- set ns.is_tool = true -%}{{ '<|tool_output|>' + message['content'] }}{%- endif %}
{%- endfor -%}
{% if add_generation_prompt and not ns.is_tool %}{{ '<|Assistant|>' }}{% endif %}""",
    "mistral": (
        "{{ bos_token }}{% for message in messages %}"
        "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}"
        "{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
        "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}"
        "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}"
        "{% endif %}{% endfor %}"),
    "zephyr": """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>
' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>
' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>
'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}""",
    "gemma": (
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not "
        "supported') }}{% endif %}{% for message in messages %}"
        "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation "
        "roles must alternate') }}{% endif %}{% if (message['role'] == 'assistant') %}"
        "{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}"
        "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"),
    "llama-4": """{%- macro header(role) -%}
    {{- '<|header_start|>' + role + '<|header_end|>\\n\\n' }}
{%- endmacro %}
{%- macro turn(message, end='<|eot|>') %}
    {{- header(message['role']) }}
    {%- if message['content'] is string %}
        {{- message['content'] | trim }}
    {%- else %}
        {%- for part in message['content'] %}
            {{- part['text'] }}
        {%- endfor %}
    {%- endif %}
    {{- end }}
{%- endmacro %}
{{- bos_token }}
{%- for message in messages %}
    {%- if message.tool_calls is defined and message.tool_calls | length > 0 %}
        {{- turn(message, end='<|eom|>') }}
    {%- else %}
        {{- turn(message) }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- header('assistant') }}
{%- endif %}
""",
    "qwen-3-coder": """{% macro render_extra_keys(json_dict, handled_keys) %}
    {%- if json_dict is mapping %}
        {%- for json_key in json_dict if json_key not in handled_keys %}
            {%- if json_dict[json_key] is mapping or (json_dict[json_key] is sequence and json_dict[json_key] is not string) %}
                {{- '\\n<' ~ json_key ~ '>' ~ (json_dict[json_key] | tojson | safe) ~ '</' ~ json_key ~ '>' }}
            {%- else %}
                {{-'\\n<' ~ json_key ~ '>' ~ (json_dict[json_key] | string) ~ '</' ~ json_key ~ '>' }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
{% endmacro %}

{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = [] %}
{%- endif %}
{%- if system_message is defined %}
    {{- "<|im_start|>system\\n" + system_message }}
{%- elif tools is iterable and tools | length > 0 %}
    {{- "<|im_start|>system\\nYou are Qwen, a helpful AI assistant." }}
    {%- for tool in tools %}
        {{- render_extra_keys(tool, ['type', 'function']) }}
    {%- endfor %}
{%- endif %}
{%- if system_message is defined %}
    {{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in loop_messages %}
    {%- if message.role == "assistant" and message.content is defined and message.content is string and message.content | trim | length > 0 %}
        {{- '<|im_start|>' + message.role }}
        {{- '\\n' + message.content | trim + '\\n' }}
        {{- render_extra_keys(message, ['role', 'content']) }}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "user" or message.role == "system" or message.role == "assistant" %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- else %}
        {{- render_extra_keys(message, []) }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
""",
    "smollm-3": """{%- if enable_thinking is not defined -%}
{%- set enable_thinking = true -%}
{%- endif -%}
{%- set reasoning_mode = "/think" if enable_thinking else "/no_think" -%}
{%- if messages[0].role == "system" -%}
  {%- set system_message = messages[0].content -%}
  {%- if "/no_think" in system_message -%}
    {%- set reasoning_mode = "/no_think" -%}
  {%- endif -%}
  {%- set custom_instructions = system_message.replace("/no_think", "").replace("/think", "").rstrip() -%}
{%- endif -%}
{{- "<|im_start|>system\\n" -}}
{{- "Reasoning Mode: " + reasoning_mode + "\\n\\n" -}}
{%- if custom_instructions -%}
    {{- custom_instructions + "\\n\\n" -}}
{%- endif -%}
{{- "<|im_end|>\\n" -}}
{%- for message in messages -%}
    {%- set content = message.content if message.content is string else "" -%}
    {%- if message.role == "user" -%}
        {{ "<|im_start|>" + message.role + "\\n"  + content + "<|im_end|>\\n" }}
    {%- elif message.role == "assistant" -%}
        {% generation %}
        {%- if reasoning_mode == "/think" -%}
            {{ "<|im_start|>assistant\\n" + content.lstrip("\\n") + "<|im_end|>\\n" }}
        {%- else -%}
            {{ "<|im_start|>assistant\\n" + "<think>\\n\\n</think>\\n" + content.lstrip("\\n") + "<|im_end|>\\n" }}
        {%- endif -%}
        {% endgeneration %}
    {%- elif message.role == "tool" -%}
        {{ "<|im_start|>" + "user\\n"  + content + "<|im_end|>\\n" }}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ "<|im_start|>assistant\\n" }}
{%- endif -%}
""",
    "qwen-3.5-form": """{%- set seen = namespace(images=0, videos=0) %}
{%- macro flatten(content, counts, in_system=false) %}
    {%- if content is string %}
        {{- content }}
    {%- elif content is iterable and content is not mapping %}
        {%- for part in content %}
            {%- if 'image' in part or part.type == 'image' %}
                {%- if in_system %}
                    {{- raise_exception('No images in the system message.') }}
                {%- endif %}
                {%- if counts %}
                    {%- set seen.images = seen.images + 1 %}
                {%- endif %}
                {%- if add_vision_id %}
                    {{- 'Image ' ~ seen.images ~ ': ' }}
                {%- endif %}
                {{- '<|image|>' }}
            {%- elif 'text' in part %}
                {{- part.text }}
            {%- else %}
                {{- raise_exception('An unknown part.') }}
            {%- endif %}
        {%- endfor %}
    {%- elif content is none or content is undefined %}
        {{- '' }}
    {%- else %}
        {{- raise_exception('Unknown content.') }}
    {%- endif %}
{%- endmacro %}
{%- if tools and tools is iterable and tools is not mapping %}
    {{- '<|im_start|>system\\n<tools>' }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- '\\n</tools>' }}
    {%- if messages[0].role == 'system' %}
        {{- '\\n\\n' + flatten(messages[0].content, false, true)|trim }}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + flatten(messages[0].content, false, true)|trim + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(searching=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.searching and message.role == "user" %}
        {%- set content = flatten(message.content, false)|trim %}
        {%- if not(content.startswith('<tool_response>') and content.endswith('</tool_response>')) %}
            {%- set ns.searching = false %}
            {%- set ns.last_query_index = index %}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if ns.searching %}
    {{- raise_exception('No query.') }}
{%- endif %}
{%- for message in messages %}
    {%- set content = flatten(message.content, true)|trim %}
    {%- if message.role == "user" %}
        {{- '<|im_start|>user\\n' + content + '<|im_end|>\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set thoughts = '' %}
        {%- if message.reasoning_content is string %}
            {%- set thoughts = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set thoughts = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if (preserve_thinking is defined and preserve_thinking is true) or loop.index0 > ns.last_query_index %}
            {{- '<|im_start|>assistant\\n<think>\\n' + thoughts|trim + '\\n</think>\\n\\n' + content }}
        {%- else %}
            {{- '<|im_start|>assistant\\n' + content }}
        {%- endif %}
        {%- if message.tool_calls and message.tool_calls is iterable and message.tool_calls is not mapping %}
            {%- for tool_call in message.tool_calls %}
                {%- if tool_call.function is defined %}
                    {%- set tool_call = tool_call.function %}
                {%- endif %}
                {{- ('\\n\\n' if content|trim else '') if loop.first else '\\n' }}
                {{- '<tool_call>\\n<function=' + tool_call.name + '>\\n' }}
                {%- if tool_call.arguments is mapping %}
                    {%- for key, value in tool_call.arguments|items %}
                        {{- '<parameter=' + key + '>\\n' }}
                        {%- set value = value | string if value is string else value | tojson | safe %}
                        {{- value }}
                        {{- '\\n</parameter>\\n' }}
                    {%- endfor %}
                {%- endif %}
                {{- '</function>\\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.previtem and loop.previtem.role != "tool" %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' + content + '\\n</tool_response>' }}
        {%- if loop.last or loop.nextitem.role != "tool" %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- elif message.role != "system" or not loop.first %}
        {{- raise_exception('Unexpected role.') }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- else %}
        {{- '<think>\\n' }}
    {%- endif %}
{%- endif %}
""",
    "numbered-turns": (
        "{{ bos_token }}{% for message in messages %}{{ '[Round %02d]' | format(loop.index0 // 2 + 1) }} "
        "{{ loop.cycle('Q', 'A') }}{{ '{:>3}'.format(loop.index) }}: {{ message['content'] | trim }}"
        "{% if loop.last %} ({{ (loop.index / messages | length * 100) | round(1) }}%){% endif %}\n{% endfor %}"),
}

PIECES = [
    "{{ range(5, -1, -2) | join }}|{{ range(0, 5, 2) | join }}|{{ range(0, 5, -1) | join }}", "{{ range(0, 5, 0) | join }}",
    # white space
    "a\n  {% if true %}\n  b\n  {% endif %}\n c\n", "x {%- if true -%} y {%- endif %} z", "\n\n{{ 'a' }}\n\n",
    "  {%+ if true %} a {%+ endif +%}\n b", "{# comment #}\na{#- c -#} b {#+ c +#}\n d", "a\r\nb\rc\n{% if 1 %}\r\nd{% endif %}\r\n",
    "\t{% set x = 1 %}\n\t{{ x }}\n", "a {{- 'b' -}}\n c", "{% if true %}\n\n{% endif %}\n", "{%- set a = '\n' -%} {{ a }}|",
    "a\n\n", "{{ 'x' }}  {# c #}  \n  {% if true %}y{% endif %}\n", "\u00a0{%- if true %}\u2003{% endif -%}\u3000.",
    "{% for m in messages %}\n  {{ m.role }}\n{% endfor %}\nend", " {#- a -#} ", "{{ '{{ }} {% %}' }}", "}} %} #}",
    # literals and strings
    r"{{ 'a\n\t\\\'\"b' }}", r"{{ '\x41\u00e9\U0001F600\101\q' }}", "{{ 'a' 'b' \"c\" }}", "{{ 12 }}{{ true }}{{ none }}{{ False }}",
    "{{ [1, 2][1] }}{{ ['a', 'b',][-1] }}", "{{ 'é日😀'[1] }}{{ 'é日😀'[::-1] }}{{ 'é日😀'|length }}",
    # operators
    "{{ 1 + 2 * 3 }} {{ (1 + 2) * 3 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 2 - -1 }}",
    "{{ 'a' ~ 1 ~ none ~ undefined_thing ~ true }}", "{{ 1 < 2 }} {{ 2 <= 1 }} {{ 1 == 1 }} {{ 1 == true }} {{ 'a' < 'b' }} {{ 'é' > 'z' }}",
    "{{ 'a' < 'ab' }} {{ 'ab' <= 'a' }} {{ '' < 'a' }} {{ 'ab' > 'b' }} {{ 'ab' >= 'ab' }}",
    "{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }}", "{{ not true or true and false }} {{ not (true or false) }}", "{{ 'a' or 'b' }}{{ '' or 'b' }}{{ 'a' and 'b' }}{{ 0 and 1 }}",
    "{% for k, v in messages[0].items() %}{{ loop.index }}{{ k }}={{ v }};{% endfor %}", "{{ messages[0] | items | list | tojson }}",
    "{{ messages[0].keys() | list | tojson }}{{ messages[0].values() | join('|') }}{{ messages[0] | list | join }}", "{{ messages[0] == messages[0] }}{{ messages[0] == messages[1] }}{{ messages[0] | length }}",
    "{% for a, b in [[1, 2], [3, 4], [5, 6]] if b > 2 %}{{ a }}{{ b }}{% else %}none{% endfor %}", "{% for a, b in [[1, 2, 3]] %}{{ a }}{% endfor %}", "{% for a, b in [1] %}{{ a }}{% endfor %}",
    "{{ messages[0].get('role') }}{{ messages[0].get('x') }}{{ messages[0].get('x', 'd') }}", "{{ messages[0].items is defined }}", "{{ messages[0]['items'] is defined }}", "{{ messages[0].keys }}",
    "{{ 1 | items | list }}", "{{ messages[0].pop('role') }}", "{{ messages[0] | tojson }}{{ messages | tojson(indent=2) }}", "{% for k, v in messages[0] | items if k != 'role' %}{{ k }}{{ v }}{% endfor %}",
    "{{ 'a' in 'cat' }} {{ 'x' not in 'cat' }} {{ 1 in [1, 2] }} {{ 'role' in messages[0] }} {{ 'name' in messages[0] }}",
    "{{ 'yes' if messages else 'no' }}{{ 'x' if false }}|{{ 'a' if 0 else 'b' if 0 else 'c' }}", "{{ [1] + [2] == [1, 2] }}",
    "{{ 'a' + 'b' | upper }}", "{{ ('a' + 'b') | upper }}", "{{ -1 | string }}", "{{ not 1 is odd }}", "{{ 1 is not odd }}{{ 2 is even and 3 is odd }}",
    # slices
    "{% for m in messages[1:] %}{{ m.role }}{% endfor %}", "{% for m in messages[:-1] %}{{ m.role }}{% endfor %}", "{{ 'abcdef'[1:4] }}{{ 'abcdef'[::2] }}{{ 'abcdef'[-2:] }}{{ 'abcdef'[4:1:-1] }}{{ 'abc'[5:] }}{{ 'abc'[-9:2] }}",
    "{{ messages[-1].content }}", "{{ messages[99] is defined }}",
    # tests
    "{{ x is defined }}{{ messages is defined }}{{ x is undefined }}{{ none is none }}{{ x is none }}", "{{ 'a' is string }}{{ 1 is number }}{{ 1 is integer }}{{ true is integer }}{{ true is number }}{{ true is boolean }}",
    "{{ messages[0] is mapping }}{{ messages is sequence }}{{ 'a' is iterable }}{{ 1 is iterable }}{{ messages is string }}", "{{ 1 is eq 1 }}{{ 1 is equalto(2) }}{{ 1 is ne 2 }}{{ 'a' is in 'abc' }}{{ 1 is in([2]) }}", "{{ true is true }}{{ 1 is true }}{{ false is false }}",
    "{{ tools is none }}{{ documents is defined }}", "{{ messages[0].name is defined and messages[0].name is not none }}",
    # filters
    "{{ '  a b ' | trim }}|{{ 'xxaxx' | trim('x') }}|{{ ' a ' | upper }}|{{ 'ABC' | lower }}|{{ 'hELLO wORLD' | capitalize }}", "{{ [] | length }}{{ 'abc' | count }}{{ messages | length }}",
    "{{ x | default('d') }}{{ '' | default('d') }}{{ '' | default('d', true) }}{{ x | d }}{{ none | default('n') }}", "{{ ['a', 'b', 1] | join(', ') }}{{ ['a', 'b'] | join }}{{ 'abc' | join('-') }}",
    "{{ [1, 2] | first }}{{ [1, 2] | last }}{{ 'abc' | first }}{{ [] | first }}|", "{{ 12 | string + 'a' }}{{ 'aXbX' | replace('X', 'yy') }}{{ 12 | upper }}", "{{ messages | map(attribute='role') }}", "{{ 'ÉÀ' | lower }}{{ 'éà' | upper }}{{ 'éA' | capitalize }}{{ 'ǆa' | capitalize }}",
    "{{ '\u001c\u0085a\u00a0' | trim }}|", "{{ 'xa' | trim(chars='x') }}{{ x | default(default_value='d') }}{{ '' | default('d', boolean=true) }}",
    r"{{ 'a\"\\\n\r\t\b\f\x01\x1f\x7fé日😀\u2028/' | tojson }}", "{{ [1, -2, true, none, [], ['a', []]] | tojson }}", "{{ messages | tojson }}",
    "{{ messages | tojson(indent=2) }}{{ [] | tojson(indent=4) }}{{ [[], [1]] | tojson(ensure_ascii=false, indent=0) }}", "{{ 'é' | tojson(ensure_ascii=true) }}", "{{ x | tojson }}", "{{ 1 | tojson(indent=none) }}{{ 'a' | tojson(nosuch=1) }}",
    "{{ messages | map(attribute='role') | join(',') }}", "{{ messages | map(attribute='name', default='-') | join }}{{ ['a', 'bc'] | map('upper') | list | length }}{{ ['xa', 'b'] | map('replace', 'x', 'y') | join }}",
    "{% for m in messages | selectattr('role', 'equalto', 'user') %}{{ loop.index }}{{ m.content }}{{ loop.last }}{% endfor %}", "{{ messages | selectattr('name') | list | length }}{{ messages | rejectattr('role', 'eq', 'user') | map(attribute='role') | join }}",
    "{{ [1, 2, 3, 4] | select('odd') | join }}{{ [0, '', 'a', none] | select | join }}{{ [1, 2] | reject('in', [2]) | first }}{{ x | select | list | length }}{{ none | map('upper') | join }}|", "{{ messages | selectattr('role') | length }}", "{{ messages | selectattr | list }}", "{{ messages | map | list }}", "{{ messages | map('nosuch') | list }}",
    "{{ (messages | map(attribute='role')) is iterable }}{{ (messages | map(attribute='role')) is sequence }}{{ 1 if [] | select else 0 }}", "{{ 1 is eq(x) }}{{ 1 is ne(x) }}{{ x is eq(x) }}{{ 1 is in(x) }}", "{{ ','.join(x) }}|", "{% for key in messages[0] %}{{ key }},{% endfor %}{{ messages[0] | list | join }}{{ messages[0] | first }}",
    # methods
    "{{ ' a '.strip() }}|{{ 'xxa'.lstrip('x') }}|{{ 'axyx'.rstrip('xy') }}|{{ 'a'.upper() }}{{ 'B'.lower() }}{{ 'cD'.capitalize() }}", "{{ 'abc'.startswith('ab') }}{{ 'abc'.endswith('bc') }}{{ 'abc'.startswith('') }}", "{{ 'a,b,,c'.split(',') | join('|') }}{{ ' a  b c '.split() | join('|') }}{{ ''.split(',') | length }}{{ ''.split() | length }}",
    "{{ 'a,b,c'.split(',', 1) | join('|') }}{{ 'a,b,c'.split(',', maxsplit=0) | length }}{{ 'a,b,c'.split(',', -1) | length }}{{ 'a,b'.split(sep=',') | last }}", "{{ 'a b'.split(none, 1) | last }}", "{{ 'a'.split('') }}",
    "{{ 'aXbXc'.replace('X', '') }}{{ '-'.join(['a', 'b']) }}", "{{ messages[0].get('role') }}{{ messages[0].get('name') }}{{ messages[0].get('name', 'anon') }}", "{{ messages.append(1) }}", "{{ 'a'.nosuch() }}",
    # statements
    "{% set x = 1 %}{% for m in messages %}{% set x = 2 %}{% endfor %}{{ x }}", "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}{{ ns.other is defined }}",
    "{% if false %}a{% elif 0 %}b{% elif '' %}c{% else %}d{% endif %}", "{% if true %}{% set y = 'in' %}{% endif %}{{ y }}", "{% for m in messages %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }};{% endfor %}",
    "{% for m in messages %}{{ loop.previtem.role if loop.previtem is defined else '-' }}{{ loop.nextitem.role if not loop.last else '-' }};{% endfor %}", "{% for m in [] %}a{% else %}none{% endfor %}", "{% for m in messages %}{% break %}{% else %}none ended{% endfor %}",
    "{% for m in messages %}{% if loop.last %}{% break %}{% endif %}{% else %}none ended{% endfor %}|{% for m in messages %}{% continue %}{% else %}none ended{% endfor %}", "{{ none is in 'abc' }}", "{{ 'a' is in 'abc' }}", "{% for m in messages if m.role == 'user' %}{{ loop.index }}{{ m.content }}{% else %}no{% endfor %}",
    "{% for m in messages %}{% if loop.index == 2 %}{% break %}{% endif %}{{ m.role }}{% endfor %}", "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{{ m.role }}{% endfor %}", "{% for c in 'añb' %}{{ c }}.{% endfor %}{% for i in range(3) %}{{ i }}{% endfor %}{% for i in range(1, 3) %}{{ i }}{% endfor %}",
    "{% for a in [1, 2] %}{% for b in [3, 4] %}{{ a }}{{ b }}{{ loop.index }} {% endfor %}{{ loop.index }}{% endfor %}", "{% for m in undefined_thing %}a{% endfor %}|", "{% for message in messages %}{% endfor %}{{ message is defined }}", "{% set loop_messages = messages[1:] if messages[0].role == 'system' else messages %}{{ loop_messages | length }}",
    "{% set messages = [] %}{{ messages | length }}", "{{ raise_exception('no: ' + messages[0].role) }}", "{{ undefined_thing.attribute }}", "{{ undefined_thing }}|{{ messages[0].nothing }}|", "{{ 1 + 'a' }}", "{{ none + 'a' }}", "{{ 1 // 0 }}", "{{ unknown() }}", "{{ bos_token }}{{ eos_token }}{{ pad_token }}",
    # numbers
    "{{ 1.0 }} {{ 1e20 }} {{ 1e16 }} {{ 123456789012345680.0 }} {{ 1e-5 }} {{ 0.0001 }} {{ 0.1 + 0.2 }} {{ 2.5E+3 }} {{ -0.0 }} {{ 1e22 }} {{ 5e-324 }} {{ 1.7976931348623157e308 }}",
    "{{ 2.0 ** -44 }} {{ 2.0 ** 60 }} {{ 2.0 ** -1074 }} {{ 9007199254740993.0 }} {{ 1 / 3 }} {{ 100 / 3.0 }} {{ 1e15 / 7 }} {{ 1e23 }} {{ 0.00012345678901234567 }}",
    "{{ 7 / 2 }} {{ 6 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ -2 ** 2 }} {{ 2 ** 3 ** 2 }} {{ 2 ** 0.5 }} {{ 1 + 1.5 }} {{ 2 * 0.5 }} {{ 3 - 0.5 }} {{ 1 + true }} {{ true * 2.5 }} {{ (-true) }}",
    "{{ 7.5 // 2 }} {{ -7.5 // 2 }} {{ 7.5 % 2 }} {{ -7.5 % 2 }} {{ 7 % -2.5 }} {{ 6.0 % -3 }} {{ 0.0 // -3 }} {{ 1e300 // 1e-5 }}", "{{ 1 / 0 }}", "{{ 1.0 // 0 }}", "{{ 1 % 0.0 }}", "{{ 0 ** -1 }}", "{{ 0.0 ** -1.5 }}", "{{ (-2) ** 0.5 }}", "{{ 10.0 ** 400 }}",
    "{{ 1 == 1.0 }} {{ 1.5 > 1 }} {{ 1 < 1.5 }} {{ -1 > -1.5 }} {{ 9007199254740993 == 9007199254740992.0 }} {{ 9007199254740993 > 9007199254740992.0 }} {{ 1e300 > 5 }} {{ 5 < -1e300 }} {{ 2.5 in [1, 2.5] }} {{ 0.0 or 'zero' }}",
    "{{ 5 is float }}{{ 5.0 is float }}{{ 5.0 is integer }}{{ 5.0 is number }}{{ 1.0 is eq 1 }}{{ 'a' is float }}", "{{ [1.0, 1e20, -0.5] | tojson }} {{ 1.5 ~ '' }} {{ [0.5, 2] | join('/') }}",
    "{{ '5' | int + 1 }} {{ ' 12 ' | int }} {{ '-7' | int }} {{ '1.9' | int }} {{ 'x' | int }} {{ 'x' | int(7) }} {{ 'x' | int(default=8) }} {{ none | int }} {{ [] | int(3) }} {{ '1e3' | int }} {{ 2.9 | int }} {{ -2.9 | int }} {{ true | int }} {{ '' | int }} {{ '+' | int }} {{ '0x10' | int }}",
    "{{ '3' | float }} {{ 'x' | float }} {{ 'x' | float(1.5) }} {{ 3 | float }} {{ ' .5 ' | float }} {{ '5.' | float }} {{ '1e5' | float }} {{ '-2.50' | float }} {{ none | float }} {{ '1e' | float }}", "{{ x | int }}", "{{ x | float }}",
    "{{ 3 | round }} {{ 3.5 | round }} {{ 2.5 | round }} {{ 2.675 | round(2) }} {{ 42.55 | round(1, 'floor') }} {{ (-0.5) | round(0, 'ceil') }} {{ -0.4 | round }} {{ 3 | round(1, 'ceil') }} {{ 1234.5678 | round(precision=3) }} {{ 2.5 | round | int }} {{ 7 | round(2, method='common') }}", "{{ 1.5 | round(0, 'up') }}", "{{ 'a' | round }}",
    "{{ -3 | abs }} {{ -2.5 | abs }} {{ true | abs }}", "{{ 'a' | abs }}",
    "{{ '%d|%5d|%-5d|%05d|%+d|% d|%i|%u' | format(3, 3, 3, -3, 3, 3, 1.9, true) }}", "{{ '%x|%X|%o|%4x|%04x|%x' | format(255, 255, 8, 10, 10, -255) }}", "{{ '%f|%.2f|%8.3f|%-8.1f|%08.2f|%+.1f|%.0f' | format(1.5, 2.675, 3.14159, 2, -1.5, 0.25, 0.5) }}",
    "{{ '%e|%.2E|%g|%G|%g|%.3g|%g' | format(12345.678, 0.00012, 1e-5, 1e20, 100000, 1234.5, 1) }}", "{{ '%s|%5s|%-5s|%.2s|%s|%s' | format('a', 'é', 'b', 'xyz', none, 1.0) }}", "{{ '%s%%' % 5 }} {{ '%.1f' % 2.25 }} {{ '%s' % 'a' + 'b' }}",
    "{{ '%d' % 'a' }}", "{{ '%d' | format }}", "{{ '%d' | format(1, 2) }}", "{{ 'a' % 1 }}", "{{ '%y' % 1 }}", "{{ '%' % 1 }}", "{{ '%x' % 1.5 }}", "{{ 12 | format }}",
    "{{ '{:>8,.2f}|{:^7}|{:*<5}|{:+d}|{:08.3f}|{:x}|{:%}|{:.1%}'.format(12345.678, 'ab', 'é', 3, -1.5, 255, 0.25, 0.126) }}", "{{ '{0}{1}{0}|{a}-{b:>3}|{{}}'.format('x', 1.5, a=none, b='é') }}", "{{ '{}{}'.format(1, true) }} {{ '{:,}'.format(1234567) }} {{ '{:,}'.format(-123) }} {{ '{:b}'.format(5) }} {{ '{:=+6d}'.format(7) }} {{ '{:é^5}'.format('a') }} {{ '{:.2}'.format('abc') }} {{ '{:5}|{:<5}'.format(3, 4) }} {{ '{:5d}'.format(true) }} {{ '{:.0f} {:e} {:G}'.format(2.5, 1234.5, 1e-10) }}",
    "{{ '{}'.format() }}", "{{ '{} {0}'.format(1) }}", "{{ '{'.format(1) }}", "{{ '}'.format(1) }}", "{{ '{:d}'.format('a') }}", "{{ '{:d}'.format(1.5) }}", "{{ '{:s}'.format(1) }}", "{{ '{x}'.format(1) }}", "{{ '{:,x}'.format(10) }}", "{{ '{:5}'.format(none) }}", "{{ '{:-s}'.format('a') }}",
    # macros, generation, cycle
    "{% macro f(x, y='d', z=none) %}[{{ x }}{{ y }}{{ z }}]{% endmacro %}{{ f(1) }}{{ f(1, 2) }}{{ f(1, z=3) }}{{ f(z=1, x=2) }}{{ f() }}{{ f(1) | upper }}{{ f(1) + 'a' }}{{ f(1) | length }}",
    "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}", "{% macro f() %}{{ x }}{% set x = 2 %}{{ x }}{% endmacro %}{% set x = 1 %}{{ f() }}{{ x }}",
    "{% macro f() %}{{ m is defined }}{{ x is defined }}{{ loop is defined }}{% endmacro %}{% for m in messages %}{% set x = 1 %}{{ f() }}{% endfor %}", "{% macro f(a=b, b=2) %}{{ a }}|{{ b }}{% endmacro %}{% set b = 7 %}{{ f() }}{{ f(b=3) }}", "{% macro f(x=3) %}{{ x is defined }}{{ x }}{% endmacro %}{{ f(nothing) }}{{ f() }}",
    "{% macro f(i) %}{{ i % 2 }}{% endmacro %}{% for i in range(5) if f(i) == '1' %}{{ i }}{{ loop.last }}{% endfor %}", "{% macro range(x) %}mine{% endmacro %}{{ range(3) }}", "{% if true %}{%- macro f() -%} a {%- endmacro %}{% endif %}{{ f() }}|", "{% set g = none %}{% macro f() %}a{% endmacro %}{% set g = f %}{{ g() }}{{ 1 if f }}{{ f == g }}{{ f is defined }}",
    "{% macro f(ns) %}{% set ns.n = ns.n + 1 %}{% for m in messages %}{{ loop.index }}{% if loop.index == 2 %}{% break %}{% endif %}{% endfor %}{% endmacro %}{% set ns = namespace(n=0) %}{{ f(ns) }}{{ f(ns) }}{{ ns.n }}", "{% macro f(x) %}{{ f }}{% endmacro %}{{ f(1) }}", "{% macro f(x) %}{% endmacro %}{{ f(1, 2) }}", "{% macro f(x) %}{% endmacro %}{{ f(y=2) }}", "{% macro f(x) %}{% endmacro %}{{ f(1, x=2) }}", "{{ f(1) }}{% macro f(x) %}{% endmacro %}", "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}", "{% macro f() %}{% endmacro %}{{ f.name }}", "{% macro f() %}a{{ raise_exception('in a macro') }}{% endmacro %}{{ f() }}",
    "{% set x = 1 %}{% generation %}{{ x }}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}", "{% for m in messages %}\n  {% generation %}\n  {{ loop.index }}{{ m.role }}\n  {%- endgeneration -%}\n|{% endfor %}", "{% macro f() %}{% generation %}a{% endgeneration %}{% endmacro %}{{ f() }}{% generation %}{% generation %}b{% endgeneration %}{% endgeneration %}",
    "{% for m in messages %}{{ loop.cycle('odd', 'even') }}{{ loop.cycle(1) }}{{ loop.depth }}{{ loop.depth0 }}{% endfor %}", "{% for m in messages %}{{ loop.cycle() }}{% endfor %}", "{% for m in messages %}{{ loop.changed(m.role) }}{% endfor %}", "{% for m in messages %}{{ loop.cycle }}{% endfor %}",
]

# Templates refused at once, for any messages.
REFUSED = ["{% call f() %}{% endcall %}", "{% include 'x' %}", "{{ {'a': 1} }}", "{{ (1, 2) }}", "{% set x %}a{% endset %}", "{{ 1e400 }}", "{{ 1.5e }}", "{{ 0x10 }}", "{{ 1_000 }}",
           "{% macro f(x) %}", "{% macro f %}{% endmacro %}", "{% macro f(x, x) %}{% endmacro %}", "{% macro f(x=1, y) %}{% endmacro %}", "{% macro f(true) %}{% endmacro %}", "{% macro f() %}{{ varargs }}{% endmacro %}",
           "{% macro f() %}{{ caller() }}{% endmacro %}", "{% for m in messages %}{% macro f() %}{% endmacro %}{% endfor %}", "{% macro f() %}{% macro g() %}{% endmacro %}{% endmacro %}", "{% generation %}", "{% endgeneration %}",
           "{% for m in messages %}{% generation %}{% break %}{% endgeneration %}{% endfor %}", "{% generation %}{% macro f() %}{% endmacro %}{% endgeneration %}",
           "{% for m in messages recursive %}{% endfor %}", "{% if true %}", "{% endif %}", "{{ 'a }}", "{{ a", "{% for %}", "{{ a b }}", "{{ }}", "{{ a | }}", "{{ a[ }}", "{{ (a }}", "{# a", "{% raw %}{% endraw %}",
           "{{ a ? b }}", "{% break %}", "{% else %}", "{{ a.1 }}", "{{ 99999999999999999999 }}", "{% set a.b.c = 1 %}", "{{ '\\N{DASH}' }}", "{{ ] }}",
           "{{ " + "(" * 300 + "1" + ")" * 300 + " }}", "{{ " + "-" * 500 + "1 }}", "{{ 1" + " + 1" * 500 + " }}", "{% if 1 %}" * 100 + "{% endif %}" * 100]

CONVERSATIONS = [
    [["user", "Hello"]],
    [["system", " You are terse. "], ["user", "Hi\nthere "], ["assistant", "Yes?"], ["user", "  é日😀 "]],
    [["user", "q"], ["assistant", "<think>\nhm\n</think>\n\nanswer"], ["user", "r"], ["assistant", "<think>\nso\n</think>\n\nend"]],
    [["assistant", "first"], ["system", ""], ["user", "<|eot_id|> {{ injected }} {% if %}"]],
    [["user", "a"], ["tool", "b"], ["tool", "c\"\n{'x': 1}"]],
    [["user", "say \"hi\" 'there' {{ x }} {% raw %} \\n \\"], ["assistant", "{\"a\": [1]}"], ["user", "\u05e9\u05dc\u05d5\u05dd \u65e5\u672c\r\n\t"]],
    [["system", "S"], ["user", "a"], ["assistant", "b"], ["user", "c"], ["assistant", "d"], ["user", "e"]],
]

TOOLS = [{"type": "function", "function": {
    "name": "weather", "description": "The weather of a \"place\" <now>", "parameters": {
        "type": "object", "required": ["place"], "properties": {
            "place": {"type": "string", "description": "A town: é日"},
            "days": {"type": ["integer", "null"], "minimum": 1, "maximum": 1e2, "default": None},
            "units": {"type": "string", "enum": ["C", "F"]}, "exact": {"type": "boolean", "default": False}}}}},
    {"type": "function", "function": {"name": "noon", "description": "", "parameters": {"type": "object", "properties": {}}}}]

# The arguments of apply_chat_template: messages with fields, tools, and other variables.
CALLS = [
    {"messages": [{"role": "user", "content": "Hello"}], "tools": TOOLS},
    {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Rain?"}], "tools": TOOLS, "enable_thinking": False},
    {"messages": [{"role": "user", "content": "Rain?"}], "enable_thinking": False},
    {"messages": [{"role": "user", "content": "Rain?"}], "enable_thinking": True, "tools": []},
    {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "reasoning_content": "\nwhy\n"},
                  {"role": "user", "content": "c"}, {"role": "assistant", "content": "d", "reasoning_content": "so"}]},
    {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Rain in X?"},
                  {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "id": "call00001", "function": {
                      "name": "weather", "arguments": {"place": "X \"é\"\n", "days": 2, "f": 1.5, "g": 1e22, "n": None, "deep": {"a": [True, {}, []]}}}}]},
                  {"role": "tool", "name": "weather", "tool_call_id": "call00001", "content": "{\"rain\": true}"},
                  {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "Thanks"}], "tools": TOOLS},
    {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": None, "tool_calls": [
        {"type": "function", "function": {"name": "noon", "arguments": "{}"}}, {"name": "noon", "arguments": {"k": "v"}}]},
                  {"role": "tool", "content": "12"}, {"role": "tool", "content": "13"}], "tools": TOOLS},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "look "}, {"type": "image"}, {"type": "text", "text": "here"}]}]},
    {"messages": [{"role": "user", "content": "d"}], "date_string": "1 Jan 2026", "tools_in_user_message": False, "tools": TOOLS},
    {"messages": [{"role": "user", "content": "d"}], "documents": [{"title": "T", "text": "é"}], "custom_tools": TOOLS, "xml_tools": TOOLS},
    {"messages": [{"role": "user", "content": "Both?"}, {"role": "assistant", "content": "So.", "reasoning_content": " why ",
                  "tool_calls": [{"function": {"name": "weather", "arguments": {"place": "日 <é>", "deep": {"a": ["x", 1]}, "b": True}}},
                                 {"function": {"name": "noon", "arguments": {}}}]},
                  {"role": "tool", "content": "1"}, {"role": "tool", "content": [{"type": "text", "text": "2"}]},
                  {"role": "assistant", "content": "<think>\nhm\n</think>\n\nDone."}], "tools": TOOLS, "preserve_thinking": True},
    {"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "a"}]}], "add_vision_id": True},
]


def with_roles(conversation):
    return {"messages": [{"role": role, "content": content} for role, content in conversation]}


def render(template, call, generation):
    variables = {"tools": None, "documents": None, "add_generation_prompt": generation, "bos_token": "<|bos|>",
                 "eos_token": "</s>"}
    try:
        return _compile_jinja_template(template).render(**{**variables, **call})
    except Exception:  # whatever the template makes of these messages
        return None


# Beyond the subset: transformers renders these and the runtime refuses them.
BEYOND = ("map(attribute='role') }}", "ensure_ascii=true", ".append(", ".split(none, 1)", "(-2) ** 0.5", "{{ f }}", "f.name",
          "loop.changed", "loop.cycle }}", ".items is", "['items'] is", ".keys }}", ".pop(")


def main():
    rows = []
    for name, template in list(MODELS.items()) + [(None, piece) for piece in PIECES]:
        wanted = []
        for conversation in CONVERSATIONS if name else CONVERSATIONS[1:2]:
            for generation in (False, True) if name else (True,):
                beyond = not name and any(b in template for b in BEYOND)
                wanted.append(None if beyond else render(template, with_roles(conversation), generation))
        called = [render(template, call, True) for call in CALLS] if name else []
        called = [None if text and "[{'type'" in text else text for text in called]  # Python's form of a list is outside the subset
        rows.append({"template": template, "all": bool(name), "rendered": wanted, "called": called})
    value = {"library": f"transformers {transformers.__version__}", "conversations": CONVERSATIONS, "calls": CALLS,
             "templates": rows, "refused": REFUSED}
    path = HERE / "chat.json"
    path.write_text(json.dumps(value, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    print(f"{len(rows)} templates, {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
