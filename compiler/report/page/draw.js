/* draw.js - elements, numbers and axes, the parts of every drawing.
 *
 * Text from files becomes text nodes and attributes of ours alone, never markup. Nothing is fetched. */
'use strict';

/* ---- elements -------------------------------------------------------------------------------- */

const SVG = 'http://www.w3.org/2000/svg';

function fill(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
        if (typeof value === 'function')
            element.addEventListener(name, value);
        else if (value !== null && value !== undefined && value !== false)
            element.setAttribute(name, value === true ? '' : value);
    }
    element.append(...children.flat(Infinity).filter(child => child !== null && child !== undefined));
    return element;
}

/* An element of HTML: attributes, listeners under the name of their event, children; strings are text. */
function h(tag, attributes, ...children) {
    return fill(document.createElement(tag), attributes, children);
}

/* An element of SVG, with attributes, listeners and children as above. */
function s(tag, attributes, ...children) {
    return fill(document.createElementNS(SVG, tag), attributes, children);
}

/* A drawing with a text for readers who cannot see it. */
function chart(width, height, label, ...children) {
    return s('svg', {class: 'chart', width, height, viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': label},
        ...children);
}

function text(x, y, words, attributes) {
    return s('text', {x: round(x), y: round(y), ...attributes}, String(words));
}

function rectangle(x, y, width, height, className, title) {
    return s('rect', {x: round(x), y: round(y), width: round(Math.max(width, 0)), height: round(height), class: className},
        title ? s('title', {}, title) : null);
}

function line(x1, y1, x2, y2, className) {
    return s('path', {d: `M${round(x1)} ${round(y1)}L${round(x2)} ${round(y2)}`, class: className});
}

/* ---- numbers --------------------------------------------------------------------------------- */

function round(x) {
    return Math.round(x * 100) / 100;
}

/* Three significant digits: 0.012, 1.59, 12.3, 4,160. */
function number(x) {
    if (x === null || x === undefined || !isFinite(x))
        return '–';
    const size = Math.abs(x);
    if (size !== 0 && size < 1e-3)
        return x.toExponential(1);
    const decimals = size === 0 || size >= 100 ? 0 : Math.min(2 - Math.floor(Math.log10(size)), 5);
    return x.toLocaleString('en', {minimumFractionDigits: decimals, maximumFractionDigits: decimals});
}

function count(n) {
    return n.toLocaleString('en');
}

/* A number on an axis, without zeros at its end. */
function short(x) {
    return x.toLocaleString('en', {maximumSignificantDigits: 3});
}

function inUnits(x, units, step, format = number) {
    let unit = 0;
    while (Math.abs(x) >= step && unit + 1 < units.length) {
        x /= step;
        unit++;
    }
    return `${format(x)} ${units[unit]}`.trim();
}

const bytes = (x, format) => inUnits(x, ['bytes', 'KB', 'MB', 'GB', 'TB'], 1000, format);
const micros = (us, format) => us > 0 && us < 1 ? `${(format || number)(us * 1000)} ns` : inUnits(us, ['µs', 'ms', 's'], 1000, format);
const thousands = (x, format) => inUnits(x, ['', 'K', 'M', 'G'], 1000, format);
/* Bytes, microseconds and numbers on an axis, without zeros at their ends. */
const bytesTick = x => x === 0 ? '0' : bytes(x, short);
const microsTick = x => x === 0 ? '0' : micros(x, short);
const tick = x => thousands(x, short);
const times = factor => `${factor < 10 ? factor.toFixed(2) : number(factor)}×`;
const percent = share => `${number(100 * share)} %`;
const plural = (n, word) => `${count(n)} ${word}${n === 1 ? '' : 's'}`;

function sum(list, of) {
    return list.reduce((total, item) => total + of(item), 0);
}

function groupBy(list, keyOf) {
    const groups = new Map();
    for (const item of list) {
        const key = keyOf(item);
        if (!groups.has(key))
            groups.set(key, []);
        groups.get(key).push(item);
    }
    return groups;
}

/* ---- axes ------------------------------------------------------------------------------------ */

function linear(most, from, to) {
    return x => from + (most > 0 ? x / most : 0) * (to - from);
}

function logarithmic(least, most, from, to) {
    return x => from + Math.log(x / least) / Math.log(most / least) * (to - from);
}

/* Round numbers from 0 to `most`, about n of them. */
function ticks(most, n) {
    if (!(most > 0))
        return [0];
    const rough = most / n;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find(m => m * power >= rough);
    return Array.from({length: Math.floor(most / step + 1e-9) + 1}, (_, i) => i * step);
}

/* Powers of ten from least to most; if these are few, also twice and five times each. */
function logTicks(least, most) {
    const first = Math.floor(Math.log10(least)), last = Math.ceil(Math.log10(most));
    const all = multiples => Array.from({length: last - first + 1}, (_, i) => multiples.map(m => m * 10 ** (first + i)))
        .flat().filter(x => x >= least && x <= most);
    return all([1]).length > 3 ? all([1]) : all([1, 2, 5]);
}

/* Vertical lines of a grid with numbers below. */
function gridBelow(scale, values, top, bottom, format) {
    return values.map(value => s('g', {},
        line(scale(value), top, scale(value), bottom, 'grid'),
        text(scale(value), bottom + 16, format(value), {class: 'quiet', 'text-anchor': 'middle'})));
}

/* Horizontal lines with numbers to the left. */
function gridLeft(scale, values, left, right, format) {
    return values.map(value => s('g', {},
        line(left, scale(value), right, scale(value), 'grid'),
        text(left - 6, scale(value) + 4, format(value), {class: 'quiet', 'text-anchor': 'end'})));
}

/* ---- figures --------------------------------------------------------------------------------- */

/* A drawing with its title. draw(width) draws it again when the page gets another width. */
function figure(title, draw, className) {
    const place = h('div', {class: `drawing ${className || ''}`, tabindex: className === 'scrolled' ? 0 : null});
    let drawnWidth = 0;
    const redraw = () => {
        const width = Math.floor(place.clientWidth) || 640;
        drawnWidth = width;
        place.replaceChildren(draw(width));
    };
    const save = h('button', {class: 'link', type: 'button', 'aria-label': `Save ${title} as SVG`,
        click: () => download(`${title}.svg`, 'image/svg+xml', standalone(place.querySelector('svg')))}, 'SVG');
    new ResizeObserver(() => {
        if (place.clientWidth > 0 && Math.floor(place.clientWidth) !== drawnWidth)
            redraw();
    }).observe(place);
    const element = h('figure', {}, h('figcaption', {}, h('h3', {}, title), save), place);
    element.redraw = redraw;
    return element;
}

/* A drawing as a file, with the rules of its colours, light or dark as on the reader's screen. */
function standalone(drawing) {
    const copy = drawing.cloneNode(true);
    copy.setAttribute('xmlns', SVG);
    copy.prepend(s('style', {}, document.getElementById('chart-style').textContent),
        s('rect', {width: '100%', height: '100%', class: 'paper'}));
    return new XMLSerializer().serializeToString(copy);
}

function download(name, type, content) {
    const link = h('a', {href: URL.createObjectURL(new Blob([content], {type})), download: name});
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function section(title, note, ...children) {
    return h('section', {}, h('h2', {}, title), note ? h('p', {}, note) : null, ...children);
}

/* A large number with its name. */
function tile(value, words) {
    return h('div', {class: 'tile'}, h('b', {}, value), h('span', {}, words));
}

/* Buttons; one of them is pressed. */
function choice(label, options, chosen, change) {
    const buttons = options.map(option => h('button', {type: 'button', 'aria-pressed': String(option === chosen),
        click: () => {
            buttons.forEach((button, i) => button.setAttribute('aria-pressed', String(options[i] === option)));
            change(option);
        }}, option));
    return h('div', {class: 'choice', role: 'group', 'aria-label': label}, buttons);
}

function legend(entries) {
    return h('div', {class: 'legend'}, entries.map(([className, words]) => h('span', {class: className}, words)));
}

/* Horizontal bars, one in each row: {name, value, className, title, text}; and a line at `mark`. */
function bars(width, rows, most, label, format, mark) {
    const left = Math.min(150, width * 0.32), right = width - 70, top = mark ? 20 : 4, step = 26;
    const bottom = top + rows.length * step;
    const x = linear(most, left, right);
    return chart(width, bottom + 24, label,
        gridBelow(x, ticks(most, width < 500 ? 3 : 6), top, bottom, format),
        rows.map((row, i) => s('g', {},
            text(left - 8, top + i * step + 17, row.name, {'text-anchor': 'end'}),
            rectangle(left, top + i * step + 5, x(row.value) - left, step - 10, row.className, row.title || row.text),
            text(x(row.value) + 6, top + i * step + 17, row.text, {class: 'halo'}))),
        mark ? s('g', {}, line(x(mark.value), top - 4, x(mark.value), bottom, 'limit dashed'),
            text(x(mark.value), top - 8, mark.text, {class: 'quiet', 'text-anchor': 'middle'})) : null);
}
