// Draws the charts when they come into view, copies replay lines, opens what a link points at. All data come from
// the JSON in #plumb-data as numbers and plain text; nothing of it is ever read as HTML or as script.
"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("plumb-data").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  let printing = false;

  const value = (x) => typeof x === "number" ? x : x === "inf" ? Infinity : x === "-inf" ? -Infinity : NaN;
  const values = (list) => (list || []).map(value);
  // Plotly reads a few tags in labels: written as references they are text.
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const short = (x) => {
    if (Number.isNaN(x)) return "NaN";
    if (!Number.isFinite(x)) return x > 0 ? "∞" : "−∞";
    const size = Math.abs(x);
    return x === 0 ? "0" : size < 1e-3 || size >= 1e6 ? x.toExponential(2) : String(+x.toPrecision(4));
  };

  // ------------------------------------------------------------------------------------------ looks
  const theme = () => dark.matches && !printing
    ? { ink: "#c9d0db", soft: "#8b95a6", rule: "#313845", zero: "#191d25", grey: "#5a6372", bad: "#ff9087", lost: "#ff6bff",
      palette: ["#5aaee6", "#f0b440", "#35c79a", "#e39ac4", "#9fd4f5", "#ff8a4c", "#a8a8ff", "#d0a050", "#9fce5a", "#b5b5b5", "#ff8f8f", "#53d6d6", "#d6a0ff", "#c9c06a"],
      heat: ["#d6ecff", "#4aa3ff", "#3a5680", "#7d5636", "#ff5b33", "#ffd9c9"] }
    : { ink: "#2b313b", soft: "#6a7382", rule: "#e3e7ec", zero: "#ffffff", grey: "#c3c9d2", bad: "#b3261e", lost: "#b000b0",
      palette: ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c8cff", "#a6761d", "#66a61e", "#999999", "#7a2d2d", "#1a7f7f", "#6a3d9a", "#8a8020"],
      heat: ["#0b2a6b", "#1f57c3", "#8db4ec", "#f2b184", "#d4371c", "#6f0d0a"] };
  // Okabe and Ito's colours first: told apart by every kind of colour vision (their yellow is left out).
  const colour = (i) => { const { palette } = theme(); return palette[i % palette.length]; };

  const axis = (more) => {
    const t = theme();
    const base = { gridcolor: t.rule, linecolor: t.rule, zerolinecolor: t.rule, tickcolor: t.rule, automargin: true,
      tickfont: { size: 11, color: t.soft } };
    const merged = Object.assign(base, more);
    if (typeof merged.title === "string") merged.title = { text: merged.title, font: { size: 12, color: t.soft }, standoff: 8 };
    return merged;
  };
  const layout = (more) => {
    const t = theme();
    const height = (more && more.height) || 340;
    return Object.assign({
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 54, r: 14, t: 12, b: 44 }, height: 340,
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: t.ink },
      hoverlabel: { font: { family: "monospace", size: 12 }, align: "left" },
      legend: { orientation: "h", y: -62 / (height - 120), yanchor: "top", x: 0, font: { size: 11 } }, dragmode: false,
    }, more);
  };
  // A logarithmic axis over these values: 1, 2, 5 where it spans little, powers of ten where it spans much.
  const superscript = (n) => String(n).replace(/./g, (c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]);
  const logAxis = (list, more) => {
    const exponents = list.filter((x) => x > 0 && Number.isFinite(x)).map(Math.log10);
    const low = Math.min(...exponents), high = Math.max(...exponents);
    if (!exponents.length) return axis({ type: "log", ...more });
    const pad = Math.max(0.12, (high - low) * 0.06), range = [low - pad, high + pad];
    const tickvals = [], ticktext = [];
    const few = high - low < 2.2, step = few ? 1 : Math.ceil((high - low) / 7);
    for (let n = Math.floor(range[0]); n <= Math.ceil(range[1]); ++n) {
      if (n % step) continue;
      for (const digit of high - low < 0.7 ? [1, 1.5, 2, 3, 4, 5, 7] : few ? [1, 2, 5] : [1]) {
        tickvals.push(digit * 10 ** n);
        ticktext.push(n >= -2 && n <= 3 ? String(+(digit * 10 ** n).toPrecision(3)) : (digit > 1 ? digit + "·" : "") + "10" + superscript(n));
      }
    }
    return axis({ type: "log", range, tickvals, ticktext, ...more });
  };

  // ------------------------------------------------------------------------------------------ kinds of chart
  const coordinates = (flat, chart) => {
    const at = [];
    for (let axisNumber = chart.shape.length - 1; axisNumber >= 0; --axisNumber) {
      const extent = Math.max(chart.shape[axisNumber], 1);
      at.unshift(`${chart.axes[axisNumber] || axisNumber}=${flat % extent}`);
      flat = Math.floor(flat / extent);
    }
    return at.join(" ");
  };

  // Signed logarithm of the share of the bound: ±1 is the bound, 0 everything below 1/10,000 of it, beyond it
  // the colour jumps.
  const floorDecades = 4, topDecades = 2;
  const signedLog = (share) => {
    if (share === 0) return 0;
    const size = Math.log10(Math.abs(share));
    const shown = size <= 0 ? Math.max(0, (size + floorDecades) / floorDecades) : 1 + Math.min(size, topDecades) / topDecades;
    return Math.sign(share) * shown;
  };
  // Share 1 lies at ±1 of ±2: muted inside the bound, vivid outside, with a step between.
  const heatColours = ({ zero, heat: [below, under, minus, plus, over, above] }) => [[0, below], [0.2499, under], [0.25, minus],
    [0.5, zero], [0.75, plus], [0.7501, over], [1, above]];

  // Tiles in lines, sized in pixels: as large as the width and a screen's height allow, never too flat for their labels.
  const tileGap = { x: 14, y: 19 };
  function tiling(count, rows, cols, width, label) {
    let best = null;
    for (let columns = 1; columns <= count; ++columns) {
      const room = (width - tileGap.x * (columns - 1)) / columns;
      if (columns > 1 && room < label) break;
      const size = Math.min(room / cols, 26, 320 / rows);
      const cell = { x: Math.max(size, Math.min(room, 24) / cols), y: Math.max(size, 14 / rows) };
      const lines = Math.ceil(count / columns), height = lines * (rows * cell.y + tileGap.y);
      const worth = height <= 620 ? cell.x * cell.y : -height;
      if (!best || worth >= best.worth * (best.worth > 0 ? 0.999 : 1)) best = { columns, lines, cell, height, worth };
    }
    return best;
  }

  function heat(chart, place) {
    const t = theme();
    const tileRows = Math.max(1, ...chart.tiles.map((tile) => tile.rows));
    const tileCols = Math.max(1, ...chart.tiles.map((tile) => tile.cols));
    const across = Math.max(200, place.clientWidth - 76), label = 6.3 * Math.max(...chart.tiles.map((tile) => tile.label.length));
    const { columns, lines, cell } = tiling(chart.tiles.length, tileRows, tileCols, across, label);
    const gapRows = Math.ceil(tileGap.y / cell.y), gapCols = Math.ceil(tileGap.x / cell.x);
    const height = lines * (tileRows + gapRows), width = columns * (tileCols + gapCols) - gapCols;
    const z = [], text = [];
    for (let i = 0; i < height; ++i) { z.push(new Array(width).fill(null)); text.push(new Array(width).fill("")); }
    const annotations = [], shapes = [], lost = { x: [], y: [], text: [] };
    chart.tiles.forEach((tile, number) => {
      const top = Math.floor(number / columns) * (tileRows + gapRows) + gapRows, left = (number % columns) * (tileCols + gapCols);
      const share = values(tile.share), got = values(tile.got), truth = values(tile.truth), ulps = values(tile.ulps);
      for (let i = 0; i < tile.rows; ++i) for (let j = 0; j < tile.cols; ++j) {
        const at = i * tile.cols + j;
        const story = `${plain(chart.tensor)} [${plain(coordinates(tile.at[at], chart))}]<br>got   ${short(got[at])}` +
          `<br>true  ${short(truth[at])}<br>${short(ulps[at])} ulp, ${short(share[at])} of the bound`;
        text[top + i][left + j] = story;
        z[top + i][left + j] = Number.isNaN(share[at]) ? 0 : signedLog(share[at]);
        if (Number.isNaN(share[at])) { lost.x.push(left + j); lost.y.push(top + i); lost.text.push(story); }
      }
      shapes.push({ type: "rect", x0: left - 0.5, x1: left + tile.cols - 0.5, y0: top - 0.5, y1: top + tile.rows - 0.5,
        line: { color: t.rule, width: 1 }, layer: "above" });
      if (tile.label) annotations.push({ x: left - 0.5, y: top - 0.5, text: plain(tile.label), showarrow: false, xanchor: "left",
        yanchor: "bottom", font: { size: 10, color: t.soft } });
    });
    const right = Math.min(1, width * cell.x / across), below = lost.x.length ? 28 : 8;
    const shown = Math.max(190, height * cell.y + 4 + below), lowest = Math.max(0, 1 - height * cell.y / (shown - 4 - below));
    const traces = [{ type: "heatmap", z, text, hovertemplate: "%{text}<extra></extra>", hoverongaps: false, zmin: -2, zmax: 2,
      colorscale: heatColours(t), colorbar: { thickness: 10, outlinewidth: 0, lenmode: "pixels", len: 170, x: right + 8 / across, xpad: 0,
        y: 1, yanchor: "top", ypad: 8, tickfont: { size: 10, color: t.soft },
        tickvals: [-2, -1, -0.5, 0, 0.5, 1, 2], ticktext: ["≤−100", "−1", "−0.01", "0", "0.01", "1", "≥100"] } }];
    if (lost.x.length) traces.push({ type: "scatter", mode: "markers", x: lost.x, y: lost.y, text: lost.text, name: "not a number",
      hovertemplate: "%{text}<extra></extra>", marker: { symbol: "x", color: t.lost, size: 9 } });
    return { traces, layout: layout({ annotations, shapes, showlegend: lost.x.length > 0, margin: { l: 8, r: 68, t: 4, b: below, autoexpand: false },
      legend: { orientation: "h", x: 0, y: 0, yanchor: "top", font: { size: 11 } }, height: shown,
      xaxis: axis({ visible: false, range: [-0.5, width - 0.5], domain: [0, right], constrain: "domain", constraintoward: "left" }),
      yaxis: axis({ visible: false, range: [height - 0.5, -0.5], domain: [lowest, 1], scaleanchor: "x", scaleratio: cell.y / cell.x, constrain: "domain", constraintoward: "top" }) }) };
  }

  function ulps(chart) {
    const edges = values(chart.edges);
    const label = (i) => i === 0 && edges[0] === 0 && edges[1] <= 1e-9 ? "0" : Number.isFinite(edges[i + 1])
      ? (edges[i] < 1e-6 ? `< ${short(edges[i + 1])}` : `${short(edges[i])}–${short(edges[i + 1])}`) : `≥ ${short(edges[i])}`;
    const x = chart.counts.map((_, i) => label(i));
    const t = theme();
    const traces = [{ type: "bar", name: "this kernel", x, y: chart.counts, marker: { color: colour(0) },
      hovertemplate: "%{x} ulp: %{y} elements<extra></extra>" }];
    if (chart.naive && chart.naive.length) traces.unshift({ type: "bar", name: "plain loops in float", x, y: chart.naive,
      marker: { color: t.grey }, hovertemplate: "%{x} ulp: %{y} elements (plain loops)<extra></extra>" });
    return { traces, layout: layout({ barmode: "group", bargap: 0.15, margin: { l: 54, r: 14, t: 30, b: 44 }, legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", font: { size: 11 } },
      xaxis: axis({ title: "ulps from the true value", type: "category" }), yaxis: logAxis([...chart.counts, ...(chart.naive || []), 1], { title: "elements" }) }) };
  }

  function v(chart) {
    const traces = [];
    const all = chart.curves.flatMap((curve) => values(curve.error)).filter((e) => e > 0 && Number.isFinite(e));
    const steps = chart.curves.flatMap((curve) => values(curve.step));
    const decades = all.length ? Math.log10(Math.max(...all) / Math.min(...all)) : 0;
    chart.curves.forEach((curve, number) => {
      const h = values(curve.step), e = values(curve.error);
      const points = h.map((step, i) => [step, e[i]]).filter(([step, error]) => step > 0 && error > 0 && Number.isFinite(error))
        .sort((a, b) => a[0] - b[0]);
      const exact = e.filter((error) => error === 0).length;
      const name = plain(curve.scalar) + (exact ? ` (exact at ${exact} of ${e.length} steps)` : "");
      const look = { color: colour(number), width: 2 };
      traces.push({ type: "scatter", mode: "lines+markers", name, x: points.map((p) => p[0]), y: points.map((p) => p[1]),
        line: look, marker: { size: 4 }, hovertemplate: "h = %{x:.3g}<br>error %{y:.3g}<extra>" + plain(curve.scalar) + "</extra>" });
      if (points.length < 3) return;
      const best = points.reduce((a, b) => b[1] < a[1] ? b : a);
      traces.push({ type: "scatter", mode: "markers", x: [best[0]], y: [best[1]], showlegend: false, name,
        marker: { symbol: "diamond", size: 10, color: colour(number) },
        hovertemplate: "best step %{x:.3g}<br>error %{y:.3g}<extra>" + plain(curve.scalar) + "</extra>" });
      // The slopes theory expects, through the middle of each arm.
      const slope = (arm, exponent) => {
        if (arm.length < 3 || !Number.isFinite(exponent)) return;
        const middle = arm[Math.floor(arm.length / 2)], ends = [arm[0][0], arm[arm.length - 1][0]];
        const lift = Math.pow(10, 0.025 * decades);  // beside the curve, not on it
        traces.push({ type: "scatter", mode: "lines", showlegend: false, hoverinfo: "skip", x: ends,
          y: ends.map((step) => lift * middle[1] * Math.pow(step / middle[0], exponent)), line: { color: theme().soft, width: 1.2, dash: "dash" } });
      };
      slope(points.filter((p) => p[0] >= best[0]), value(curve.truncation));
      slope(points.filter((p) => p[0] <= best[0]), value(curve.rounding));
    });
    return { traces, layout: layout({ xaxis: logAxis(steps, { title: "step h" }), yaxis: logAxis(all, { title: "relative error" }) }) };
  }

  function jacobian(chart) {
    const cut = (list) => Array.from({ length: chart.rows }, (_, i) => list.slice(i * chart.cols, (i + 1) * chart.cols));
    const explicit = values(chart.explicit), numeric = values(chart.numeric);
    const t = theme();
    const images = [["explicit", explicit]];
    if (numeric.length) images.push(["numeric", numeric], ["difference", explicit.map((x, i) => x - numeric[i])]);
    const most = (list) => list.reduce((a, x) => Math.max(a, Number.isFinite(x) ? Math.abs(x) : 0), 0);
    const scale = Math.max(most(explicit), most(numeric)) || 1;
    const traces = [], annotations = [], shape = {};
    images.forEach(([name, list], number) => {
      const suffix = number ? String(number + 1) : "", biggest = most(list), limit = name === "difference" ? biggest || 1 : scale;
      const from = number / images.length, to = (number + 0.94) / images.length;
      traces.push({ type: "heatmap", z: cut(list), xaxis: "x" + suffix, yaxis: "y" + suffix, zmin: -limit, zmax: limit, showscale: false,
        colorscale: [[0, t.heat[1]], [0.5, t.zero], [1, t.heat[4]]],
        hovertemplate: "output %{y}, input %{x}<br>%{z:.6g}<extra>" + name + "</extra>" });
      shape["xaxis" + suffix] = axis({ domain: [from, to], showgrid: false, zeroline: false, mirror: true, showline: true, title: "input element" });
      shape["yaxis" + suffix] = axis({ autorange: "reversed", anchor: "x" + suffix, showgrid: false, zeroline: false, mirror: true,
        showline: true, showticklabels: number === 0, title: number ? "" : "output element" });
      annotations.push({ x: from, y: 1, xref: "paper", yref: "paper", xanchor: "left", yanchor: "bottom", showarrow: false,
        text: name === "difference" ? (biggest ? `difference, at most ${short(biggest)}` : "difference: none") : name, font: { size: 12, color: t.ink } });
    });
    return { traces, layout: layout({ annotations, margin: { l: 54, r: 10, t: 26, b: 44 }, height: 330, ...shape }) };
  }

  function bars(chart) {
    const t = theme(), count = chart.kernels.length, pitch = count + 1.7;
    const labels = { type: "scatter", mode: "text", x: [], y: [], text: [], textposition: "middle right", showlegend: false, hoverinfo: "skip",
      cliponaxis: false, textfont: { size: 10, color: t.soft } };
    const traces = chart.kernels.map((kernel, k) => {
      const trace = { type: "bar", orientation: "h", name: plain(kernel.name) + (kernel.mark ? ` (${kernel.mark})` : ""), x: [], y: [],
        width: 0.86, hovertext: [], hovertemplate: "%{hovertext}<extra></extra>", error_x: { type: "data", symmetric: false, array: [], arrayminus: [], thickness: 1, width: 2, color: t.ink },
        marker: { color: colour(k), pattern: { shape: kernel.mark.startsWith("peer") ? "/" : "", size: 7, solidity: 0.14, bgcolor: colour(k), fgcolor: t.zero } } };
      chart.bars.forEach((row, p) => {
        const bar = row[k], speed = value(bar.gflops);
        if (!Number.isFinite(speed)) return;
        trace.x.push(speed);
        trace.y.push(p * pitch + k + 1);
        const high = Number.isFinite(value(bar.high)) ? Math.max(speed, value(bar.high)) : speed;
        const low = Number.isFinite(value(bar.low)) ? Math.min(speed, value(bar.low)) : speed;
        labels.x.push(high);
        labels.y.push(p * pitch + k + 1);
        labels.text.push(" " + short(+speed.toPrecision(3)) + (bar.ratio ? "  " + plain(bar.ratio) : ""));
        trace.hovertext.push(plain(kernel.name) + "<br>" + plain(bar.title).replace(/([;,]) /g, "$1<br>"));
        trace.error_x.array.push(high - speed);
        trace.error_x.arrayminus.push(speed - low);
      });
      return trace;
    });
    const annotations = [];
    chart.problems.forEach((problem, p) => {
      annotations.push({ x: 0, y: p * pitch + 0.15, text: plain(problem), showarrow: false, xanchor: "left", yanchor: "middle",
        font: { size: 11, color: t.ink, family: "monospace" } });
      chart.bars[p].forEach((bar, k) => {
        if (bar.why) annotations.push({ x: 0, y: p * pitch + k + 1, text: "no number: " + plain(bar.why), showarrow: false, xanchor: "left",
          yanchor: "middle", font: { size: 10, color: t.bad } });
      });
    });
    traces.push(labels);
    return { traces, layout: layout({ barmode: "overlay", annotations, height: 90 + chart.problems.length * pitch * 17,
      margin: { l: 8, r: 70, t: 30, b: 40 }, legend: { orientation: "h", y: 1, yanchor: "bottom", x: 0, font: { size: 11 } },
      xaxis: axis({ title: "GFLOP/s", rangemode: "tozero" }),
      yaxis: axis({ visible: false, range: [chart.problems.length * pitch - 0.4, -0.6] }) }) };
  }

  const byKernel = (points) => {
    const groups = new Map();
    for (const point of points) groups.set(point.kernel, [...(groups.get(point.kernel) || []), point]);
    return groups;
  };

  // Where there are more kernels than colours can tell apart, the best of ours and of the peers keep their names and the
  // others share one grey.
  const mostNamed = 12;
  function crowd(points, score) {
    const groups = [...byKernel(points)];
    if (groups.length <= mostNamed) return { named: groups, others: [] };
    const most = Math.max(...groups.map(([, list]) => list.length));
    const mean = ([, list]) => list.reduce((sum, p) => sum + Math.log(score(p)), 0) / list.length;
    const ranked = groups.filter(([, list]) => 2 * list.length >= most).sort((a, b) => mean(b) - mean(a));
    const chosen = new Set([...ranked.filter(([, list]) => !list[0].peer).slice(0, 6), ...ranked.filter(([, list]) => list[0].peer).slice(0, 4)]);
    return { named: groups.filter((group) => chosen.has(group)), others: groups.filter((group) => !chosen.has(group)) };
  }
  function grey(groups, x, y, story) {
    const points = groups.flatMap(([, list]) => list), colour = theme().grey;
    return { type: "scatter", mode: "markers", name: `${groups.length} other kernels`, x: points.map(x), y: points.map(y),
      text: points.map((p) => plain(p.kernel) + "<br>" + story(p)), hovertemplate: "%{text}<extra></extra>", marker: { size: 5, color: colour, opacity: 0.7 } };
  }

  // A legend needs room, or it eats the plot.
  const room = (entries) => Math.ceil(Math.max(0, entries - 4) / 2) * 19;
  const brief = (kernel) => plain(kernel.replace(/^[^/]*\//, ""));
  // Short names where all kernels do the same job.
  const namer = (points) => new Set(points.map((p) => p.kernel.split("/")[0])).size > 1 ? plain : brief;

  function roofline(chart) {
    const t = theme(), ridge = chart.gflops / chart.gbytes, nameOf = namer(chart.points);
    const x = chart.points.map((p) => value(p.intensity)).filter((i) => i > 0);
    const low = Math.min(...x, ridge) / 2, high = Math.max(...x, ridge) * 2;
    const traces = [{ type: "scatter", mode: "lines", name: "roof", x: [low, ridge, high], y: [low * chart.gbytes, chart.gflops, chart.gflops],
      line: { color: t.ink, width: 1.6 }, hoverinfo: "skip" }];
    const { named, others } = crowd(chart.points, (p) => value(p.gflops));
    if (others.length) traces.push(grey(others, (p) => value(p.intensity), (p) => value(p.gflops),
      (p) => `${plain(p.problem)}<br>${short(100 * value(p.share))} % of the roof, ${short(value(p.gflops))} GFLOP/s`));
    let number = 0;
    for (const [kernel, points] of named) {
      traces.push({ type: "scatter", mode: "markers", name: nameOf(kernel), x: points.map((p) => value(p.intensity)),
        y: points.map((p) => value(p.gflops)), text: points.map((p) => plain(p.problem) + `<br>${short(100 * value(p.share))} % of the roof`),
        hovertemplate: "%{text}<br>%{y:.3g} GFLOP/s<extra>" + plain(kernel) + "</extra>",
        marker: { size: 7, color: colour(number++), symbol: points[0].peer ? "diamond-open" : "circle", opacity: 0.85 } });
    }
    return { traces, layout: layout({ height: 400 + room(traces.length), xaxis: logAxis([low, high], { title: "FLOP per byte" }),
      yaxis: logAxis([...chart.points.map((p) => value(p.gflops)), chart.gflops], { title: "GFLOP/s" }) }) };
  }

  function pareto(chart) {
    const t = theme();
    const exactness = (point) => Math.max(value(point.ulps), 0.01);
    // Nothing that is faster is more exact: the choices worth having.
    const front = [];
    const most = Math.max(...chart.points.map((point) => point.problems));
    const comparable = chart.points.filter((point) => 2 * point.problems >= most).sort((a, b) => value(b.gflops) - value(a.gflops) || exactness(a) - exactness(b));
    for (const point of comparable) if (!front.length || exactness(point) < exactness(front[front.length - 1])) front.push(point);
    const story = (point) => `${short(+value(point.gflops).toPrecision(3))} GFLOP/s over ${point.problems} problems<br>worst ${short(value(point.ulps))} ulp`;
    const named = chart.points.length <= mostNamed ? chart.points : [...new Set([...front, ...comparable.filter((point) => point.peer).slice(0, 4), ...comparable.slice(0, 6)])].slice(0, mostNamed);
    const others = chart.points.filter((point) => !named.includes(point)).map((point) => [point.kernel, [point]]);
    const traces = named.map((point, number) => ({ type: "scatter", mode: "markers", name: plain(point.kernel.replace(/^[^/]*\//, "")) + (point.peer ? " (peer)" : ""),
      x: [value(point.gflops)], y: [exactness(point)], cliponaxis: false,
      marker: { size: 12, color: colour(number), symbol: point.peer ? "diamond-open" : "circle", line: { width: 2 } },
      hovertemplate: `${plain(point.kernel)}<br>${story(point)}<extra></extra>` }));
    if (others.length) traces.unshift(grey(others, (point) => value(point.gflops), exactness, story));
    traces.unshift({ type: "scatter", mode: "lines", name: "best choices", x: front.map((p) => value(p.gflops)), y: front.map(exactness),
      hoverinfo: "skip", line: { color: t.soft, width: 1.4, dash: "dot", shape: "hv" } });
    return { traces, layout: layout({ height: 400 + room(traces.length), margin: { l: 54, r: 20, t: 20, b: 44 },
      xaxis: axis({ title: "GFLOP/s, geometric mean", range: [0, 1.1 * Math.max(...chart.points.map((p) => value(p.gflops)))] }),
      yaxis: logAxis(chart.points.map(exactness), { title: "worst error in ulps" }) }) };
  }

  // Time in the unit that suits it.
  const time = (seconds) => {
    if (!Number.isFinite(seconds)) return "–";
    for (const [unit, size] of [["s", 1], ["ms", 1e-3], ["µs", 1e-6]]) if (seconds >= size) return `${+(seconds / size).toPrecision(3)} ${unit}`;
    return `${+(seconds / 1e-9).toPrecision(3)} ns`;
  };
  const timeAxis = (list, more) => {
    const shape = logAxis(list, more);
    if (shape.tickvals) shape.ticktext = shape.tickvals.map(time);
    return shape;
  };

  function cold(chart) {
    const t = theme(), traces = [], nameOf = namer(chart.points);
    const all = chart.points.flatMap((p) => [value(p.hot), value(p.cold)]).filter((x) => x > 0);
    const ends = [Math.min(...all), Math.max(...all)];
    traces.push({ type: "scatter", mode: "lines", name: "as fast cold as hot", x: ends, y: ends, line: { color: t.soft, width: 1.2, dash: "dash" }, hoverinfo: "skip" });
    const { named, others } = crowd(chart.points, (p) => 1 / value(p.hot));
    const story = (p) => `hot ${time(value(p.hot))}, cold ${time(value(p.cold))}: ${short(+(value(p.cold) / value(p.hot)).toPrecision(3))}×`;
    if (others.length) traces.push(grey(others, (p) => value(p.hot), (p) => value(p.cold), (p) => `${plain(p.problem)}<br>${story(p)}`));
    let number = 0;
    for (const [kernel, points] of named)
      traces.push({ type: "scatter", mode: "markers", name: nameOf(kernel), x: points.map((p) => value(p.hot)), y: points.map((p) => value(p.cold)),
        text: points.map((p) => `${plain(p.problem)}<br>${story(p)}`), hovertemplate: "%{text}<extra>" + plain(kernel) + "</extra>",
        marker: { size: 7, color: colour(number++), symbol: points[0].peer ? "diamond-open" : "circle", opacity: 0.85 } });
    return { traces, layout: layout({ height: 400 + room(traces.length), xaxis: timeAxis(all, { title: "hot: median of warm calls" }), yaxis: timeAxis(all, { title: "cold" }) }) };
  }

  // Points and the power law through them.
  function powers(series, xTitle, yAxis) {
    const traces = [], xs = [];
    series.forEach(({ name, x, y, exponent, text, symbol }, number) => {
      const look = { color: colour(number) };
      xs.push(...x);
      traces.push({ type: "scatter", mode: "markers", name: name + (Number.isFinite(exponent) ? `  ∝ ${short(+exponent.toPrecision(3))}` : ""), x, y,
        text: text || x.map((at, i) => `${xTitle} ${short(at)}: ${time(y[i])}`), hovertemplate: "%{text}<extra>" + name + "</extra>",
        marker: { size: 7, symbol: symbol || "circle", ...look } });
      if (!Number.isFinite(exponent) || !x.length) return;
      const mean = (list) => list.reduce((a, v) => a + Math.log(v), 0) / list.length;
      const middle = [mean(x), mean(y)], ends = [Math.min(...x), Math.max(...x)];
      traces.push({ type: "scatter", mode: "lines", showlegend: false, hoverinfo: "skip", x: ends, line: { width: 1.2, dash: "dash", ...look },
        y: ends.map((at) => Math.exp(middle[1] + exponent * (Math.log(at) - middle[0]))) });
    });
    const all = series.flatMap((s) => s.y);
    return { traces, layout: layout({ height: 380 + room(series.length), xaxis: logAxis(xs, { title: xTitle }), yaxis: timeAxis(all, { title: yAxis }) }) };
  }

  const growth = (chart) => powers(chart.series.map((s) => ({ name: brief(s.name), x: values(s.x), y: values(s.y), exponent: value(s.exponent) })),
    chart.quantity, "time of a call");

  function cost(chart) {
    const x = chart.points.map((p) => Math.max(value(p.size), 1));
    const fit = (y) => {
      const n = x.length, a = x.map(Math.log), b = y.map(Math.log), sum = (list) => list.reduce((s, v) => s + v, 0);
      return (n * sum(a.map((v, i) => v * b[i])) - sum(a) * sum(b)) / (n * sum(a.map((v) => v * v)) - sum(a) ** 2);
    };
    const series = ["explicit", "implicit"].map((kind) => {
      const y = chart.points.map((p) => value(p[kind]));
      return { name: kind === "explicit" ? "explicit Jacobian" : "implicit product (vjp)", x, y, exponent: fit(y), symbol: kind === "explicit" ? "square" : "circle",
        text: chart.points.map((p, i) => `${plain(p.problem)}<br>${kind}: ${time(y[i])}`) };
    });
    return powers(series, "outputs × inputs", "time");
  }

  // Changes between two records, slowest first, with the band that counts as the same.
  function changes(chart) {
    const t = theme(), shown = { slower: t.bad, faster: "#009e73", same: t.soft, ambiguous: t.grey };
    const traces = Object.keys(shown).map((verdict) => {
      const at = chart.points.map((p, i) => [p, i]).filter(([p]) => p.verdict === verdict);
      return { type: "scatter", mode: "markers", name: verdict, x: at.map(([, i]) => i + 1), y: at.map(([p]) => value(p.ratio)),
        error_y: { type: "data", symmetric: false, thickness: 1, width: 0, array: at.map(([p]) => value(p.high) - value(p.ratio)), arrayminus: at.map(([p]) => value(p.ratio) - value(p.low)) },
        text: at.map(([p]) => `${plain(p.kernel)}<br>${plain(p.problem)}<br>${short(value(p.ratio))}× [${short(value(p.low))}, ${short(value(p.high))}]`),
        hovertemplate: "%{text}<extra>" + verdict + "</extra>", marker: { size: 7, color: shown[verdict] } };
    }).filter((trace) => trace.x.length);
    const all = chart.points.flatMap((p) => [value(p.low), value(p.high)]).concat([1 / chart.band, chart.band]);
    const band = { type: "rect", xref: "paper", x0: 0, x1: 1, y0: 1 / chart.band, y1: chart.band, fillcolor: t.grey, opacity: 0.25, line: { width: 0 }, layer: "below" };
    return { traces, layout: layout({ height: 400, shapes: [band], xaxis: axis({ title: "kernel and problem", zeroline: false }), yaxis: logAxis(all, { title: "time after over before" }) }) };
  }

  // The oracle's time beside dgemm's.
  function oracle(chart) {
    const t = theme(), traces = [];
    const all = chart.points.flatMap((p) => [value(p.gemm), value(p.oracle)]).filter((x) => x > 0);
    const ends = [Math.min(...all), Math.max(...all)];
    traces.push({ type: "scatter", mode: "lines", name: "as fast as dgemm", x: ends, y: ends, line: { color: t.soft, width: 1.2, dash: "dash" }, hoverinfo: "skip" });
    const sets = [...new Set(chart.points.map((p) => p.set))];
    sets.forEach((set, number) => {
      const points = chart.points.filter((p) => p.set === set);
      traces.push({ type: "scatter", mode: "markers", name: plain(set || "problems"), x: points.map((p) => value(p.gemm)), y: points.map((p) => value(p.oracle)),
        text: points.map((p) => `${plain(p.problem)}<br>oracle ${time(value(p.oracle))}, dgemm ${time(value(p.gemm))}: ${short(+(value(p.oracle) / value(p.gemm)).toPrecision(3))}×`),
        hovertemplate: "%{text}<extra></extra>", marker: { size: 7, color: colour(number), opacity: 0.85 } });
    });
    return { traces, layout: layout({ height: 400, xaxis: timeAxis(all, { title: "dgemm" }), yaxis: timeAxis(all, { title: "oracle" }) }) };
  }

  // A value a row beside the limit it has to keep: first row on top.
  function levels(chart) {
    const t = theme(), shown = (x) => Number.isFinite(x) && x > 0;
    const rows = chart.rows.map((row, i) => ({ y: i, name: row.name, title: row.title, value: value(row.value), limit: value(row.limit) }));
    const all = rows.flatMap((row) => [row.value, row.limit]).filter(shown);
    const least = all.length ? Math.min(...all) : 1, at = (x) => shown(x) || chart.linear ? x : least / 2;  // nothing has no logarithm
    const kept = rows.filter((row) => !(row.value > row.limit) || !shown(row.limit)), broken = rows.filter((row) => !kept.includes(row));
    const limits = rows.filter((row) => shown(row.limit));
    const text = (row) => `${plain(row.name)}<br>${plain(chart.value)}: ${short(row.value)}<br>${shown(row.limit) ? plain(chart.limit) + ": " + short(row.limit) + "<br>" : ""}${plain(row.title)}`;
    const dots = (list, name, marker) => ({ type: "scatter", mode: "markers", name, x: list.map((row) => at(marker.of(row))), y: list.map((row) => row.y), text: list.map(text), hovertemplate: "%{text}<extra></extra>",
      marker: { size: marker.size, symbol: marker.symbol, color: marker.color, line: { width: 2 } } });
    const traces = [dots(limits, plain(chart.limit), { of: (row) => row.limit, size: 13, symbol: "line-ns-open", color: t.soft }),
      dots(kept, plain(chart.value), { of: (row) => row.value, size: 9, symbol: "circle", color: colour(0) }),
      dots(broken, "above it", { of: (row) => row.value, size: 10, symbol: "x", color: t.bad })].filter((trace) => trace.x.length);
    const annotations = rows.map((row) => ({ xref: "paper", x: 0, y: row.y - 0.42, text: plain(row.name), showarrow: false, xanchor: "left", yanchor: "middle", font: { size: 11, color: t.ink, family: "monospace" } }));
    return { traces, layout: layout({ annotations, height: 110 + 34 * rows.length, margin: { l: 12, r: 24, t: 30, b: 44 }, legend: { orientation: "h", y: 1, yanchor: "bottom", x: 0, font: { size: 11 } },
      xaxis: chart.linear ? axis({ title: chart.axis, rangemode: "tozero" }) : logAxis(all.length ? all : [1], { title: chart.axis }), yaxis: axis({ showticklabels: false, zeroline: false, tickmode: "array", tickvals: rows.map((row) => row.y), range: [rows.length - 0.5, -0.75] }) }) };
  }

  const kinds = { heat, ulps, v, jacobian, bars, roofline, pareto, cold, growth, cost, changes, oracle, levels };

  // ------------------------------------------------------------------------------------------ drawing
  let loaded = false;
  function load() {
    if (loaded) return;
    loaded = true;
    const script = document.createElement("script");
    script.textContent = document.getElementById("plumb-plotly").textContent;
    document.head.append(script);
  }

  function draw(place) {
    const chart = charts[place.dataset.chart];
    if (!chart || place.offsetParent === null) return;
    load();
    const { traces, layout: shape } = kinds[chart.kind](chart, place);
    Plotly.react(place, traces, shape, { displaylogo: false, responsive: true, displayModeBar: false });
    place.dataset.drawn = "yes";
    place.tabIndex = 0;
  }

  // Arrow keys walk through the data of the chart that has the focus; what the pointer would show is also said aloud.
  const spoken = document.createElement("p");
  spoken.className = "spoken";
  spoken.setAttribute("aria-live", "polite");
  document.body.append(spoken);
  function walk(place, key) {
    const number = place.data.findIndex((trace) => trace.hoverinfo !== "skip" && (trace.z || (trace.x && trace.x.length)));
    const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    if (number < 0 || !steps[key]) return false;
    const [down, right] = steps[key];
    let { trace, row, col } = place.walked || { trace: number, row: 0, col: -1 };
    if (place.data[trace].z) {
      const z = place.data[trace].z, filled = () => z[row] && z[row][col] !== null && z[row][col] !== undefined;
      if (place.walked) {
        do { row += down; col += right; } while (z[row] && col >= 0 && col < z[row].length && !filled());
      } else {
        row = z.findIndex((line) => line.some((cell) => cell !== null));
        col = row < 0 ? -1 : z[row].findIndex((cell) => cell !== null);
      }
      if (!filled()) return true;  // the edge: stay
    } else {
      const drawn = place.data.map((each, i) => i).filter((i) => place.data[i].hoverinfo !== "skip" && place.data[i].x && place.data[i].x.length);
      trace = drawn[Math.min(Math.max(drawn.indexOf(trace) + down, 0), drawn.length - 1)];
      col = Math.min(Math.max(col + right, 0), place.data[trace].x.length - 1);
    }
    place.walked = { trace, row, col };
    try {
      Plotly.Fx.hover(place, [{ curveNumber: trace, pointNumber: place.data[trace].z ? [row, col] : col }]);
    } catch { return true; }
    const stories = place.data[trace].text || place.data[trace].hovertext, story = stories && (place.data[trace].z ? stories[row][col] : stories[col]);
    spoken.textContent = story ? story.replace(/<br>/g, ", ") : [...place.querySelectorAll(".hoverlayer text")].map((text) => text.textContent).join(" ");
    return true;
  }
  document.addEventListener("keydown", (event) => {
    const place = event.target.closest && event.target.closest("[data-drawn]");
    if (place && walk(place, event.key)) event.preventDefault();
  });

  // What is on the screen, or within a screen of it. Asked after every event that can change it: an observer would
  // wait for a frame, which a page in the background or a machine without a display may never get.
  const places = [...document.querySelectorAll("[data-chart]")];
  const drawn = () => places.filter((place) => place.dataset.drawn);
  let asked = false;
  function drawNear() {
    asked = false;
    const reach = 2 * window.innerHeight;
    for (const place of places) {
      if (place.dataset.drawn) continue;
      const box = place.getBoundingClientRect();
      if (box.width > 0 && box.top < reach && box.bottom > -window.innerHeight) draw(place);
    }
  }
  function ask() {
    if (!asked) setTimeout(drawNear, 0);
    asked = true;
  }
  window.addEventListener("load", ask);
  window.addEventListener("scroll", ask, { passive: true });
  window.addEventListener("resize", ask);
  document.addEventListener("toggle", ask, true);
  dark.addEventListener("change", () => drawn().forEach(draw));

  // On paper everything is open; where that were a book, only what failed is, and the rest is a line each.
  const mostPrinted = 40;
  let opened = [];
  window.addEventListener("beforeprint", () => {
    printing = true;
    const closed = [...document.querySelectorAll("details:not([open])")];
    opened = closed.length <= mostPrinted ? closed : closed.filter((details) => details.querySelector(":scope > summary .pill.bad"));
    opened.forEach((details) => { details.open = true; });
    places.forEach(draw);
  });
  window.addEventListener("afterprint", () => {
    printing = false;
    opened.forEach((details) => { details.open = false; });
    drawn().forEach(draw);
  });

  // Long names break at their joints.
  for (const name of document.querySelectorAll("h1, h3 code, h4 code, tbody th code, td code.kernel")) {
    for (const text of [...name.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE && node.data.includes("/")))
      text.replaceWith(...text.data.split(/(?<=[/])|(?=[@])/).flatMap((part, i) => i ? [document.createElement("wbr"), part] : [part]));
  }

  // ------------------------------------------------------------------------------------------ links and buttons
  function openTarget() {
    const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    const details = target && target.closest("details");
    if (!details || details.open) return;
    details.open = true;
    target.scrollIntoView();
  }
  window.addEventListener("hashchange", openTarget);
  openTarget();

  function copy(text) {
    if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
    const area = document.createElement("textarea");  // files are no secure context in some browsers
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done ? Promise.resolve() : Promise.reject(new Error("copying was refused"));
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.copy");
    if (!button) return;
    const code = button.parentElement.querySelector("code");
    copy(code.textContent).then(() => { button.textContent = "Copied"; }, () => {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }).finally(() => setTimeout(() => { button.textContent = "Copy"; }, 1600));
  });
})();
