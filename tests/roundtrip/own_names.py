"""Prints emitted C or IR with functions named after layers: the function behind each alias gets the alias's
name, and aliases are dropped. For units in which no two layers share a kernel."""
import re
import sys

ALIAS = [
    re.compile(r'\n/\* [^\n]*\*/\nextern __typeof__\((\w+)\) (\w+)\n[^\n]*\n'),  # C
    re.compile(r'@()(\w+) = hidden alias [^\n]*@(\w+)\n\n?'),  # IR
]
text = sys.stdin.read()
names = {}
for pattern in ALIAS:
    for match in pattern.finditer(text):
        symbol, function = (match[2], match[1]) if match[1] else (match[2], match[3])
        assert function not in names, f"{function} has two layers"
        names[function] = symbol
    text = pattern.sub("", text)
text = re.sub(r"(?m)^;\n; \w+ is \w+: .*\n", "", text)
sys.stdout.write(re.sub(r"\brsr_\w+", lambda match: names.get(match[0], match[0]), text))
