// The forest plot of effects, the response curves of ordered factors, and downloads of the table.
const effects = {view: '', metric: '', order: 'size', seeds: 'planned'};

function setUpEffects() {
  if (!byId('effects')) return;
  const kinds = Object.keys(D.views).filter((kind) => D.effects.some((e) => e.kind === kind && e.estimate !== null));
  const first = D.effects.find((e) => e.role === 'primary' && kinds.includes(e.kind) && e.kind !== 'comparison');
  effects.view = first ? first.kind : kinds[0] || '';
  const names = metricsOfEffects();
  effects.metric = names.includes(D.metric) ? D.metric : names[0] || '';
  if (!effects.view) {
    byId('forest')?.remove();
    return;
  }
  const made = figure(byId('forest'), 'Forest plot: differences with their intervals; the table below has the numbers', forest);
  const controls = () => {
    const again = () => { controls(); refresh(made); responses(); };
    const sets = [...new Set(D.effects.filter((e) => e.kind === effects.view).map((e) => e.seeds))];
    if (!sets.includes(effects.seeds)) effects.seeds = sets[0];
    replace(byId('effects-controls'),
      kinds.length > 1 ? select('Show', kinds.map((k) => [k, D.views[k]]), effects.view, (v) => {
        effects.view = v;
        if (!metricsOfEffects().includes(effects.metric)) [effects.metric] = metricsOfEffects();
        again();
      }) : null,
      select('Metric', metricsOfEffects().map((name) => [name, metricTitle(name)]), effects.metric,
        (v) => { effects.metric = v; again(); }),
      sets.length > 1 ? select('Seeds', sets.map((s) => [s, s]), effects.seeds, (v) => { effects.seeds = v; again(); }) : null,
      select('Order', [['size', 'best first'], ['plan', 'as planned']], effects.order, (v) => { effects.order = v; again(); }));
    byId('effects-caption').textContent = captionOfEffects();
  };
  controls();
  responses();
  replace(byId('effects-downloads'),
    ...Object.entries(D.downloads || {}).map(([end, text]) => el('button', {
      type: 'button', class: 'quiet', text: {csv: 'Effects as CSV', tex: 'LaTeX', md: 'Markdown'}[end] || end,
      onclick: () => download(fileName(`effects.${end}`), {csv: 'text/csv', tex: 'text/x-tex', md: 'text/markdown'}[end], text),
    })));
}

function metricsOfEffects() {
  const own = D.effects.filter((e) => e.kind === effects.view && e.estimate !== null);
  return [...new Set([...own.filter((e) => e.role === 'primary'), ...own].map((e) => e.metric))];
}
function metricTitle(name) {
  const own = D.effects.find((e) => e.metric === name && e.kind === effects.view);
  return `${metricOf(name).label} — ${own && own.role === 'primary' ? 'primary' : 'exploratory'}`;
}
function rowsOfEffects() {
  const rows = D.effects.filter((e) => e.kind === effects.view && e.metric === effects.metric && e.seeds === effects.seeds
    && e.estimate !== null);
  const sign = metricOf(effects.metric).higher_is_better === false ? -1 : 1;
  return effects.order === 'size' ? [...rows].sort((a, b) => sign * (b.estimate - a.estimate)) : rows;
}
function captionOfEffects() {
  const rows = rowsOfEffects();
  const told = metricOf(effects.metric);
  const primary = rows.some((row) => row.role === 'primary');
  const bars = rows.some((row) => row.low !== null);
  const thick = rows.some((row) => row.low_single !== null && row.low_single !== row.low);
  const words = [`Difference of val ${told.label}${told.unit ? ` in ${told.unit}` : ''}${
    effects.view === 'comparison' ? ` to “${D.variants[0].name}”` : ''}.`];
  if (!bars) words.push(rows.some((row) => row.n > 1) ? 'No intervals can be estimated.' : 'No intervals: they take two seeds or more.');
  else if (primary) words.push(`Line: 95 % interval${thick ? ', simultaneous over all rows; thick: each row by itself' : ''}.`);
  else words.push('Line: 95 % interval of each row by itself. Exploratory: not corrected for how many are looked at.');
  const zone = zoneOf(rows);
  if (zone !== null) words.push(`Grey zone: effects below ${num(zone * told.factor, told.digits)} are not relevant.`);
  else if (primary && bars) words.push('No smallest effect of interest was declared, so “no relevant effect” cannot be concluded.');
  return words.join(' ');
}
const zoneOf = (rows) => finite(rows.map((row) => row.smallest_effect))[0] ?? null;

