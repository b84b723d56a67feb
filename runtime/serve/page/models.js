/* models.js - the served models and the reports of their modules (/report.json): sizes, which kernel computes each
 * layer, and why. */
'use strict';

const addressOf = model => `#model/${encodeURIComponent(model.id)}`;

/* ---- the list ---------------------------------------------------------------------------------- */

function modelsPage(models) {
    const row = model => h('tr', {}, h('td', {class: 'name'}, h('a', {href: addressOf(model)}, model.id)),
        h('td', {}, doesOf(model)),
        h('td', {class: 'wide'}, factOf(model, 'architecture')), h('td', {class: 'wide'}, factOf(model, 'target')),
        h('td', {class: 'number'}, model.max_model_len ? count(model.max_model_len) : '–'),
        h('td', {class: 'number wide'}, model.created ? new Date(model.created * 1000).toISOString().slice(0, 10) : '–'));
    return [h('h1', {}, 'Models'), section(plural(models.length, 'model'), 'What requests name, and what each was compiled to.',
        scrolledTable('Models', [['Name'], ['Does'], ['Architecture', 'wide'], ['Target', 'wide'], ['Context', 'number'],
            ['Compiled', 'number wide']].map(([name, className]) => h('th', {scope: 'col', class: className}, name)),
        h('tbody', {}, models.map(row))))];
}

/* A language model may embed, too. */
function doesOf(model) {
    const generates = model.generates === false ? null : canChat(model) ? 'chats' : 'goes on with texts';
    return [generates, model.has_embeddings ? 'embeds' : null].filter(Boolean).join(', ');
}

const factOf = (model, name) => model.report && model.report[name] || '–';

/* ---- one model --------------------------------------------------------------------------------- */

/* Converts a report to the form that the drawings of the compiler's report need (figures.js). */
const layersOf = report => report.kernels.map(kernel => ({...kernel, decode: kernel, alphabet: 'ternary',
    regime: kernel.decodes === false ? 'prefill' : 'decode'}));

const bitsOf = layer => 8 * layer.weight_bytes / weightsOf(layer);

const KERNEL_COLUMNS = [
    {name: 'Layer', key: row => shortName(row.layer), cell: row => shortName(row.layer), className: 'name'},
    {name: 'Regime', key: row => row.layer.regime, cell: row => row.layer.regime, className: 'wide'},
    {name: 'Variant', key: row => row.layer.variant, cell: row => row.layer.variant},
    {name: 'Size', key: row => weightsOf(row.layer), cell: row => `${count(row.layer.rows)} × ${count(row.layer.cols)}`,
        className: 'number wide'},
    {name: 'Bytes', key: row => row.layer.weight_bytes, cell: row => bytes(row.layer.weight_bytes), className: 'number'},
    {name: 'Bits', key: row => bitsOf(row.layer), cell: row => number(bitsOf(row.layer)), className: 'number'}];

function kernelTable(layers) {
    const state = {regime: 'both'};
    const wordsOf = layer => [shortName(layer), layer.name, layer.regime, layer.variant].join(' ').toLowerCase();
    const table = openingTable('Kernels', KERNEL_COLUMNS, layers.map(layer => ({layer, words: wordsOf(layer)})),
        row => [h('p', {}, row.layer.reason), h('p', {}, h('code', {}, row.layer.name))],
        row => state.regime === 'both' || row.layer.regime === state.regime);
    return section('Kernels', 'What computes every layer, one token at a time and many: a row opens and says why.',
        h('div', {class: 'bar'}, table.search,
            choice('Regime', ['both', ...REGIMES], 'both', regime => { state.regime = regime; table.show(); }), table.told),
        table.element);
}

function bytesSection(report, layers) {
    const rows = Object.entries(report.token_bytes_by_role || {})
        .map(([name, value]) => ({name, value, className: 'bytes', text: bytes(value)}));
    return section('Bytes and bits',
        'What a token reads, by role, and what a weight takes of it. Three values carry 1.58 bits.',
        h('div', {class: 'columns'},
            rows.length === 0 ? null : figure('Bytes that a token reads', width =>
                bars(width, rows, Math.max(...rows.map(r => r.value)) * 1.1, 'Bytes that a token reads', bytesTick)),
            figure('Bits a weight by role', width => bitsDrawing({layers}, width))));
}

function factText(name, value) {
    if (Array.isArray(value))
        return value.join(', ') || 'none';
    if (value !== null && typeof value === 'object')
        return Object.entries(value).map(([part, x]) => `${part.replace(/_/g, ' ')} ${factText(part, x)}`).join(', ');
    return typeof value === 'boolean' ? value ? 'yes' : 'no' : typeof value !== 'number' ? String(value)
        : /bytes/.test(name) ? bytes(value) : value.toLocaleString('en');
}

/* Facts with the names of rsr-run --info, without those that are drawn. */
function reportFacts(report) {
    const drawn = ['id', 'kernels', 'token_bytes_by_role'];
    return Object.entries(report).filter(([name, value]) => value !== null && !drawn.includes(name))
        .map(([name, value]) => [name.replace(/_/g, ' '), factText(name, value)]);
}

function modelPage(model) {
    const {report} = model;
    document.title = `${model.id} – rsr-serve`;
    if (!report || !Array.isArray(report.kernels) || report.kernels.length === 0)
        return [h('h1', {}, model.id), section('No report', 'The server tells no kernels of this model.')];
    const layers = layersOf(report), once = layers.filter(layer => layer.regime === 'decode');
    const weights = sum(once, weightsOf), read = sum(once, layer => layer.weight_bytes);
    return [h('header', {}, h('div', {class: 'eyebrow'}, 'Model'), h('h1', {}, model.id)),
        h('div', {class: 'tiles'}, tile(thousands(weights), `weights in ${plural(once.length, 'layer')}`),
            tile(number(8 * read / weights), 'bits a weight'), tile(bytes(report.token_bytes || read), 'a token reads'),
            tile(bytes(report.kv_bytes_token || 0), 'of keys and values a token')),
        bytesSection(report, once), kernelTable(layers),
        section('The module', null,
            h('dl', {}, reportFacts(report).map(([name, value]) => [h('dt', {}, name), h('dd', {}, value)])))];
}
