/* main.js - reads the JSON of the page and shows it: last of the script's files. */
'use strict';

const data = JSON.parse(document.getElementById('data').textContent);
document.getElementById('page').append(...(data.compare ? comparePage(data.compare) : reportPage(data)));
