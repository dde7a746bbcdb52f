// Confusions, accuracy by class, the gallery of the worst images, suspected labels.
const errors = {variant: '', difference: false, order: 'class'};
const MOST_NUMBERS = 15;

function setUpErrors() {
  if (!byId('errors')) return;
  const names = Object.keys(D.mistakes);
  const ranked = [...names].sort((a, b) => (benefit(D.place.get(b)) ?? -Infinity) - (benefit(D.place.get(a)) ?? -Infinity));
  errors.variant = ranked[0];
  const several = D.mistakes[errors.variant].several;
  const matrix = figure(byId('confusion'), 'Confusion matrix; the table below lists the most frequent confusions', confusion);
  const classes = figure(byId('classes'), 'Accuracy of each class', byClass);
  const controls = () => {
    replace(byId('errors-controls'),
      names.length > 1 ? select('Variant', names.map((n) => [n, n]), errors.variant, (v) => { errors.variant = v; again(); }) : null,
      base() && !several ? check('difference to the baseline', errors.difference, (v) => { errors.difference = v; again(); }) : null,
      select('Classes', [['class', 'as they are'], ['worst', 'worst first']], errors.order, (v) => { errors.order = v; again(); }));
  };
  const again = () => { controls(); refresh(matrix); refresh(classes); words(); };
  if (several) {
    byId('confusion').parentElement.remove();
    byId('classes-h').textContent = 'F1 by label';
  }
  controls();
  words();
  suspects();
}

// Counts of a variant as rows; stored by place where most are zero.
function rowsOfCounts(found) {
  const width = found.several ? 4 : found.classes.length;
  const flat = found.counts || new Array(found.classes.length * width).fill(0);
  if (!found.counts) found.places.forEach((place, i) => { flat[place] = found.values[i]; });
  return found.classes.map((_, i) => flat.slice(i * width, (i + 1) * width));
}
const total = (row) => row.reduce((sum, value) => sum + value, 0);
const shares = (rows) => rows.map((row) => row.map((value) => (total(row) ? value / total(row) : null)));
// The baseline, if it is another variant with the same classes.
function base() {
  const found = D.mistakes[D.variants[0].name];
  const own = D.mistakes[errors.variant];
  return found && found !== own && found.classes.join('\n') === own.classes.join('\n') ? found : null;
}
function orderOf(values) {
  const places = values.map((_, i) => i);
  return errors.order === 'class' ? places : places.sort((a, b) => (values[a] ?? 2) - (values[b] ?? 2));
}

