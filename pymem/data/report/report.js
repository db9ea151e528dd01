"use strict";
// Draws the charts of a report. All share one window of time and one cursor.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const LEFT = 64, RIGHT = 8, TOP = 16, BOTTOM = 20;
  const COLOURS = {kernel: "--kernel", slab: "--slab", page_tables: "--tables", compressed: "--zip",
    unevictable: "--locked", active_anon: "--aa", inactive_anon: "--ia", active_file: "--af", inactive_file: "--if",
    other: "--transit", free: "--free"};
  const time = data.time, first = time[0] ?? 0, last = Math.max(time[time.length - 1] ?? 1, first + 1);
  let view = [first, last], cursor = null, queued = false;

  // ---- numbers for people ----
  const trim = (x) => String(Number(x.toPrecision(3)));
  function bytes(n) {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let i = 0;
    while (Math.abs(n) >= 1000 && i < units.length - 1) { n /= 1024; i++; }
    return `${trim(n)} ${units[i]}`;
  }
  function count(n) {
    for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) if (Math.abs(n) >= size) return `${trim(n / size)} ${unit}`;
    return trim(n);
  }
  const show = {"pages": (v) => bytes(v * 4096), "pages/s": (v) => `${bytes(v * 4096)}/s`, "/s": (v) => `${count(v)}/s`,
    "%": (v) => `${trim(v)} %`};
  const scales = [["s", 1e9], ["ms", 1e6], ["µs", 1e3], ["ns", 1]];
  // In the unit of the end of the window, as exact as its length asks for.
  function clock(ns) {
    const [unit, size] = scales.find(([, s]) => view[1] >= s) ?? scales[3];
    const digits = Math.max(0, Math.min(9, 3 - Math.floor(Math.log10((view[1] - view[0]) / size))));
    return `${Number((ns / size).toFixed(digits))} ${unit}`;
  }
  function step(span, most, base = 10) {
    const rough = span / most, power = base ** Math.floor(Math.log(rough) / Math.log(base));
    const nice = base === 10 ? [1, 2, 5, 10] : [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];
    return power * (nice.find((n) => n * power >= rough) ?? base);
  }
  function ticks(low, high, most, base) {
    const by = step(high - low || 1, most, base), out = [];
    for (let i = Math.ceil(low / by); i * by <= high * (1 + 1e-9); i++) out.push(i * by);
    return out;
  }
  // Last index whose time is at or before t.
  function index(t) {
    let low = 0, high = time.length - 1;
    while (low < high) { const mid = (low + high + 1) >> 1; if (time[mid] <= t) low = mid; else high = mid - 1; }
    return low;
  }
  function make(name, attributes, parent, text) {
    const node = document.createElementNS(SVG, name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (text !== undefined) node.textContent = text;
    parent?.append(node);
    return node;
  }
  const colour = (chart, i) => `var(${chart.stacked ? COLOURS[chart.series[i].key] : `--c${i % 6}`})`;

  // ---- a chart ----
  class Chart {
    constructor(figure, spec) {
      Object.assign(this, {figure, spec, hidden: new Set(), from: null});
      this.svg = figure.querySelector("svg");
      this.buttons = spec.series.map((series, i) => {
        const button = document.createElement("button");
        const [swatch, name, value] = ["i", "span", "b"].map((tag) => document.createElement(tag));
        button.type = "button";
        button.setAttribute("aria-pressed", "true");
        button.title = "show or hide";
        swatch.style.background = colour(spec, i);
        name.textContent = series.label;
        button.append(swatch, name, value);
        button.onclick = () => {
          if (!this.hidden.delete(i)) this.hidden.add(i);
          button.setAttribute("aria-pressed", String(!this.hidden.has(i)));
          this.draw();
        };
        figure.querySelector(".legend").append(button);
        return button;
      });
      this.listen();
    }

    get width() { return this.svg.clientWidth || 600; }
    get height() { return this.spec.stacked ? 300 : 200; }
    x(t) { return LEFT + (t - view[0]) / (view[1] - view[0]) * (this.width - LEFT - RIGHT); }
    t(x) { return view[0] + Math.min(1, Math.max(0, (x - LEFT) / (this.width - LEFT - RIGHT))) * (view[1] - view[0]); }

    // Points in the window, not more than two per pixel: [index of the first, one past the last] of each.
    spans() {
      const from = index(view[0]), to = Math.min(time.length, index(view[1]) + 2), room = Math.max(50, this.width * 2);
      const each = Math.max(1, Math.ceil((to - from) / room)), out = [];
      for (let i = from; i < to; i += each) out.push([i, Math.min(to, i + each)]);
      return out;
    }

    draw() {
      const {svg, spec, width, height} = this, spans = this.spans(), floor = height - BOTTOM;
      const on = spec.series.map((s, i) => [s, i]).filter(([, i]) => !this.hidden.has(i));
      const mean = (a, [i, j]) => { let sum = 0; for (let k = i; k < j; k++) sum += a[k]; return sum / (j - i); };
      const lines = on.map(([s]) => spans.map((p) => mean(s.mean, p)));
      const least = on.map(([s]) => spans.map(([i, j]) => Math.min(...(s.lo ?? s.mean).slice(i, j))));
      const most = on.map(([s]) => spans.map(([i, j]) => Math.max(...(s.hi ?? s.mean).slice(i, j))));
      const sums = spans.map((_, k) => lines.reduce((sum, line) => sum + line[k], 0));
      let high = Math.max(0, ...(spec.stacked ? sums : most.flat()), ...(spec.stacked ? [] : Object.values(spec.levels)));
      if (spec.top) high = Math.min(high, spec.top);
      high = high * (spec.stacked ? 1 : 1.05) || 1;
      const y = (v) => floor - Math.min(Math.max(v / high, 0), 1) * (floor - TOP), x = spans.map(([i, j]) => this.x(time[(i + j - 1) >> 1]));
      svg.replaceChildren();
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      svg.setAttribute("height", height);
      const pages = spec.unit.startsWith("pages");
      const unit = pages ? 1024 ** Math.floor(Math.log(high * 4096) / Math.log(1024)) / 4096 : 1;
      for (const v of ticks(0, high / unit, 5).map((v) => v * unit)) {
        make("line", {class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(v), y2: y(v)}, svg);
        make("text", {x: LEFT - 6, y: y(v) + 4, "text-anchor": "end"}, svg, show[spec.unit](v));
      }
      for (const v of ticks(view[0], view[1], Math.max(4, (width - LEFT) / 110))) {
        make("text", {x: Math.min(this.x(v), width - 24), y: height - 5, "text-anchor": "middle"}, svg, clock(v));
      }
      const clip = `clip-${spec.key}`;
      make("rect", {x: LEFT, y: 0, width: width - LEFT - RIGHT, height: floor + 1}, make("clipPath", {id: clip}, svg));
      const plot = make("g", {"clip-path": `url(#${clip})`}, svg);
      const path = (ys) => ys.map((v, k) => `${k ? "L" : "M"}${x[k].toFixed(1)},${y(v).toFixed(1)}`).join("");
      const back = (ys) => ys.map((v, k) => `L${x[k].toFixed(1)},${y(v).toFixed(1)}`).reverse().join("");
      const area = (upper, lower) => `${path(upper)}${back(lower)}Z`;
      let base = spans.map(() => 0);
      on.forEach(([, i], n) => {
        if (spec.stacked) {
          const upper = base.map((v, k) => v + lines[n][k]);
          make("path", {d: area(upper, base), fill: colour(spec, i), "data-series": spec.series[i].key}, plot);
          base = upper;
          return;
        }
        if (least[n].some((v, k) => v !== most[n][k])) make("path", {d: area(most[n], least[n]), fill: colour(spec, i), opacity: .25}, plot);
        make("path", {d: path(lines[n]), fill: "none", stroke: colour(spec, i), "stroke-width": 1.6, "data-series": spec.series[i].key}, plot);
      });
      Object.entries(spec.levels).sort(([, a], [, b]) => b - a).forEach(([name, v], k) => {
        if (v > high) return;
        make("line", {class: "rule", x1: LEFT, x2: width - RIGHT, y1: y(v), y2: y(v)}, plot);
        // Watermarks lie close to each other: each label has a place of its own.
        const at = width - RIGHT - 4 - k * 90;
        make("text", {class: "halo", x: at, y: y(v) - 3, "text-anchor": "end"}, plot, `${name} ${show[spec.unit](v)}`);
      });
      let taken = LEFT;  // labels of kills must not lie over each other; the line tells its text when pointed at
      for (const mark of data.marks) {
        const at = this.x(mark.time), killed = mark.kind === "oom" || mark.kind === "panic";
        if (at < LEFT || at > width - RIGHT) continue;
        make("title", {}, make("line", {class: killed ? "mark" : "mark soft", x1: at, x2: at, y1: TOP - 4, y2: floor}, plot), mark.text);
        const long = 7 * mark.label.length + 6, left = Math.max(LEFT, Math.min(at, width - RIGHT - long));
        if (!killed || left < taken) continue;
        taken = left + long;
        make("text", {class: "killed halo", x: left, y: 11}, plot, mark.label);
      }
      this.hair = make("line", {class: "cursor", y1: TOP, y2: floor, visibility: "hidden"}, svg);
      this.box = make("rect", {class: "select", y: TOP, height: floor - TOP, width: 0}, svg);
      this.point();
    }

    // The cursor and, in the legend, the values there.
    point() {
      const inside = cursor !== null && cursor >= view[0] && cursor <= view[1], k = inside ? index(cursor) : -1;
      if (inside) for (const end of ["x1", "x2"]) this.hair?.setAttribute(end, this.x(cursor));
      this.hair?.setAttribute("visibility", inside ? "visible" : "hidden");
      this.spec.series.forEach((s, i) => {
        let value = "";
        if (inside) {
          value = show[this.spec.unit](s.mean[k]);
          if (s.lo && !this.spec.stacked && s.lo[k] !== s.hi[k]) value = `${show[this.spec.unit](s.lo[k])} … ${show[this.spec.unit](s.hi[k])}`;
        }
        this.buttons[i].lastChild.textContent = value;
      });
    }

    listen() {
      const {svg} = this, at = (event) => event.clientX - svg.getBoundingClientRect().left;
      svg.addEventListener("pointerdown", (event) => {
        if (event.pointerType === "mouse" && event.button === 0) { this.from = at(event); svg.setPointerCapture(event.pointerId); }
        setCursor(this.t(at(event)));
      });
      svg.addEventListener("pointermove", (event) => {
        setCursor(this.t(at(event)));
        if (this.from === null) return;
        this.box.setAttribute("x", Math.min(this.from, at(event)));
        this.box.setAttribute("width", Math.abs(at(event) - this.from));
      });
      svg.addEventListener("pointerup", (event) => {
        if (this.from === null) return;
        const [a, b] = [this.t(this.from), this.t(at(event))].sort((p, q) => p - q), wide = Math.abs(at(event) - this.from) > 8;
        this.from = null;
        this.box.setAttribute("width", 0);
        if (wide) setView(a, b);
      });
      svg.addEventListener("pointercancel", () => { this.from = null; this.box.setAttribute("width", 0); });
      svg.addEventListener("pointerleave", () => { if (this.from === null && document.activeElement !== svg) setCursor(null); });
      svg.addEventListener("dblclick", () => setView(first, last));
      svg.addEventListener("wheel", (event) => {
        if (!event.ctrlKey) return;  // without Ctrl the page scrolls, as everywhere
        event.preventDefault();
        zoom(event.deltaY < 0 ? .8 : 1.25, this.t(at(event)));
      }, {passive: false});
      svg.addEventListener("focus", () => { if (cursor === null) setCursor((view[0] + view[1]) / 2); });
      svg.addEventListener("keydown", (event) => {
        const span = view[1] - view[0], here = cursor ?? (view[0] + view[1]) / 2;
        const way = {ArrowLeft: -1, ArrowRight: 1}[event.key];
        if (way && event.shiftKey) pan(way * .25);
        else if (way) setCursor(Math.min(view[1], Math.max(view[0], here + way * span / 100)));
        else if (event.key === "Home") setCursor(view[0]);
        else if (event.key === "End") setCursor(view[1]);
        else if (event.key === "+" || event.key === "=") zoom(.5, here);
        else if (event.key === "-") zoom(2, here);
        else if (event.key === "0" || event.key === "Escape") setView(first, last);
        else return;
        event.preventDefault();
        said.textContent = `${clock(cursor ?? 0)}: ${this.buttons.map((b) => `${b.children[1].textContent} ${b.lastChild.textContent}`).join(", ")}`;
      });
    }
  }

  // ---- what all charts share ----
  const said = document.getElementById("said"), shown = document.getElementById("window");
  const all = data.charts.map((spec) => new Chart(document.getElementById(`chart-${spec.key}`), spec));
  function later(work) {
    if (queued) return;
    queued = true;
    requestAnimationFrame(() => { queued = false; work(); });
  }
  function status() {
    shown.textContent = cursor === null ? `${clock(view[0])} to ${clock(view[1])}`
      : `at ${clock(cursor)}`;
  }
  function setCursor(t) { cursor = t; status(); later(() => all.forEach((chart) => chart.point())); }
  function setView(a, b) {
    const least = Math.max((last - first) / 1e5, 1), span = Math.min(last - first, Math.max(least, b - a));
    a = Math.min(Math.max(first, a), last - span);
    view = [a, a + span];
    status();
    queued = false;
    later(() => all.forEach((chart) => chart.draw()));
  }
  function zoom(by, t) { setView(t - (t - view[0]) * by, t + (view[1] - t) * by); }
  function pan(by) { const d = (view[1] - view[0]) * by; setView(view[0] + d, view[1] + d); }
  const middle = () => cursor ?? (view[0] + view[1]) / 2;
  const actions = {all: () => setView(first, last), in: () => zoom(.5, middle()), out: () => zoom(2, middle()),
    back: () => pan(-.5), on: () => pan(.5), theme: () => {
      const now = document.documentElement.style.colorScheme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
      document.documentElement.style.colorScheme = now === "dark" ? "light" : "dark";
    }};
  for (const button of document.querySelectorAll("button[data-do]")) button.onclick = actions[button.dataset.do];
  for (const button of document.querySelectorAll("button[data-time]")) {
    button.onclick = () => {
      const t = Number(button.dataset.time), span = (last - first) / 8;
      setView(t - span / 2, t + span / 2);
      setCursor(t);
      document.querySelector(".bar")?.scrollIntoView({block: "start"});
    };
  }
  const filter = document.getElementById("filter");
  filter?.addEventListener("input", () => {
    for (const row of document.querySelectorAll("#counters div")) row.hidden = !row.firstChild.textContent.includes(filter.value.trim());
  });
  if (all.length) {
    let wide = document.body.clientWidth;
    new ResizeObserver(() => {
      if (document.body.clientWidth === wide) return;  // what is drawn changes the height only
      wide = document.body.clientWidth;
      all.forEach((chart) => chart.draw());
    }).observe(document.body);
    setView(first, last);
    all.forEach((chart) => chart.draw());
  }
  document.documentElement.dataset.drawn = String(all.length);
})();
