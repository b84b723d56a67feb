/* chat.js - conversations with a model, or continued texts if it has no chat template: streamed, stopped, edited and
 * regenerated, with settings of sampling. */
'use strict';

const PATHS = {chat: '/v1/chat/completions', text: '/v1/completions'};
const NAMES = {chat: {user: 'You', assistant: 'Answer'}, text: {user: 'Text', assistant: 'Continuation'}};
/* Notes about the end of an answer; a complete one has none. */
const ENDINGS = {length: 'ended by the limit of tokens', tool_calls: 'calls a tool'};
const N_ALTERNATIVES = 8, DEFAULT_TEXT_TOKENS = 256;

const canChat = model => model.has_chat_template !== false;

/* ---- a request --------------------------------------------------------------------------------- */

function contentOf(conversation, messages, system) {
    if (conversation.mode === 'text')
        return {prompt: messages.map(message => message.content).join('')};
    const first = system.trim() === '' ? [] : [{role: 'system', content: system}];
    return {messages: [...first, ...messages.map(({role, content}) => ({role, content}))]};
}

/* Empty fields use the server's defaults, with two exceptions: the seed, which the answer shows, and the length of
   texts, whose default would be 16 tokens. */
function requestOf(conversation, messages, model, settings) {
    const body = {model: model.id, stream: true, stream_options: {include_usage: true},
        seed: crypto.getRandomValues(new Uint32Array(1))[0] >>> 1, ...contentOf(conversation, messages, settings.system)};
    if (conversation.mode === 'text')
        body.max_tokens = Math.min(DEFAULT_TEXT_TOKENS, Math.floor((model.max_model_len || Infinity) / 2));
    for (const {name} of SETTINGS.filter(setting => settings[setting.name] !== ''))
        body[name === 'max_tokens' && conversation.mode === 'chat' ? 'max_completion_tokens' : name] = Number(settings[name]);
    if (settings.probabilities)
        Object.assign(body, conversation.mode === 'chat' ? {logprobs: true, top_logprobs: N_ALTERNATIVES}
            : {logprobs: N_ALTERNATIVES});
    return body;
}

/* An answer as it comes: its events and their times. */
class Run {
    constructor(seed) {
        this.controller = new AbortController();
        this.seed = seed;
        this.begun = performance.now();
        this.first = this.last = null;
        this.usage = this.ending = null;
    }

    take(event, view) {
        this.usage = event.usage || this.usage;
        const choice = event.choices && event.choices[0];
        if (!choice)
            return;
        const words = choice.text || choice.delta && choice.delta.content || '';
        this.ending = choice.finish_reason || this.ending;
        this.last = performance.now();
        if (this.first === null && words !== '')
            this.first = this.last;
        view.add(words, tokensOf(choice.logprobs));
    }

    told() {
        const {usage} = this, n = usage && usage.completion_tokens, seconds = (this.last - this.first) / 1e3;
        const cached = usage && usage.prompt_tokens_details ? usage.prompt_tokens_details.cached_tokens : 0;
        return [this.first !== null && `first after ${micros((this.first - this.begun) * 1e3)}`,
            n && plural(n, 'token'), n > 1 && seconds > 0 && `${number((n - 1) / seconds)} tokens/s`,
            cached > 0 && `${count(cached)} of ${count(usage.prompt_tokens)} of the prompt cached`,
            `seed ${this.seed}`, this.controller.signal.aborted ? 'stopped' : ENDINGS[this.ending]].filter(Boolean).join(' · ');
    }
}

/* ---- a message as shown ------------------------------------------------------------------------ */

const action = (name, click) => h('button', {type: 'button', class: 'link', click}, name);

