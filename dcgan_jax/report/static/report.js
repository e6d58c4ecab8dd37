const COLOURS = 6; // --line-0 to --line-5 in page.css
const TABLE_ROWS = 25; // of a curve's table: what a person may read
const FONT = getComputedStyle(document.body).fontFamily;
const data = JSON.parse(document.getElementById("data").textContent);

function lineColour(line) {
  return `line-${line.colour % COLOURS}`;
}

function swatch(name) {
  return element("span", { className: `swatch ${name}`, "aria-hidden": "true" });
}

function header() {
  const several = data.runs.length > 1;
  const runs = data.runs.map((run, i) => {
    const name = heading(several ? 2 : 1, run.name);
    if (several) name.prepend(swatch(`line-${i % COLOURS}`));
    return element("div", { className: "run" }, name, facts(run.facts));
  });
  const title = several ? heading(1, `${data.runs.length} runs`) : null;
  return element("header", {}, element("p", { className: "kind" }, "dcgan-jax report"), title, ...runs);
}

// The grids of all runs behind one slider: each run shows its newest grid up to the step.
function samples() {
  const runs = data.pictures.map((pictures, i) => ({ ...pictures, name: data.runs[i].label }));
  const steps = [...new Set(runs.flatMap((run) => run.grids.map(([step]) => step)))].sort((a, b) => a - b);
  if (!steps.length) return null;
  const several = runs.length > 1;
  const figures = runs.filter((run) => run.grids.length).map((run) => {
    const image = png(run.grids[0][1], "");
    const caption = element("figcaption");
    const show = (step) => {
      const [at, content] = run.grids.findLast(([each]) => each <= step) ?? run.grids[0];
      image.src = `data:image/png;base64,${content}`;
      image.alt = `Samples of ${run.name} at step ${integer(at)}`;
      caption.textContent = several ? `${run.name}, step ${integer(at)}` : `Samples at step ${integer(at)}`;
    };
    return { node: element("figure", {}, image, caption), show };
  });
  // Runs on the same data have the same real images.
  const reals = new Map(runs.filter((run) => run.reals).map((run) => [run.reals, run.name]));
  const real = [...reals].map(([content, name]) => {
    const text = reals.size > 1 ? `Real images of ${name}` : "Real images";
    return element("figure", {}, png(content, text), element("figcaption", {}, text));
  });
  const slider = element("input", { type: "range", id: "step", min: 0, max: steps.length - 1, step: 1 });
  const output = element("output", { htmlFor: "step" });
  const show = () => {
    const step = steps[slider.value];
    output.textContent = `${integer(step)}`;
    slider.setAttribute("aria-valuetext", `step ${integer(step)}`);
    for (const figure of figures) figure.show(step);
  };
  let timer = null;
  const button = element("button", { type: "button" }, "Play");
  const stop = () => {
    clearInterval(timer);
    timer = null;
    button.textContent = "Play";
  };
  button.onclick = () => {
    if (timer !== null) return stop();
    if (slider.value === slider.max) slider.value = 0;
    show();
    button.textContent = "Pause";
    timer = setInterval(() => {
      slider.stepUp();
      show();
      if (slider.value === slider.max) stop();
    }, 400);
  };
  slider.oninput = () => {
    stop();
    show();
  };
  slider.value = slider.max;
  show();
  const leftOut = runs.reduce((sum, run) => sum + run.left_out, 0);
  return section(
    "Samples",
    element("div", { className: "control" }, button, element("label", { htmlFor: "step" }, "Step"), output, slider),
    element("div", { className: "pictures" }, ...figures.map((figure) => figure.node), ...real),
    leftOut ? element("p", { className: "note" }, `${integer(leftOut)} more grids are in the run directory.`) : null,
  );
}

// The newest samples of each run beside the training pictures that are nearest to them.
function nearestPictures() {
  const several = data.runs.length > 1;
  const runs = data.nearest.flatMap((found, i) => {
    if (found === null) return [];
    const pairs = found.pairs.map(([sample, training, distance], j) =>
      element(
        "li",
        {},
        png(sample, `Sample ${j + 1}`),
        png(training, `Training picture nearest to sample ${j + 1}`),
        element("span", {}, distance),
      ),
    );
    return element(
      "div",
      { className: "run" },
      several ? heading(3, data.runs[i].label) : null,
      element("p", { className: "note" }, found.about),
      found.facts.length ? facts(found.facts) : null,
      pairs.length ? element("ul", { className: "pairs" }, ...pairs) : null,
    );
  });
  return runs.length ? section("Nearest training pictures", ...runs) : null;
}

