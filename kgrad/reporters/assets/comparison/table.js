// Tables that sort by a click on a column's head, and the filters of the table of runs.

// What a cell is worth: the number it begins with, or its text.
function worth(cell) {
  const text = cell.textContent.trim();
  const number = Number.parseFloat(text.replace(/^< /, ""));
  return { text, number: Number.isNaN(number) ? null : number };
}

// What has no number stays below those that have one, whichever way the column is sorted.
function compareCells(left, right, direction) {
  if ((left.number === null) !== (right.number === null)) return left.number === null ? 1 : -1;
  if (left.number !== null && left.number !== right.number) return direction * (left.number - right.number);
  return direction * left.text.localeCompare(right.text, undefined, { numeric: true });
}

function sortBy(table, column) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const upward = heads[column].getAttribute("aria-sort") !== "ascending";
  heads.forEach((head, place) => (place === column ? head.setAttribute("aria-sort", upward ? "ascending" : "descending") : head.removeAttribute("aria-sort")));
  const rows = [...body.rows].map((row) => ({ row, value: worth(row.cells[Math.min(column, row.cells.length - 1)]) }));
  rows.sort((a, b) => compareCells(a.value, b.value, upward ? 1 : -1));
  body.append(...rows.map(({ row }) => row));
}

function offerSorting() {
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      if (head.hasAttribute("data-fixed")) return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sortBy(table, column));
      head.append(button);
    });
  }
}

function offerFilters(data, state) {
  const rows = [...document.getElementById("run-table").tBodies[0].rows];
  const filter = document.getElementById("filter"), health = document.getElementById("health"), count = document.getElementById("count");
  let texts = null;
  const apply = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length && !health.value) return state.change({ filtered: null });
    texts ??= rows.map((row) => row.textContent.toLowerCase());
    const passes = (run) => words.every((word) => texts[run].includes(word)) && (!health.value || rows[run].dataset.tone === health.value);
    state.change({ filtered: new Set(rows.keys().filter(passes)) });
  };
  let waiting = 0;
  filter.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(apply, 120);
  });
  health.addEventListener("change", apply);
  rows.forEach((row, run) => row.cells[0].firstElementChild.addEventListener("change", () => state.toggle(run)));

  const tell = () => {
    const visible = new Set(state.visible);
    rows.forEach((row, run) => {
      if (row.hidden === visible.has(run)) row.hidden = !row.hidden;
    });
    count.textContent = visible.size === rows.length ? `${rows.length} runs` : `${visible.size} of ${rows.length} runs`;
  };
  const tellPicked = () => rows.forEach((row, run) => {
    const picked = state.picked.includes(run);
    row.classList.toggle("picked", picked);
    row.cells[0].firstElementChild.checked = picked;
  });
  state.listen((changed) => {
    if (changed.has("filtered") || changed.has("brushed")) tell();
    if (changed.has("picked")) tellPicked();
  });
  tell();
  tellPicked();
}
