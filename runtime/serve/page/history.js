/* history.js - conversations and settings that the browser keeps: one item for each conversation, so that two tabs do
 * not overwrite each other's. Items may be of another version of this page, or damaged: they are checked, and bad ones
 * are ignored. */
'use strict';

const CONVERSATION_NAME = 'rsr-serve/conversation/', SETTINGS_NAME = 'rsr-serve/settings';

/* name in the API; label for the reader; bounds of the API; note. */
const SETTINGS = [
    {name: 'temperature', label: 'Temperature', least: 0, most: 2, step: 0.05},
    {name: 'top_p', label: 'Top-p', least: 0, most: 1, step: 0.01},
    {name: 'top_k', label: 'Top-k', least: 0, most: 1000000, step: 1},
    {name: 'min_p', label: 'Min-p', least: 0, most: 1, step: 0.01},
    {name: 'seed', label: 'Seed', least: 0, most: 4294967295, step: 1},
    {name: 'max_tokens', label: 'Max tokens', least: 1, most: 1000000, step: 1}];

/* {role: 'user' | 'assistant', content, note, error}; note: a remark about an answer. */
function validMessage(message) {
    return message && ['user', 'assistant'].includes(message.role) && typeof message.content === 'string' &&
        ['undefined', 'string'].includes(typeof message.note) && ['undefined', 'string'].includes(typeof message.error);
}

/* {id, mode: 'chat' | 'text', changed, messages} */
function validConversation(conversation) {
    return conversation && typeof conversation.id === 'string' && ['chat', 'text'].includes(conversation.mode) &&
        Number.isFinite(conversation.changed) && Array.isArray(conversation.messages) &&
        conversation.messages.every(validMessage);
}

function newConversation(mode) {
    const id = [...crypto.getRandomValues(new Uint32Array(3))].map(word => word.toString(36)).join('');
    return {id, mode, changed: Date.now(), messages: []};
}

/* Last changed first. */
function keptConversations() {
    let names = [];
    try {
        names = Object.keys(localStorage);
    } catch { /* the browser keeps nothing */ }
    return names.filter(name => name.startsWith(CONVERSATION_NAME)).map(name => parsed(kept('localStorage', name)))
        .filter(validConversation).sort((a, b) => b.changed - a.changed);
}

/* False: the browser has no room. */
function keepConversation(conversation) {
    const {id, mode, changed, messages} = conversation;
    return keep('localStorage', CONVERSATION_NAME + id, JSON.stringify({id, mode, changed, messages}));
}

function dropConversation(conversation) {
    keep('localStorage', CONVERSATION_NAME + conversation.id, null);
}

function titleOf(conversation) {
    const first = conversation.messages.find(message => message.content.trim() !== '');
    return first ? first.content.trim().slice(0, 80) : 'New conversation';
}

/* Texts of the fields by name; '' is the server's default. */
function keptSettings() {
    const settings = parsed(kept('localStorage', SETTINGS_NAME)) || {};
    const texts = ['model', 'system', ...SETTINGS.map(s => s.name)];
    return {...Object.fromEntries(texts.map(name => [name, typeof settings[name] === 'string' ? settings[name] : ''])),
        probabilities: settings.probabilities === true};
}

function keepSettings(settings) {
    keep('localStorage', SETTINGS_NAME, JSON.stringify(settings));
}
