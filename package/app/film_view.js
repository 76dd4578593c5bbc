// The film with its regions. Everything is built from `props.value` (see view.py) by text nodes: no text is ever HTML.
const SVG = "http://www.w3.org/2000/svg";
const state = { selected: null, hovered: null, boxes: "all", stack: [] };

function make(tag, attributes = {}, ...children) {
  const node = tag.startsWith("svg:")
    ? document.createElementNS(SVG, tag.slice(4))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat()) if (child !== null && child !== undefined && child !== false) node.append(child);
  return node;
}

const number = (value, digits = 2) => Number(value).toFixed(digits);

function bar(score, threshold, called) {
  const track = make("span", { class: "av-bar", "aria-hidden": "true" });
  const fill = make("span", { class: called ? "av-fill av-called" : "av-fill" });
  fill.style.width = `${Math.round(100 * Math.min(1, Math.max(0, score)))}%`;
  track.append(fill);
  if (threshold !== undefined) {
    const tick = make("span", { class: "av-tick" });
    tick.style.left = `${100 * threshold}%`;
    track.append(tick);
  }
  return track;
}

function doubts(view) {
  if (!view.flags.length) return make("p", { class: "av-fine" }, "No doubt was raised about the film.");
  return make(
    "div",
    { class: view.withheld ? "av-doubts av-withheld" : "av-doubts", role: "alert" },
    make("strong", {}, view.withheld ? "Findings are withheld" : "Doubts about this film"),
    make(
      "ul",
      {},
      view.flags.map((flag) => make("li", {}, make("b", {}, flag.flag.replaceAll("_", " ")), `: ${flag.reason}`)),
    ),
  );
}

// The boxes that hold a point, the smallest first: boxes lie within boxes, and the smallest is the one that is meant.
function regionsAt(view, x, y) {
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  return view.regions
    .filter(({ found, box }) => found && x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3])
    .sort((one, other) => area(one.box) - area(other.box));
}

