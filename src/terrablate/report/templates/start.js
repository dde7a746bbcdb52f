// Colours, the choice of variants, the navigation, printing, watching; then every part is set up.
function setUpTheme() {
  const button = byId('theme');
  const say = () => { button.textContent = isDark() ? 'Light' : 'Dark'; };
  const again = () => { say(); themed.forEach((listener) => listener()); refreshAll(); };
  button.addEventListener('click', () => {
    root.dataset.theme = isDark() ? 'light' : 'dark';
    again();
  });
  window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', again);
  say();
  window.addEventListener('beforeprint', () => {
    printing = true;
    const before = root.dataset.theme;
    root.dataset.theme = 'light';
    const folds = [...document.querySelectorAll('main details:not([open])')];
    folds.forEach((fold) => { fold.open = true; });
    themed.forEach((listener) => listener());
    figures.forEach(draw);
    window.addEventListener('afterprint', () => {
      printing = false;
      if (before) root.dataset.theme = before;
      else delete root.dataset.theme;
      folds.forEach((fold) => { fold.open = false; });
      again();
    }, {once: true});
  });
}

function setUpChooser() {
  const box = byId('chooser');
  if (D.variants.length < 2) return;
  const [button, panel] = [box.querySelector('button'), byId('choice')];
  box.hidden = false;
  const say = () => { button.textContent = `Variants ${state.chosen.size}/${D.variants.length}`; };
  const list = el('ul');
  const boxes = D.variants.map((variant, place) => {
    const input = el('input', {type: 'checkbox', onchange: () => {
      const next = new Set(state.chosen);
      if (input.checked) next.add(place);
      else next.delete(place);
      choose(next);
    }});
    list.append(el('li', {'data-name': variant.name.toLowerCase()}, el('label', {}, input, el('span', {text: `${variant.name}${place ? '' : ' (baseline)'}`}))));
    return input;
  });
  const tick = () => { boxes.forEach((input, place) => { input.checked = state.chosen.has(place); }); say(); };
  const told = D.variants.map((_, place) => place).filter((place) => D.effects.some((e) => e.kind === 'comparison' && e.role === 'primary'
    && e.name === D.variants[place].name && ['helps', 'hurts'].includes(e.verdict)));
  const quick = (text, places) => el('button', {type: 'button', class: 'quiet', text, onclick: () => choose(places)});
  replace(panel, el('input', {type: 'search', placeholder: 'find a variant', 'aria-label': 'Find a variant', oninput: (event) => {
    for (const item of list.children) item.hidden = !item.dataset.name.includes(event.target.value.toLowerCase());
  }}), el('div', {class: 'controls'}, quick('all', [...D.variants.keys()]), quick('none', []), quick('baseline only', [0]), told.length ? quick('those with a verdict', [0, ...told]) : null), list);
  const open = (shown) => { panel.hidden = !shown; button.setAttribute('aria-expanded', String(shown)); };
  button.addEventListener('click', () => open(panel.hidden));
  document.addEventListener('click', (event) => { if (!box.contains(event.target)) open(false); });
  document.addEventListener('keydown', (event) => { if (event.key === 'Escape') open(false); });
  state.listeners.push(tick);
  tick();
}

function setUpNavigation() {
  const links = [...document.querySelectorAll('.links a')];
  const byAnchor = new Map(links.map((link) => [link.getAttribute('href').slice(1), link]));
  let asked = false;
  const mark = () => {
    asked = false;
    const passed = [...byAnchor.keys()].filter((anchor) => byId(anchor)?.getBoundingClientRect().top < window.innerHeight * 0.3);
    links.forEach((link) => link.removeAttribute('aria-current'));
    byAnchor.get(passed.at(-1))?.setAttribute('aria-current', 'true');
  };
  window.addEventListener('scroll', () => {
    if (!asked) requestAnimationFrame(mark);
    asked = true;
  }, {passive: true});
  mark();
  byId('run').addEventListener('click', (event) => { if (event.target === byId('run')) byId('run').close(); });
}

// While a study runs, the page reads itself anew, unless a person is busy with it.
function setUpWatching() {
  const seconds = Number(document.body.dataset.reload);
  const button = byId('pause');
  if (!seconds || !button) return;
  let paused = false;
  let busy = 0;
  button.addEventListener('click', () => {
    paused = !paused;
    button.textContent = paused ? 'Paused' : 'Live';
    button.setAttribute('aria-pressed', String(paused));
  });
  for (const kind of ['pointerdown', 'keydown', 'wheel', 'touchmove']) window.addEventListener(kind, () => { busy = Date.now(); }, {passive: true});
  setInterval(() => { if (!paused && !byId('run').open && Date.now() - busy > 20000) location.reload(); }, seconds * 1000);
}

setUpTheme();
setUpChooser();
setUpEffects();
setUpCurves();
setUpMap();
setUpErrors();
setUpCalibration();
setUpRobustness();
setUpTable();
setUpNavigation();
setUpWatching();
root.dataset.ready = 'true';