class MessageView {
    constructor(chat, conversation, message) {
        Object.assign(this, {chat, conversation, message});
        const isAnswer = message.role === 'assistant';
        this.text = isAnswer ? new TokenText() : null;
        this.body = isAnswer ? this.text.element : h('div', {class: 'words'}, message.content);
        if (isAnswer)
            this.text.add(message.content, []);
        this.note = h('span', {class: 'soft'});
        this.error = h('p', {class: 'error', role: 'alert', hidden: true});
        this.actions = h('div', {class: 'actions'},
            action('Edit', () => this.edit()),
            isAnswer ? action('Regenerate', () => this.chat.regenerate(this.conversation, this.message)) : null,
            navigator.clipboard ? action('Copy', () => navigator.clipboard.writeText(this.message.content)) : null, this.note);
        this.element = h('article', {class: `message ${message.role}`},
            h('h3', {class: 'eyebrow'}, NAMES[conversation.mode][message.role]), this.body, this.error, this.actions);
        this.show();
    }

    add(words, tokens) {
        this.message.content += words;
        this.text.add(words, tokens);
    }

    show() {
        const runs = this.chat.runs.has(this.conversation);
        this.note.textContent = this.message.note || '';
        this.error.textContent = this.message.error || '';
        this.error.hidden = !this.message.error;
        this.actions.querySelectorAll('button').forEach(button => { button.disabled = runs; });
        this.element.setAttribute('aria-busy', String(runs && this.message === this.conversation.messages.at(-1)));
    }

    /* Shows the text in a field: Escape discards changes, Ctrl and Enter accept them. */
    edit() {
        const rows = Math.min(16, this.message.content.split('\n').length + 1);
        const field = h('textarea', {'aria-label': 'Edited text', rows});
        field.value = this.message.content;
        const take = () => this.chat.takeEdited(this.conversation, this.message, field.value);
        const leave = () => { editor.replaceWith(this.body); this.actions.hidden = false; };
        const editor = h('div', {keydown: event => {
            if (event.key === 'Escape')
                leave();
            else if (event.key === 'Enter' && (event.ctrlKey || event.metaKey))
                take();
        }}, field, h('div', {class: 'bar'},
            h('button', {type: 'button', class: 'primary', click: take}, this.text ? 'Save' : 'Send again'),
            h('button', {type: 'button', click: leave}, 'Cancel')));
        this.body.replaceWith(editor);
        this.actions.hidden = true;
        field.focus();
    }
}

/* ---- fields beside it -------------------------------------------------------------------------- */

function settingField(settings, {name, label, least, most, step}) {
    const input = h('input', {type: 'number', id: `set-${name}`, min: least, max: most, step, inputmode: 'decimal',
        placeholder: name === 'seed' ? 'random' : 'default', 'data-name': name, change: () => {
            settings[name] = input.checkValidity() ? input.value : '';
            input.value = settings[name];
            keepSettings(settings);
        }});
    input.value = settings[name];
    return [h('label', {for: `set-${name}`}, label), input];
}

function settingsPanel(settings) {
    const system = h('textarea', {id: 'set-system', rows: 4, placeholder: 'none',
        change: () => { settings.system = system.value; keepSettings(settings); }});
    system.value = settings.system;
    return sidePanel('Settings', 'settings',
        h('div', {class: 'fields'}, SETTINGS.map(setting => settingField(settings, setting))),
        h('label', {for: 'set-system'}, 'System prompt'), system,
        h('p', {class: 'soft'}, 'An answer with the same seed is the same text, however many others are served beside it.'));
}

/* Open beside the conversation where there is room; on a phone it opens above it. */
function sidePanel(title, className, ...children) {
    const wide = matchMedia('(min-width: 64rem)');
    const element = h('details', {class: `side ${className}`, open: wide.matches}, h('summary', {}, title), ...children);
    wide.addEventListener('change', () => { element.open = wide.matches; });
    return element;
}

/* ---- the view ---------------------------------------------------------------------------------- */

class Chat {
    constructor() {
        this.settings = keptSettings();
        this.conversations = keptConversations();
        this.models = [];
        this.runs = new Map();
        this.frame = null;
        this.views = new WeakMap();
        this.list = h('ul', {class: 'past'});
        this.log = h('div', {class: 'log', role: 'log', 'aria-label': 'Conversation'});
        this.told = h('p', {class: 'soft told', role: 'status'});
        this.makeComposer();
        this.element = h('div', {class: 'chat'},
            sidePanel('Conversations', 'history',
                h('button', {type: 'button', click: () => this.begin()}, 'New conversation'), this.list),
            h('div', {class: 'talk'}, this.log, this.told, this.composer), settingsPanel(this.settings));
        addEventListener('pagehide', () => [...this.runs.keys()].forEach(keepConversation));
    }

