// The table of runs: sorted, filtered, downloaded.
const runsTable = {sort: null, down: true, text: '', status: '', chosenOnly: false, rows: []};

function setUpTable() {
  const node = byId('runs-table');
  if (!node) return;
  const factors = D.factors.filter((name) => name !== 'variant');
  const columns = [
    {key: 'variant', label: 'variant', name: true, of: (run) => D.variants[run.v].name},
    ...factors.map((name) => ({key: `level.${name}`, label: name, name: true, of: (run) => D.variants[run.v].levels[name] ?? ''})),
    {key: 'seed', label: 'seed', number: true, of: (run) => run.seed},
    {key: 'status', label: 'status', of: (run) => run.status},
    {key: 'verdict', label: 'verdict', of: (run) => run.verdict},
    ...D.columns.map((column, i) => ({key: column.source, label: column.label, number: true, of: (run) => run.x[i]})),
    {key: 'reason', label: 'reason', name: true, of: (run) => run.reason},
  ].filter((column) => ['variant', 'seed', 'status'].includes(column.key) || D.runs.some((run) => ![null, ''].includes(column.of(run))));
  const cell = (run, column) => {
    const value = column.of(run);
    if (column.number) return el('td', {class: 'n', text: free(value)});
    if (column.key === 'verdict' || (column.key === 'status' && value !== 'complete')) return el('td', {}, value ? chip(value) : null);
    return el('td', {class: column.key === 'variant' ? 'name' : 'wrap', text: value});
  };
  const head = el('tr', {}, el('th', {scope: 'col'}, el('span', {class: 'muted', text: 'sheet'})), ...columns.map((column, i) => el('th', {
    scope: 'col', class: column.number ? 'n' : null}, el('button', {type: 'button', text: column.label, onclick: () => sortBy(i)}))));
  const body = el('tbody');
  runsTable.rows = D.runs.map((run) => ({run, words: [D.variants[run.v].name, ...Object.values(D.variants[run.v].levels), `seed ${run.seed}`, run.status, run.verdict, run.reason].join(' ').toLowerCase(),
    node: el('tr', {}, el('td', {}, el('button', {type: 'button', text: 'open', 'aria-label': `Open ${D.variants[run.v].name}, seed ${run.seed}`, onclick: () => showRun(run)})),
      ...columns.map((column) => cell(run, column)))}));
  replace(node, el('thead', {}, head), body);
  const place = () => body.append(...runsTable.rows.map((row) => row.node));
  place();

  function sortBy(i) {
    runsTable.down = runsTable.sort === i ? !runsTable.down : Boolean(columns[i].number);
    runsTable.sort = i;
    const sign = runsTable.down ? -1 : 1;
    const isEmpty = (value) => value === null || value === '' || value === undefined;
    runsTable.rows.sort((a, b) => {
      const [left, right] = [columns[i].of(a.run), columns[i].of(b.run)];
      if (isEmpty(left) || isEmpty(right)) return isEmpty(left) - isEmpty(right);
      return sign * (columns[i].number ? left - right : String(left).localeCompare(String(right), undefined, {numeric: true}));
    });
    head.querySelectorAll('th').forEach((th, j) => {
      if (j === i + 1) th.setAttribute('aria-sort', runsTable.down ? 'descending' : 'ascending');
      else th.removeAttribute('aria-sort');
    });
    place();
  }
  function filter() {
    const words = runsTable.text.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of runsTable.rows) {
      const fits = words.every((word) => row.words.includes(word)) && (!runsTable.status || row.run.status === runsTable.status)
        && (!runsTable.chosenOnly || state.chosen.has(row.run.v));
      row.node.hidden = !fits;
      shown += fits;
    }
    byId('runs-caption').textContent = `${shown === D.runs.length ? counted(shown, 'run') : `${shown} of ${counted(D.runs.length, 'run')}`}. A heading sorts; “open” shows the run.`;
  }
  const statuses = [...new Set(D.runs.map((run) => run.status))];
  replace(byId('runs-controls'),
    el('label', {}, el('span', {text: 'Filter'}), el('input', {type: 'search', placeholder: 'words', 'aria-label': 'Filter the runs', size: 12, oninput: (event) => { runsTable.text = event.target.value; filter(); }})),
    statuses.length > 1 ? select('Status', [['', 'all'], ...statuses.map((s) => [s, s])], '', (v) => { runsTable.status = v; filter(); }) : null,
    D.variants.length > 1 ? check('chosen variants only', false, (v) => { runsTable.chosenOnly = v; filter(); }) : null,
    el('button', {type: 'button', class: 'quiet', id: 'runs-csv', text: 'CSV of these runs', onclick: () => {
      const shown = runsTable.rows.filter((row) => !row.node.hidden).map((row) => row.run);
      download(fileName('runs.csv'), 'text/csv', csv([columns.map((column) => column.key), ...shown.map((run) => columns.map((column) => column.of(run)))]));
    }}));
  state.listeners.push(filter);
  filter();
}