const SIGNS = {helps: ['triangle-up', 'helps'], hurts: ['triangle-down', 'hurts'], 'no relevant effect': ['square', 'flat'],
  undecided: ['circle', 'open'], '': ['circle', 'open']};

function forest() {
  const rows = rowsOfEffects();
  const told = metricOf(effects.metric);
  const scaled = (value) => (value === null ? null : value * told.factor);
  const small = narrow();
  const line = (key, width, ends) => ({type: 'scatter', mode: ends ? 'lines+markers' : 'lines', hoverinfo: 'skip',
    x: rows.flatMap((r) => [scaled(r[`low${key}`]), scaled(r[`high${key}`]), null]), y: rows.flatMap((_, i) => [i, i, null]),
    line: {width, color: ink('strong')}, marker: {symbol: 'line-ns-open', size: 9, color: ink('strong'), line: {width: 1.5}}});
  const points = {type: 'scatter', mode: 'markers', x: rows.map((r) => scaled(r.estimate)), y: rows.map((_, i) => i),
    text: rows.map((r) => hoverOfEffect(r, told)), hovertemplate: '%{text}<extra></extra>',
    marker: {size: 12, line: {width: 2, color: rows.map((r) => ink((SIGNS[r.verdict] || SIGNS[''])[1]))},
      symbol: rows.map((r) => (SIGNS[r.verdict] || SIGNS[''])[0]),
      color: rows.map((r) => ink(r.verdict === 'undecided' ? 'page' : (SIGNS[r.verdict] || SIGNS[''])[1]))}};
  const zone = zoneOf(rows);
  const shapes = [{type: 'line', x0: 0, x1: 0, yref: 'paper', y0: 0, y1: 1, line: {color: ink('ink'), width: 1}}];
  if (zone !== null) shapes.unshift({type: 'rect', x0: -scaled(zone), x1: scaled(zone), yref: 'paper', y0: 0, y1: 1,
    fillcolor: ink('zone'), line: {width: 0}, layer: 'below'});
  const said = (r) => `${num(scaled(r.estimate), told.digits, true)}${r.low === null ? ''
    : `  (${num(scaled(r.low), told.digits)} to ${num(scaled(r.high), told.digits)})`}`;
  const step = small ? 46 : Math.max(22, Math.min(34, 400 / Math.max(rows.length, 1)));
  const notes = rows.flatMap((r, i) => (small
    ? [note(0, 'paper', i - 0.4, `${D.verdicts[r.verdict] || ''} <b>${plain(short(r.title, 24))}</b>  ${said(r)}`, 'left', 11.5)]
    : [note(1.01, 'paper', i, said(r), 'left', 12.5), note(1, 'paper', i, plain(`${D.verdicts[r.verdict] || ''} ${r.verdict}`), 'left', 12.5,
      {xshift: 178, font: {size: 12.5, color: ink((SIGNS[r.verdict] || SIGNS[''])[1])}})]));
  if (told.higher_is_better !== null) {
    const right = told.higher_is_better !== false;
    notes.push({x: right ? 1 : 0, y: 1, xref: 'paper', yref: 'paper', xanchor: right ? 'right' : 'left', yanchor: 'bottom',
      showarrow: false, text: right ? 'better →' : '← better', font: {size: 11.5, color: ink('muted')}});
  }
  const ends = rows.flatMap((r) => [r.estimate, r.low, r.high, 0].map(scaled));
  return {
    data: [line('', 1.5, true), line('_single', 4.5, false), points], height: Math.round(rows.length * step) + 70,
    layout: layout({shapes, annotations: notes, margin: small ? {l: 10, r: 14, t: 22, b: 44} : {l: 60, r: 330, t: 20, b: 44},
      xaxis: axis({range: room(ends, 0.05), title: {text: `difference of val ${told.label}${told.unit ? `, ${told.unit}` : ''}`}}),
      yaxis: axis({range: [rows.length - 0.45, small ? -0.75 : -0.55], fixedrange: true, showgrid: false, ticks: '', tickmode: 'array',
        tickvals: rows.map((_, i) => i), showticklabels: !small, ticktext: rows.map((r) => plain(short(r.title, 34))), tickfont: {size: 13}})}),
  };
}
function note(x, xref, y, text, xanchor, size, more = {}) {
  return {x, xref, y, yref: 'y', text, xanchor, yanchor: 'middle', align: 'left', showarrow: false, font: {size, color: ink('ink')}, ...more};
}
function hoverOfEffect(row, told) {
  const at = (value) => num(value * told.factor, told.digits);
  const words = [`<b>${plain(short(row.title, 60))}</b>`, `${num(row.estimate * told.factor, told.digits, true)} ${told.unit}`];
  if (row.low !== null) words.push(`95 % interval ${at(row.low)} to ${at(row.high)}`);
  if (row.low_single !== null && row.low_single !== row.low) words.push(`by itself ${at(row.low_single)} to ${at(row.high_single)}`);
  if (row.image_low !== null) words.push(`of the val images ${at(row.image_low)} to ${at(row.image_high)}`);
  if (row.test_estimate !== null) words.push(`on test ${num(row.test_estimate * told.factor, told.digits, true)}`);
  words.push(`${row.verdict || 'no verdict'}, ${counted(row.n, 'seed')}${row.method ? `, ${plain(row.method)}` : ''}`);
  return words.join('<br>');
}

