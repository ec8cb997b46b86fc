// Values under the pointer, in all charts of a group at once; without this script each shows its last value.
"use strict";
for (const group of document.querySelectorAll("[data-charts]")) {
  const charts = [...group.querySelectorAll("[data-chart]")].map((chart) => ({
    svg: chart.querySelector("svg"),
    cursor: chart.querySelector(".cursor"),
    outputs: [...chart.querySelectorAll("output")],
    ...JSON.parse(chart.dataset.chart),
  }));
  const at = group.querySelector(".at");
  const last = charts.map((chart) => chart.outputs.map((output) => output.textContent));
  const nearest = (values, x) => values.reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a));
  const show = (chart, share) => {
    const [step] = nearest(chart.series.flat(), share * chart.end);
    at.textContent = at.dataset.at + " " + step.toLocaleString("en");
    for (const other of charts) {
      const x = String((step / other.end) * 1000);
      other.cursor.setAttribute("x1", x);
      other.cursor.setAttribute("x2", x);
      other.outputs.forEach((output, index) => {
        const [x, text] = nearest(other.series[index], step);
        output.textContent = Math.abs(x - step) <= other.end / 50 ? text : "\u2013";
      });
    }
    group.classList.add("pointed");
    return step;
  };
  const leave = () => {
    group.classList.remove("pointed");
    at.textContent = at.dataset.last;
    charts.forEach((chart, index) => chart.outputs.forEach((output, place) => {
      output.textContent = last[index][place];
    }));
  };
  for (const chart of charts) {
    const share = (event) => {
      const box = chart.svg.getBoundingClientRect();
      return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    };
    chart.svg.addEventListener("pointermove", (event) => show(chart, share(event)));
    chart.svg.addEventListener("pointerdown", (event) => show(chart, share(event)));
    chart.svg.addEventListener("pointerleave", leave);
  }
}
// Search and order of the parts of a group; without this script all are shown in their own order.
for (const group of document.querySelectorAll("[data-find]")) {
  const bar = group.querySelector(".find");
  const [input, select, said] = bar.children;
  const parts = [...group.querySelectorAll("details")];
  const texts = parts.map((part) => part.textContent.toLowerCase());
  const find = () => {
    const wanted = input.value.toLowerCase();
    parts.forEach((part, index) => { part.hidden = !texts[index].includes(wanted); });
    said.textContent = parts.filter((part) => !part.hidden).length + " / " + parts.length;
  };
  const sort = () => {
    const key = select.value;
    group.append(...(key ? [...parts].sort((a, b) => b.dataset[key] - a.dataset[key]) : parts));
  };
  input.addEventListener("input", find);
  select.addEventListener("change", sort);
  sort();  // a page that is shown again keeps what was chosen
  find();
  bar.hidden = false;
}
// What is folded up is printed, too.
const folded = [];
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details:not([open])")) { part.open = true; folded.push(part); }
});
addEventListener("afterprint", () => { for (const part of folded.splice(0)) part.open = false; });
