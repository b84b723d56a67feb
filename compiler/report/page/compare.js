/* compare.js - the page of rsr-bench compare: results of several files side by side, ratios to the first file. */
'use strict';

/* Colours of files; further files begin with the first colour again. */
const RUN_CLASSES = ['decode', 'prefill', 'bytes', 'third', 'fourth'];

const only = (list, kind) => list.filter(entry => entry.kind === kind);

/* Names of files, without folders if the names still differ. */
function runNames(entries) {
    const paths = [...new Set(entries.map(entry => entry.file))];
    const base = path => path.replace(/^.*\//, '').replace(/\.json$/, '');
    const unique = new Set(paths.map(base)).size === paths.length;
    return new Map(paths.map(path => [path, unique ? base(path) : path]));
}

function median(values) {
    const sorted = [...values].sort((a, b) => a - b), middle = sorted.length >> 1;
    return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/* Results of one comparison: a row for each measured item, a column for each file. of() gives the compared number, where
   larger is better; spreadOf() gives the spread that a result states. */
function comparedRows(entries, files, keyOf, of, spreadOf) {
    return [...groupBy(entries, entry => keyOf(entry.data))].map(([name, group]) => ({name, cells: files.map(file => {
        const own = group.filter(entry => entry.file === file && Number.isFinite(of(entry.data)));
        if (own.length === 0)
            return null;
        const values = own.map(entry => of(entry.data)), value = median(values);
        const among = (Math.max(...values) - Math.min(...values)) / value;
        return {value, spread: Math.max(among, ...own.map(entry => spreadOf(entry.data) || 0)), data: own[0].data, runs: own.length};
    })}));
}

/* Bars of a row's files below one another, with their spread as a line. */
function comparedDrawing(rows, names, width, label) {
    const left = Math.min(230, width * 0.4), right = width - 100, bar = 16, gap = 14;
    const mostOf = cell => cell ? cell.value * (1 + cell.spread / 2) : 0;
    const longest = Math.max(...rows.flatMap(row => row.cells.map(mostOf)));
    const x = linear(longest, left, right);
    let y = 6;
    const parts = rows.map(row => {
        const top = y, first = row.cells.find(Boolean);
        y += row.cells.filter(Boolean).length * bar + gap;
        let at = top;
        return s('g', {}, text(left - 8, top + 12, row.name.slice(0, Math.floor((left - 8) / 6.4)), {'text-anchor': 'end'}),
            row.cells.map((cell, i) => {
                if (!cell)
                    return null;
                const words = `${names[i]}: ${number(cell.value)} (${times(cell.value / first.value)}), spread ${percent(cell.spread)}`;
                const least = x(cell.value * Math.max(0, 1 - cell.spread / 2)), most = x(mostOf(cell));
                const part = s('g', {}, s('title', {}, words),
                    rectangle(left, at + 1, x(cell.value) - left, bar - 3, RUN_CLASSES[i % RUN_CLASSES.length]),
                    line(least, at + bar / 2 - 0.5, most, at + bar / 2 - 0.5, 'measured'),
                    text(most + 6, at + 12, `${number(cell.value)} · ${times(cell.value / first.value)}`,
                        {class: 'quiet halo'}));
                at += bar;
                return part;
            }));
    });
    return chart(width, y + 18, label, gridBelow(x, ticks(longest, width < 500 ? 2 : 5), 0, y, tick), parts);
}

/* A table of one comparison: one row for each result, one column for each number. */
function comparedTable(rows, names, columns) {
    return h('div', {class: 'scrolled', tabindex: 0}, h('table', {},
        h('thead', {}, h('tr', {}, h('th', {scope: 'col'}, 'What'), h('th', {scope: 'col'}, 'File'),
            columns.map(([name]) => h('th', {scope: 'col', class: 'number'}, name)),
            h('th', {scope: 'col', class: 'number'}, 'Ratio'), h('th', {scope: 'col', class: 'number'}, 'Spread'))),
        h('tbody', {}, rows.flatMap(row => row.cells.map((cell, i) => cell && h('tr', {},
            h('td', {class: 'name'}, row.name), h('td', {class: 'file'}, names[i]),
            columns.map(([, of]) => h('td', {class: 'number'}, of(cell.data))),
            h('td', {class: 'number'}, times(cell.value / row.cells.find(Boolean).value)),
            h('td', {class: 'number'}, percent(cell.spread))))))));
}

function comparedSection(title, note, rows, names, columns) {
    return rows.length === 0 ? null : section(title, null,
        figure(note, width => comparedDrawing(rows, names, width, title)),
        legend(names.map((name, i) => [RUN_CLASSES[i % RUN_CLASSES.length], name])),
        comparedTable(rows, names, columns));
}

const threadsOf = d => d.threads > 1 ? `, ${d.threads} threads` : '';
const batchOf = d => d.batch > 1 ? `, batch ${d.batch}` : '';

function kernelsSection(entries, files, names) {
    const keyOf = d => (d.rows ? `${d.rows} × ${d.cols} ${d.type} ${d.input}` : 'kernel') +
        (d.group_cols ? `, groups of ${d.group_cols}` : '') + batchOf(d) +
        (d.siblings > 1 ? `, ${d.siblings} siblings` : '') + threadsOf(d);
    const rows = comparedRows(only(entries, 'kernel'), files, keyOf, d => d.weights_per_s_streamed / 1e9, d => d.spread);
    return comparedSection('Kernels, streamed', 'G weights a second, from memory', rows, names, [
        ['Variant', d => d.variant], ['Target', d => d.target || '–'], ['Time', d => micros(d.streamed_us)],
        ['Hot', d => micros(d.hot_us)], ['Bits', d => number(d.bits_per_weight)], ['Of bandwidth', d => percent(d.roofline_ratio)],
        ['Of predicted', d => d.measured_to_predicted ? times(d.measured_to_predicted) : '–']]);
}

function modelSections(entries, files, names) {
    const keyOf = d => (d.model || 'model') + batchOf(d) + (d.attention === 'dense' ? '' : `, ${d.attention}`) + threadsOf(d);
    const models = only(entries, 'model'), columns = [
        ['Target', d => d.target || '–'], ['Decode/s', d => number(d.decode_tps)], ['Prefill/s', d => number(d.prefill_tps)],
        ['Of bandwidth', d => percent(d.roofline_ratio)],
        ['A token reads', d => bytes(d.bytes_per_token)], ['Memory', d => bytes(d.rss_bytes)]];
    return [
        comparedSection('Models, decode', 'Tokens a second',
            comparedRows(models, files, keyOf, d => d.decode_tps, d => d.decode_spread), names, columns),
        comparedSection('Models, prefill', 'Tokens of a prompt a second',
            comparedRows(models, files, keyOf, d => d.prefill_tps, d => d.prefill_spread), names, columns)];
}

function attentionSections(entries, files, names) {
    const keyOf = d => `${count(d.context)} keys, ${d.data}, ${d.threshold}${threadsOf(d)}`;
    const rows = comparedRows(only(entries, 'attention'), files, keyOf, d => 1e3 / d.louver_us, d => d.spread);
    return comparedSection('Attention through the index', 'Thousands of steps of a layer a second', rows, names, [
        ['Index', d => d.index], ['Keys as', d => d.kv_type], ['Index', d => micros(d.louver_us)], ['Dense', d => micros(d.dense_us)],
        ['Speed-up', d => times(d.speedup)], ['Keys read', d => percent(d.exact_fraction)], ['Misses', d => count(d.misses)]]);
}

/* ---- models that were compiled --------------------------------------------------------------- */

/* "3", or "3–5" where layers differ; "" without layers. */
function range(values) {
    const known = values.filter(value => value !== undefined);
    const least = Math.min(...known), most = Math.max(...known);
    return known.length === 0 ? '–' : least === most ? number(least) : `${number(least)}–${number(most)}`;
}

function plansSection(entries, names) {
    const reports = only(entries, 'report');
    const columns = reports.flatMap(entry => entry.data.targets.map(target =>
        ({name: `${names.get(entry.file)}, ${target.name}`, target,
            analysis: new Map((entry.data.analysis || []).map(a => [a.name, a]))})));
    const shapes = groupBy(columns.flatMap(column => column.target.layers.map(layer => ({column, layer}))),
        ({layer}) => `${labelOf(layer)}, ${layer.rows} × ${layer.cols}`);
    const variants = (layers, regime) => [...new Set(layers.map(l => l[regime].variant))].join(', ');
    const cells = (column, group) => {
        const layers = group.filter(g => g.column === column).map(g => g.layer);
        if (layers.length === 0)
            return ['–', '–', '–', '–', '–'];
        const ks = layers.map(l => (column.analysis.get(l.name) || {}).k).filter(k => k !== undefined);
        return [ks.length ? [...new Set(ks)].sort((a, b) => a - b).join(', ') : '–', variants(layers, 'decode'),
            range(layers.map(l => l.decode.us)),
            variants(layers, 'prefill'), range(layers.map(l => l.prefill.us))];
    };
    return columns.length === 0 ? null : section('Best k and kernels',
        'By role and shape: the k that costs the fewest additions, the variants that were chosen, and microseconds a ' +
        'token of a layer as predicted.',
        h('div', {class: 'scrolled', tabindex: 0}, h('table', {},
            h('thead', {}, h('tr', {}, ['Layers', 'Compiled', 'k', 'Decode', 'µs', 'Prefill', 'µs'].map((name, i) =>
                h('th', {scope: 'col', class: name === 'µs' ? 'number' : null}, name)))),
            h('tbody', {}, [...shapes].flatMap(([name, group]) => columns.map(column => h('tr', {},
                h('td', {class: 'name'}, name), h('td', {class: 'file'}, column.name),
                cells(column, group).map((value, i) => h('td', {class: i === 2 || i === 4 ? 'number' : null}, value)))))))));
}

function compiledSection(entries, names) {
    const rows = only(entries, 'report').flatMap(entry => entry.data.targets.map(target => {
        const us = sum(target.layers, l => l.decode.us);
        const bits = 8 * sum(target.layers, l => l.decode.weight_bytes) / sum(target.layers, weightsOf);
        return {name: `${names.get(entry.file)}, ${target.name}`, value: us, className: 'decode',
            text: `${micros(us)} · ${number(bits)} bits`};
    }));
    return rows.length === 0 ? null : section('Compiled models',
        'All layers of a token, as predicted, and their bits a weight.',
        figure('A token in the layers', width =>
            bars(width, rows, Math.max(...rows.map(r => r.value)) * 1.12, 'A token in the layers', microsTick)));
}

/* ---- the page -------------------------------------------------------------------------------- */

/* A section, or the reason why there is none: files may be of other versions, and lack the numbers
 * that it needs. */
function attempt(make) {
    try {
        return make();
    } catch (error) {
        return section('Not drawn', `A file has not what this section draws: ${error.message}`);
    }
}

function comparePage(entries) {
    const names = runNames(entries), files = [...names.keys()], shown = [...names.values()];
    document.title = `${shown.join(', ')} – rsr-bench compare`;
    return [h('header', {}, h('div', {class: 'eyebrow'}, 'rsr-bench compare'), h('h1', {}, shown.join(' · ')),
        h('p', {class: 'soft'}, `${plural(entries.length, 'result')}. Ratios are to the first file that has one; ` +
            'a line on a bar is the spread of its runs.')),
        ...[() => kernelsSection(entries, files, shown), () => modelSections(entries, files, shown),
            () => attentionSections(entries, files, shown), () => compiledSection(entries, names),
            () => plansSection(entries, names)].flatMap(make => attempt(make)).filter(Boolean)];
}
