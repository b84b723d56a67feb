/* table.js - tables whose rows open, are sorted by a column and found by words. */
'use strict';

function compareKeys(a, b) {
    return typeof a === 'string' ? a.localeCompare(b, 'en', {numeric: true}) : a - b;
}

/* Scrolls in an area of its own if the table is larger than the page. */
function scrolledTable(label, heads, body, className) {
    return h('div', {class: 'scrolled', tabindex: 0, role: 'region', 'aria-label': label},
        h('table', {class: className}, h('thead', {}, h('tr', {}, heads)), body));
}

/* A row, and the row that it opens by click, Enter or space. Arrows move from row to row. */
function openingRow(cells, details) {
    const more = h('tr', {class: 'more', hidden: true});
    const toggle = () => {
        if (more.hidden && more.childNodes.length === 0)
            more.append(h('td', {colspan: cells.length}, details()));
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
    const element = h('tr', {class: 'row', tabindex: 0, 'aria-expanded': 'false', click: toggle, keydown: press}, cells);
    return [element, more];
}

/* columns: {name, key, cell, className}, the last three of a row; rows: what stands in `words` is found;
   details: what an open row has; isShown: rows that are left out, asked again by show(). Returns the parts. */
function openingTable(label, columns, rows, details, isShown = () => true) {
    const state = {column: null, down: false, words: ''}, elements = new Map();
    const body = h('tbody'), told = h('span', {class: 'soft', 'aria-live': 'polite'});
    const elementsOf = row => {
        if (!elements.has(row))
            elements.set(row, openingRow(columns.map(c => h('td', {class: c.className}, c.cell(row))), () => details(row)));
        return elements.get(row);
    };
    const show = () => {
        const shown = rows.filter(row => isShown(row) && state.words.split(/\s+/).every(word => row.words.includes(word)));
        if (state.column)
            shown.sort((a, b) => compareKeys(state.column.key(a), state.column.key(b)) * (state.down ? -1 : 1));
        body.replaceChildren(...shown.flatMap(elementsOf));
        told.textContent = `${count(shown.length)} of ${count(rows.length)}`;
    };
    const heads = columns.map(column => h('th', {scope: 'col', class: column.className}, h('button', {type: 'button', click: () => {
        state.down = state.column === column ? !state.down : column.className === 'number';
        state.column = column;
        heads.forEach((head, i) => columns[i] === column
            ? head.setAttribute('aria-sort', state.down ? 'descending' : 'ascending') : head.removeAttribute('aria-sort'));
        show();
    }}, column.name)));
    const search = h('input', {type: 'search', placeholder: 'Filter: layer, role, variant', 'aria-label': 'Filter by layer, role or variant',
        input: event => { state.words = event.target.value.trim().toLowerCase(); show(); }});
    show();
    return {show, told, search, element: scrolledTable(label, heads, body, 'why')};
}