function render() {
  const view = props.value;
  element.replaceChildren();
  if (!view || !view.regions) return;
  Object.assign(state, { selected: null, hovered: null, stack: [] });

  const svg = make("svg:svg", { viewBox: `0 0 ${view.width} ${view.height}`, role: "img", "aria-label": view.alt });
  svg.style.aspectRatio = `${view.width} / ${view.height}`;
  svg.style.maxWidth = `calc(78vh * ${view.width / view.height})`;
  svg.append(make("svg:image", { href: view.image, width: view.width, height: view.height }));
  for (const mask of view.masks) {
    svg.append(
      make("svg:image", {
        href: mask.image, width: view.width, height: view.height, class: "av-mask", preserveAspectRatio: "none",
      }),
    );
  }
  const rects = new Map();
  const area = ({ box }) => (box[2] - box[0]) * (box[3] - box[1]);
  for (const region of [...view.regions].sort((one, other) => area(other) - area(one))) {
    if (!region.found) continue;
    const [x0, y0, x1, y1] = region.box;
    const place = { x: x0, y: y0, width: x1 - x0, height: y1 - y0 };
    const shadow = make("svg:rect", { ...place, class: "av-shadow" });
    const rect = make("svg:rect", { ...place, class: "av-box", stroke: region.colour, "data-region": region.name });
    const group = make("svg:g", { class: region.strong ? "av-strong" : "" }, shadow, rect);
    rects.set(region.name, group);
    svg.append(group);
  }
  const labels = make("svg:g", { class: "av-labels" });
  svg.append(labels);

  const detail = make("div", { class: "av-detail", "aria-live": "polite", "aria-atomic": "true" });
  const options = new Map();
  const list = make("ul", {
    class: "av-list", role: "listbox", tabindex: "0", "aria-label": "Regions; sides are the patient's",
  });
  view.regions.forEach((region, index) => {
    const swatch = make("span", { class: "av-swatch", "aria-hidden": "true" });
    swatch.style.background = region.colour;
    const option = make(
      "li",
      { role: "option", id: `av-region-${index}`, "aria-selected": "false", "data-region": region.name },
      swatch, region.name, region.found ? null : make("small", {}, " not found"),
    );
    option.addEventListener("click", () => select(region.name));
    option.addEventListener("pointerenter", () => hover(region.name));
    option.addEventListener("pointerleave", () => hover(null));
    options.set(region.name, option);
    list.append(option);
  });
  list.addEventListener("keydown", (event) => {
    const names = view.regions.map((region) => region.name);
    const at = names.indexOf(state.selected);
    const moves = { ArrowDown: at + 1, ArrowRight: at + 1, ArrowUp: at - 1, ArrowLeft: at - 1, Home: 0 };
    moves.End = names.length - 1;
    let target = moves[event.key];
    if (event.key.length === 1 && /[a-z]/i.test(event.key)) {
      const order = [...names.slice(at + 1), ...names.slice(0, at + 1)];
      target = names.indexOf(order.find((name) => name.startsWith(event.key.toLowerCase())));
      if (target < 0) target = undefined;
    }
    if (target === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    select(names[Math.min(names.length - 1, Math.max(0, target))]);
  });

  function place(event) {
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    return regionsAt(view, x, y).map(({ name }) => name);
  }
  svg.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "touch") hover(place(event)[0] ?? null);
  });
  svg.addEventListener("pointerleave", () => hover(null));
  svg.addEventListener("click", (event) => {
    // Again on the same place: the next larger box there.
    const names = place(event);
    if (!names.length) return;
    const same = names.join() === state.stack.join();
    const at = same ? (names.indexOf(state.selected) + 1) % names.length : 0;
    state.stack = names;
    select(names[at]);
  });

  function hover(name) {
    if (state.hovered === name) return;
    state.hovered = name;
    paint();
  }

  function select(name) {
    state.selected = name;
    const option = options.get(name);
    for (const other of options.values()) other.setAttribute("aria-selected", String(other === option));
    list.setAttribute("aria-activedescendant", option.id);
    // Within the list only; the page stays where it is.
    const low = option.offsetTop;
    if (low < list.scrollTop) list.scrollTop = low;
    else if (low + option.offsetHeight > list.scrollTop + list.clientHeight)
      list.scrollTop = low + option.offsetHeight - list.clientHeight;
    describe(view.regions.find((region) => region.name === name));
    paint();
  }

  function describe(region) {
    const rows = (items) =>
      make("ul", { class: "av-scores" }, items.map((item) => {
        const phrases = view.phrases[item.name];
        const asked = phrases ? `asked: “${phrases[0]}” against “${phrases[1]}”` : null;
        return make(
          "li", {},
          make("span", { class: "av-name" }, item.name ?? `“${item.text}”`),
          make("span", { class: "av-score" }, number(item.score)),
          bar(item.score),
          asked && make("small", {}, asked),
        );
      }));
    const [x0, y0, x1, y1] = region.box.map((edge) => Math.round(edge));
    detail.replaceChildren(
      ...[
        make("h3", {}, region.name),
        make("p", { class: "av-faint" }, region.found
          ? `${region.group}; box ${x0}, ${y0} to ${x1}, ${y1} pixels; presence ${number(region.presence)}`
          : `not found on this film (presence ${number(region.presence)})`),
        region.prompts.length ? make("h4", {}, "Your texts") : null,
        region.prompts.length ? rows(region.prompts) : null,
        make("h4", {}, "Findings in this region"),
        region.findings.length
          ? rows(region.findings)
          : make("p", { class: "av-faint" }, view.withheld ? "Withheld." : "None is asked of this region."),
      ].filter(Boolean),
    );
  }

  function paint() {
    const chosen = [state.selected, state.hovered].filter(Boolean);
    for (const region of view.regions) {
      const group = rects.get(region.name);
      if (!group) continue;
      const active = chosen.includes(region.name);
      const shown = active || state.boxes === "all" || (state.boxes === "main" && region.main);
      group.style.display = shown ? "" : "none";
      group.classList.toggle("av-active", active);
      group.classList.toggle("av-dim", chosen.length > 0 && !active);
    }
    for (const [name, option] of options) option.classList.toggle("av-hovered", name === state.hovered);
    name();
  }

  // Names on the film: what is hovered or chosen first, then the main regions where there is room.
  function name() {
    const { width } = svg.getBoundingClientRect();
    labels.replaceChildren();
    if (!width) return;
    const unit = view.width / width;
    const small = width < 480;
    const size = (small ? 11 : 13) * unit;
    const taken = [];
    const rank = ({ name, strong }) => (name === state.hovered ? 0 : name === state.selected ? 1 : strong ? 2 : 3);
    const wanted = view.regions.filter(
      (region) => region.found && (rank(region) < 2 || (state.boxes !== "none" && (small ? region.strong : region.main))),
    );
    for (const region of wanted.sort((one, other) => rank(one) - rank(other))) {
      const text = make("svg:text", { "font-size": size, fill: region.colour }, region.label);
      labels.append(text);
      const wide = text.getComputedTextLength() + 8 * unit;
      const tall = size + 6 * unit;
      const [x0, y0, x1, y1] = region.box;
      const near = region.name.startsWith("left") ? x1 - wide : x0;
      const far = region.name.startsWith("left") ? x0 : x1 - wide;
      const spots = [[near, y0], [near, y1 - tall], [far, y0], [far, y1 - tall], [near, y0 - tall], [near, y1]];
      const inside = ([x, y]) => [Math.min(Math.max(0, x), view.width - wide), Math.min(Math.max(0, y), view.height - tall)];
      const free = ([x, y]) => taken.every((t) => x >= t[2] || x + wide <= t[0] || y >= t[3] || y + tall <= t[1]);
      const spot = spots.map(inside).find(free) ?? (rank(region) < 2 ? inside(spots[0]) : null);
      if (!spot) {
        text.remove();
        continue;
      }
      taken.push([spot[0], spot[1], spot[0] + wide, spot[1] + tall]);
      const back = make("svg:rect", { x: spot[0], y: spot[1], width: wide, height: tall, class: "av-back" });
      labels.insertBefore(back, text);
      text.setAttribute("x", spot[0] + 4 * unit);
      text.setAttribute("y", spot[1] + tall / 2);
    }
  }

  const choices = [["all", "all"], ["main", "main ones"], ["none", "only the chosen one"]];
  const boxes = make(
    "select",
    { onchange: (event) => { state.boxes = event.target.value; paint(); } },
    choices.map(([value, text]) => make("option", { value, selected: value === state.boxes }, text)),
  );
  const side = (letter, text) => make("span", { class: "av-side", title: text, role: "img", "aria-label": text }, letter);

  const figure = make(
    "figure", { class: "av-figure" },
    make(
      "div", { class: "av-frame" },
      view.sides && side("R", "the patient's right"), svg, view.sides && side("L", "the patient's left"),
    ),
    make(
      "figcaption", {},
      make("label", {}, "Boxes: ", boxes),
      make("span", { class: "av-faint" }, view.sides ? "R and L are the patient's sides." : "Lateral film: no sides."),
    ),
  );
  const panel = make(
    "section", { class: "av-panel", "aria-label": "Regions" },
    make("h2", {}, "Regions"),
    make("p", { class: "av-faint" },
      "Point at the film or the list, choose by click or with the arrow keys; sides are the patient's."),
    list, detail,
  );
  element.append(doubts(view), make("div", { class: "av-grid" }, figure, panel), findings(view), masks(view));
  detail.append(make("p", { class: "av-faint" }, "Choose a region for its scores and phrases."));
  paint();
  new ResizeObserver(name).observe(svg);
}

