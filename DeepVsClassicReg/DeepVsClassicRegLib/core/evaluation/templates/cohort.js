"use strict";
// The data of a cohort: filters, order and histograms. It knows nothing of the page, so that tests can run it alone.
const LIGHTS = ["good", "check", "bad", "failed"];

function makeCohort(data) {
  const words = data.words, count = words.pair.length;
  const word = (name, row) => Array.isArray(words[name]) ? words[name][row] : words[name].names[words[name].index[row]];
  const number = (name, row) => data.numbers[name] ? data.numbers[name][row] : null;

  // Rows of the table that pass all filters. `range` is {name, low, high}; `light` may be "" for all.
  function filtered(filter) {
    const text = (filter.text || "").trim().toLowerCase(), rows = [];
    for (let row = 0; row < count; row++) {
      if (filter.light && word("light", row) !== filter.light) continue;
      if (filter.engine && word("engine", row) !== filter.engine) continue;
      if (filter.group && word("group", row) !== filter.group) continue;
      if (filter.range) {
        const value = number(filter.range.name, row);
        if (value === null || value < filter.range.low || value > filter.range.high) continue;
      }
      if (text && !["pair", "subject", "session", "group", "message"].some(n => word(n, row).toLowerCase().includes(text))) continue;
      rows.push(row);
    }
    return rows;
  }

  // The same rows in another order; "attention" is the order of the table. Missing values come last in any direction.
  function sorted(rows, name, descending) {
    const sign = descending ? -1 : 1;
    if (name === "attention") return descending ? rows.slice().reverse() : rows;
    if (data.numbers[name]) {
      const values = data.numbers[name];
      return rows.slice().sort((a, b) => {
        if (values[a] === null || values[b] === null) return (values[a] === null) - (values[b] === null) || a - b;
        return sign * (values[a] - values[b]) || a - b;
      });
    }
    const rank = name === "light" ? row => LIGHTS.indexOf(word("light", row)) : row => word(name, row);
    return rows.slice().sort((a, b) => { const x = rank(a), y = rank(b); return (x < y ? -sign : x > y ? sign : 0) || a - b; });
  }

  // Counts of before and after in equal bins between the lowest and highest value of both.
  function histogram(rows, name, bins) {
    const sides = ["before_" + name, "after_" + name].map(side => data.numbers[side] || []);
    let low = Infinity, high = -Infinity;
    for (const values of sides) for (const row of rows) {
      const value = values[row];
      if (value === null || value === undefined) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
    if (low > high) return null;
    if (low === high) high = low + 1;
    const width = (high - low) / bins;
    const counted = sides.map(values => {
      const counts = new Array(bins).fill(0);
      for (const row of rows) {
        const value = values[row];
        if (value !== null && value !== undefined) counts[Math.min(bins - 1, Math.floor((value - low) / width))]++;
      }
      return counts;
    });
    return { low: low, high: high, width: width, before: counted[0], after: counted[1] };
  }

  function tally(rows) {
    const counts = {};
    for (const light of LIGHTS) counts[light] = 0;
    for (const row of rows) counts[word("light", row)] = (counts[word("light", row)] || 0) + 1;
    return counts;
  }

  return { count: count, word: word, number: number, filtered: filtered, sorted: sorted, histogram: histogram, tally: tally };
}

// The page.
function showCohort(data, document) {
  const PAGE = 60, BINS = 30;
  const TITLES = { good: "good", check: "check", bad: "bad", failed: "failed" };
  const cohort = makeCohort(data), at = id => document.getElementById(id);
  const state = { light: "", engine: "", group: "", text: "", range: null, order: "attention", descending: false, first: 0, table: false };
  const names = name => data.words[name].names.filter(Boolean);
  const text = (value, decimals) => value === null || value === undefined ? "–" : value.toFixed(decimals);

  function make(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (value !== null && value !== false) node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...children.filter(child => child !== null));
    return node;
  }
  function part(tag, attributes) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  }
  const link = row => encodeURI(cohort.word("folder", row)) + (cohort.word("page", row) ? "/report.html" : "/report.json");
  const isDone = row => cohort.word("light", row) !== "failed";

  function set(changes) {
    Object.assign(state, { first: 0 }, changes);
    draw();
  }

  function drawLights() {
    const counts = cohort.tally(cohort.filtered(Object.assign({}, state, { light: "" })));
    at("lights").replaceChildren(...LIGHTS.map(light => make("button", {
      type: "button", "aria-pressed": String(state.light === light), onclick: () => set({ light: state.light === light ? "" : light }),
    }, make("span", { class: "light " + light }), make("b", {}, String(counts[light])), TITLES[light])));
  }

  function drawPlots() {
    const open = cohort.filtered(Object.assign({}, state, { range: null }));
    at("plots").replaceChildren(...data.measures.map(measure => plot(measure, cohort.histogram(open, measure.name, BINS))).filter(Boolean));
  }

  function plot(measure, bins) {
    if (!bins) return null;
    const top = Math.max(1, ...bins.before, ...bins.after), name = "after_" + measure.name;
    const svg = part("svg", { viewBox: "0 0 300 92", preserveAspectRatio: "none", role: "img", "aria-label": "Distribution of " + measure.title });
    for (let bin = 0; bin < BINS; bin++) {
      const low = bins.low + bin * bins.width, high = low + bins.width;
      const chosen = state.range && state.range.name === name && Math.abs(state.range.middle - (low + high) / 2) < bins.width / 4;
      for (const [side, kind] of [["before", "earlier"], ["after", chosen ? "later chosen" : "later"]]) {
        const height = bins[side][bin] ? Math.max(2, 88 * bins[side][bin] / top) : 0;
        svg.append(part("rect", { x: bin * 10 + 0.5, y: 90 - height, width: 9, height: height, class: kind }));
      }
      const hit = part("rect", { x: bin * 10, y: 0, width: 10, height: 92, class: "hit" }), title = part("title", {});
      title.textContent = low.toFixed(measure.decimals) + " to " + high.toFixed(measure.decimals) + ": " + bins.before[bin] + " before, " + bins.after[bin] + " after";
      hit.append(title);
      hit.addEventListener("click", () => {
        // The highest bin includes its upper end; the others share theirs with the next one.
        const upper = bin === BINS - 1 ? high + bins.width * 1e-6 : high - bins.width * 1e-9;
        set({ range: chosen ? null : { name: name, low: low - bins.width * 1e-9, high: upper, middle: (low + high) / 2 } });
      });
      svg.append(hit);
    }
    const unit = measure.unit ? " " + measure.unit : "", arrow = { higher: " ↑", lower: " ↓" }[measure.direction] || "";
    return make("div", {}, make("h3", { title: measure.definition }, measure.title + arrow), svg,
      make("div", { class: "ends" }, make("span", {}, text(bins.low, measure.decimals) + unit), make("span", {}, text(bins.high, measure.decimals) + unit)));
  }

  function drawTools(rows) {
    at("as-montage").setAttribute("aria-pressed", String(!state.table));
    at("as-table").setAttribute("aria-pressed", String(state.table));
    at("direction").textContent = state.descending ? "↓" : "↑";
    at("order").value = state.order;
    const last = Math.min(rows.length, state.first + PAGE);
    at("count").textContent = rows.length ? (state.first + 1) + "–" + last + " of " + rows.length : "none of " + cohort.count;
    at("back").disabled = state.first === 0;
    at("next").disabled = last >= rows.length;
  }

  function outlier(row) {
    const score = cohort.number("outlier", row);
    return score !== null && score >= 3 ? make("span", { class: "mark", title: "Robust standard deviations worse than the median" }, "outlier " + score.toFixed(1)) : null;
  }

  function card(row) {
    const done = isDone(row), picture = make("div", { class: "picture" });
    if (cohort.word("thumbnail", row)) {
      const failed = () => { picture.textContent = "The picture is not in its folder."; };
      picture.append(make("img", { src: encodeURI(cohort.word("folder", row)) + "/thumbnail.jpg", loading: "lazy", alt: "Before and after", onerror: failed }),
        make("span", { class: "l" }, "before"), make("span", { class: "r" }, "after"));
    } else picture.append(done ? "no picture" : "no result");
    const about = [cohort.word("engine", row), cohort.word("subject", row), cohort.word("session", row), cohort.word("group", row)].filter(Boolean).join(" · ");
    const numbers = data.measures.filter(m => m.name === data.decisive || m.name === "folding_percent").map(m =>
      m.title + " " + (m.name === "folding_percent" ? "" : text(cohort.number("before_" + m.name, row), m.decimals) + " → ") + text(cohort.number("after_" + m.name, row), m.decimals) + (m.unit ? " " + m.unit : "")).join(", ");
    const body = make("div", { class: "text" },
      make("div", { class: "name" }, make("span", { class: "light " + cohort.word("light", row), title: cohort.word("light", row) }), make("span", {}, cohort.word("pair", row)), outlier(row)),
      make("div", { class: "soft" }, about),
      done ? make("div", { class: "numbers", title: cohort.word("sentence", row) }, numbers) : make("div", { class: "error" }, cohort.word("message", row)),
      done ? null : make("div", { class: "soft" }, cohort.word("hint", row)));
    return make(done ? "a" : "div", { class: "card", href: done ? link(row) : null }, picture, body);
  }

  function table(rows) {
    const columns = [["pair", "Pair"], ["engine", "Engine"], ["group", "Group"], ["light", "Verdict"], ["outlier", "Outlier"]];
    for (const measure of data.measures) columns.push(["after_" + measure.name, measure.title + (measure.unit ? " (" + measure.unit + ")" : "")]);
    columns.push(["seconds", "Seconds"]);
    const sort = name => set(state.order === name ? { descending: !state.descending } : { order: name, descending: false });
    const head = make("tr", {}, ...columns.map(([name, title]) => make("th", {
      class: data.numbers[name] ? "number" : null, onclick: () => sort(name), "aria-sort": state.order === name ? (state.descending ? "descending" : "ascending") : null,
    }, title + (state.order === name ? (state.descending ? " ↓" : " ↑") : ""))));
    const body = rows.map(row => make("tr", {}, ...columns.map(([name]) => {
      if (name === "pair") return make("td", { class: "text" }, isDone(row) ? make("a", { href: link(row) }, cohort.word("pair", row)) : cohort.word("pair", row));
      if (name === "light") return make("td", { title: cohort.word("message", row) }, make("span", { class: "light " + cohort.word("light", row) }), " " + cohort.word("light", row) + (cohort.word("message", row) ? ": " + cohort.word("message", row) : ""));
      if (!data.numbers[name]) return make("td", {}, cohort.word(name, row));
      const measure = data.measures.find(m => "after_" + m.name === name);
      return make("td", { class: "number" }, text(cohort.number(name, row), measure ? measure.decimals : 1));
    })));
    return make("div", { class: "rows wide" }, make("table", { class: "measures" }, make("thead", {}, head), make("tbody", {}, ...body)));
  }

  function draw() {
    const rows = cohort.sorted(cohort.filtered(state), state.order, state.descending), shown = rows.slice(state.first, state.first + PAGE);
    drawLights();
    drawPlots();
    drawTools(rows);
    at("list").replaceChildren(state.table ? table(shown) : make("div", { class: "montage" }, ...shown.map(card)));
  }

  for (const [id, all] of [["engine", "All engines"], ["group", "All groups"]]) {
    at(id).append(make("option", { value: "" }, all), ...names(id).sort().map(name => make("option", { value: name }, name)));
    at(id).hidden = names(id).length < 2;
    at(id).addEventListener("change", event => set({ [id]: event.target.value }));
  }
  const orders = [["attention", "attention"], ["pair", "pair"], ["light", "verdict"], ["outlier", "outlier"], ["seconds", "seconds"]];
  for (const measure of data.measures) orders.push(["after_" + measure.name, measure.title]);
  at("order").append(...orders.map(([value, title]) => make("option", { value: value }, title)));
  at("order").addEventListener("change", event => set({ order: event.target.value }));
  at("direction").addEventListener("click", () => set({ descending: !state.descending }));
  at("as-montage").addEventListener("click", () => set({ table: false }));
  at("as-table").addEventListener("click", () => set({ table: true }));
  at("search").addEventListener("input", event => set({ text: event.target.value }));
  at("back").addEventListener("click", () => set({ first: Math.max(0, state.first - PAGE) }));
  at("next").addEventListener("click", () => set({ first: state.first + PAGE }));
  for (const measure of data.measures) if (measure.definition) at("definitions").append(make("dt", {}, measure.title), make("dd", {}, measure.definition));
  draw();
}

if (typeof document !== "undefined") showCohort(JSON.parse(document.getElementById("data").textContent), document);
