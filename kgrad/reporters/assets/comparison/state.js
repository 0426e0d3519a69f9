// What is shown: the runs that pass the filters, the two that are picked, the setting that colours them.
function makeState(data) {
  const listeners = [];
  const everyRun = data.runs.map((_, run) => run);
  const state = {
    colour: "diagnosis",
    picked: data.runs.length === 2 ? [0, 1] : [],
    filtered: null,
    brushed: null,
    get visible() {
      return everyRun.filter((run) => (state.filtered === null || state.filtered.has(run)) && (state.brushed === null || state.brushed.has(run)));
    },
    listen: (act) => listeners.push(act),
    change(parts) {
      Object.assign(state, parts);
      for (const act of listeners) act(new Set(Object.keys(parts)));
    },
    // Picks a run, or lets it go; a third takes the place of the second.
    toggle(run) {
      const kept = state.picked.filter((each) => each !== run);
      state.change({ picked: kept.length < state.picked.length ? kept : [...state.picked.slice(0, 1), run] });
    },
  };
  return state;
}
