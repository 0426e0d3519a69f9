// What the reader looks at, shared by all charts: a layer, a column (bin of steps) and a span of steps.
function makeState(whole, layer) {
  const state = { layer, shown: layer, column: null, span: whole, whole };
  const listeners = [];
  let changed = new Set(), waiting = false;

  function tell() {
    const what = changed;
    changed = new Set();
    waiting = false;
    for (const listener of listeners) listener(what);
  }

  // Changes are gathered, and drawn once per frame.
  state.change = (part) => {
    for (const [name, value] of Object.entries(part)) {
      if (state[name] === value) continue;
      state[name] = value;
      changed.add(name);
    }
    if (changed.size && !waiting) {
      waiting = true;
      requestAnimationFrame(tell);
    }
  };
  state.listen = (listener) => listeners.push(listener);
  state.choose = (chosen) => state.change({ layer: chosen, shown: chosen });
  state.zoom = (first, last) => {
    const [least, most] = whole;
    const ends = [Math.max(least, Math.min(first, last)), Math.min(most, Math.max(first, last))];
    const fits = ends.every(Number.isFinite) && ends[0] <= ends[1];
    state.change({ span: fits && (ends[0] > least || ends[1] < most) ? ends.map(Math.round) : whole });
  };
  return state;
}
