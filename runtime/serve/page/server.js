/* server.js - requests to the server that sent this page: replies as JSON and as events, the key if it is needed, and
 * facts about the models. */
'use strict';

/* ---- what the browser keeps -------------------------------------------------------------------- */

/* Uses localStorage or sessionStorage. A browser may forbid both; then nothing is kept. */
function keep(storage, name, value) {
    try {
        if (value === null)
            window[storage].removeItem(name);
        else
            window[storage].setItem(name, value);
        return true;
    } catch {
        return false;
    }
}

function kept(storage, name) {
    try {
        return window[storage].getItem(name);
    } catch {
        return null;
    }
}

/* Parses JSON that may be of another version of this page; null if it is not JSON. */
function parsed(text) {
    try {
        return JSON.parse(text);
    } catch {
        return null;
    }
}

/* ---- the key ----------------------------------------------------------------------------------- */

/* Until the tab closes, in no file. */
const KEY_NAME = 'rsr-serve/key';
const access = {key: kept('sessionStorage', KEY_NAME) || '', asking: null};

/* Asks the reader once, even if several requests wait; false: the reader has no key. */
function askForKey() {
    if (access.asking)
        return access.asking;
    const input = h('input', {type: 'password', id: 'key', autocomplete: 'off', spellcheck: 'false'});
    const wrong = access.key === '' ? 'This server wants an API key.' : 'The server does not know this key.';
    const dialog = h('dialog', {'aria-labelledby': 'key-title'}, h('form', {method: 'dialog'},
        h('h2', {id: 'key-title'}, 'API key'), h('p', {}, wrong, ' It stays in this tab alone, until the tab is closed.'),
        h('label', {for: 'key'}, 'Key'), input,
        h('div', {class: 'bar'}, h('button', {type: 'submit', value: 'use', class: 'primary'}, 'Use this key'),
            h('button', {type: 'submit', value: ''}, 'Cancel'))));
    document.body.append(dialog);
    access.asking = new Promise(resolve => dialog.addEventListener('close', () => {
        const isGiven = dialog.returnValue === 'use' && input.value.trim() !== '';
        if (isGiven) {
            access.key = input.value.trim();
            keep('sessionStorage', KEY_NAME, access.key);
        }
        dialog.remove();
        access.asking = null;
        resolve(isGiven);
    }));
    dialog.showModal();
    return access.asking;
}

/* ---- requests ---------------------------------------------------------------------------------- */

/* The server's error message, as a sentence for the reader. */
class Refusal extends Error {
    constructor(status, error) {
        super(error && typeof error.message === 'string' ? error.message : `The server answers with status ${status}.`);
        this.status = status;
    }
}

/* Returns a reply with a successful status, or throws. body: sent as JSON; asks: whether the reader may be asked for a
 * key. */
async function request(path, body, signal, asks = true) {
    const headers = access.key ? {Authorization: `Bearer ${access.key}`} : {}, used = access.key;
    if (body)
        headers['Content-Type'] = 'application/json';
    let reply;
    try {
        reply = await fetch(path, {method: body ? 'POST' : 'GET', headers, body: body && JSON.stringify(body), signal,
            cache: 'no-store', credentials: 'omit', redirect: 'error'});
    } catch (error) {
        throw error.name === 'AbortError' ? error : new Error('The server cannot be reached.');
    }
    if (reply.ok)
        return reply;
    if (reply.status === 401 && (access.key !== used || asks && await askForKey()))
        return request(path, body, signal, asks);
    const told = parsed(await reply.text());
    throw new Refusal(reply.status, told && told.error);
}

const requestJson = async path => (await request(path)).json();

/* The data of each server-sent event until "[DONE]"; a line each, as the server writes them. */
async function* eventsOf(reply) {
    const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
    try {
        let rest = '';
        for (;;) {
            const {value, done} = await reader.read();
            const lines = (rest + (value || '')).split('\n');
            rest = lines.pop();
            for (const line of lines.filter(one => one.startsWith('data:'))) {
                const data = line.slice(5).trim(), event = parsed(data);
                if (data === '[DONE]')
                    return;
                if (event && event.error)
                    throw new Refusal(0, event.error);
                if (event)
                    yield event;
            }
            if (done)
                throw new Error('The connection ended before the answer did.');
        }
    } finally {
        reader.cancel().catch(() => {}); /* nobody wants the rest */
    }
}

/* ---- models ------------------------------------------------------------------------------------ */

/* The models of /v1/models, each with its entry of /report.json; report: null if there is none. */
async function loadModels() {
    const list = (await requestJson('/v1/models')).data, reports = (await requestJson('/report.json')).models;
    return list.map(model => ({...model, report: reports.find(report => report.id === model.id) || null}));
}