// The value of a line at the point that is nearest to a step; null outside of its steps.
function nearest(line, step) {
  if (!line.x.length || step < line.x[0] || step > line.x[line.x.length - 1]) return null;
  let low = 0;
  let high = line.x.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (line.x[middle] <= step) low = middle;
    else high = middle;
  }
  return step - line.x[low] <= line.x[high] - step ? low : high;
}

// A point's value and, where the line is a mean, the value that was logged.
function valueTexts(line, i) {
  if (i === null) return ["-"];
  return line.mean ? [number(line.mean[i]), number(line.y[i])] : [number(line.y[i])];
}

function valueText(line, i) {
  const [value, logged] = valueTexts(line, i);
  return logged === undefined ? value : `${value} (${logged})`;
}

// The columns and the style of a chart's lines, as uPlot takes them. A logarithmic axis has no place for 0.
function plotData(chart, steps, log, raw) {
  const kept = (ys) => ys.map((y) => (log && y <= 0 ? null : y));
  const tables = [];
  const series = [{}];
  const add = (xs, ys, style) => {
    tables.push([xs, kept(ys)]);
    series.push({ width: 2, spanGaps: true, points: { show: false }, ...style });
  };
  for (const line of chart.lines) {
    const stroke = colour(lineColour(line));
    const points = { show: line.x.length <= 60, size: 5, fill: stroke };
    if (!line.mean) add(line.x, line.y, { stroke, points });
    else {
      if (raw) add(line.x, line.y, { stroke, width: 1, alpha: 0.3, points });
      add(line.x, line.mean, { stroke });
    }
    if (line.floor !== null) {
      const ends = [...new Set([steps[0], steps[steps.length - 1]])];
      add(ends, ends.map(() => line.floor), { stroke, width: 1.5, dash: [6, 5] });
    }
  }
  return { columns: uPlot.join(tables), series };
}

function plotOptions(width, log, series, onCursor) {
  const axis = {
    stroke: colour("muted"),
    font: `12px ${FONT}`,
    grid: { stroke: colour("rule"), width: 1 },
    ticks: { show: false },
  };
  return {
    width,
    height: width < 480 ? 220 : 280,
    padding: [12, 28, 0, 0], // half of the last label on the right
    legend: { show: false },
    cursor: { y: false, points: { size: 7 }, drag: { x: true, y: false } },
    scales: { x: { time: false }, y: { distr: log ? 3 : 1 } },
    axes: [
      { ...axis, size: 32, space: 70, values: (_, splits) => splits.map((v) => (Number.isInteger(v) ? integer(v) : "")) },
      { ...axis, size: 56, values: (_, splits) => splits.map((v) => (v === null ? "" : number(v))) },
    ],
    series,
    hooks: { setCursor: [(plot) => onCursor(plot.cursor.left < 0 ? null : plot.cursor.idx)] },
  };
}

