/* live.js - the state of the server: /metrics and /slots every second while this view is shown, and their numbers over
 * the last minutes. */
'use strict';

const PERIOD_MS = 1000, N_SAMPLES = 300;

/* ---- metrics ----------------------------------------------------------------------------------- */

/* Prometheus text: values by name, of all models together; buckets of histograms by their bounds; rows as they are. */
function readMetrics(text) {
    const values = new Map(), buckets = new Map(), rows = [], help = new Map();
    for (const row of text.split('\n')) {
        const told = /^# HELP (\S+) (.*)$/.exec(row), value = /^([a-zA-Z_:][\w:]*)(\{.*\})? (\S+)$/.exec(row);
        if (told)
            help.set(told[1], told[2]);
        if (!value)
            continue;
        const [, name, labels = '', digits] = value, bound = /^\{le="([^"]+)"\}$/.exec(labels), x = Number(digits);
        if (bound) {
            const key = name.replace(/_bucket$/, '');
            buckets.set(key, [...(buckets.get(key) || []), [bound[1] === '+Inf' ? Infinity : Number(bound[1]), x]]);
        } else {
            values.set(name, (values.get(name) || 0) + x);
            rows.push({name: name + labels, value: x, help: help.get(name) || ''});
        }
    }
    return {values, buckets, rows};
}

const valueOf = (sample, name) => sample.values.get(`rsr_${name}`) || 0;

/* The rate of a counter per second; 0 if the server has restarted. */
function rateOf(samples, i, name, steps = 1) {
    const from = samples[Math.max(0, i - steps)], to = samples[i];
    return to.at > from.at ? Math.max(0, valueOf(to, name) - valueOf(from, name)) * 1000 / (to.at - from.at) : 0;
}

/* The quantile of the observations between two samples, as the middle of its bucket; null: there were none. */
function quantileBetween(from, to, name, share) {
    const before = from.buckets.get(`rsr_${name}`), after = to.buckets.get(`rsr_${name}`);
    if (!before || !after || before.length !== after.length)
        return null;
    const counts = after.map(([, n], i) => n - before[i][1]), all = counts.at(-1);
    if (!(all > 0))
        return null;
    const i = counts.findIndex(n => n >= share * all), bound = after[i][0];
    return bound === Infinity ? after[i - 1][0] : bound / Math.SQRT2; /* bounds are powers of two */
}

/* ---- drawings ---------------------------------------------------------------------------------- */

/* Lines over the last minutes, at least one: [{name, className, values}]; values has one value per sample, null:
 * none. */
function timeDrawing(lines, least, width, label, format) {
    const height = 150, left = 56, right = width - 8, top = 8, bottom = height - 22;
    const most = Math.max(least, ...lines.flatMap(l => l.values.filter(v => v !== null))) * 1.08;
    const shown = Math.max(60e3 / PERIOD_MS, lines[0].values.length - 1), y = linear(most, bottom, top);
    const x = back => right - back / shown * (right - left); /* x of the sample `back` samples before the last one */
    const minutes = [0, 1, 2, 3, 4, 5].map(n => ({n, at: x(n * 60e3 / PERIOD_MS)}));
    const pathOf = values => values.map((value, i) => value === null ? ''
        : `${i === 0 || values[i - 1] === null ? 'M' : 'L'}${round(x(values.length - 1 - i))} ${round(y(value))}`).join('');
    return chart(width, height, label, gridLeft(y, ticks(most, 3), left, right, format),
        minutes.filter(minute => minute.at >= left).map(({n, at}) => text(at, height - 6, n === 0 ? 'now' : `−${n} min`,
            {class: 'quiet', 'text-anchor': n === 0 ? 'end' : 'middle'})),
        lines.map(l => s('path', {class: `curve ${l.className}`, d: pathOf(l.values) || null}, s('title', {}, l.name))));
}

const rates = name => samples => samples.map((_, i) => rateOf(samples, i, name, 2));
const gauges = name => samples => samples.map(sample => valueOf(sample, name));
/* Quantiles of the last ten seconds. */
const quantiles = (name, share) => samples =>
    samples.map((sample, i) => quantileBetween(samples[Math.max(0, i - 10)], sample, name, share));
const shares = (part, whole) => samples => samples.map(sample => {
    const all = valueOf(sample, whole);
    return all > 0 ? valueOf(sample, part) / all : null;
});
/* A rate as a share of another rate, over the last ten seconds. */
const rateShares = (part, whole) => samples => samples.map((_, i) => {
    const all = rateOf(samples, i, whole, 10);
    return all > 0 ? rateOf(samples, i, part, 10) / all : null;
});
const seconds = x => x === 0 ? '0' : micros(x * 1e6, short);
const shareTick = x => `${short(100 * x)} %`;

