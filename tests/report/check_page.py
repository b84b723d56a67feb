"""usage: check_page.py [--within=BYTES,MS] [--poor] PAGE[=NAME]...: opens reports in a headless Chromium and uses them
as a reader does: sorts, filters, opens rows by mouse and keyboard, looks at them wide and narrow, in the dark and on
paper. NAME is the model's, and must stay text. Nothing may be loaded, and the console must stay silent.
REPORT_PICTURES=DIR keeps pictures. --poor: the pages compare files that lack nearly everything: they show what exists,
and say what is missing. --within: checks that no page is larger, and that none takes longer until it can be used (best
of three times)."""
import json
import os
import sys

from browser import Browser

page = None
ENTER, DOWN = "\ue007", "\ue015"


def check(is_so, what, *told):
    if not is_so:
        sys.exit(f"{page}: {what} {told if told else ''}")


def rows(browser, column):
    """Texts of a column of the why-table, as shown."""
    return browser.run("return [...document.querySelectorAll('table.why tr.row')].map(r => r.cells[arguments[0]].firstChild.textContent)",
                       column)


def click(browser, words, within="main"):
    browser.run("const b = [...document.querySelectorAll(arguments[1] + ' button')].find(b => b.textContent === arguments[0]);"
                "if (!b) throw Error(arguments[0]); b.click()", words, within)


def micros(text):
    number, unit = text.replace(",", "").split(" ")
    return float(number) * {"ns": 1e-3, "µs": 1, "ms": 1e3, "s": 1e6}[unit]


def check_text(browser, name):
    """Names are text, and no script but the page's own has run."""
    check(browser.run("return window.owned") is None, "a name ran as script")
    check(browser.run("return document.scripts.length") == 2, "scripts were added")
    check(browser.run("return document.querySelectorAll('main img, main iframe, main script').length") == 0, "markup of a name")
    if name:
        check(browser.run("return document.querySelector('h1').textContent") == name, "the name is not as it is")


def check_table(browser):
    plain = rows(browser, 3)
    check(len(plain) > 1, "no rows")
    click(browser, "Time", "table.why")
    down = [micros(text) for text in rows(browser, 3)]
    check(down == sorted(down, reverse=True), "not sorted by time", down)
    click(browser, "Time", "table.why")
    up = [micros(text) for text in rows(browser, 3)]
    check(up == sorted(up) and len(up) == len(plain), "not sorted the other way", up)
    word = rows(browser, 0)[0].split(".")[-1]
    browser.run("const i = document.querySelector('input[type=search]'); i.value = arguments[0]; i.dispatchEvent(new Event('input'))",
                f" {word.upper()} decode")
    found = rows(browser, 0)
    check(0 < len(found) < len(plain) and all(word in text for text in found), "the filter shows", word, found)
    check(set(rows(browser, 1)) == {"decode"}, "the filter leaves a regime")
    browser.run("document.querySelector('tr.row').focus()")
    browser.press(ENTER)
    opened = browser.run("return [...document.querySelectorAll('tr.more:not([hidden]) table tbody tr')].map(r => r.textContent)")
    check(len(opened) > 1 and any("chosen" in text for text in opened), "Enter opens no row", opened)
    if len(found) > 1:
        browser.press(DOWN)
        check(browser.run("return document.activeElement === document.querySelectorAll('tr.row')[1]"), "the arrow goes nowhere")


def check_drawings(browser):
    n = browser.run("return document.querySelectorAll('svg.chart').length")
    check(n >= 3, "drawings are missing", n)
    for regime in ("prefill", "decode"):
        click(browser, regime)
        check(browser.run("return document.querySelector('figure h3').textContent") == f"Bytes and time, {regime}", regime)
    click(browser, "by layer")
    check(browser.run("return document.querySelector('figure svg').querySelectorAll('g > title').length > 1"), "no layers")
    parsed = browser.run("const t = standalone(document.querySelector('svg')); return new DOMParser().parseFromString(t, "
                         "'image/svg+xml').querySelector('parsererror') === null && t.includes('--decode')")
    check(parsed, "a saved drawing is no SVG of its own")


