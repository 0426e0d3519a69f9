// The layers of two runs side by side, by their place from the input, where their median gradient norms differ.
function layersApart(data, first, second) {
  const [left, right] = [first, second].map((run) => ({ names: data.layers[data.curves[run].layers], norms: data.curves[run].profile }));
  const shown = (side, place) => (place >= side.norms.length ? "no such layer" : side.norms[place] === null ? "not finite" : short(side.norms[place]));
  const rows = [];
  for (let place = 0; place < Math.max(left.norms.length, right.norms.length); place += 1) {
    const names = new Set([left, right].filter((side) => place < side.norms.length).map((side) => side.names[place]));
    if (left.norms[place] !== right.norms[place]) rows.push([[...names].join(" / "), shown(left, place), shown(right, place)]);
  }
  return rows;
}

// Everything in which the two picked runs differ.
function offerDifference(data, state) {
  const selects = [document.getElementById("first"), document.getElementById("second")], table = document.getElementById("two");
  selects.forEach((select, place) => {
    select.add(new Option("pick a run", ""));
    data.runs.forEach((run, number) => select.add(new Option(run.name, String(number))));
    select.addEventListener("change", () => {
      const picked = [...state.picked];
      picked[place] = select.value === "" ? undefined : Number(select.value);
      state.change({ picked: picked.filter((run) => run !== undefined) });
    });
  });

  const cell = (kind, text) => Object.assign(document.createElement(kind), { textContent: text });
  const line = (kind, texts) => {
    const row = document.createElement("tr");
    row.append(...texts.map((text, place) => {
      const made = cell(place ? kind : "th", text);
      if (made.tagName === "TH") made.scope = kind === "th" ? "col" : "row";
      return made;
    }));
    return row;
  };
  const tell = () => {
    selects.forEach((select, place) => (select.value = String(state.picked[place] ?? "")));
    table.replaceChildren();
    const [first, second] = state.picked;
    if (second === undefined) return table.append(cell("caption", "Pick two runs, here, in the table or by a click on a curve."));
    const head = document.createElement("thead"), body = document.createElement("tbody");
    head.append(line("th", ["what differs", data.runs[first].name, data.runs[second].name]));
    const differ = data.fields.filter((field) => field.index[first] !== field.index[second]);
    let section = "";
    const begin = (name) => {
      const row = document.createElement("tr"), title = cell("th", name);
      title.colSpan = 3;
      title.scope = "rowgroup";
      title.className = "soft";
      row.append(title);
      body.append(row);
    };
    for (const field of differ) {
      if (field.section !== section) begin((section = field.section));
      body.append(line("td", [field.name, field.values[field.index[first]], field.values[field.index[second]]]));
    }
    const layers = layersApart(data, first, second);
    if (layers.length) begin("median gradient norm, layer by layer from the input");
    body.append(...layers.map((texts) => line("td", texts)));
    if (!differ.length && !layers.length) body.append(line("td", ["", "nothing differs", "nothing differs"]));
    table.append(head, body);
  };
  state.listen((changed) => changed.has("picked") && tell());
  tell();
}
