/* report.js - the page of one compilation: its sections, and what a reader can choose, sort and filter. */
'use strict';

/* ---- head of the page ------------------------------------------------------------------------ */

function tilesOf(report, target) {
    const weights = sum(target.layers, weightsOf), read = sum(target.layers, l => l.decode.weight_bytes);
    const head = report.head_sketch, measured = report.measured;
    const headBytes = !head ? 0 : head.planes > 0 ? head.token_bytes : head.full_logits_bytes;
    return h('div', {class: 'tiles'},
        tile(thousands(weights), `weights in ${plural(target.layers.length, 'layer')}`),
        tile(number(8 * read / weights), 'bits a weight'),
        tile(bytes(read + headBytes), headBytes > 0 ? `a token reads, ${bytes(headBytes)} of it of the head` : 'a token reads'),
        tile(micros(sum(target.layers, l => l.decode.us)), `a token in the layers, predicted ${placeOf(target)}`),
        tile(micros(sum(target.layers, l => l.prefill.us)), `a token of ${report.prefill_tokens} at once, predicted`),
        measured && measured.target === target.name ? tile(number(measured.decode_tps),
            `tokens a second, measured with ${plural(measured.threads, 'thread')}`) : null);
}

function headerOf(report) {
    const facts = [report.architecture, report.checkpoint && report.checkpoint.container,
        report.scale_reason && `scale rule by ${report.scale_reason}`].filter(Boolean);
    return h('header', {}, h('div', {class: 'eyebrow'}, 'rsrc report'), h('h1', {}, report.model),
        h('p', {class: 'soft'}, facts.join(' · ')));
}

/* ---- sections -------------------------------------------------------------------------------- */

function timesSection(report, target) {
    const state = {regime: 'decode', byRole: true};
    const drawings = h('div');
    const keys = h('div');
    const show = () => {
        drawings.replaceChildren(figure(`Bytes and time, ${state.regime}`,
            width => timesDrawing(report, target, state.regime, state.byRole, width), state.byRole ? '' : 'scrolled'));
        const measured = timeRows(report, target, state.regime, true).some(r => r.measured);
        keys.replaceChildren(legend([['', 'bytes'], [state.regime, 'predicted'],
            ...(measured ? [['measured', 'measured, and its ratio to predicted']] : [])]));
    };
    show();
    return section('Bytes and time', measuredNote(report, target),
        h('div', {class: 'bar'},
            choice('Regime', REGIMES, 'decode', regime => { state.regime = regime; show(); }),
            choice('Rows', ['by role', 'by layer'], 'by role', rows => { state.byRole = rows === 'by role'; show(); })),
        drawings, keys);
}

function measuredNote(report, target) {
    const measured = report.measured;
    const what = 'Decode computes one token, prefill a token of a large batch. Times are predicted ' + placeOf(target);
    if (!measured)
        return `${what}; with --measured=FILE or --tune measured ones stand beside them.`;
    if (measured.target !== target.name)
        return `${what}. The measured times are of target ${measured.target}.`;
    return `${what}. Measured: the whole model by rsr-bench with ${plural(measured.threads, 'thread')}, by role; ` +
        'a layer has its share of its role.';
}

function rooflineSection(report, target) {
    return section('Roofline', 'Weights that are read from memory once give a token at most what the slope allows; ' +
        'a batch shares the reading, until multiplying is the limit.',
        figure(`Roofline of ${target.name}`, width => rooflineDrawing(report, target, width)),
        legend([['decode', 'decode'], ['prefill', 'prefill']]));
}

function bitsSection(target) {
    return section('Bits a weight', 'What decoding reads of each role, indexes included. Three values carry 1.58 bits.',
        figure('Bits a weight by role', width => bitsDrawing(target, width)));
}