function findings(view) {
  const ratio = view.ratio === null ? "not measured" : number(view.ratio);
  const section = make(
    "section", { class: "av-findings", "aria-label": "Findings in the whole film" },
    make("h2", {}, "The whole film"),
    make("p", { class: "av-faint" }, `Cardiothoracic ratio: ${ratio}. Read by ${view.model}.`),
  );
  if (view.prompts.length) {
    section.append(
      make("h3", {}, "Your texts"),
      make("ul", { class: "av-scores av-texts" }, view.prompts.map((prompt) =>
        make("li", {}, make("span", { class: "av-name" }, `“${prompt.text}”`),
          make("span", { class: "av-score" }, number(prompt.score)), bar(prompt.score)))),
      make("p", { class: "av-faint" }, "The score of one text alone is no probability."),
    );
  }
  if (!view.findings.length) {
    section.append(make("p", {}, view.withheld ? "Findings are withheld: see the doubts above." : "No findings are asked for."));
    return section;
  }
  const row = (item) =>
    make(
      "tr", item.called ? { class: "av-called" } : {},
      make("th", { scope: "row" }, item.name),
      make("td", { class: "av-number" }, number(item.score)),
      make("td", { class: "av-number" }, number(item.threshold)),
      make("td", {}, bar(item.score, item.threshold, item.called)),
      make("td", {}, item.called ? "above" : "below"),
    );
  const head = ["finding", "score", "threshold", "", "the score is"];
  section.append(
    make(
      "div", { class: "av-scroll", tabindex: "0", role: "region", "aria-label": "Table of findings" },
      make(
        "table", {},
        make("thead", {}, make("tr", {}, head.map((text) => text
          ? make("th", { scope: "col" }, text) : make("td", { "aria-hidden": "true" })))),
        make("tbody", {}, view.findings.map(row)),
      ),
    ),
    make("p", { class: "av-faint" }, view.findings.some((item) => item.calibrated)
      ? "Scores are probabilities for films like those the model was calibrated on, and for no others."
      : "Scores are no probabilities: the model is not calibrated."),
  );
  return section;
}

function masks(view) {
  if (!view.masks.length) return "";
  return make(
    "section", { class: "av-masks", "aria-label": "Masks" },
    make("h2", {}, "Masks"),
    make("ul", {}, view.masks.map((mask) => {
      const swatch = make("span", { class: "av-swatch", "aria-hidden": "true" });
      swatch.style.background = mask.colour;
      const found = mask.pixels ? `${mask.pixels} pixels` : "nothing drawn";
      return make("li", {}, swatch, `${mask.name}: ${found}, presence ${number(mask.presence)}`);
    })),
  );
}

render();
watch("value", render);
