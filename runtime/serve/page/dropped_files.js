/* dropped_files.js - results of rsr-bench --json and rsrc --report=json, read by the browser alone and compared as
 * rsr-bench compare does (compare.js). */
'use strict';

const MAX_FILE_BYTES = 64 << 20, MAX_RESULTS = 10000;

/* The kind of an object, by a key that only this kind has, as in rsr_bench_compare.c. */
const RESULT_KEYS = {kernel: 'streamed_us', attention: 'louver_us', model: 'floor_tps', report: 'targets'};

/* The end of the object that begins at `from`. */
function endOfObject(text, from) {
    const marks = /"(?:[^"\\]|\\.)*"|[{}]/gs;
    let depth = 0;
    marks.lastIndex = from;
    for (let mark = marks.exec(text); mark; mark = marks.exec(text)) {
        depth += mark[0] === '{' ? 1 : mark[0] === '}' ? -1 : 0;
        if (depth === 0)
            return marks.lastIndex;
    }
    return text.length;
}

/* Reads one or several consecutive objects. Throws an error with a message. */
function resultsOf(file, text) {
    const results = [];
    for (let at = text.search(/\S/); at >= 0 && at < text.length; at += text.slice(at).search(/\S|$/)) {
        const end = text[at] === '{' ? endOfObject(text, at) : text.length;
        const data = parsed(text.slice(at, end));
        const kind = data && Object.keys(RESULT_KEYS).find(key => RESULT_KEYS[key] in data);
        if (!kind || results.length >= MAX_RESULTS)
            throw new Error(`${file}: ${!data ? 'is not JSON' : !kind
                ? 'has an object that is not a kernel, model, attention or report'
                : 'has more objects than a page can show'}. Compare what rsr-bench kernel, model and attention --json and ` +
                'rsrc --report=json print.');
        results.push({file, kind, data});
        at = end;
    }
    if (results.length === 0)
        throw new Error(`${file}: is empty.`);
    return results;
}

class Compare {
    constructor() {
        this.results = new Map();
        const input = h('input', {type: 'file', id: 'files', multiple: true, accept: '.json,application/json',
            change: () => { this.take([...input.files]); input.value = ''; }});
        this.told = h('p', {class: 'error', role: 'alert', hidden: true});
        this.names = h('ul', {class: 'files'});
        this.place = h('div');
        this.element = h('div', {class: 'compare', dragover: event => event.preventDefault(),
            drop: event => { event.preventDefault(); this.take([...event.dataTransfer.files]); }},
        h('h1', {}, 'Compare'), section('Results', 'Drop files here that rsr-bench kernel, model or attention --json or ' +
            'rsrc --report=json wrote. The browser reads them; they are sent nowhere.',
            h('div', {class: 'bar'}, h('label', {for: 'files'}, 'Files'), input), this.names, this.told),
        this.place);
    }

    async take(files) {
        const wrong = [];
        for (const file of files) {
            try {
                if (file.size > MAX_FILE_BYTES)
                    throw new Error(`${file.name}: is larger than ${bytes(MAX_FILE_BYTES)}.`);
                this.results.set(file.name, resultsOf(file.name, await file.text()));
            } catch (error) {
                wrong.push(error.message);
            }
        }
        this.told.textContent = wrong.join(' ');
        this.told.hidden = wrong.length === 0;
        this.show();
    }

    show() {
        const all = [...this.results.values()].flat();
        this.names.replaceChildren(...[...this.results].map(([name, results]) => h('li', {},
            `${name}, ${plural(results.length, 'result')} `,
            h('button', {type: 'button', class: 'link', 'aria-label': `Remove ${name}`,
                click: () => { this.results.delete(name); this.show(); }}, 'remove'))));
        this.place.replaceChildren(...(all.length > 0 ? comparePage(all) : []));
    }
}