// Means along ordered levels, a panel a factor.
function responses() {
  const rows = D.effects.filter((e) => e.kind === 'response' && e.metric === effects.metric && e.estimate !== null
    && e.seeds === effects.seeds);
  const box = byId('responses');
  forget([...box.querySelectorAll('.plot')]);
  const factors = [...new Set(rows.map((row) => row.factor))];
  replace(box, factors.length ? el('h3', {text: 'Along ordered levels'}) : null,
    factors.length ? el('div', {class: 'panels'}, ...factors.map((name) => el('div', {class: 'panel'},
      el('header', {}, el('h3', {text: name, title: name})), el('div', {class: 'plot'})))) : null);
  box.querySelectorAll('.plot').forEach((node, place) => {
    const own = rows.filter((row) => row.factor === factors[place]);
    const numbers = own.map((row) => Number(row.level));
    const told = metricOf(effects.metric);
    figure(node, `Mean val ${told.label} along ${factors[place]}`, () => ({
      data: [{type: 'scatter', mode: 'lines+markers', x: numbers, y: own.map((r) => r.estimate), line: {color: ink('val')},
        marker: {size: 8}, error_y: own.some((r) => r.low !== null) ? {type: 'data', symmetric: false, thickness: 1.5,
          array: own.map((r) => (r.high === null ? 0 : r.high - r.estimate)), arrayminus: own.map((r) => (r.low === null ? 0 : r.estimate - r.low))} : {},
        text: own.map((r) => `${plain(r.level)}: ${free(r.estimate)}${r.low === null ? '' : ` (${free(r.low)} to ${free(r.high)})`}, ${counted(r.n, 'run')}`),
        hovertemplate: '%{text}<extra></extra>'}],
      layout: layout({xaxis: axis({title: {text: plain(short(factors[place], 30))}, ...(isWide(numbers) ? {type: 'log'} : {}),
        ...(numbers.length <= 8 ? {tickvals: numbers, ticktext: own.map((r) => plain(r.level))} : {})}),
        yaxis: axis({title: {text: `val ${told.label}`}})}),
    }));
  });
}
const isWide = (values) => values.every((value) => value > 0) && high(values) / low(values) >= 20;