def check_numbers(browser):
    broken = browser.run("return [...document.querySelectorAll('svg *')].filter(e => [...e.attributes].some(a => "
                         "/NaN|undefined|Infinity/.test(a.value))).map(e => e.outerHTML.slice(0, 200))")
    check(broken == [], "numbers that are none", broken)


def check_comparison(browser):
    """Every result has a bar and a row, with a ratio to the first file."""
    results = browser.run("return data.compare.filter(e => e.kind !== 'report').length")
    bars = browser.run("return [...document.querySelectorAll('svg.chart g > title')].map(t => t.textContent)")
    check(len(bars) >= results and all("spread" in bar for bar in bars), "bars", bars)
    check(any("(1.00×)" in bar for bar in bars) and any("(1.00×)" not in bar for bar in bars), "ratios", bars)
    kinds = browser.run("return [...document.querySelectorAll('h2')].map(h => h.textContent)")
    check(kinds == ["Kernels, streamed", "Models, decode", "Models, prefill", "Attention through the index",
                    "Compiled models", "Best k and kernels"], "sections", kinds)
    ks = browser.run("return [...document.querySelectorAll('section:last-of-type tbody tr')].map(r => r.cells[2].textContent)")
    check(len(ks) > 1 and all(k == "–" or int(k.split(", ")[0]) > 0 for k in ks) and any(k != "–" for k in ks), "k", ks)


def check_looks(browser):
    for width, dark in ((1400, False), (1400, True), (800, False), (390, False), (390, True)):
        browser.look(width, dark)
        wide = browser.run("return document.documentElement.scrollWidth")
        check(wide <= width, f"is {wide} wide in a window of {width}")
        color = browser.run("return getComputedStyle(document.body).color")
        check((color == "rgb(233, 235, 238)") == dark, "dark mode", color)
        if "REPORT_PICTURES" in os.environ:
            browser.save_picture(f"{os.environ['REPORT_PICTURES']}/{width}{'-dark' if dark else ''}.png")
    browser.look(800, media="print")
    check(browser.run("return [...document.querySelectorAll('.bar')].every(b => b.offsetHeight === 0)"), "controls on paper")


def check_silence(browser):
    check(browser.log("browser") == [], "the console", browser.log("browser"))
    requests = [json.loads(entry["message"])["message"] for entry in browser.log("performance")]
    loaded = [r["params"]["request"]["url"] for r in requests if r["method"] == "Network.requestWillBeSent"
              and r["params"]["documentURL"].startswith("file:")] # not those of Chromium's own first page
    check(set(loaded) == {browser.run("return location.href")}, "something is loaded", loaded[:5])


def open_page(browser):
    """Milliseconds until the page was shown with all its drawings."""
    browser.open(page)
    return browser.run("return performance.getEntriesByType('navigation')[0].domComplete")


def main():
    global page
    limits = [word.removeprefix("--within=").split(",") for word in sys.argv[1:] if word.startswith("--within=")]
    pages = [word for word in sys.argv[1:] if not word.startswith("--")]
    with Browser() as browser:
        for argument in pages:
            page, _, name = argument.partition("=")
            browser.look(1200)
            took = min(open_page(browser) for _ in range(3 if limits else 1))
            size = os.path.getsize(page)
            for most_bytes, most_ms in limits:
                check(size <= int(most_bytes) and took <= int(most_ms), "too large or too slow", size, took)
            check_text(browser, name)
            if "--poor" in sys.argv:
                check(browser.run("return [...document.querySelectorAll('h2')].filter(h => h.textContent === 'Not drawn').length") > 0,
                      "nothing is said to lack")
            elif browser.run("return Boolean(data.compare)"):
                check_comparison(browser)
            else:
                check_drawings(browser)
                check_table(browser)
            check_numbers(browser)
            check_looks(browser)
            check_silence(browser)
            print(f"{page}: {size} bytes, shown after {took:.0f} ms")


main()
