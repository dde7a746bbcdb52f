// What all parts of the page share: its data, elements, numbers, state.
const D = JSON.parse(document.getElementById('data').textContent);
const root = document.documentElement;
const byId = (id) => document.getElementById(id);
root.classList.add('js');

// An element; text is always put in as text, never as HTML.
function el(tag, given = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === 'text') node.textContent = value;
    else if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (key === 'class') node.className = value;
    else node.setAttribute(key, value === true ? '' : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function replace(node, ...children) {
  if (node) node.replaceChildren(...children.filter((child) => child !== null && child !== undefined));
}

// Plotly reads a little HTML in its texts: names must not be read so.
const plain = (text) => String(text).replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
const short = (text, most = 30) => (text.length <= most ? text : `${text.slice(0, most - 1)}…`);

function num(value, digits = 3, signed = false) {
  if (value === null || value === undefined || !Number.isFinite(value)) return '';
  const text = Math.abs(value).toLocaleString('en-US', {minimumFractionDigits: digits, maximumFractionDigits: digits});
  const zero = !/[1-9]/.test(text);
  return (zero ? '' : value < 0 ? '−' : signed ? '+' : '') + text;
}

// A number of unknown size, with about four digits that matter.
function free(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return '';
  if (Number.isInteger(value)) return num(value, 0);
  const size = Math.abs(value);
  return num(value, size >= 1000 ? 0 : size >= 10 ? 1 : size >= 0.01 || size === 0 ? 3 : 5);
}

const finite = (values) => values.filter((value) => value !== null && value !== undefined && Number.isFinite(value));
const mean = (values) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null);
const low = (values) => values.reduce((least, value) => Math.min(least, value), Infinity);
const high = (values) => values.reduce((most, value) => Math.max(most, value), -Infinity);
function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length ? (sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2) : null;
}
const counted = (count, noun) => `${count.toLocaleString('en-US')} ${noun}${count === 1 ? '' : 's'}`;
const metricOf = (name) => D.metrics[name] || {label: name, unit: '', factor: 1, digits: 3, higher_is_better: null};
const columnAt = (key) => D.columns.findIndex((column) => column.key === key);
const valueOf = (run, key) => (columnAt(key) < 0 ? null : run.x[columnAt(key)]);
const runsOf = (variant) => D.byVariant[variant];
D.byVariant = D.variants.map(() => []);
D.runs.forEach((run, place) => { run.place = place; D.byVariant[run.v].push(run); });
D.place = new Map(D.variants.map((variant, place) => [variant.name, place]));

function chip(word, group = word) {
  return el('span', {class: `chip ${group === 'no relevant effect' ? 'none' : group.replace(/[^a-z]/g, '')}`,
    text: `${D.verdicts[word] || ''} ${word}`.trim()});
}

// A labelled <select>; items are [value, label].
function select(label, items, value, changed) {
  const box = el('select', {onchange: (event) => changed(event.target.value), 'aria-label': label});
  for (const [key, text] of items) box.append(el('option', {value: key, text: short(String(text), 60), selected: key === value}));
  return el('label', {}, el('span', {text: label}), box);
}

function check(label, value, changed) {
  return el('label', {}, el('input', {type: 'checkbox', checked: value, onchange: (event) => changed(event.target.checked)}),
    el('span', {text: label}));
}

function download(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], {type: `${type};charset=utf-8`}));
  const anchor = el('a', {href: url, download: name});
  document.body.append(anchor);
  anchor.click();
  anchor.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

const csvCell = (value) => {
  const text = value === null || value === undefined ? '' : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
};
const csv = (rows) => rows.map((row) => row.map(csvCell).join(',')).join('\n') + '\n';
const fileName = (end) => `${D.name.replace(/[^\p{L}\p{N}_.-]+/gu, '_')}-${end}`;

// The variants that figures show; whoever depends on them asks to be told.
const state = {chosen: new Set(), listeners: []};
const MOST_AT_FIRST = 12;
function benefit(place) {
  const row = D.effects.find((e) => e.kind === 'comparison' && e.name === D.variants[place].name && e.role === 'primary');
  if (!row || row.estimate === null) return null;
  return row.estimate * (metricOf(row.metric).higher_is_better === false ? -1 : 1);
}
function choose(places) {
  state.chosen = new Set(places);
  state.listeners.forEach((listener) => listener());
}
{
  const ranked = D.variants.map((_, place) => place).slice(1)
    .sort((a, b) => Math.abs(benefit(b) ?? 0) - Math.abs(benefit(a) ?? 0)).slice(0, MOST_AT_FIRST - 1);
  state.chosen = new Set(D.variants.length <= MOST_AT_FIRST ? D.variants.keys() : [0, ...ranked]);
}
const chosen = () => [...state.chosen].sort((a, b) => a - b);
