/* tokens.js - the text of an answer as it comes, cut into the tokens that it was made of, and what else each of them
 * could have been. */
'use strict';

/* ---- tokens of a reply ------------------------------------------------------------------------- */

/* The bytes of a token. Chats give them as a list; in completions a part of a character is "bytes:\xe2\x82". */
function bytesOf(words, list) {
    if (Array.isArray(list))
        return list;
    const parts = /^bytes:((?:\\x[0-9a-f]{2})+)$/.exec(words);
    return parts ? parts[1].slice(2).split('\\x').map(digits => parseInt(digits, 16)) : [...new TextEncoder().encode(words)];
}

/* [{bytes, logprob, top: [{words, logprob}]}] of a chunk's logprobs: in the shape of chats, or of completions. */
function tokensOf(logprobs) {
    if (!logprobs)
        return [];
    if (logprobs.content)
        return logprobs.content.map(t => ({bytes: bytesOf(t.token, t.bytes), words: t.token, logprob: t.logprob,
            top: t.top_logprobs.map(o => ({words: o.token, logprob: o.logprob}))}));
    return (logprobs.tokens || []).map((words, i) => ({bytes: bytesOf(words), words, logprob: logprobs.token_logprobs[i],
        top: Object.entries((logprobs.top_logprobs && logprobs.top_logprobs[i]) || {})
            .map(([other, logprob]) => ({words: other, logprob})).sort((a, b) => b.logprob - a.logprob)}));
}

/* Tokens with a probability below `share` are marked; the smaller, the darker. */
const SHADES_OF_DOUBT = [0.05, 0.2, 0.5];

/* Text and tokens arrive separately: a character may need several tokens, stop and special tokens have no text, and
   text that may begin a stop string comes late. Tokens that do not match the next text get no place. */
class TokenText {
    constructor() {
        this.element = h('div', {class: 'words', role: 'group', tabindex: 0, 'aria-label': 'Answer'});
        this.tail = document.createTextNode('');
        this.element.append(this.tail);
        this.waiting = [];
        this.hasBegun = false;
        tokenHints(this.element);
    }

    add(words, tokens) {
        this.tail.data += words;
        this.waiting.push(...tokens);
        while (this.waiting.length > 0 && this.place())
            ;
    }

    /* The next tokens that are whole characters; false: they wait for more tokens or text. */
    place() {
        let group = [], words = null;
        for (let n = 1; words === null && n <= this.waiting.length; n++) {
            group = this.waiting.slice(0, n);
            words = decoded(group.flatMap(token => token.bytes), n >= 4);
        }
        const rest = this.tail.data;
        if (words === null || rest === '')
            return false;
        if (!this.hasBegun && !rest.startsWith(words[0])) /* tokenizers drop the space that texts begin with */
            words = words.trimStart();
        if (words.startsWith(rest) && words !== rest)
            return false;
        this.waiting.splice(0, group.length);
        if (words !== '' && rest.startsWith(words)) {
            this.hasBegun = true;
            const span = h('span', {class: `token ${doubtOf(group[0])}`}, words);
            span.tokens = group;
            this.tail.before(span);
            this.tail.data = rest.slice(words.length);
        }
        return true;
    }
}

/* null: the text ends within a character; with `anyway` it is decoded even then. */
function decoded(list, anyway) {
    try {
        return new TextDecoder('utf-8', {fatal: !anyway, ignoreBOM: true}).decode(new Uint8Array(list));
    } catch {
        return null;
    }
}

function doubtOf(token) {
    const at = SHADES_OF_DOUBT.findIndex(share => Math.exp(token.logprob) < share);
    return at < 0 ? '' : `doubt${at}`;
}

/* ---- what a token could have been -------------------------------------------------------------- */

const tip = h('div', {id: 'tip', role: 'tooltip', 'aria-live': 'polite', hidden: true});

/* Makes spaces and ends of lines visible. */
const visible = words => words.replace(/ /g, '␣').replace(/\n/g, '⏎').replace(/\t/g, '⇥') || '(nothing)';

function hintRows(token) {
    const isListed = token.top.some(other => other.words === token.words);
    const rows = isListed ? token.top : [{words: token.words, logprob: token.logprob}, ...token.top];
    return rows.map(other => {
        const share = Math.exp(other.logprob), width = 80;
        return h('tr', {class: other.words === token.words ? 'chosen' : null}, h('td', {class: 'piece'}, visible(other.words)),
            h('td', {class: 'number'}, percent(share)),
            h('td', {}, chart(width, 10, '', rectangle(0, 1, width * share, 8, 'decode'))));
    });
}

/* Shows the hint of one token; null: hides it. */
function showHint(span) {
    const before = document.querySelector('.token.current');
    if (before)
        before.classList.remove('current');
    tip.hidden = span === null;
    if (span === null)
        return;
    span.classList.add('current');
    tip.replaceChildren(...span.tokens.map(token => h('table', {}, h('tbody', {}, hintRows(token)))));
    const place = span.getBoundingClientRect(), own = tip.getBoundingClientRect();
    const below = place.bottom + 6 + own.height < innerHeight;
    tip.style.left = `${Math.max(8, Math.min(place.left, innerWidth - own.width - 8)) + scrollX}px`;
    tip.style.top = `${(below ? place.bottom + 6 : place.top - own.height - 6) + scrollY}px`;
}

addEventListener('resize', () => showHint(null));
addEventListener('hashchange', () => showHint(null));

/* Hints follow the pointer, or the arrow keys if the text has the focus. */
function tokenHints(element) {
    element.addEventListener('pointerover', event => showHint(event.target.closest('.token')));
    for (const type of ['pointerleave', 'blur'])
        element.addEventListener(type, () => showHint(null));
    element.addEventListener('keydown', event => {
        const step = {ArrowRight: 1, ArrowLeft: -1}[event.key], spans = [...element.querySelectorAll('.token')];
        if (event.key === 'Escape')
            showHint(null);
        if (!step || spans.length === 0)
            return;
        const at = spans.findIndex(span => span.classList.contains('current'));
        const next = spans[at < 0 ? 0 : Math.max(0, Math.min(spans.length - 1, at + step))];
        next.scrollIntoView({block: 'nearest'});
        showHint(next);
        event.preventDefault();
    });
}