function confusion() {
  const own = D.mistakes[errors.variant];
  const counts = rowsOfCounts(own);
  const mine = shares(counts);
  const other = errors.difference && base() ? shares(rowsOfCounts(base())) : null;
  const order = orderOf(mine.map((row, i) => row[i]));
  const pick = (rows) => order.map((i) => order.map((j) => rows[i][j]));
  const z = pick(other ? mine.map((row, i) => row.map((v, j) => (v === null || other[i][j] === null ? null : v - other[i][j]))) : mine);
  const names = order.map((i) => own.classes[i]);
  const few = names.length <= MOST_NUMBERS && !narrow();
  const bound = other ? Math.max(0.02, high(finite(z.flat()).map(Math.abs))) : 1;
  const picked = pick(counts);
  const text = z.map((row, i) => row.map((value, j) => `true: ${plain(short(names[i], 50))}<br>answer: ${plain(short(names[j], 50))}<br>`
    + (value === null ? 'no images' : other ? `${num(value * 100, 1, true)} points to the baseline` : `${num(value * 100, 1)} % of the class`)
    + `<br>${picked[i][j]} of ${total(picked[i])} answers over ${counted(own.runs, 'run')}`));
  const cells = few ? z.map((row) => row.map((v) => (v === null || Math.abs(v) < 0.005 ? '' : num(v * 100, 0, Boolean(other))))) : null;
  const page = ink('page');
  const ticks = names.map((name) => plain(short(name, narrow() ? 10 : 18)));
  const size = names.length;
  const labelled = size <= 40;
  const marks = {tickmode: 'array', tickvals: names.map((_, i) => i), ticktext: ticks, showticklabels: labelled, ticks: '', showgrid: false,
    tickfont: {size: size > 20 ? 9 : 11}, fixedrange: touch};
  const annotations = few ? cells.flatMap((row, i) => row.map((word, j) => (word ? {x: j, y: i, text: word, showarrow: false,
    font: {size: 10.5, color: Math.abs(z[i][j]) / bound > 0.5 ? page : ink('ink')}} : null))).filter(Boolean) : [];
  return {height: 460, data: [{type: 'heatmap', z, text, hovertemplate: '%{text}<extra></extra>', zmin: other ? -bound : 0, zmax: bound,
    colorscale: other ? [[0, ink('minus')], [0.5, page], [1, ink('plus')]] : [[0, page], [1, ink('heat')]], xgap: size > 40 ? 0 : 1, ygap: size > 40 ? 0 : 1,
    colorbar: {thickness: 10, outlinewidth: 0, tickformat: other ? '+.0%' : '.0%', len: 0.9}}],
  layout: layout({annotations, margin: {l: 60, r: 10, t: 10, b: 60}, xaxis: axis({...marks, tickangle: -45, title: {text: 'answer'}}),
    yaxis: axis({...marks, autorange: 'reversed', title: {text: 'true class'}})})};
}

// Of one label recall; of several labels F1.
function scoreOf(row, place, several) {
  if (!several) return total(row) ? row[place] / total(row) : null;
  const [hit, false_yes, missed] = row;
  return 2 * hit + false_yes + missed ? (2 * hit) / (2 * hit + false_yes + missed) : null;
}
function byClass() {
  const own = D.mistakes[errors.variant];
  const mine = rowsOfCounts(own).map((row, i) => scoreOf(row, i, own.several));
  const other = base() ? rowsOfCounts(base()).map((row, i) => scoreOf(row, i, own.several)) : null;
  const order = orderOf(mine);
  const y = order.map((_, i) => i);
  const names = order.map((i) => own.classes[i]);
  const points = (values, name, marker) => ({type: 'scatter', mode: 'markers', name, x: order.map((i) => values[i]), y, marker,
    text: order.map((i) => `${plain(short(own.classes[i], 60))}: ${plain(short(name, 40))} ${free(values[i])}`), hovertemplate: '%{text}<extra></extra>'});
  const data = [];
  if (other) {
    data.push({type: 'scatter', mode: 'lines', hoverinfo: 'skip', showlegend: false, line: {color: ink('strong'), width: 1.5},
      x: order.flatMap((i) => [other[i], mine[i], null]), y: y.flatMap((i) => [i, i, null])});
    data.push(points(other, plain(short(D.variants[0].name, 24)), {size: 9, symbol: 'circle-open', color: ink('ink'), line: {width: 1.5}}));
  }
  data.push(points(mine, plain(short(errors.variant, 24)), {size: 9, symbol: 'diamond', color: ink('val')}));
  const known = finite([...mine, ...(other || [])]);
  return {height: Math.max(440, names.length * 20 + 90), data, layout: layout({showlegend: true, margin: {l: 60, r: 12, t: 34, b: 42},
    legend: {orientation: 'h', y: 1, yanchor: 'bottom', x: 0, itemclick: false, itemdoubleclick: false},
    xaxis: axis({range: [Math.max(-0.02, (known.length ? low(known) : 0) - 0.06), 1.02], title: {text: own.several ? 'F1' : 'share answered right'}}),
    yaxis: axis({range: [names.length - 0.4, -0.6], tickmode: 'array', tickvals: y, ticktext: names.map((n) => plain(short(n, 24))), ticks: ''})})};
}