function segmentsSection(report) {
    if (report.analysis.length === 0)
        return null;
    const place = h('div', {class: 'columns'}), wide = h('div'), words = h('p');
    const select = h('select', {id: 'layer', change: () => show(Number(select.value))},
        report.analysis.map((a, i) => h('option', {value: i}, a.name)));
    const move = by => () => {
        select.value = Math.max(0, Math.min(report.analysis.length - 1, Number(select.value) + by));
        show(Number(select.value));
    };
    const show = i => {
        const a = report.analysis[i];
        words.textContent = `With k = ${a.k}, ${count(a.members)} columns of blocks have ${count(a.segments)} different codes: ` +
            `a sum serves ${number(a.members / Math.max(a.segments, 1))} columns. ` +
            `${count(a.members + a.fold_adds)} additions by RSR++, ${count(a.members + a.direct_adds)} by RSR.`;
        place.replaceChildren(figure('Segments by columns that share one', width => histogramDrawing(a, width)),
            ...(a.k_costs.length > 0 ? [figure('Cost in additions over k', width => costDrawing(a, width))] : []));
        wide.replaceChildren(figure('Where columns repeat', width => mapDrawing(a, width)));
    };
    show(0);
    return section('Segments', 'Columns of a block of k rows that are equal up to sign are summed once. The planner judged k ' +
        'by a sample of the blocks; counts are of all.',
        h('div', {class: 'bar'}, h('label', {for: 'layer'}, 'Layer'), select,
            h('button', {type: 'button', 'aria-label': 'Previous layer', click: move(-1)}, '←'),
            h('button', {type: 'button', 'aria-label': 'Next layer', click: move(1)}, '→')),
        words, place, wide);
}

function headSection(report) {
    const head = report.head_sketch;
    if (!head || head.full_logits_bytes === 0)
        return null;
    const saved = head.planes > 0
        ? `Picking a token reads ${percent(head.token_bytes / head.full_logits_bytes)} of the head: ` +
          `${bytes(head.full_logits_bytes - head.token_bytes)} less. The sketch takes ${bytes(head.size_bytes)} of the module ` +
          `in ${plural(head.planes, 'plane')}.`
        : `No sketch: a token reads all ${bytes(head.full_logits_bytes)}.`;
    return section('The head', saved, h('p', {}, head.reason),
        head.planes > 0 ? figure('Bytes of the head a token', width => headDrawing(head, width)) : null);
}

function attentionSection(report) {
    const attention = report.attention;
    if (!attention)
        return null;
    if (!(attention.keys > 0))
        return section('Attention', `${attention.name}: dense throughout; keys and values in ${attention.kv_type}.`);
    return section('Attention', `${attention.name}, ${attention.min_keys} keys and more: ` +
        `${percent(attention.pages_skipped / Math.max(attention.pages, 1))} of pages were skipped by their bounds. ` +
        `Left out of a softmax: at most ${number(attention.max_mass)}; keys and values in ${attention.kv_type}.`,
        figure('Keys looked at', width => attentionDrawing(attention, width)));
}

function launchSection(target) {
    const layers = target.layers.filter(layer => layer.launch);
    if (layers.length === 0)
        return null;
    const columns = [['Kernel', l => l.launch.symbol], ['Blocks', l => count(l.launch.blocks)],
        ['Threads', l => count(l.launch.threads)],
        ['Registers', l => l.launch.registers ? count(l.launch.registers) : '–'],
        ['Reads', l => bytes(l.decode.weight_bytes)], ['Predicted', l => micros(l.decode.us)]];
    return section('Launches', `A token takes ${plural(layers.length, 'kernel')}, whose launches alone take ` +
        `${micros(layers.length * target.machine.launch_us)}, and reads ${bytes(sum(layers, l => l.decode.weight_bytes))}. ` +
        'A cubin tells the registers of a thread, PTX does not.' + (target.images || [])
            .map(i => ` The module has ${i.kind} of ${bytes(i.bytes)} with ${plural(i.kernels, 'kernel')}.`).join(''),
        h('div', {class: 'scrolled', tabindex: 0, role: 'region', 'aria-label': 'Launches'}, h('table', {},
            h('thead', {}, h('tr', {}, columns.map(([name], i) => h('th', {scope: 'col', class: i ? 'number' : null}, name)))),
            h('tbody', {}, layers.map(l => h('tr', {}, columns.map(([, of], i) => h('td', {class: i ? 'number' : 'name'}, of(l)))))))));
}

