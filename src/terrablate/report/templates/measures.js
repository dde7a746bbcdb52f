// Reliability and calibration error, and robustness under shifts.
const FEW = 10; // answers in a bin: fewer say little, and are drawn small and beside the line
const measures = {variant: '', robust: 'accuracy'};

function setUpCalibration() {
  if (!byId('calibration')) return;
  const names = Object.keys(D.mistakes);
  const baseline = D.variants[0].name;
  measures.variant = names.find((name) => name === errors.variant) || names[0];
  const made = figure(byId('reliability'), 'Reliability diagram: accuracy against confidence', reliability);
  if (names.length === 1) {
    byId('ece').parentElement.replaceWith(el('p', {text: `Expected calibration error of ${names[0]}: ${num(mean(D.mistakes[names[0]].ece), 3)}`
      + `${D.mistakes[names[0]].ece.length > 1 ? `, mean of ${counted(D.mistakes[names[0]].ece.length, 'run')}` : ''}.`}));
  }
  const errorsOf = figure(byId('ece'), 'Expected calibration error of each variant', calibrationErrors);
  const controls = () => replace(byId('calibration-controls'), names.length > 1 ? select('Variant', names.map((n) => [n, n]), measures.variant,
    (v) => { measures.variant = v; controls(); refresh(made); }) : null);
  state.listeners.push(() => refresh(errorsOf));
  controls();

  function reliability() {
    const shown = [...new Set([baseline, measures.variant])].filter((name) => D.mistakes[name]);
    const data = [{type: 'scatter', mode: 'lines', x: [0, 1], y: [0, 1], line: {color: ink('strong'), dash: 'dot', width: 1.5}, hoverinfo: 'skip', showlegend: false}];
    const every = D.mistakes[measures.variant].bins;
    const all = total(every.map((bin) => bin[2]));
    data.push({type: 'bar', name: 'share of the answers', x: every.map((_, i) => (i + 0.5) / every.length), y: every.map((bin) => bin[2] / all),
      width: 0.9 / every.length, marker: {color: faint(ink('muted'), 0.3)}, hovertemplate: '%{y:.1%} of the answers<extra></extra>', showlegend: false});
    for (const name of shown) {
      const own = D.mistakes[name];
      const bins = own.bins.filter((bin) => bin[2] >= FEW);
      const few = own.bins.filter((bin) => bin[2] > 0 && bin[2] < FEW);
      const isBase = name === baseline && shown.length > 1;
      data.push({type: 'scatter', mode: 'lines+markers', name: plain(short(name, 24)), x: bins.map((bin) => bin[0] / bin[2]), y: bins.map((bin) => bin[1] / bin[2]),
        line: {color: ink(isBase ? 'ink' : 'val'), dash: isBase ? 'dash' : 'solid', width: 2}, marker: {size: 8, symbol: isBase ? 'circle-open' : 'diamond', line: {width: 1.5}},
        text: bins.map((bin) => `${plain(short(name, 40))}: confidence ${num(bin[0] / bin[2], 2)}, right ${num(bin[1] / bin[2], 2)}, ${counted(Math.round(bin[2]), 'answer')}`),
        hovertemplate: '%{text}<extra></extra>'});
      data.push({type: 'scatter', mode: 'markers', x: few.map((bin) => bin[0] / bin[2]), y: few.map((bin) => bin[1] / bin[2]), showlegend: false,
        marker: {size: 4, color: ink(isBase ? 'ink' : 'val')}, opacity: 0.6, text: few.map((bin) => `${plain(short(name, 40))}: ${counted(Math.round(bin[2]), 'answer')} only`),
        hovertemplate: '%{text}<extra></extra>'});
    }
    return {data, height: 420, layout: layout({showlegend: true, legend: {orientation: 'h', y: 1, yanchor: 'bottom', x: 0, itemclick: false, itemdoubleclick: false},
      margin: {l: 52, r: 12, t: 34, b: 44}, xaxis: axis({range: [0, 1.02], title: {text: 'confidence'}}),
      yaxis: axis({range: [0, 1.02], title: {text: 'share that is right; bars: share of all answers'}})})};
  }

  function calibrationErrors() {
    const shown = chosen().map((place) => D.variants[place].name).filter((name) => D.mistakes[name]);
    const rows = [...shown].sort((a, b) => mean(D.mistakes[a].ece) - mean(D.mistakes[b].ece));
    const seeds = rows.flatMap((name, i) => D.mistakes[name].ece.map((value) => ({value, i})));
    return {height: Math.max(420, rows.length * 24 + 80), data: [
      {type: 'scatter', mode: 'markers', x: seeds.map((s) => s.value), y: seeds.map((s) => s.i), hoverinfo: 'skip', marker: {symbol: 'line-ns-open', size: 10, color: ink('strong'), line: {width: 1.5}}},
      {type: 'scatter', mode: 'markers', x: rows.map((name) => mean(D.mistakes[name].ece)), y: rows.map((_, i) => i), marker: {size: 10, symbol: 'diamond', color: ink('val')},
        text: rows.map((name) => `${plain(short(name, 60))}: ${num(mean(D.mistakes[name].ece), 3)}, ${counted(D.mistakes[name].ece.length, 'run')}`), hovertemplate: '%{text}<extra></extra>'}],
    layout: layout({margin: {l: 60, r: 12, t: 34, b: 44}, xaxis: axis({rangemode: 'tozero', title: {text: 'expected calibration error'}}),
      yaxis: axis({range: [rows.length - 0.4, -0.6], tickmode: 'array', tickvals: rows.map((_, i) => i), ticktext: rows.map((n) => plain(short(n, narrow() ? 14 : 24))), ticks: ''})})};
  }
}

