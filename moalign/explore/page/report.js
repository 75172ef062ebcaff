"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const picker = document.getElementById("point");

// texts come from models and data: they are set as text, never as markup
function element(tag, text, parent) {
  const node = document.createElement(tag);
  node.textContent = text;
  if (parent) parent.appendChild(node);
  return node;
}

function pairs(values, parent) {
  for (const [name, value] of Object.entries(values)) {
    const item = element("span", name + " ", parent);
    element("b", value, item);
  }
}

function choose(key) {
  const point = data.points[key];
  if (!point) return;
  picker.value = key;
  for (const button of document.querySelectorAll("button[data-point]"))
    button.closest("tr").classList.toggle("chosen", button.dataset.point === key);
  const place = document.getElementById("chosen");
  place.replaceChildren();
  const facts = element("div", "", place);
  facts.className = "facts";
  pairs(point.values, facts);
  const wish = Object.entries(point.preference).map(([name, share]) => name + " " + share).join(", ");
  if (wish) pairs({ preference: wish }, facts);
  if (!point.samples.length) element("p", "No completions were kept for this point.", place);
  for (const sample of point.samples) {
    const box = element("div", "", place);
    box.className = "sample";
    const texts = element("div", "", box);
    element("pre", sample.prompt, texts);
    element("pre", sample.completion || "(empty)", texts);
    pairs(sample.rewards, element("p", "", box));
  }
}

for (const [name, chart] of Object.entries(data.charts)) {
  const place = document.getElementById("chart-" + name);
  const options = { responsive: true, displaylogo: false, displayModeBar: "hover", modeBarButtonsToRemove: ["lasso2d", "select2d"] };
  Plotly.newPlot(place, chart.data, chart.layout, options);
  place.on("plotly_click", (event) => choose([event.points[0].customdata].flat()[0]));
}
picker.addEventListener("change", () => choose(picker.value));
for (const button of document.querySelectorAll("button[data-point]"))
  button.addEventListener("click", () => {
    choose(button.dataset.point);
    document.getElementById("samples").scrollIntoView({ behavior: "smooth" });
  });
if (picker.options.length) choose(picker.options[0].value);
