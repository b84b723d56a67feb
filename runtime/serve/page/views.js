/* views.js - the views by their addresses (#chat, #live, #model/NAME, #compare, #models): last of the script's files. */
'use strict';

const VIEWS = [['chat', 'Chat'], ['live', 'Live'], ['model', 'Model'], ['compare', 'Compare'], ['models', 'Models']];

class Page {
    constructor() {
        this.models = [];
        this.chat = new Chat();
        this.live = new Live();
        this.compare = new Compare();
        this.links = VIEWS.map(([name, words]) => h('a', {href: `#${name}`}, words));
        this.told = h('p', {class: 'error', role: 'alert', hidden: true});
        this.main = h('main', {id: 'page', tabindex: -1});
        const skip = event => { event.preventDefault(); this.main.focus(); };
        document.body.append(h('a', {class: 'skip', href: '#page', click: skip}, 'To the content'),
            h('nav', {'aria-label': 'Views'}, h('b', {}, 'rsr-serve'), this.links), this.told, this.main, tip);
        addEventListener('hashchange', () => this.show());
        /* Without this, a file dropped at another place would replace the page. */
        for (const type of ['dragover', 'drop'])
            document.addEventListener(type, event => event.preventDefault());
        this.show();
        this.load();
    }

    /* Repeats until the server has loaded its models. */
    async load() {
        try {
            this.models = await loadModels();
            this.told.hidden = true;
            this.chat.take(this.models);
            this.show();
        } catch (error) {
            this.told.replaceChildren(`${error.message} `, action('Try again', () => this.load()));
            this.told.hidden = false;
            if (error.status === 503)
                setTimeout(() => this.load(), 1000);
        }
    }

    show() {
        const [name, ...rest] = location.hash.slice(1).split('/');
        const view = VIEWS.find(known => known[0] === name) || VIEWS[0];
        this.links.forEach((link, i) => link.setAttribute('aria-current', VIEWS[i] === view ? 'page' : 'false'));
        document.title = `${view[1]} – rsr-serve`;
        this.main.className = view[0];
        this.main.replaceChildren(...this.partsOf(view[0], rest.join('/')));
        this.live.turn();
        this.chat.scroll();
    }

    partsOf(name, rest) {
        switch (name) {
        case 'live': return [this.live.element];
        case 'compare': return [this.compare.element];
        case 'models': return modelsPage(this.models);
        case 'model': return this.modelParts(rest);
        default: return [this.chat.element];
        }
    }

    modelParts(rest) {
        const model = this.models.find(known => encodeURIComponent(known.id) === rest) || this.models[0];
        if (!model)
            return [h('h1', {}, 'Model')];
        const choose = () => { location.hash = addressOf(this.models[select.selectedIndex]); };
        const select = h('select', {'aria-label': 'Model', change: choose},
            this.models.map(known => h('option', {}, known.id)));
        select.selectedIndex = this.models.indexOf(model);
        return [this.models.length > 1 ? h('div', {class: 'bar'}, select) : '', ...modelPage(model)];
    }
}

const page = new Page();
