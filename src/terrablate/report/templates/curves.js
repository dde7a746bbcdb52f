// Val and probe against the epoch, mean over the seeds, a panel a variant.
const curves = {metric: '', singles: false, together: false};
const CURVES = [];

function setUpCurves() {
  const has = (name) => D.curveNames.includes(name);
  const add = (key, val, probe) => (has(val) || (probe && has(probe)) ? CURVES.push({key, val, probe}) : 0);
  add('nll', 'nll/val', 'nll/probe');
  add('accuracy', 'accuracy/val', 'accuracy/probe');
  if (has('nll/val') && has('nll/probe')) CURVES.push({key: 'gap_loss', gap: ['nll/val', 'nll/probe']});
  if (has('accuracy/val') && has('accuracy/probe')) CURVES.push({key: 'gap_accuracy', gap: ['accuracy/probe', 'accuracy/val']});
  for (const name of D.curveNames) {
    const [key, part] = name.split('/');
    if (part === 'val' && !['nll', 'accuracy'].includes(key)) add(key, name, has(`${key}/probe`) ? `${key}/probe` : null);
  }
  if (!byId('curves') || !CURVES.length) return;
  if (D.kind === 'run') {
    drawOneRun();
    return;
  }
  curves.metric = CURVES[0].key;
  const controls = () => replace(byId('curves-controls'),
    select('Metric', CURVES.map((c) => [c.key, curveLabel(c)]), curves.metric, (v) => { curves.metric = v; again(); }),
    D.variants.length > 1 ? select('Layout', [['each', 'a panel each'], ['one', 'all in one']], curves.together ? 'one' : 'each',
      (v) => { curves.together = v === 'one'; again(); }) : null,
    D.runs.length > D.variants.length ? check('single seeds', curves.singles, (v) => { curves.singles = v; again(); }) : null);
  const again = () => { controls(); drawCurves(); };
  state.listeners.push(drawCurves);
  themed.push(() => (curves.together ? drawCurves() : null));
  again();
}
const curveLabel = (curve) => (curve.key === 'accuracy' ? D.accuracyName : metricOf(curve.key).label || curve.key);
const curveOf = (key) => CURVES.find((curve) => curve.key === key);

// Numbers of a run: {e: epochs, val: [...], probe: [...] or null}.
function series(run, curve) {
  if (!run.curve) return null;
  const at = (name) => (name ? run.curve.m[D.curveNames.indexOf(name)] : null);
  const e = D.epochs[run.curve.e];
  if (!curve.gap) return at(curve.val) ? {e, val: at(curve.val), probe: at(curve.probe)} : null;
  const [plus, minus] = curve.gap.map(at);
  if (!plus || !minus) return null;
  return {e, val: plus.map((value, i) => (value === null || minus[i] === null ? null : value - minus[i])), probe: null};
}

// Mean, least and most over the runs that ended well, at the epochs that all of them have.
function summary(variant, curve, part) {
  const all = runsOf(variant).filter((run) => run.status === 'complete').map((run) => series(run, curve)).filter((s) => s && s[part]);
  if (!all.length) return null;
  const at = new Map();
  for (const each of all) each.e.forEach((epoch, i) => {
    if (each[part][i] === null) return;
    if (!at.has(epoch)) at.set(epoch, []);
    at.get(epoch).push(each[part][i]);
  });
  const epochs = [...at.keys()].filter((epoch) => at.get(epoch).length === all.length).sort((a, b) => a - b);
  const values = epochs.map((epoch) => at.get(epoch));
  return {e: epochs, mean: values.map(mean), low: values.map(low), high: values.map(high), n: all.length};
}

function ends(variant) {
  return runsOf(variant).filter((run) => run.status === 'complete' && run.curve).map((run) => ({
    run, best: valueOf(run, 'best_epoch'), onset: valueOf(run, 'onset_epoch')}));
}
function endsInWords(variant) {
  const found = ends(variant);
  const onsets = finite(found.map((end) => end.onset));
  const bad = runsOf(variant).filter((run) => run.status !== 'complete');
  const words = [];
  if (!found.length) words.push('no run has ended well');
  else if (onsets.length) words.push(`onset at epoch ${free(median(onsets))}, ${onsets.length} of ${counted(found.length, 'seed')}`);
  else if (finite(found.map((end) => end.best)).length) words.push(`no onset; best epoch ${free(median(finite(found.map((end) => end.best))))}`);
  const running = bad.filter((run) => run.status === 'running').length;
  if (running) words.push(`${running} running`);
  if (bad.length > running && found.length) words.push(`${bad.length - running} left out`);
  return words.join('; ');
}

