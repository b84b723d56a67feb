"""usage: save_picture.py PAGE TITLE WIDTH OUT.svg: saves a drawing of a report, as the page's button SVG does. README's
picture is made by
    rsrc examples/model/kjv --target=avx512 --emit=plan -o kjv.plan --report=html:kjv.html
    python3 tests/report/save_picture.py kjv.html 'Roofline of avx512' 820 examples/report.svg"""
import sys

from browser import Browser

page, title, width, out = sys.argv[1:]
with Browser() as browser:
    browser.open(page)
    browser.look(int(width) + 98) # margins of the page and of its sections
    found = browser.run("const f = [...document.querySelectorAll('figure')].find(f => f.querySelector('h3').textContent === "
                        "arguments[0]); return f ? standalone(f.querySelector('svg')) : null", title)
if found is None:
    sys.exit(f"{page}: no drawing is called {title}")
with open(out, "w") as file:
    file.write(found + "\n")