function words() {
  const own = D.mistakes[errors.variant];
  byId('errors-caption').textContent = `Val answers of “${errors.variant}” with the deployed weights, added up over ${counted(own.runs, 'run')}.`
    + (own.several ? ' A label counts as given above a probability of 0.5.' : ' Rows of the matrix add up to 100 %.');
  const box = byId('top-confusions');
  if (own.several) replace(box, labelTable(own));
  else replace(box, confusionTable(own));
  const items = D.gallery[errors.variant] || [];
  byId('gallery-h').hidden = !items.length;
  byId('gallery-caption').textContent = items.length ? `Of “${errors.variant}”: images that most runs get wrong, the most confident mistakes first, among those of which a picture was kept.` : '';
  replace(byId('gallery'), ...items.map((item) => el('li', {},
    el('img', {src: D.pictures[item.picture], alt: `val image ${item.id}`, title: item.id}),
    el('div', {}, 'true: ', el('b', {text: item.label})), el('div', {}, 'answer: ', el('b', {text: item.predicted}), ` (${num(item.confidence, 2)})`),
    el('div', {class: 'muted', text: `wrong in ${item.wrong} of ${counted(item.runs, 'run')}`}))));
}

function table(caption, header, rows) {
  return el('div', {class: 'scroll'}, el('table', {}, el('caption', {text: caption}),
    el('thead', {}, el('tr', {}, ...header.map(([text, isNumber]) => el('th', {scope: 'col', class: isNumber ? 'n' : null, text})))),
    el('tbody', {}, ...rows.map((row) => el('tr', {}, ...row.map((cell, i) => el('td', {class: header[i][1] ? 'n' : 'name', text: cell})))))));
}
function confusionTable(own) {
  const mine = shares(rowsOfCounts(own));
  const other = base() ? shares(rowsOfCounts(base())) : null;
  const pairs = mine.flatMap((row, i) => row.map((value, j) => ({i, j, value}))).filter((p) => p.i !== p.j && p.value)
    .sort((a, b) => b.value - a.value).slice(0, 10);
  if (!pairs.length) return null;
  const header = [['true class'], ['answer'], ['share of the class', true], ...(other ? [['baseline', true], ['difference', true]] : [])];
  return table('Most frequent confusions', header, pairs.map(({i, j, value}) => [own.classes[i], own.classes[j], `${num(value * 100, 1)} %`,
    ...(other ? [`${num(other[i][j] * 100, 1)} %`, num((value - other[i][j]) * 100, 1, true)] : [])]));
}
function labelTable(own) {
  const other = base() ? rowsOfCounts(base()) : null;
  const ratio = (a, b) => (b ? num(a / b, 3) : '');
  const header = [['label'], ['images with it', true], ['precision', true], ['recall', true], ['F1', true], ...(other ? [['F1 of the baseline', true]] : [])];
  return table('By label', header, rowsOfCounts(own).map(([hit, extra, missed], i) => [own.classes[i], num((hit + missed) / own.runs, 0),
    ratio(hit, hit + extra), ratio(hit, hit + missed), ratio(2 * hit, 2 * hit + extra + missed), ...(other ? [num(scoreOf(other[i], i, true), 3)] : [])]));
}
function suspects() {
  if (!D.suspects.length) return;
  replace(byId('suspects'), el('details', {}, el('summary', {text: `Training images with suspected wrong labels (${D.suspects.length}${D.suspects.length === 200 ? ' or more' : ''})`}),
    el('p', {class: 'caption', text: 'Where networks confidently disagree with the label at their best epoch, those that most runs suspect first. A list to look at, not a verdict.'}),
    el('div', {class: 'scroll high'}, table('', [['image'], ['given label'], ['suggested'], ['suspected in', true]],
      D.suspects.map((s) => [s.id, s.given, s.suggested, `${s.runs} of ${s.of} runs`])).firstChild)));
}
