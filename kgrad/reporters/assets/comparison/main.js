// Adds sorting, filters, charts and the two-run view to a page that says everything without them.
function begin() {
  const data = JSON.parse(document.getElementById("data").textContent);
  const state = makeState(data);
  document.documentElement.classList.add("ready");
  offerSorting();
  offerFilters(data, state);
  offerColours(data, state);
  offerDifference(data, state);
  offerCharts(data, state);
  document.documentElement.dataset.drawn = String(Math.round(performance.now()));
}

begin();
