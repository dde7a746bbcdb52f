// Each run as a point; and what a point leads to: the sheet of a run.
const map = {x: '', y: ''};

function setUpMap() {
  const node = byId('map-plot');
  if (!node) return;
  const known = D.columns.filter((column) => D.runs.some((run) => valueOf(run, column.key) !== null));
  const pick = (...keys) => keys.find((key) => known.some((column) => column.key === key)) || known[0]?.key;
  map.y = pick(D.metric, 'accuracy');
  map.x = pick('gap_loss', 'gap_accuracy', 'seconds', 'parameters');
  const made = figure(node, 'Map of runs: each run as a point', drawMap, (point) => {
    if (point.customdata !== undefined) showRun(D.runs[point.customdata]);
  });
  const controls = () => replace(byId('map-controls'),
    select('Across', known.map((c) => [c.key, c.label]), map.x, (v) => { map.x = v; again(); }),
    select('Up', known.map((c) => [c.key, c.label]), map.y, (v) => { map.y = v; again(); }));
  const again = () => { controls(); refresh(made); };
  state.listeners.push(() => refresh(made));
  controls();
}

function drawMap() {
  const label = (key) => D.columns[columnAt(key)].label;
  const has = (run) => valueOf(run, map.x) !== null && valueOf(run, map.y) !== null;
  const shown = chosen();
  const others = D.runs.filter((run) => !state.chosen.has(run.v) && has(run));
  const said = (run) => [`<b>${plain(short(D.variants[run.v].name, 60))}</b>, seed ${run.seed}`,
    ...[...new Set([map.y, map.x])].map((key) => `${plain(label(key))} ${free(valueOf(run, key))}`),
    ...(run.verdict ? [plain(run.verdict)] : []), 'choose it to see the run'].join('<br>');
  const trace = (runs, marker, name) => ({type: 'scatter', mode: 'markers', name, x: runs.map((r) => valueOf(r, map.x)),
    y: runs.map((r) => valueOf(r, map.y)), customdata: runs.map((r) => r.place), text: runs.map(said), hovertemplate: '%{text}<extra></extra>', marker});
  const data = others.length ? [trace(others, {size: 5, color: faint(ink('muted'), 0.45)}, 'others')] : [];
  for (const place of shown) {
    const {colour, mark} = look(place);
    data.push(trace(runsOf(place).filter(has), {size: 10, symbol: mark, color: colour, line: {width: place ? 0.8 : 2, color: place ? ink('page') : colour}},
      plain(short(D.variants[place].name, narrow() ? 26 : 40))));
  }
  const floors = map.y === 'accuracy' ? finite(D.runs.map((run) => (run.floor ? run.floor[1] : null))) : [];
  const xs = D.runs.filter(has).map((run) => valueOf(run, map.x));
  const ys = D.runs.filter(has).map((run) => valueOf(run, map.y));
  const names = [...new Set(D.runs.map((run) => run.floor && run.floor[0]).filter(Boolean))];
  const shapes = [];
  const annotations = [];
  if (floors.length) {
    shapes.push({type: 'rect', xref: 'paper', x0: 0, x1: 1, y0: low(floors), y1: high(floors), fillcolor: ink('zone'), line: {width: 0}, layer: 'below'});
    shapes.push({type: 'line', xref: 'paper', x0: 0, x1: 1, y0: median(floors), y1: median(floors), line: {color: ink('ink'), width: 1.3, dash: 'dashdot'}});
    annotations.push({xref: 'paper', x: 0.01, y: high(floors), xanchor: 'left', yanchor: 'bottom', showarrow: false, font: {size: 11.5, color: ink('muted')},
      text: plain(`classical floor${narrow() ? '' : ` (${names.join(', ')})`} ${low(floors) === high(floors) ? free(low(floors)) : `${free(low(floors))} to ${free(high(floors))}`}`)});
  }
  const log = isWide(xs) && ['parameters', 'seconds', 'epochs'].includes(map.x);
  const legend = shown.length <= 24;
  byId('map-caption').textContent = `A point is a run; choose one to see it.${floors.length ? ' The dash-dotted line is the best of the classical models on the same images; the grey zone its spread over the runs.' : ''}${
    others.length ? ' Small grey points: variants that are not chosen.' : ''}`;
  const rows = legend ? Math.ceil(shown.length / (narrow() ? 1 : 5)) : 0;
  return {data, height: 400 + rows * 20, layout: layout({showlegend: legend, shapes, annotations, margin: {l: 56, r: 12, t: 14, b: 50},
    legend: {orientation: 'h', y: -0.16, yanchor: 'top', x: 0, font: {size: 12}, itemclick: false, itemdoubleclick: false},
    xaxis: axis({title: {text: plain(label(map.x))}, ...(log ? {type: 'log'} : {range: room(xs)})}),
    yaxis: axis({title: {text: plain(label(map.y))}, range: room([...ys, ...floors])})})};
}