function drawCurves() {
  const curve = curveOf(curves.metric);
  const box = byId('curves-panels');
  const places = chosen();
  forget([...box.querySelectorAll('.plot')]);
  box.classList.toggle('one', curves.together);
  const label = curveLabel(curve);
  const many = places.some((place) => runsOf(place).length > 1);
  byId('curves-caption').textContent = (places.length ? `${curve.gap ? '' : 'Val and probe: the probe is a fixed sample of the training images, evaluated like val. '}`
    + `${many ? 'Mean over the seeds, as far as all of them go; band: from the lowest to the highest seed. ' : ''}`
    + `${curves.together ? '' : 'All panels share their axes. '}` : 'No variant is chosen. ')
    + (places.length < D.variants.length ? `${places.length} of ${D.variants.length} variants are shown; choose them at the top.` : '');
  if (curves.together) {
    replace(byId('curves-legend'), ...places.map((place) => el('li', {}, sample(place), el('span', {text: short(D.variants[place].name, 50)}))));
    const node = el('div', {class: 'plot'});
    replace(box, el('div', {class: 'panel'}, node));
    figure(node, `Val ${label} against the epoch for all chosen variants`, () => allInOne(places, curve));
    return;
  }
  const items = [swatch('val', 'solid', curve.gap ? 'gap' : 'val')];
  if (!curve.gap && curve.probe) items.push(swatch('probe', 'dash', 'probe (training images)'));
  items.push(el('li', {text: '▼ onset of a seed'}), el('li', {text: '○ best epoch of a seed without onset'}));
  replace(byId('curves-legend'), ...items);
  const range = sharedRange(places, curve);
  replace(box, ...places.map((place) => {
    const words = endsInWords(place);
    const node = el('div', {class: 'plot'});
    const panel = el('div', {class: 'panel'}, el('header', {}, el('h3', {text: D.variants[place].name, title: D.variants[place].name}),
      el('p', {text: words || ' ', title: words})), node);
    figure(node, `${label} against the epoch of ${D.variants[place].name}: ${words}`, () => onePanel(runsOf(place), place, curve, range));
    return panel;
  }));
}
// On the page of a run: a panel a metric.
function drawOneRun() {
  const run = D.runs[0];
  byId('curves-caption').textContent = 'The probe is a fixed sample of the training images, evaluated like val.';
  replace(byId('curves-legend'), swatch('val', 'solid', 'val, or the gap'), swatch('probe', 'dash', 'probe (training images)'),
    el('li', {text: '▼ onset'}), el('li', {text: '○ best epoch without onset'}));
  const known = CURVES.filter((curve) => series(run, curve));
  replace(byId('curves-panels'), ...known.map((curve) => {
    const node = el('div', {class: 'plot'});
    const found = series(run, curve);
    const ys = [...finite(found.val), ...finite(found.probe || []), ...(curve.gap ? [0] : [])];
    figure(node, `${curveLabel(curve)} against the epoch`, () => onePanel([run], 0, curve, {x: [0, high(found.e) * 1.03], y: room(ys)}));
    return el('div', {class: 'panel'}, el('header', {}, el('h3', {text: curveLabel(curve)})), node);
  }));
}
function swatch(colour, dash, text) {
  const line = el('span', {'aria-hidden': 'true'});
  line.style.cssText = `display:inline-block;width:24px;margin-right:.4rem;vertical-align:middle;border-top:2.5px ${dash === 'dash' ? 'dashed' : 'solid'} var(--${colour})`;
  return el('li', {}, line, el('span', {text}));
}

function sharedRange(places, curve) {
  const ys = [];
  const xs = [];
  for (const place of places) {
    for (const part of ['val', 'probe']) {
      const found = summary(place, curve, part);
      if (found) { ys.push(...found.low, ...found.high); xs.push(...found.e); }
    }
    for (const run of runsOf(place)) {
      const found = series(run, curve);
      if (!found) continue;
      xs.push(high(found.e));
      if (curves.singles) ys.push(...finite(found.val), ...finite(found.probe || []));
    }
  }
  return {y: room(curve.gap ? [...ys, 0] : ys), x: [0, xs.length ? high(xs) * 1.03 : 1]};
}

function band(found, colour) {
  return {type: 'scatter', mode: 'lines', x: [...found.e, ...[...found.e].reverse()], y: [...found.high, ...[...found.low].reverse()],
    fill: 'toself', fillcolor: faint(ink(colour), 0.2), line: {width: 0}, hoverinfo: 'skip'};
}
function single(runs, curve, part, colour, dash) {
  const x = [];
  const y = [];
  for (const run of runs) {
    const found = series(run, curve);
    if (!found || !found[part]) continue;
    x.push(...found.e, null);
    y.push(...found[part], null);
  }
  return {type: 'scatter', mode: 'lines', x, y, line: {width: 1, color: ink(colour), dash}, opacity: 0.75, hoverinfo: 'skip', connectgaps: false};
}
function line(found, curve, name, colour, dash) {
  const many = found.n > 1;
  return {type: 'scatter', mode: found.e.length <= 60 ? 'lines+markers' : 'lines', x: found.e, y: found.mean, connectgaps: false,
    line: {color: ink(colour), width: 2.2, dash}, marker: {size: 4.5, symbol: dash === 'solid' ? 'circle' : 'diamond'},
    text: found.mean.map((value, i) => `${name} ${free(value)}${many ? ` (${free(found.low[i])} to ${free(found.high[i])}, ${counted(found.n, 'seed')})` : ''}`),
    hovertemplate: '%{text}<extra></extra>'};
}