/* Words for the values of --info=json. */
function modelFacts(c) {
    const yes = value => value ? 'yes' : 'no';
    const sizes = c.hyper ? Object.entries(c.hyper).filter(([, value]) => value !== null)
        .map(([key, value]) => [key.replace(/_/g, ' '), typeof value === 'number' ? String(Number(value.toPrecision(6))) : value]) : [];
    return [['container', c.container && `${c.container}, ${plural(c.files, 'file')}, ${bytes(c.file_bytes)}`],
        ['architecture', c.architecture], ['model type', c.model_type], ['scale rule', c.scale_rule], ['by', c.scale_reason],
        ['activations', c.input_reason], ...sizes,
        ['embedding', c.embedding && `${c.embedding.dtype}, ${c.embedding.rows} × ${c.embedding.cols}`],
        ['head', c.head && `${c.head.dtype}, ${c.head.rows} × ${c.head.cols}${c.tied_head ? ', tied' : ''}`],
        ['tokenizer', c.tokenizer &&
            `${c.tokenizer.kind}, ${plural(c.tokenizer.tokens, 'token')}, ${plural(c.tokenizer.merges, 'merge')}`],
        ['begins a text', c.bos_text], ['ends a text', c.eos_text],
        ['stop tokens', c.stop_tokens && (c.stop_tokens.join(', ') || 'none')],
        ['chat template', c.chat_template !== undefined ? yes(c.chat_template) : null], ['its problem', c.chat_problem]]
        .filter(([, value]) => value);
}

function modelSection(report) {
    const checkpoint = report.checkpoint;
    if (!checkpoint)
        return null;
    return section('The model', null,
        h('dl', {}, modelFacts(checkpoint).map(([name, value]) => [h('dt', {}, name), h('dd', {}, value)])),
        checkpoint.chat_template_text
            ? h('details', {}, h('summary', {}, 'Chat template'), h('pre', {tabindex: 0}, checkpoint.chat_template_text)) : null);
}

function compileSection(report) {
    if (!report.times)
        return null;
    const rows = report.times.passes.map(p => ({name: p.name, value: p.wall_s, className: 'bytes', text: micros(p.wall_s * 1e6)}));
    return section('Compiling', `Took ${micros(report.times.total.wall_s * 1e6)} and at most ` +
        `${bytes(report.times.total.peak_bytes)} of memory; passes add up what all workers spent.`,
        figure('Time by pass', width =>
            bars(width, rows, Math.max(...rows.map(r => r.value)), 'Time by pass', v => microsTick(v * 1e6))));
}

/* ---- the page -------------------------------------------------------------------------------- */

function targetSections(report, target) {
    return [tilesOf(report, target), timesSection(report, target), rooflineSection(report, target), launchSection(target),
        bitsSection(target), segmentsSection(report), whySection(target), headSection(report), attentionSection(report),
        modelSection(report), compileSection(report)].filter(Boolean);
}

function reportPage(report) {
    const place = h('div');
    const show = name => place.replaceChildren(...targetSections(report, report.targets.find(t => t.name === name)));
    const names = report.targets.map(t => t.name);
    document.title = `${report.model} – rsrc report`;
    show(names[0]);
    return [headerOf(report),
        h('div', {class: 'target'}, h('span', {class: 'soft'}, 'Target'),
            names.length > 1 ? choice('Target', names, names[0], show) : h('b', {}, names[0])),
        place,
        h('footer', {}, 'Everything here is drawn from ',
            h('button', {class: 'link', type: 'button', click: () =>
                download('report.json', 'application/json', document.getElementById('data').textContent)}, 'the JSON in this file'),
            ', which rsrc --report=json gives, too.')];
}
