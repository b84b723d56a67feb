/* figures.js - the drawings of one compilation: functions of its JSON (report.schema.json) and a width. */
'use strict';

const REGIMES = ['decode', 'prefill'];

const weightsOf = layer => layer.rows * layer.cols;
/* The basis of predicted times. */
const placeOf = target => target.machine.sm ? 'on the GPU' : 'on one core';
const labelOf = layer => layer.role || layer.name;

/* ---- bytes and times ------------------------------------------------------------------------- */

/* Microseconds a token that rsr-bench measured with the target's kernels, of all layers of a role; a prompt was read
   at once. */
function measuredOf(report, target, regime, role) {
    const measured = report.measured;
    if (!measured || measured.target !== target.name)
        return null;
    const row = measured[regime === 'decode' ? 'profile' : 'prefill_profile'].find(r => r.op === role);
    return row ? row.us / (regime === 'decode' ? 1 : Math.max(measured.prompt_tokens, 1)) : null;
}

/* Rows of the drawing: a role's layers together, or each layer with its share of the measured
 * time. */
function timeRows(report, target, regime, byRole) {
    const groups = groupBy(target.layers, labelOf);
    if (byRole)
        return [...groups].map(([name, layers]) => ({
            name: `${name}${layers.length > 1 ? ` × ${layers.length}` : ''}`,
            bytes: sum(layers, l => l[regime].weight_bytes),
            us: sum(layers, l => l[regime].us),
            measured: tuned(layers, regime) || measuredOf(report, target, regime, layers[0].role)}));
    return target.layers.map(layer => {
        const measured = measuredOf(report, target, regime, layer.role);
        return {name: shortName(layer), bytes: layer[regime].weight_bytes, us: layer[regime].us,
            measured: layer[regime].measured_us ||
                (measured === null ? null : measured / groups.get(labelOf(layer)).length)};
    });
}

/* The times of --tune for all of them; null: some have none. */
function tuned(layers, regime) {
    return layers.every(l => l[regime].measured_us > 0) ? sum(layers, l => l[regime].measured_us) : null;
}

function shortName(layer) {
    return layer.block !== null && layer.role ? `${layer.block} ${layer.role}` : layer.name;
}

/* On a phone only the block and role. */
function layerName(layer) {
    const short = shortName(layer);
    return short === layer.name ? layer.name : [h('span', {class: 'wide'}, layer.name), h('span', {class: 'narrow'}, short)];
}

function timesDrawing(report, target, regime, byRole, width) {
    const rows = timeRows(report, target, regime, byRole);
    const narrow = width < 500, left = Math.min(120, width * 0.24), gap = narrow ? 16 : 80;
    const middle = left + (width - left - gap) * 0.38, step = byRole ? 26 : 18, top = 22;
    const bottom = top + rows.length * step, end = width - (narrow ? 8 : 124);
    const mostBytes = Math.max(...rows.map(r => r.bytes)), mostUs = Math.max(...rows.map(r => Math.max(r.us, r.measured || 0)));
    const xBytes = linear(mostBytes, left, middle), xUs = linear(mostUs, middle + gap, end);
    return chart(width, bottom + 24, `Bytes and microseconds of ${regime}, ${byRole ? 'by role' : 'by layer'}`,
        text(left, 12, narrow ? 'bytes' : 'bytes that a call reads', {class: 'quiet'}),
        text(middle + gap, 12, narrow ? 'µs a token' : `time a token, ${placeOf(target)}`, {class: 'quiet'}),
        gridBelow(xBytes, ticks(mostBytes, narrow ? 2 : 4), top, bottom, bytesTick),
        gridBelow(xUs, ticks(mostUs, narrow ? 2 : 5), top, bottom, microsTick),
        rows.map((row, i) => timesRow(row, top + i * step, step, {left, xBytes, xUs, from: middle + gap, narrow}, regime)));
}

function timesRow(row, y, step, at, regime) {
    const words = `${row.name}: ${bytes(row.bytes)}, predicted ${micros(row.us)}` +
        (row.measured ? `, measured ${micros(row.measured)} (${times(row.measured / row.us)} predicted)` : '');
    const bar = step - 8, base = y + step / 2 + 4;
    return s('g', {}, s('title', {}, words),
        text(at.left - 8, base, row.name, {'text-anchor': 'end'}),
        rectangle(at.left, y + 4, at.xBytes(row.bytes) - at.left, bar, 'bytes'),
        at.narrow ? null : text(at.xBytes(row.bytes) + 6, base, bytes(row.bytes), {class: 'halo quiet'}),
        rectangle(at.from, y + 4, at.xUs(row.us) - at.from, bar, regime),
        row.measured ? ['measured around', 'measured'].map(className =>
            line(at.xUs(row.measured), y + 1, at.xUs(row.measured), y + step - 1, className)) : null,
        at.narrow ? null : text(Math.max(at.xUs(row.us), at.xUs(row.measured || 0)) + 6, base,
            micros(row.us) + (row.measured ? ` · ${times(row.measured / row.us)}` : ''), {class: 'halo quiet'}));
}

