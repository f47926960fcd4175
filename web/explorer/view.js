// The page of the explorer: controls, two pictures, a table and a summary in words. All numbers come from model.js.
"use strict";

{
  const START = {
    activation: "relu", inputs: "paper", kernel: "ck", sigma_a2: 0.2, distance: 4, norms: 0, ratio: 2,
  };
  const EXPERIMENTS = [
    ["Phase transition", { distance: 2, sigma_a2: 0.2, norms: 0, ratio: 1, kernel: "ck" }],
    ["Odd activation", { activation: "tanh", distance: 1.5, norms: 8, ratio: 2, kernel: "ck" }],
    ["Sharp threshold", { activation: "tanh", inputs: "unit", sigma_a2: 2, kernel: "ntk", ratio: 2 }],
    ["More samples than dimensions", { activation: "relu", distance: 4, ratio: 0.5, kernel: "ck" }],
  ];
  const CONTROLS = [
    { name: "activation", label: "Activation φ", options: () => activations() },
    { name: "inputs", label: "Input variance σ<sub>b</sub>²", options: () => [["paper", "1 − σₐ²"], ["unit", "1"]] },
    { name: "kernel", label: "Kernel", options: () => [["ck", "conjugate (CK)"], ["ntk", "tangent (NTK)"]] },
    { name: "sigma_a2", label: "Recurrent variance σ<sub>a</sub>²", min: 0.01, step: 0.01 },
    { name: "distance", label: "Class distance ‖μ₁ − μ₂‖", min: 0, max: 6, step: 0.05 },
    { name: "norms", label: "Norm difference |t₁ − t₂|", min: 0, max: 12, step: 0.1 },
    { name: "ratio", label: "Dimension ratio p/n", min: -2, max: 3, step: 0.05, power: 2 },
  ];
  const ROWS = [
    ["gamma2", "γ²"], ["alpha1", "α<sub>1</sub>"], ["alpha2", "α<sub>2</sub>"], ["alpha3", "α<sub>3</sub>"],
    ["kappa2", "κ²"], ["beta1", "β<sub>1</sub>"], ["beta2", "β<sub>2</sub>"], ["beta3", "β<sub>3</sub>"],
  ];
  const FAMILIES = {
    leaky_relu: "leaky ReLU", leaky_hard_tanh: "leaky hard tanh", polynomial: "polynomial",
  };
  const COUNTS = ["no", "one", "two", "three", "four"];
  const QUIET = 350; // ms without a change after which the summary is read out

  const state = { ...START };
  const root = document.getElementById("explorer");
  let pending = 0;

  function activations() {
    return Object.entries(explorer.tables).map(([name, table]) => [name, table.label]);
  }

  function number(x, digits = 4) {
    if (x === 0) return "0";
    if (Math.abs(x) < 1e-3 || Math.abs(x) >= 1e4) return x.toExponential(1).replace("-", "−");
    return x.toPrecision(digits).replace("-", "−");
  }

  // ------------------------------------------------------------ controls

  function skeleton() {
    root.innerHTML = `
      <form class="explorer-controls" aria-label="Settings of the explorer">
        ${CONTROLS.map(field).join("")}
      </form>
      <div class="explorer-starts" role="group" aria-label="Experiments to start from">
        ${EXPERIMENTS.map(([name], i) => `<button type="button" data-start="${i}">${name}</button>`).join("")}
        <button type="button" data-start="all">Reset</button>
      </div>
      <div class="explorer-picture" data-part="spectrum"></div>
      <ul class="explorer-legend">
        <li><span class="swatch bulk"></span>bulk of the DEQ</li>
        <li><span class="swatch twin"></span>the twin's</li>
        <li><span class="swatch classes"></span>spike that tells the classes apart</li>
        <li><span class="swatch common"></span>spike that does not</li>
        <li><span class="swatch atom"></span>atom</li>
      </ul>
      <p class="explorer-summary" aria-live="polite" data-part="summary"></p>
      <div class="explorer-columns">
        <div>
          <table><caption>Coefficients</caption>
            <thead><tr><th scope="col">Symbol</th><th scope="col">DEQ</th><th scope="col">Twin</th></tr></thead>
            <tbody>${ROWS.map(row).join("")}</tbody>
          </table>
          <p data-part="check"></p>
        </div>
        <div>
          <div class="explorer-picture" data-part="layers"></div>
          <div data-part="formulas"></div>
        </div>
      </div>`;
  }

  function field({ name, label, options, min, max, step }) {
    const id = `explorer-${name}`;
    if (options) {
      const choices = options().map(([value, text]) => `<option value="${value}">${text}</option>`);
      return `<div><label for="${id}">${label}</label><select id="${id}">${choices.join("")}</select></div>`;
    }
    return `<div><label for="${id}">${label}</label><output for="${id}"></output>
      <input type="range" id="${id}" min="${min}" max="${max ?? 1}" step="${step}"></div>`;
  }

  function row([name, symbol]) {
    return `<tr data-row="${name}"><th scope="row">${symbol}</th><td></td><td></td></tr>`;
  }

  function input(name) {
    return document.getElementById(`explorer-${name}`);
  }

  function part(name) {
    return root.querySelector(`[data-part="${name}"]`);
  }

  function read() {
    for (const { name, options, power } of CONTROLS) {
      const value = input(name).value;
      state[name] = options ? value : power ? power ** Number(value) : Number(value);
    }
  }

  // The end of the slider of sigma_a2 belongs to the activation: it stops short of the sharp threshold.
  function write() {
    const { top } = explorer.tables[state.activation][state.inputs];
    input("sigma_a2").max = top;
    state.sigma_a2 = Math.min(state.sigma_a2, top);
    for (const { name, options, power } of CONTROLS) {
      const value = state[name];
      const element = input(name);
      element.value = power ? Math.log(value) / Math.log(power) : value;
      if (options) continue;
      element.setAttribute("aria-valuetext", number(value, 3));
      element.previousElementSibling.textContent = number(value, 3);
    }
  }

  // ------------------------------------------------------------ drawing

  function element(parent, tag, attributes, text) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    parent.append(node);
    return node;
  }

  // An empty picture with axes, and the maps from numbers to its places.
  function frame(holder, label, height, [x0, x1], [y0, y1], xTitle, yTitle) {
    const width = Math.max(holder.clientWidth, 260);
    const [left, right, top, bottom] = [46, 46, 22, 40];
    holder.replaceChildren();
    const svg = element(holder, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
    const x = (value) => left + ((value - x0) / (x1 - x0)) * (width - left - right);
    const y = (value) => height - bottom - ((value - y0) / (y1 - y0)) * (height - top - bottom);
    for (const tick of ticks(x0, x1, width / 75)) {
      element(svg, "line", { class: "grid", x1: x(tick), x2: x(tick), y1: y(y0), y2: y(y1) });
      element(svg, "text", { x: x(tick), y: y(y0) + 17, "text-anchor": "middle" }, short(tick));
    }
    for (const tick of ticks(y0, y1, 5)) {
      element(svg, "line", { class: "grid", x1: x(x0), x2: x(x1), y1: y(tick), y2: y(tick) });
      element(svg, "text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, short(tick));
    }
    element(svg, "text", { x: (left + width - right) / 2, y: height - 5, "text-anchor": "middle" }, xTitle);
    element(svg, "text", { x: 4, y: 13 }, yTitle);
    return { svg, x, y, width, right, top };
  }

  function ticks(low, high, count) {
    const rough = (high - low) / Math.max(count, 2);
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((s) => s * power).find((s) => s >= rough);
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high * (1 + 1e-9); k++) found.push(k * step);
    return found;
  }

  function short(x) {
    return String(Number(x.toPrecision(6))).replace("-", "−");
  }

  function path(points) {
    return points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
  }

  // The density on points that crowd at the edges, where it is steepest.
  function curve(law) {
    if (!law.support) return [];
    const [low, high] = law.support;
    return Array.from({ length: 161 }, (_, k) => {
      const x = (low + high) / 2 - ((high - low) / 2) * Math.cos((Math.PI * k) / 160);
      return [x, k % 160 ? explorer.density(law, x) : 0];
    });
  }

  // For n near p the density has a pole at its lower edge, which must not flatten the rest.
  function ceiling(points) {
    const heights = points.map(([, d]) => d).sort((a, b) => a - b);
    return points.length ? Math.min(heights.at(-1), 5 * heights[points.length >> 1]) : 0;
  }

  function tells({ common, alignment }) {
    return !common && alignment > 1e-9;
  }

  function range(laws) {
    const places = laws.flatMap(({ support, atom, spikes }) => [
      ...(support ?? []), ...(atom ? [atom.place] : []), ...spikes.map((spike) => spike.place),
    ]);
    const [low, high] = [Math.min(...places), Math.max(...places)];
    const margin = 0.07 * (high - low) || 0.5;
    return [low - margin, high + margin];
  }

  function drawSpectrum(found, words) {
    const [mine, twins] = [found.law, found.twinLaw];
    const curves = [curve(mine), curve(twins)];
    const highest = Math.max(...curves.map(ceiling)) || 1;
    const plot = frame(
      part("spectrum"), words, 320, range([mine, twins]), [0, 1.12 * highest], "eigenvalue", "density"
    );
    const { svg, x, y, width, right } = plot;
    const place = ([a, d]) => [x(a), y(Math.min(d, 1.12 * highest))];
    const align = (a) => y(1.07 * highest * a);
    if (curves[0].length) element(svg, "path", { class: "bulk", d: path(curves[0].map(place)) + "Z" });
    if (curves[1].length) element(svg, "path", { class: "twin", d: path(curves[1].map(place)) });
    for (const level of [0, 0.5, 1]) {
      element(svg, "text", { x: width - right + 6, y: align(level) + 4 }, short(level));
    }
    element(svg, "text", { x: width - 4, y: 13, "text-anchor": "end" }, "alignment of spikes");
    if (mine.atom) drawAtom(plot, mine.atom);
    const stem = (spike, kind, radius) => {
      const [at, end] = [x(spike.place), align(spike.alignment)];
      if (radius < 7) element(svg, "line", { class: kind, x1: at, x2: at, y1: y(0), y2: end });
      element(svg, "circle", { class: kind, cx: at, cy: end, r: radius });
    };
    mine.spikes.forEach((spike) => stem(spike, tells(spike) ? "classes" : "common", 5));
    twins.spikes.forEach((spike) => stem(spike, "twin", 8));
  }

  function drawAtom({ svg, x, y, top }, atom) {
    const at = x(atom.place);
    element(svg, "line", { class: "atom", x1: at, x2: at, y1: y(0), y2: top });
    const label = `atom, ${Math.round(100 * atom.mass)} %`;
    element(svg, "text", { x: Math.max(at - 3, 60), y: top - 6 }, label);
  }

  function drawLayers({ family, layers }) {
    const grid = Array.from({ length: 121 }, (_, k) => -3 + k / 20);
    const curves = layers.map((layer) => grid.map((x) => [x, explorer.families[family].value(layer, x)]));
    const size = Math.min(Math.max(...curves.flat().map(([, f]) => Math.abs(f))), 4);
    const label = `The twin's layers as functions: ${formulas(family, layers).join("; ")}`;
    const holder = part("layers");
    const plot = frame(holder, label, 220, [-3, 3], [-1.1 * size, 1.1 * size], "input of a layer", "layer");
    curves.forEach((points, l) => {
      const inside = points.filter(([, f]) => Math.abs(f) <= 1.1 * size);
      const d = path(inside.map(([a, f]) => [plot.x(a), plot.y(f)]));
      element(plot.svg, "path", { class: `layer layer-${l + 1}`, d });
      const [a, f] = inside.at(-1);
      element(plot.svg, "text", { x: plot.x(a) + 5, y: plot.y(f) + 4 }, `f${"₁₂₃₄"[l]}`);
    });
  }

  // ------------------------------------------------------------ words

  function formulas(family, layers) {
    return layers.map((layer, l) => {
      const name = `f${"₁₂₃₄"[l]}(x) =`;
      if (family === "leaky_relu") {
        const constant = (layer.a - layer.b) / Math.sqrt(2 * Math.PI);
        return `${name} ${number(layer.a)} x for x > 0, ${number(layer.b)} x for x < 0, less ${number(constant)}`;
      }
      if (family === "leaky_hard_tanh") {
        return `${name} a line of slope ${number(layer.a)} up to |x| = ${number(layer.c)}, of slope ${number(layer.b)} beyond`;
      }
      const terms = layer.coefficients.map((q, k) => [q, k]).filter(([q]) => Math.abs(q) > 1e-12);
      const shown = terms.map(([q, k], i) => {
        const sign = q < 0 ? (i ? " − " : "−") : i ? " + " : "";
        return `${sign}${number(Math.abs(q))} h${"₀₁₂₃₄₅"[k]}(x)`;
      });
      return `${name} ${shown.join("")}`;
    });
  }

  function describeSpikes({ law, critical }) {
    const classes = law.spikes.filter(tells);
    const others = law.spikes.length - classes.length;
    const rest = others ? ` ${others === 1 ? "One more spike says" : "Two more spikes say"} nothing of them.` : "";
    const place = ({ place, alignment }) => `${number(place, 3)} (alignment ${alignment.toFixed(2)})`;
    const nearer = state.distance < critical ? "below" : "above";
    const means = law.support
      ? `The class distance is ${nearer} the critical one, ${number(critical, 3)}.`
      : "This activation does not see means.";
    if (!classes.length) return `No spike tells the classes apart.${others ? " There is one of another kind." : ""} ${means}`;
    return `Spikes that tell the classes apart: ${classes.map(place).join(", ")}.${rest} ${means}`;
  }

  function describe(found) {
    const { law, twin, load } = found;
    const name = explorer.tables[state.activation].label;
    const bulk = law.support
      ? `The bulk reaches from ${number(law.support[0], 3)} to ${number(law.support[1], 3)}.`
      : "There is no bulk: all but a few eigenvalues agree.";
    const atom = law.atom ? ` ${Math.round(100 * law.atom.mass)} % of the eigenvalues lie at ${number(law.atom.place, 3)}.` : "";
    const depth = `${COUNTS[twin.layers.length]} layer${twin.layers.length > 1 ? "s" : ""}`;
    const apart = Math.abs(found.twinLaw.first - law.first) + Math.abs(found.twinLaw.place - law.place);
    const agree =
      apart < 1e-6 * Math.max(law.first, Math.abs(law.place))
        ? "Its spectrum is the DEQ's."
        : "It was made for the conjugate kernel; its tangent kernel differs.";
    return (
      `${name} at recurrent variance ${number(state.sigma_a2, 3)}. ${bulk}${atom} ${describeSpikes(found)} ` +
      `The twin has ${depth} of the family ${FAMILIES[twin.family]}. ${agree} ` +
      `The DEQ is at ${number(load, 3)} of its sharp threshold.`
    );
  }

  // ------------------------------------------------------------ one redraw

  function fill(found) {
    for (const [name] of ROWS) {
      const cells = root.querySelectorAll(`[data-row="${name}"] td`);
      [found.coefficients, found.twin.coefficients].forEach((values, column) => {
        const value = Math.abs(values[name]) < 1e-13 ? 0 : values[name]; // rounding of a zero
        cells[column].textContent = number(value);
      });
    }
    const { threshold, load, twin } = found;
    const where = threshold === null ? "none on this slider" : `at σₐ² = ${number(threshold, 3)}`;
    part("check").textContent =
      `Sharp threshold: ${where}; σₐ² E[φ′²] = ${number(load, 3)}. ` +
      `The twin solves the four equations up to ${number(twin.residual, 1)}, relatively.`;
    const lines = formulas(twin.family, twin.layers).map((text) => {
      const line = document.createElement("p");
      line.textContent = text;
      return line;
    });
    part("formulas").replaceChildren(...lines);
  }

  function redraw() {
    write();
    const found = explorer.compute(state);
    const words = describe(found);
    drawSpectrum(found, words);
    drawLayers(found.twin);
    fill(found);
    explorer.redraws += 1;
    clearTimeout(pending);
    pending = setTimeout(() => (part("summary").textContent = words), QUIET);
  }

  function begin({ target }) {
    const which = target.closest("[data-start]")?.dataset.start;
    if (which === undefined) return;
    Object.assign(state, which === "all" ? START : { ...START, ...EXPERIMENTS[which][1] });
    redraw();
  }

  if (root) {
    explorer.redraws = 0;
    explorer.state = state;
    document.documentElement.classList.add("explorer-live");
    skeleton();
    root.querySelector("form").addEventListener("input", () => {
      read();
      redraw();
    });
    root.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
    root.querySelector(".explorer-starts").addEventListener("click", begin);
    let width = root.clientWidth;
    new ResizeObserver(() => {
      if (root.clientWidth === width) return;
      width = root.clientWidth;
      redraw();
    }).observe(root);
    redraw();
  }
}