function setUpRobustness() {
  const box = byId('robustness-panels');
  if (!box) return;
  const shifts = Object.entries(D.robustness);
  const averages = (runs, key) => (runs.length ? runs[0][key].map((_, i) => mean(finite(runs.map((run) => run[key][i])))) : []);
  const again = () => {
    replace(byId('robustness-controls'), select('Metric', [['accuracy', D.accuracyName], ['nll', 'NLL']], measures.robust, (v) => { measures.robust = v; again(); }));
    const places = chosen().filter((place) => shifts.some(([, shift]) => shift.runs[D.variants[place].name]));
    replace(byId('robustness-legend'), ...places.map((place) => el('li', {}, sample(place), el('span', {text: short(D.variants[place].name, 50)}))));
    const values = shifts.flatMap(([, shift]) => places.flatMap((place) => averages(shift.runs[D.variants[place].name] || [], measures.robust)));
    const range = room(values);
    forget([...box.querySelectorAll('.plot')]);
    replace(box, ...shifts.map(([name, shift]) => {
      const node = el('div', {class: 'plot'});
      const panel = el('div', {class: 'panel'}, el('header', {}, el('h3', {text: name.replace(/_/g, ' ')}), el('p', {text: shift.meaning || '', title: shift.meaning || ''})), node);
      figure(node, `Val ${measures.robust} under ${name}`, () => ({data: places.filter((place) => shift.runs[D.variants[place].name]).map((place) => {
        const {colour, dash, mark} = look(place);
        const y = averages(shift.runs[D.variants[place].name], measures.robust);
        return {type: 'scatter', mode: 'lines+markers', x: shift.amount, y, line: {color: colour, dash, width: 2}, marker: {symbol: mark, size: 7, color: colour},
          text: y.map((value) => `${plain(short(D.variants[place].name, 40))}: ${free(value)}`), hovertemplate: '%{text}<extra></extra>'};
      }), layout: layout({margin: {l: 44, r: 8, t: 6, b: 36}, xaxis: axis({title: {text: plain(shift.unit || ''), standoff: 2}}), yaxis: axis({range})})}));
      return panel;
    }));
  };
  state.listeners.push(again);
  themed.push(again);
  again();
}
