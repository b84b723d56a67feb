/* why.js - the table of what was chosen for every layer, among what, and why. */
'use strict';

/* A row a layer and regime. */
function whyRows(target) {
    return target.layers.flatMap(layer => REGIMES.map(regime => {
        const plan = layer[regime];
        const time = a => a.measured_us || a.us;
        const others = plan.alternatives.filter(a => a.verdict !== 'chosen').sort((a, b) => time(a) - time(b));
        const chosen = plan.measured_us || plan.us, next = others.find(a => a.verdict === 'slower') || null;
        return {layer, regime, plan, chosen, others, next, factor: next ? time(next) / chosen : null,
            words: [layer.name, layer.role, regime, plan.variant, plan.kernel].join(' ').toLowerCase()};
    }));
}

/* Its block and role on a phone. */
function layerName(layer) {
    const short = shortName(layer);
    return short === layer.name ? layer.name : [h('span', {class: 'wide'}, layer.name), h('span', {class: 'narrow'}, short)];
}

const WHY_COLUMNS = [
    {name: 'Layer', key: row => row.layer.name, cell: row => layerName(row.layer), className: 'name'},
    {name: 'Regime', key: row => row.regime, cell: row => row.regime},
    {name: 'Variant', key: row => row.plan.variant, cell: row => row.plan.variant},
    {name: 'Time', key: row => row.chosen, cell: row => micros(row.chosen), className: 'number'},
    {name: 'Bytes', key: row => row.plan.weight_bytes, cell: row => bytes(row.plan.weight_bytes), className: 'number wide'},
    {name: 'Next', key: row => row.next ? row.next.name : '', cell: row => row.next ? row.next.name : '–', className: 'wide'},
    {name: 'Takes', key: row => row.factor || 0, cell: row => row.factor ? times(row.factor) : '–', className: 'number'}];

function compare(a, b) {
    return typeof a === 'string' ? a.localeCompare(b, 'en', {numeric: true}) : a - b;
}

const partOf = us => us === undefined ? '–' : micros(us);

/* The reason and every alternative of a row. */
function whyDetails(row) {
    const chosen = row.plan.alternatives.filter(a => a.verdict === 'chosen');
    const cells = a => [[a.name, ''], [micros(a.measured_us || a.us), 'number'],
        [times((a.measured_us || a.us) / row.chosen), 'number'], [partOf(a.memory_us), 'number wide'],
        [partOf(a.compute_us), 'number wide'], [bytes(a.weight_bytes), 'number wide'], [a.verdict, '']];
    const head = [['Alternative', ''], ['Time', 'number'], ['Factor', 'number'], ['Reading', 'number wide'],
        ['Computing', 'number wide'], ['Bytes', 'number wide'], ['Verdict', '']];
    return h('td', {colspan: WHY_COLUMNS.length}, h('p', {}, row.plan.reason),
        h('table', {}, h('thead', {}, h('tr', {}, head.map(([name, className]) => h('th', {class: className}, name)))),
            h('tbody', {}, [...chosen, ...row.others].map(a => h('tr', {class: a.verdict === 'chosen' ? 'chosen' : null},
                cells(a).map(([value, className]) => h('td', {class: className}, value)))))));
}

/* Opens and closes by click, Enter and space; arrows go from row to row. */
function whyRow(row) {
    const more = h('tr', {class: 'more', hidden: true});
    const toggle = () => {
        if (more.hidden && more.childNodes.length === 0)
            more.append(whyDetails(row));
        more.hidden = !more.hidden;
        element.setAttribute('aria-expanded', String(!more.hidden));
    };
    const focusOn = (from, step) => {
        let other = from;
        do
            other = other[step];
        while (other && !other.classList.contains('row'));
        if (other)
            other.focus();
    };
    const press = event => {
        const steps = {ArrowDown: 'nextElementSibling', ArrowUp: 'previousElementSibling'};
        if (event.key === 'Enter' || event.key === ' ')
            toggle();
        else if (event.key in steps)
            focusOn(element, steps[event.key]);
        else
            return;
        event.preventDefault();
    };
    const element = h('tr', {class: 'row', tabindex: 0, 'aria-expanded': 'false', click: toggle, keydown: press},
        WHY_COLUMNS.map(column => h('td', {class: column.className}, column.cell(row))));
    return [element, more];
}

function whySection(target) {
    const state = {column: null, down: false, words: '', regime: 'both'};
    const rows = whyRows(target).map(row => ({...row, elements: null}));
    const body = h('tbody'), told = h('span', {class: 'soft', 'aria-live': 'polite'});
    const show = () => {
        const shown = rows.filter(row => (state.regime === 'both' || row.regime === state.regime) &&
            state.words.split(/\s+/).every(word => row.words.includes(word)));
        if (state.column)
            shown.sort((a, b) => compare(state.column.key(a), state.column.key(b)) * (state.down ? -1 : 1));
        body.replaceChildren(...shown.flatMap(row => row.elements || (row.elements = whyRow(row))));
        told.textContent = `${count(shown.length)} of ${count(rows.length)}`;
    };
    const heads = WHY_COLUMNS.map(column => h('th', {scope: 'col', class: column.className}, h('button', {type: 'button', click: () => {
        state.down = state.column === column ? !state.down : column.className === 'number';
        state.column = column;
        heads.forEach((head, i) => WHY_COLUMNS[i] === column
            ? head.setAttribute('aria-sort', state.down ? 'descending' : 'ascending') : head.removeAttribute('aria-sort'));
        show();
    }}, column.name)));
    show();
    return section('Why', 'What computes every layer, and what it was chosen among: a row opens. Takes is the time of the next ' +
        'best alternative over that of the chosen one.',
        h('div', {class: 'bar'},
            h('input', {type: 'search', placeholder: 'Filter: layer, role, variant', 'aria-label': 'Filter by layer, role or variant',
                input: event => { state.words = event.target.value.trim().toLowerCase(); show(); }}),
            choice('Regime', ['both', ...REGIMES], 'both', regime => { state.regime = regime; show(); }), told),
        h('div', {class: 'scrolled', tabindex: 0, role: 'region', 'aria-label': 'Why'},
            h('table', {class: 'why'}, h('thead', {}, h('tr', {}, heads)), body)));
}
