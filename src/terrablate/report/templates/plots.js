// Figures that are drawn when they come into view, and again when the colours or the width change.
const narrow = () => window.innerWidth < 640;
const touch = window.matchMedia('(pointer: coarse)').matches;
const figures = new Map();
let printing = false;
const themed = []; // what is not a figure and has colours of its own

const isDark = () => !printing && (root.dataset.theme ? root.dataset.theme === 'dark'
  : window.matchMedia('(prefers-color-scheme: dark)').matches);
const ink = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
function faint(colour, alpha) {
  const found = colour.match(/^#(..)(..)(..)$/);
  return found ? `rgba(${found.slice(1).map((part) => parseInt(part, 16)).join(',')},${alpha})` : colour;
}

// Okabe and Ito's colours, told apart without colour by dash and mark as well.
const LIGHT = ['#0072b2', '#c44e00', '#00805e', '#a8578a', '#8a6d00', '#2b8ac6', '#5a5a5a'];
const DARK = ['#56b4e9', '#f0a35e', '#3fcfa4', '#e39ac6', '#f0e442', '#8ecdf5', '#c3c9cf'];
const MARKS = ['circle', 'square', 'diamond', 'triangle-up', 'cross', 'star', 'triangle-down', 'x', 'pentagon', 'hexagram', 'hourglass'];
const DASHES = ['solid', 'dash', 'dot', 'dashdot', 'longdash'];
function look(place) {
  if (place === 0) return {colour: ink('ink'), dash: 'solid', mark: 'circle-open'};
  const colours = isDark() ? DARK : LIGHT;
  const rank = place - 1;
  return {colour: colours[rank % colours.length], dash: DASHES[(rank + 1) % DASHES.length], mark: MARKS[rank % MARKS.length]};
}
function sample(place) {
  const {colour, dash, mark} = look(place);
  const strokes = {solid: '', dash: '6 3', dot: '2 3', dashdot: '6 3 2 3', longdash: '9 3'};
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 26 12');
  svg.setAttribute('aria-hidden', 'true');
  const line = document.createElementNS(svg.namespaceURI, 'path');
  line.setAttribute('d', 'M0 6H26');
  line.setAttribute('stroke', colour);
  line.setAttribute('stroke-width', '2');
  line.setAttribute('stroke-dasharray', strokes[dash]);
  const text = document.createElementNS(svg.namespaceURI, 'text');
  text.setAttribute('x', '13');
  text.setAttribute('y', '10');
  text.setAttribute('font-size', '11');
  text.setAttribute('text-anchor', 'middle');
  text.setAttribute('fill', colour);
  const signs = {'circle-open': '○', circle: '●', square: '■', diamond: '◆', 'triangle-up': '▲', cross: '✚', star: '★',
    'triangle-down': '▼', x: '✖', pentagon: '⬟', hexagram: '✶', hourglass: '⧗'};
  text.textContent = signs[mark];
  svg.append(line, text);
  return svg;
}

function axis(more = {}) {
  return {gridcolor: ink('line'), linecolor: ink('strong'), zerolinecolor: ink('strong'), zeroline: false, ticks: 'outside',
    tickcolor: ink('line'), ticklen: 4, automargin: true, fixedrange: touch, ...more,
    title: {standoff: 8, font: {size: 12, color: ink('muted')}, text: '', ...(more.title || {})}};
}
function layout(more = {}) {
  return {paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)', showlegend: false,
    font: {family: getComputedStyle(document.body).fontFamily, size: 12, color: ink('ink')},
    margin: {l: 48, r: 12, t: 12, b: 40}, dragmode: touch ? false : 'zoom', hovermode: 'closest',
    modebar: {bgcolor: 'rgba(0,0,0,0)', color: ink('muted'), activecolor: ink('ink')},
    hoverlabel: {bgcolor: ink('raised'), bordercolor: ink('strong'), font: {color: ink('ink'), size: 12}, align: 'left', namelength: -1},
    ...more};
}
const CONFIG = {displaylogo: false, responsive: true, scrollZoom: false, doubleClick: 'reset+autosize',
  modeBarButtons: [['toImage', 'resetScale2d']]};

const seen = 'IntersectionObserver' in window ? new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const figure = figures.get(entry.target);
    if (!figure) continue;
    figure.visible = entry.isIntersecting;
    if (figure.visible && figure.stale) draw(figure);
  }
}, {rootMargin: '400px'}) : null;

function draw(figure) {
  figure.stale = false;
  const {data, layout: form, height} = figure.build();
  if (height) figure.node.style.height = `${height}px`;
  Plotly.react(figure.node, data, {...form, ...(height ? {height} : {})}, CONFIG);
  figure.node.setAttribute('data-drawn', 'true');
  if (!figure.listens && figure.clicked) {
    figure.listens = true;
    figure.node.on('plotly_click', (event) => figure.clicked(event.points[0]));
  }
}

// build() gives {data, layout, height}; it is called when the figure is in view, and anew after refresh().
function figure(node, label, build, clicked = null) {
  if (!node) return null;
  const made = {node, build, clicked, stale: true, visible: !seen, listens: false};
  figures.set(node, made);
  node.setAttribute('role', 'figure');
  node.setAttribute('aria-label', label);
  if (seen) seen.observe(node);
  else draw(made);
  return made;
}
function refresh(made) {
  if (!made) return;
  made.stale = true;
  if (made.visible) draw(made);
}
function forget(nodes) {
  for (const node of nodes) {
    if (!figures.has(node)) continue;
    figures.delete(node);
    if (seen) seen.unobserve(node);
    if (node.getAttribute('data-drawn')) Plotly.purge(node);
  }
}
const refreshAll = () => figures.forEach(refresh);

// A range with some room on both sides.
function room(values, part = 0.06) {
  const known = finite(values);
  if (!known.length) return [0, 1];
  const least = low(known);
  const most = high(known);
  const pad = (most - least || Math.abs(most) || 1) * part;
  return [least - pad, most + pad];
}