// A chart with the values at a cursor, which follows the pointer or, as that of a slider, the keys.
function chartFigure(chart, settings) {
  const steps = [...new Set(chart.lines.flatMap((line) => line.x))].sort((a, b) => a - b);
  const end = steps.length - 1;
  const values = chart.lines.map(() => element("span", { className: "value" }));
  const at = element("span", { className: "at" });
  const legend = chart.lines.map((line, i) =>
    element("li", {}, swatch(lineColour(line)), element("span", {}, line.label), " ", values[i]),
  );
  const plot = element("div", {
    className: "plot",
    role: "slider",
    tabIndex: 0,
    "aria-label": `${chart.title} by step`,
    "aria-valuemin": steps[0],
    "aria-valuemax": steps[end],
  });
  let cursor = end;
  // Without a cursor the last value of each line is shown, whichever steps the others have.
  const say = (index) => {
    cursor = index ?? end;
    const step = steps[cursor];
    at.textContent = index === null ? "Last" : `Step ${integer(step)}`;
    const texts = chart.lines.map((line, i) => {
      const [value, logged] = valueTexts(line, index === null ? line.x.length - 1 : nearest(line, step));
      values[i].replaceChildren(element("b", {}, value), logged === undefined ? "" : ` ${logged}`);
      return `${line.label} ${value}${logged === undefined ? "" : `, logged ${logged}`}`;
    });
    plot.setAttribute("aria-valuenow", step);
    plot.setAttribute("aria-valuetext", `step ${integer(step)}: ${texts.join(", ")}`);
  };
  let drawing = null;
  const draw = () => {
    drawing?.destroy();
    const log = settings.log && chart.lines.some((line) => line.y.some((y) => y > 0));
    const { columns, series } = plotData(chart, steps, log, settings.raw);
    drawing = new uPlot(plotOptions(plot.clientWidth, log, series, say), columns, plot);
  };
  plot.onkeydown = (event) => {
    const page = Math.max(Math.round(steps.length / 10), 1);
    const moves = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -page, PageUp: page };
    const ends = { Home: 0, End: end };
    if (!(event.key in moves) && !(event.key in ends)) return;
    event.preventDefault();
    const next = ends[event.key] ?? Math.min(Math.max(cursor + moves[event.key], 0), end);
    drawing.setCursor({ left: drawing.valToPos(steps[next], "x"), top: 10 });
    say(next);
  };
  say(null);
  const node = element(
    "figure",
    { className: "chart" },
    element(
      "figcaption",
      {},
      element("div", { className: "title" }, heading(3, chart.title), at),
      element("ul", { className: "legend" }, ...legend),
    ),
    plot,
    chart.about ? element("p", { className: "note" }, chart.about) : null,
    details("Values as a table", false, chartTable(chart, steps)),
  );
  return { node, plot, draw };
}

function chartTable(chart, steps) {
  const n = Math.min(TABLE_ROWS, steps.length);
  const rows = Array.from({ length: n }, (_, i) => {
    const step = steps[Math.round((i * (steps.length - 1)) / Math.max(n - 1, 1))];
    return [integer(step), ...chart.lines.map((line) => valueText(line, nearest(line, step)))];
  });
  return table(`${chart.title} as a table`, ["Step", ...chart.lines.map((line) => line.label)], rows);
}

function curves() {
  if (!data.charts.length) return section("Curves", element("p", {}, "No metrics have been written yet."));
  const settings = { log: false, raw: true };
  const charts = data.charts.map((chart) => chartFigure(chart, settings));
  const drawAll = () => charts.forEach((chart) => chart.draw());
  const toggle = (name, text) => {
    const box = element("input", { type: "checkbox", checked: settings[name] });
    box.onchange = () => {
      settings[name] = box.checked;
      drawAll();
    };
    return element("label", {}, box, text);
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  let width = 0;
  new ResizeObserver(() => {
    if (width !== charts[0].plot.clientWidth) {
      width = charts[0].plot.clientWidth;
      drawAll();
    }
  }).observe(charts[0].plot);
  return section(
    "Curves",
    data.mean ? element("p", { className: "note" }, data.mean) : null,
    element("div", { className: "control" }, toggle("log", "Logarithmic"), data.mean ? toggle("raw", "As logged") : null),
    element("div", { className: "charts" }, ...charts.map((chart) => chart.node)),
  );
}

function tables() {
  const nodes = data.tables.map(({ title, about, columns, rows, open }) => {
    const note = about ? element("p", { className: "note" }, about) : null;
    return details(title, open, note, rows.length ? table(title, columns, rows) : null);
  });
  return section("Details", element("div", { className: "tables" }, ...nodes));
}

function commands() {
  const groups = data.runs.map((run) => {
    const rows = run.commands.flatMap(({ label, command }) => [
      element("dt", {}, label),
      element("dd", {}, element("code", {}, command)),
    ]);
    const name = data.runs.length > 1 ? heading(3, run.name) : null;
    return element("div", { className: "run" }, name, element("dl", { className: "commands" }, ...rows));
  });
  return section("Commands", ...groups);
}

const page = document.getElementById("page");
page.replaceChildren(...[header(), samples(), nearestPictures(), curves(), tables(), commands()].filter((node) => node !== null));