    makeComposer() {
        this.field = h('textarea', {rows: 3, id: 'field', input: () => this.fit(), keydown: event => this.press(event)});
        this.select = h('select', {id: 'model', 'aria-label': 'Model', change: () => this.choose(this.select.value)});
        this.modes = h('span', {class: 'modes'});
        const probabilities = h('input', {type: 'checkbox', id: 'probabilities', change: () => {
            this.settings.probabilities = probabilities.checked;
            keepSettings(this.settings);
        }});
        probabilities.checked = this.settings.probabilities;
        this.stopButton = h('button', {type: 'button', click: () => this.stop()}, 'Stop');
        this.sendButton = h('button', {type: 'submit', class: 'primary'});
        this.composer = h('form', {class: 'composer', submit: event => { event.preventDefault(); this.send(); }},
            this.field, h('div', {class: 'bar'}, this.select, this.modes,
                h('label', {title: 'Of every token, and of those that it was chosen among: point at it, or go there by ' +
                    'arrows. Slower, as the whole head is read.'}, probabilities, 'Probabilities'),
                h('span', {class: 'grow'}), this.stopButton, this.sendButton));
    }

    /* Called again when the list of models changes. */
    take(models) {
        this.models = models.filter(model => model.generates !== false);
        this.select.replaceChildren(...this.models.map(model => h('option', {value: model.id}, model.id)));
        const chosen = this.models.find(model => model.id === this.settings.model) || this.models[0];
        this.choose(chosen ? chosen.id : '');
        if (!this.current)
            this.begin();
    }

    choose(id) {
        this.settings.model = this.select.value = id;
        keepSettings(this.settings);
        this.tellDefaults();
        if (this.current && this.current.messages.length === 0)
            this.current.mode = this.modeOf();
        if (this.current)
            this.show();
    }

    /* Shows the checkpoint's values in empty fields. */
    tellDefaults() {
        const model = this.model(), own = model && model.report && model.report.sampling || {};
        for (const input of this.element.querySelectorAll('.fields input'))
            if (Number.isFinite(own[input.dataset.name]))
                input.placeholder = String(Number(own[input.dataset.name].toPrecision(4)));
            else if (input.dataset.name !== 'seed')
                input.placeholder = 'default';
    }

    model() {
        return this.models.find(model => model.id === this.settings.model);
    }

    modeOf() {
        const model = this.model();
        return !model || canChat(model) ? 'chat' : 'text';
    }

    begin() {
        this.open(newConversation(this.modeOf()));
    }

    open(conversation) {
        this.current = conversation;
        this.show();
        this.focus();
    }

    /* Not on a phone, where a keyboard would cover the page. */
    focus() {
        if (matchMedia('(pointer: fine)').matches)
            this.field.focus();
    }

    /* ---- shown --------------------------------------------------------------------------------- */

    viewOf(conversation, message) {
        if (!this.views.has(message))
            this.views.set(message, new MessageView(this, conversation, message));
        const view = this.views.get(message);
        view.show();
        return view;
    }

    show() {
        const {current} = this, runs = this.runs.has(current), isText = current.mode === 'text';
        this.log.replaceChildren(...current.messages.map(message => this.viewOf(current, message).element));
        this.list.replaceChildren(...this.conversations.map(conversation => this.listed(conversation)));
        this.modes.replaceChildren(...(current.messages.length > 0 || this.modeOf() === 'text' ? [] :
            [choice('Mode', ['chat', 'text'], current.mode, mode => { current.mode = mode; this.show(); })]));
        this.field.placeholder = isText ? 'A text that the model goes on with' : 'Message';
        this.field.setAttribute('aria-label', this.field.placeholder);
        this.sendButton.textContent = isText ? 'Continue' : 'Send';
        this.sendButton.disabled = runs || this.models.length === 0;
        this.stopButton.disabled = !runs;
        this.scroll();
    }

