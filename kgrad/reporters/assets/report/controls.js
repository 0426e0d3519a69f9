// Everything outside the charts that can be clicked or typed into.
function offerCopies() {
  for (const button of document.querySelectorAll("button[data-copies]")) {
    const code = document.getElementById(button.dataset.copies);
    button.hidden = false;
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code);
        button.textContent = "Selected: press Ctrl+C";
      }
    });
  }
}

// A name in the text becomes a button that does something; without a script it stays a name.
function buttonFrom(element, act) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = element.className || "link";
  Object.assign(button.dataset, element.dataset);
  button.append(...element.childNodes);
  button.addEventListener("click", act);
  element.replaceWith(button);
}

function offerPlaces(state) {
  const show = () => document.getElementById("layers").scrollIntoView();
  for (const name of document.querySelectorAll("span[data-layer]")) {
    const inTable = name.closest("table") !== null;
    buttonFrom(name, () => {
      state.choose(Number(name.dataset.layer));
      if (!inTable) show();
    });
  }
  for (const span of document.querySelectorAll("span[data-first]")) {
    buttonFrom(span, () => {
      state.zoom(Number(span.dataset.first), Number(span.dataset.last));
      show();
    });
  }
}

function offerControls(run, state) {
  const [layer, from, to] = ["layer", "from", "to"].map((id) => document.getElementById(id));
  layer?.append(...run.data.layers.map((name, place) => new Option(`${place + 1}  ${name}`, place)));
  layer?.addEventListener("change", () => state.choose(Number(layer.value)));
  const zoom = () => {
    state.zoom(from.valueAsNumber, to.valueAsNumber);
    tellControls(run, state, new Set(["span"]));
  };
  for (const input of [from, to]) {
    [input.min, input.max] = state.whole;
    input.addEventListener("change", zoom);
  }
  const form = from.form;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    state.change({ span: state.whole });
  });
}

// Controls, heading, table and words follow the state.
function tellControls(run, state, changed) {
  if (changed.has("span")) [document.getElementById("from").value, document.getElementById("to").value] = state.span;
  if (!run.gradient) return;
  if (changed.has("layer")) document.getElementById("layer").value = state.layer;
  if (changed.has("shown")) {
    document.querySelector(".chosen:not(tr)").textContent = run.data.layers[state.shown];
    document.querySelector("tr.chosen")?.classList.remove("chosen");
    document.getElementById(`row-${state.shown}`)?.classList.add("chosen");
  }
  document.getElementById("readout").textContent = readout(run, state);
}

function readout(run, state) {
  if (state.column === null) return "";
  const at = state.shown * run.columns + state.column;
  const update = run.update ? `, update / weight ${norm(run.update.middle[at])}` : "";
  return `${run.data.layers[state.shown]}, ${run.stepsOf(state.column)}: gradient norm ${norm(run.gradient.middle[at])}${update}`;
}