function showRun(run) {
  const box = byId('run');
  const variant = D.variants[run.v];
  forget([...box.querySelectorAll('.plot')]);
  const href = (name) => `${run.folder}/${encodeURIComponent(name)}`;
  const pairs = (items) => el('dl', {class: 'pairs'}, ...items.flatMap(([key, value]) => [el('dt', {text: key}), el('dd', {text: value})]));
  const shown = CURVES.filter((curve) => ['nll', 'accuracy'].includes(curve.key) && series(run, curve));
  const plots = shown.map((curve) => ({curve, node: el('div', {class: 'plot'})}));
  const common = Object.entries(D.config);
  const own = Object.entries(run.diff);
  replace(box,
    el('div', {class: 'sheet-head'}, el('h2', {id: 'run-title', text: `${variant.name}, seed ${run.seed}`}),
      el('button', {type: 'button', text: 'Close', onclick: () => box.close()})),
    el('div', {class: 'sheet-body'},
      el('p', {}, chip(run.status), ' ', run.verdict && run.verdict !== run.status ? chip(run.verdict) : null, run.added ? ' added to the plan later' : null),
      run.sentence || run.reason ? el('p', {class: 'wrap', text: run.sentence || run.reason}) : null,
      plots.length ? el('div', {class: 'two'}, ...plots.map(({curve, node}) => el('div', {}, el('h3', {text: curveLabel(curve)}), node))) : null,
      plots.length ? el('p', {class: 'caption', text: 'Solid: val. Dashed: probe (training images). ▼ onset, ○ best epoch without onset.'}) : null,
      el('h3', {text: 'Figures'}),
      pairs(D.columns.map((column, i) => [column.label, free(run.x[i])]).filter(([, value]) => value)
        .concat(run.floor ? [[`classical floor (${run.floor[0]}), val accuracy`, free(run.floor[1])]] : [])),
      own.length ? el('h3', {text: 'What it differs in'}) : null, own.length ? pairs(own) : null,
      common.length ? el('details', {}, el('summary', {text: `Config that all runs share (${common.length} keys)`}), pairs(common)) : null,
      el('h3', {text: 'Files'}),
      run.folder ? el('p', {class: 'wrap'}, el('a', {href: run.folder, text: run.name}), ': ',
        ...run.files.flatMap((name, i) => [i ? ', ' : null, el('a', {href: href(name), text: name})]))
        : el('p', {class: 'muted', text: 'There is no record of this run.'}),
      run.folder ? el('p', {class: 'caption', text: 'The links lead to the records beside this page; where it was sent alone, they lead nowhere.'}) : null));
  box.showModal();
  box.scrollTop = 0;
  for (const {curve, node} of plots) {
    const found = series(run, curve);
    const ys = [...finite(found.val), ...finite(found.probe || [])];
    figure(node, `${curveLabel(curve)} against the epoch of this run`,
      () => onePanel([run], run.v, curve, {x: [0, high(found.e) * 1.03], y: room(ys)}));
  }
}