/* title, the least that its axis shows, numbers, lines: name, colour, values of samples. */
const CHARTS = [
    ['Tokens a second', 10, tick, [['generated', 'decode', rates('generated_tokens_total')],
        ['of prompts', 'prefill', rates('prompt_tokens_total')]]],
    ['Requests', 4, tick, [['generated', 'decode', gauges('slots_busy')], ['queued', 'prefill', gauges('queue_requests')]]],
    ['Keys and values', 1, shareTick, [['of the pool', 'decode', shares('kv_tokens_used', 'kv_tokens')]]],
    ['Prompts from the cache', 1, shareTick,
        [['of their tokens', 'third', rateShares('cached_tokens_total', 'prompt_tokens_total')]]],
    ['Time to the first token', 0.01, seconds, [['half are below', 'decode', quantiles('time_to_first_token_seconds', 0.5)],
        ['99 % are below', 'prefill', quantiles('time_to_first_token_seconds', 0.99)]]],
    ['Between two tokens', 0.001, seconds, [['half are below', 'decode', quantiles('inter_token_seconds', 0.5)],
        ['99 % are below', 'prefill', quantiles('inter_token_seconds', 0.99)]]]];

/* ---- the view ---------------------------------------------------------------------------------- */

class Live {
    constructor() {
        this.samples = [];
        this.isAsking = false;
        this.told = h('p', {class: 'soft', role: 'status'}, 'Asks the server each second while you look.');
        this.tiles = h('div', {class: 'tiles'});
        const valuesOf = ([name, className, of]) => ({name, className, values: this.samples.length ? of(this.samples) : []});
        this.figures = CHARTS.map(([title, least, format, lines]) =>
            figure(title, width => timeDrawing(lines.map(valuesOf), least, width, title, format)));
        this.slots = h('tbody');
        this.all = h('tbody');
        this.element = h('div', {}, h('h1', {}, 'Live'), this.told, this.tiles,
            section('The last five minutes', null, h('div', {class: 'columns'}, CHARTS.map(([, , , lines], i) =>
                h('div', {}, this.figures[i], legend(lines.map(([name, className]) => [className, name])))))),
            section('Slots', 'What is generated now, a row a text.',
                scrolledTable('Slots', ['Model', 'Prompt', 'Generated', 'For'].map((name, i) =>
                    h('th', {scope: 'col', class: i ? 'number' : null}, name)), this.slots, 'slots')),
            h('section', {}, h('details', {}, h('summary', {}, 'All counters'), scrolledTable('All counters', [], this.all))));
        document.addEventListener('visibilitychange', () => this.turn());
    }

    /* Asks the server only while the view is visible. */
    async turn() {
        if (this.isAsking)
            return;
        this.isAsking = true;
        while (this.element.isConnected && !document.hidden) {
            const begun = performance.now();
            await this.ask(begun);
            await new Promise(wake => setTimeout(wake, Math.max(0, PERIOD_MS - (performance.now() - begun))));
        }
        this.isAsking = false;
    }

    async ask(at) {
        try {
            const [metrics, slots] = await Promise.all(['/metrics', '/slots'].map(path => request(path, null, null, false)));
            this.samples = [...this.samples.slice(1 - N_SAMPLES), {at, ...readMetrics(await metrics.text())}];
            this.show(await slots.json());
            this.told.textContent = 'Asks the server each second while you look.';
        } catch (error) {
            this.told.textContent = `${error.message} It is asked again each second.`;
        }
    }

    show(slots) {
        const {samples} = this, last = samples.at(-1), now = i => rateOf(samples, samples.length - 1, i, 5);
        const first = quantileBetween(samples[Math.max(0, samples.length - 60)], last, 'time_to_first_token_seconds', 0.5);
        const of = (part, whole) => valueOf(last, whole) > 0 ? percent(valueOf(last, part) / valueOf(last, whole)) : '–';
        this.tiles.replaceChildren(tile(number(now('generated_tokens_total')), 'tokens a second'),
            tile(`${count(valueOf(last, 'slots_busy'))} of ${count(valueOf(last, 'slots'))}`, 'slots are busy'),
            tile(count(valueOf(last, 'queue_requests')), 'requests wait'),
            tile(of('kv_tokens_used', 'kv_tokens'), 'of the room for keys and values'),
            tile(of('cached_tokens_total', 'prompt_tokens_total'), 'of prompts came from the cache'),
            tile(first === null ? '–' : micros(first * 1e6), 'to a first token, the median of a minute'));
        this.figures.forEach(drawing => drawing.redraw());
        this.slots.replaceChildren(...slots.filter(slot => slot.is_busy).map(slot => h('tr', {},
            h('td', {class: 'name'}, slot.model),
            h('td', {class: 'number'}, slot.evaluated_tokens < slot.prompt_tokens
                ? `${count(slot.evaluated_tokens)} of ${count(slot.prompt_tokens)}` : count(slot.prompt_tokens)),
            h('td', {class: 'number'}, count(slot.generated_tokens)), h('td', {class: 'number'}, micros(slot.seconds * 1e6)))));
        if (this.slots.childNodes.length === 0)
            this.slots.append(h('tr', {}, h('td', {colspan: 4, class: 'soft'}, 'Nothing is generated.')));
        this.all.replaceChildren(...last.rows.map(row => h('tr', {}, h('td', {class: 'name'}, row.name),
            h('td', {class: 'number'}, count(row.value)), h('td', {class: 'wide'}, row.help))));
    }
}