/* ---- roofline -------------------------------------------------------------------------------- */

/* Layers of one shape, kernel and time are one point: {intensity, speed} in multiply-adds a byte and 1e9 a second. */
function rooflinePoints(report, target) {
    const points = REGIMES.flatMap(regime => {
        const tokens = regime === 'decode' ? 1 : report.prefill_tokens;
        const groups = groupBy(target.layers, l => [l.rows, l.cols, l[regime].variant, l[regime].us].join());
        return [...groups.values()].map(layers => {
            const layer = layers[0], plan = layer[regime];
            const speed = us => weightsOf(layer) / us / 1e3;
            return {regime, layers, intensity: tokens * weightsOf(layer) / plan.weight_bytes, speed: speed(plan.us),
                measured: plan.measured_us > 0 ? speed(plan.measured_us) : null};
        });
    });
    return points.filter(p => p.speed > 0 && p.intensity > 0 && isFinite(p.intensity));
}

/* [words, 1e9 multiply-adds a second] */
function peaksOf(machine) {
    return [['int8 products', machine.dot_gmacs], ['a batch over the codes of lut', machine.panel_gmacs]]
        .filter(peak => peak[1] > 0);
}

/* From the slope to the right; what it is stands where the slope ends, of the lower one below it. */
function peakLine([words, speed], i, isLower, from, right, y) {
    const told = `${number(speed)} G/s ${words}`, fits = right - from > 7 * told.length;
    return s('g', {}, line(from, y(speed), right, y(speed), `limit ${i ? 'dashed' : ''}`),
        text(from + 8, y(speed) + (isLower ? 14 : -5), fits ? told : `${number(speed)} G/s`, {class: 'quiet halo'}));
}

function rooflineDrawing(report, target, width) {
    const points = rooflinePoints(report, target), peaks = peaksOf(target.machine);
    const gbps = target.machine.read_gbps || target.machine.memory_gbps;
    const speeds = points.flatMap(p => [p.speed, p.measured || p.speed]).concat(peaks.map(p => p[1]));
    const least = {x: Math.min(1, ...points.map(p => p.intensity)) / 1.5, y: Math.min(...speeds) / 3};
    const most = {x: Math.max(...points.map(p => p.intensity), 100) * 1.6, y: Math.max(...speeds) * 2};
    const height = Math.max(300, Math.min(420, width * 0.5)), left = 52, right = width - 12, top = 10, bottom = height - 42;
    const x = logarithmic(least.x, most.x, left, right), y = logarithmic(least.y, most.y, bottom, top);
    const highest = peaks.length > 0 ? Math.max(...peaks.map(p => p[1])) : most.y;
    const from = Math.max(least.x, least.y / gbps), to = Math.min(most.x, highest / gbps);
    const lines = [...slopeBoxes(x, y, gbps, from, to), ...peaks.map(peak => ({x: width / 2, y: y(peak[1]) - 2, width, height: 4}))];
    return chart(width, height, `Roofline of ${target.name}`,
        gridBelow(x, logTicks(least.x, most.x).filter(v => x(v) < right - 8), top, bottom, tick),
        gridLeft(y, logTicks(least.y, most.y), left, right, tick),
        text(right, height - 6, 'multiply-adds for a byte of weights', {class: 'quiet', 'text-anchor': 'end'}),
        text(left + 6, top + 10, 'G multiply-adds/s', {class: 'quiet halo'}),
        line(x(from), y(from * gbps), x(to), y(to * gbps), 'limit'),
        alongSlope(x, y, gbps, from, to),
        peaks.map((peak, i) => peakLine(peak, i, peak[1] < highest, x(Math.min(peak[1] / gbps, most.x)), right, y)),
        points.map(p => rooflinePoint(p, x, y)), pointLabels(points, x, y, width, lines));
}

/* The words along the slope. */
function alongSlope(x, y, gbps, from, to) {
    const at = from * (to / from) ** 0.12;
    const angle = Math.atan2(y(to * gbps) - y(from * gbps), x(to) - x(from)) * 180 / Math.PI;
    return text(0, -7, `${number(gbps)} GB/s from memory`, {class: 'quiet halo',
        transform: `translate(${round(x(at))} ${round(y(at * gbps))}) rotate(${round(angle)})`});
}

