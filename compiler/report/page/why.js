/* why.js - the table of choices: the chosen kernel of every layer, its alternatives, and the
 * reason. */
'use strict';

/* One row for each layer and regime. */
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

const WHY_COLUMNS = [
    {name: 'Layer', key: row => row.layer.name, cell: row => layerName(row.layer), className: 'name'},
    {name: 'Regime', key: row => row.regime, cell: row => row.regime},
    {name: 'Variant', key: row => row.plan.variant, cell: row => row.plan.variant},
    {name: 'Time', key: row => row.chosen, cell: row => micros(row.chosen), className: 'number'},
    {name: 'Bytes', key: row => row.plan.weight_bytes, cell: row => bytes(row.plan.weight_bytes), className: 'number wide'},
    {name: 'Next', key: row => row.next ? row.next.name : '', cell: row => row.next ? row.next.name : '–', className: 'wide'},
    {name: 'Takes', key: row => row.factor || 0, cell: row => row.factor ? times(row.factor) : '–', className: 'number'}];

const partOf = us => us === undefined ? '–' : micros(us);

/* The reason and every alternative of a row. */
function whyDetails(row) {
    const chosen = row.plan.alternatives.filter(a => a.verdict === 'chosen');
    const cells = a => [[a.name, ''], [micros(a.measured_us || a.us), 'number'],
        [times((a.measured_us || a.us) / row.chosen), 'number'], [partOf(a.memory_us), 'number wide'],
        [partOf(a.compute_us), 'number wide'], [bytes(a.weight_bytes), 'number wide'], [a.verdict, '']];
    const head = [['Alternative', ''], ['Time', 'number'], ['Factor', 'number'], ['Reading', 'number wide'],
        ['Computing', 'number wide'], ['Bytes', 'number wide'], ['Verdict', '']];
    return [h('p', {}, row.plan.reason),
        h('table', {}, h('thead', {}, h('tr', {}, head.map(([name, className]) => h('th', {class: className}, name)))),
            h('tbody', {}, [...chosen, ...row.others].map(a => h('tr', {class: a.verdict === 'chosen' ? 'chosen' : null},
                cells(a).map(([value, className]) => h('td', {class: className}, value))))))];
}

function whySection(target) {
    const state = {regime: 'both'};
    const table = openingTable('Why', WHY_COLUMNS, whyRows(target), whyDetails,
        row => state.regime === 'both' || row.regime === state.regime);
    return section('Why', 'What computes every layer, and what it was chosen among: a row opens. Takes is the time of the next ' +
        'best alternative over that of the chosen one.',
        h('div', {class: 'bar'}, table.search,
            choice('Regime', ['both', ...REGIMES], 'both', regime => { state.regime = regime; table.show(); }), table.told),
        table.element);
}