    listed(conversation) {
        const title = titleOf(conversation);
        return h('li', {}, h('button', {type: 'button', 'aria-current': conversation === this.current ? 'true' : null,
            click: () => this.open(conversation)}, title),
        h('button', {type: 'button', class: 'link', 'aria-label': `Delete ${title}`,
            click: () => this.remove(conversation)}, '×'));
    }

    fit() {
        this.field.rows = Math.max(3, Math.min(12, this.field.value.split('\n').length));
    }

    scroll() {
        this.log.scrollTop = this.log.scrollHeight;
    }

    press(event) {
        const last = this.current.messages.findLast(message => message.role === 'user');
        if (event.key === 'Enter' && !event.shiftKey && !event.isComposing)
            this.send();
        else if (event.key === 'Escape')
            this.stop();
        else if (event.key === 'ArrowUp' && this.field.value === '' && last && !this.runs.has(this.current))
            this.viewOf(this.current, last).edit();
        else
            return;
        event.preventDefault();
    }

    /* ---- what a reader does -------------------------------------------------------------------- */

    send() {
        const {current} = this, content = this.field.value, isText = current.mode === 'text';
        if (this.runs.has(current) || this.models.length === 0 || content === '' && !(isText && current.messages.length > 0))
            return;
        if (content !== '')
            current.messages.push({role: 'user', content});
        this.field.value = '';
        this.fit();
        this.answer(current);
    }

    stop() {
        const run = this.runs.get(this.current);
        if (run)
            run.controller.abort();
    }

    regenerate(conversation, message) {
        conversation.messages.length = conversation.messages.indexOf(message);
        this.answer(conversation);
    }

    /* An edited text of the reader gets a new answer, which replaces everything after it. A text of the model is only
     * changed. */
    takeEdited(conversation, message, content) {
        const at = conversation.messages.indexOf(message);
        conversation.messages[at] = {role: message.role, content};
        if (message.role === 'user') {
            conversation.messages.length = at + 1;
            this.answer(conversation);
        } else {
            this.changed(conversation);
        }
    }

    remove(conversation) {
        const run = this.runs.get(conversation);
        if (run)
            run.controller.abort();
        this.conversations = this.conversations.filter(other => other !== conversation);
        dropConversation(conversation);
        this.told.replaceChildren('Deleted. ', action('Undo', () => { this.changed(conversation); this.open(conversation); }));
        if (conversation === this.current)
            this.begin();
        else
            this.show();
    }

    changed(conversation) {
        conversation.changed = Date.now();
        this.conversations = [conversation, ...this.conversations.filter(other => other !== conversation)];
        this.told.textContent = keepConversation(conversation) ? ''
            : 'The browser has no room for this conversation: it is lost when the page is closed. Delete others.';
        if (conversation === this.current)
            this.show();
    }

    async answer(conversation) {
        const body = requestOf(conversation, conversation.messages, this.model(), this.settings), run = new Run(body.seed);
        const message = {role: 'assistant', content: ''};
        conversation.messages.push(message);
        this.runs.set(conversation, run);
        this.changed(conversation);
        this.focus();
        const view = this.viewOf(conversation, message);
        try {
            for await (const event of eventsOf(await request(PATHS[conversation.mode], body, run.controller.signal)))
                this.grow(() => run.take(event, view));
        } catch (error) {
            if (!run.controller.signal.aborted)
                message.error = error.message;
        }
        this.runs.delete(conversation);
        message.note = run.told();
        if (this.conversations.includes(conversation))
            this.changed(conversation);
    }

    /* Keeps the end visible unless the reader has scrolled away. Checks once per frame, because it forces a layout of
     * the page. */
    grow(add) {
        const looks = this.frame === null;
        const isAtEnd = looks && this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 40;
        add();
        if (looks)
            this.frame = requestAnimationFrame(() => {
                this.frame = null;
                if (isAtEnd)
                    this.scroll();
            });
    }
}