function rooflinePoint(point, x, y) {
    const layer = point.layers[0], plan = layer[point.regime];
    const size = 4 + Math.min(4, Math.sqrt(point.layers.length) / 2);
    const words = `${plural(point.layers.length, 'layer')} of ${layer.rows} × ${layer.cols} (${rolesOf(point)}), ` +
        `${point.regime} by ${plan.variant}: ${number(point.speed)} G multiply-adds/s predicted` +
        (point.measured ? `, ${number(point.measured)} measured` : '') + `, ${number(point.intensity)} a byte`;
    const cx = round(x(point.intensity)), cy = round(y(point.speed));
    const mark = point.regime === 'decode' ? s('circle', {cx, cy, r: size, class: 'point decode'})
        : s('path', {d: `M${cx} ${cy - size - 1}l${size + 1} ${size + 1}l${-size - 1} ${size + 1}l${-size - 1} ${-size - 1}z`,
            class: 'point prefill'});
    return s('g', {}, s('title', {}, words), mark,
        point.measured ? s('circle', {cx, cy: round(y(point.measured)), r: size, class: 'measured'}) : null);
}

function rolesOf(point) {
    return [...new Set(point.layers.map(labelOf))].slice(0, 6).join(', ');
}

const overlap = (a, b) => a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;

/* The areas that the slope and the words above it cover. */
function slopeBoxes(x, y, gbps, from, to) {
    return Array.from({length: 40}, (_, i) => {
        const at = from * (to / from) ** (i / 39);
        return {x: x(at) - 8, y: y(at * gbps) - 16, width: 12, height: 18};
    });
}

/* Points that cover each other share their words: {roles, cx, cy} */
function labelsOf(points, x, y) {
    const labels = [];
    for (const point of points) {
        const cx = x(point.intensity), cy = y(point.speed);
        const near = labels.find(l => Math.hypot(l.cx - cx, l.cy - cy) < 9);
        if (near)
            near.roles.push(...point.layers.map(labelOf));
        else
            labels.push({roles: point.layers.map(labelOf), cx, cy});
    }
    return labels;
}

/* Writes roles beside their points, where the words cover no points, lines or other words. */
function pointLabels(points, x, y, width, lines) {
    const taken = [...points.map(p => ({x: x(p.intensity) - 7, y: y(p.speed) - 7, width: 14, height: 14})), ...lines];
    return labelsOf(points, x, y).map(({roles, cx, cy}) => {
        const words = [...new Set(roles)].join(', ').slice(0, 32), length = words.length * 6.2;
        const box = [[cx + 13, cy - 7], [cx - length - 13, cy - 7], [cx - length / 2, cy + 8], [cx - length / 2, cy - 22]]
            .map(([left, top]) => ({x: left, y: top, width: length, height: 13}))
            .find(b => b.x + length < width && b.x > 0 && !taken.some(t => overlap(b, t)));
        if (!box)
            return null;
        taken.push(box);
        return text(box.x, box.y + 11, words, {class: 'quiet halo'});
    });
}

/* ---- bits ------------------------------------------------------------------------------------ */

function bitsRows(target) {
    return [...groupBy(target.layers, labelOf)].map(([name, layers]) => {
        const value = 8 * sum(layers, l => l.decode.weight_bytes) / sum(layers, weightsOf);
        return {name, value, className: 'decode', text: number(value)};
    });
}

function bitsDrawing(target, width) {
    const rows = bitsRows(target);
    const ternary = target.layers.some(l => l.alphabet === 'ternary');
    const mark = ternary ? {value: Math.log2(3), text: 'log₂ 3 = 1.58'} : {value: 1, text: '1 bit'};
    return bars(width, rows, Math.max(2, ...rows.map(r => r.value)), 'Bits a weight, by role', short, mark);
}

/* ---- segments -------------------------------------------------------------------------------- */

function binName(bin) {
    return bin === 0 ? '1' : bin === 1 ? '2' : `${count(2 ** (bin - 1) + 1)}–${count(2 ** bin)}`;
}

function histogramDrawing(analysis, width) {
    const counts = analysis.multiplicity, first = counts.findIndex(n => n > 0);
    const last = counts.length - 1 - [...counts].reverse().findIndex(n => n > 0);
    const shown = first < 0 ? [] : counts.slice(Math.max(0, first - 1), last + 2);
    const rows = shown.map((n, i) => ({name: binName(Math.max(0, first - 1) + i), value: n, className: 'decode',
        text: n > 0 ? count(n) : ''}));
    return bars(width, rows, Math.max(...counts), 'Segments by the number of columns that share one', tick);
}