function onePanel(runs, place, curve, range) {
  const val = summaryOf(runs, curve, 'val');
  const probe = curve.probe ? summaryOf(runs, curve, 'probe') : null;
  const data = [];
  const isSingle = curves.singles || !val;
  if (val && probe) data.push({type: 'scatter', mode: 'lines', x: [...val.e, ...[...probe.e].reverse()],
    y: [...val.mean, ...[...probe.mean].reverse()], fill: 'toself', fillcolor: faint(ink('muted'), 0.09), line: {width: 0}, hoverinfo: 'skip'});
  for (const [found, colour] of [[val, 'val'], [probe, 'probe']]) if (found && found.n > 1) data.push(band(found, colour));
  if (isSingle) {
    data.push(single(runs, curve, 'val', 'val', 'solid'));
    if (curve.probe) data.push(single(runs, curve, 'probe', 'probe', 'dot'));
  }
  if (val) data.push(line(val, curve, curve.gap ? 'gap' : 'val', 'val', 'solid'));
  if (probe) data.push(line(probe, curve, 'probe', 'probe', 'dash'));
  const marks = runs.map((run) => {
    const best = valueOf(run, 'best_epoch');
    const found = series(run, curve);
    const at = found && best !== null ? found.e.indexOf(best) : -1;
    return at < 0 || found.val[at] === null ? null : {x: best, y: found.val[at], onset: valueOf(run, 'onset_epoch') !== null, seed: run.seed};
  }).filter((mark) => mark);
  data.push({type: 'scatter', mode: 'markers', x: marks.map((m) => m.x), y: marks.map((m) => m.y), hovertemplate: '%{text}<extra></extra>',
    text: marks.map((m) => `seed ${m.seed}: ${m.onset ? 'onset and ' : ''}best epoch ${m.x}`),
    marker: {size: 10, symbol: marks.map((m) => (m.onset ? 'triangle-down' : 'circle-open')), color: ink('ink'), line: {width: 1.5, color: ink('ink')}}});
  const onsets = marks.filter((m) => m.onset).map((m) => m.x);
  const shapes = onsets.length * 2 > marks.length ? [{type: 'rect', x0: median(onsets), x1: range.x[1], yref: 'paper', y0: 0, y1: 1, layer: 'below',
    fillcolor: faint(ink('hurts'), 0.07), line: {width: 0}}, {type: 'line', x0: median(onsets), x1: median(onsets), yref: 'paper', y0: 0, y1: 1,
    line: {color: ink('hurts'), width: 1.2, dash: 'dash'}}] : [];
  if (curve.gap) shapes.push({type: 'line', xref: 'paper', x0: 0, x1: 1, y0: 0, y1: 0, line: {color: ink('strong'), width: 1}});
  return {data, layout: layout({shapes, hovermode: 'x', margin: {l: 44, r: 8, t: 6, b: 34},
    xaxis: axis({range: range.x, title: {text: 'epoch', standoff: 2}, hoverformat: 'd'}), yaxis: axis({range: range.y})})};
}
function summaryOf(runs, curve, part) {
  return runs.length === 1 && runs[0].status !== 'complete' ? null : runs.length ? summaryOfRuns(runs, curve, part) : null;
}
const summaryOfRuns = (runs, curve, part) => (runs.length === 1 ? lone(runs[0], curve, part) : summary(runs[0].v, curve, part));
function lone(run, curve, part) {
  const found = series(run, curve);
  if (!found || !found[part]) return null;
  return {e: found.e, mean: found[part], low: found[part], high: found[part], n: 1};
}

function allInOne(places, curve) {
  const data = places.flatMap((place) => {
    const found = summary(place, curve, 'val');
    const {colour, dash, mark} = look(place);
    const name = D.variants[place].name;
    const lines = curves.singles ? [{...single(runsOf(place), curve, 'val', 'val', dash), line: {width: 1, color: colour, dash}, opacity: 0.5}] : [];
    if (!found) return lines;
    return [...lines, {type: 'scatter', mode: 'lines+markers', x: found.e, y: found.mean, line: {color: colour, dash, width: 2},
      marker: {symbol: mark, size: 7, color: colour, maxdisplayed: 16}, connectgaps: false,
      text: found.mean.map((value) => `${plain(short(name))} ${free(value)}`), hovertemplate: 'epoch %{x}: %{text}<extra></extra>'}];
  });
  const range = sharedRange(places, {...curve, probe: null});
  return {data, layout: layout({margin: {l: 52, r: 8, t: 8, b: 40}, xaxis: axis({range: range.x, title: {text: 'epoch'}}),
    yaxis: axis({title: {text: `${curve.gap ? '' : 'val '}${curveLabel(curve)}`}})})};
}