function costDrawing(analysis, width) {
    const costs = analysis.k_costs, height = 240, left = 48, right = width - 12, top = 14, bottom = height - 40;
    const most = Math.max(...costs), x = k => left + 12 + (k - 1) / Math.max(costs.length - 1, 1) * (right - left - 24);
    const y = linear(most, bottom, top), chosen = analysis.k, up = y(costs[chosen - 1]);
    return chart(width, height, 'Additions by the rows of a block, k',
        gridLeft(y, ticks(most, 4), left, right, tick),
        costs.map((_, i) => width < 420 && (i + 1) % 2 !== chosen % 2 ? null : text(x(i + 1), bottom + 16, i + 1,
            {class: i + 1 === chosen ? 'strong' : 'quiet', 'text-anchor': 'middle'})),
        text(right, height - 6, 'k, rows of a block', {class: 'quiet', 'text-anchor': 'end'}),
        s('path', {class: 'curve', d: 'M' + costs.map((cost, i) => `${round(x(i + 1))} ${round(y(cost))}`).join('L')}),
        costs.map((cost, i) => s('circle',
            {cx: round(x(i + 1)), cy: round(y(cost)), r: i + 1 === chosen ? 6 : 3, class: 'point decode'},
            s('title', {}, `k = ${i + 1}: ${count(cost)} additions`))),
        line(x(chosen), top - 10, x(chosen), up - 8, 'limit dashed'),
        text(x(chosen) + (chosen > 10 ? -6 : 6), top, `k = ${chosen}: ${thousands(costs[chosen - 1])}`, {class: 'strong halo',
            'text-anchor': chosen > 10 ? 'end' : 'start'}));
}

const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const SHADES = 9;

/* One path for each shade; cells of one shade that touch in a row are one rectangle. */
function shadePaths(analysis) {
    const paths = Array.from({length: SHADES}, () => []);
    for (let row = 0; row < analysis.map_rows; row++) {
        const shadeAt = col => Math.min(SHADES - 1,
            Math.floor(DIGITS.indexOf(analysis.map[row * analysis.map_cols + col]) * SHADES / DIGITS.length));
        for (let col = 0; col < analysis.map_cols;) {
            const shade = shadeAt(col), begin = col;
            while (col < analysis.map_cols && shadeAt(col) === shade)
                col++;
            paths[shade].push(`M${begin} ${row}h${col - begin}v1h${begin - col}z`);
        }
    }
    return paths.map(parts => parts.join(''));
}

function mapDrawing(analysis, width) {
    const left = 18, top = 20, mapHeight = Math.min(320, Math.max(120, (width - left) * 0.5));
    const range = analysis.map_most - analysis.map_least;
    const scale = `translate(${left} ${top}) scale(${(width - left) / analysis.map_cols} ${mapHeight / analysis.map_rows})`;
    const swatch = Math.min(24, (width - left) / 20), swatches = range > 0 ? SHADES : 1;
    const opacity = shade => range > 0 ? 0.06 + 0.94 * shade / (SHADES - 1) : 1;
    return chart(width, top + mapHeight + 44, 'Share of additions that repeat, by block and column',
        text(left, 12, `columns → (${analysis.map_cols} cells)`, {class: 'quiet'}),
        text(0, 0, `blocks → (${analysis.map_rows})`, {class: 'quiet', transform: `translate(4 ${top}) rotate(90)`}),
        s('g', {transform: scale, 'shape-rendering': 'crispEdges'}, shadePaths(analysis).map((d, shade) =>
            d ? s('path', {d, class: 'heat', 'fill-opacity': round(opacity(shade))}) : null)),
        s('g', {transform: `translate(${left} ${top + mapHeight + 10})`},
            Array.from({length: swatches}, (_, shade) => s('rect', {x: shade * swatch, width: swatch, height: 10, class: 'heat',
                'fill-opacity': round(opacity(shade))})),
            text(0, 26, percent(analysis.map_least), {class: 'quiet'}),
            range > 0 ? text(swatches * swatch, 26, `${percent(analysis.map_most)} need not be added`, {class: 'quiet',
                'text-anchor': width < 340 ? 'middle' : 'start'}) : null));
}

/* ---- the head and attention ------------------------------------------------------------------ */

function headDrawing(head, width) {
    const rows = [
        {name: 'all logits', value: head.full_logits_bytes, className: 'bytes', text: bytes(head.full_logits_bytes)},
        {name: 'with the sketch', value: head.token_bytes, className: 'decode', text: bytes(head.token_bytes)},
        {name: 'at least', value: head.floor_bytes, className: 'decode', text: bytes(head.floor_bytes)}];
    return bars(width, rows, head.full_logits_bytes, 'Bytes of the head that a token reads', bytesTick);
}

function attentionDrawing(attention, width) {
    const rows = [['keys', attention.keys], ['plane 1', attention.scanned], ['plane 2', attention.plane2], ['read', attention.exact]]
        .map(([name, value], i) => ({name, value, className: i === 0 ? 'bytes' : 'decode',
            text: `${thousands(value)} · ${percent(value / attention.keys)}`}));
    return bars(width, rows, attention.keys * 1.15, 'Keys that attention looked at, stage by stage', tick);
}
