const STEPS = 64; // noise is drawn in steps of 1/64, from -127/64 to 127/64: a byte each, in the address of a picture
const PICTURES = 16;
const data = JSON.parse(document.getElementById("data").textContent);
const [HEIGHT, WIDTH, CHANNELS] = data.shape;

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

const generate = createGenerator(data, bytesOf(data.content));

function rounded(noise) {
  return noise.map((value) => Math.min(Math.max(Math.round(value * STEPS), -127), 127) / STEPS);
}

// Uniform on [-1, 1), as in training. With a seed the same each time (mulberry32).
function randomNoise(seed = null) {
  let state = seed;
  const random = () => {
    if (seed === null) return Math.random();
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return rounded(Array.from({ length: data.latent }, () => 2 * random() - 1));
}

// The address of a picture: a byte for each number of the noise, in base64 for addresses, and the number of the class.
function toHash(noise, label) {
  const text = btoa(String.fromCharCode(...noise.map((value) => (value * STEPS) & 255)));
  return `#${text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}${data.classes ? `.${label}` : ""}`;
}

// The noise and the class of an address, or null if it is none of this generator.
function fromHash(hash) {
  const [, text, label = "0"] = hash.match(/^#([\w-]+)(?:\.(\d{1,6}))?$/) ?? [];
  if (text === undefined || text.length % 4 === 1 || Number(label) >= (data.classes?.length ?? 1)) return null;
  const bytes = bytesOf(text.replaceAll("-", "+").replaceAll("_", "/"));
  if (bytes.length !== data.latent) return null;
  return { noise: Array.from(new Int8Array(bytes.buffer), (value) => value / STEPS), label: Number(label) };
}

function canvas(text) {
  return element("canvas", { width: WIDTH, height: HEIGHT, role: "img", "aria-label": text });
}

function paint(target, noise, label) {
  const image = generate(noise, label);
  const pixels = new ImageData(WIDTH, HEIGHT);
  for (let i = 0; i < WIDTH * HEIGHT; i++) {
    for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = Math.round(255 * image[i * CHANNELS + (CHANNELS === 3 ? c : 0)]);
    pixels.data[4 * i + 3] = 255;
  }
  target.getContext("2d").putImageData(pixels, 0, 0);
}

// What is shown: the noise where the sliders are in the middle, how far each is moved, and the class.
const shown = { noise: randomNoise(), amounts: data.directions.map(() => 0), label: 0 };

function shownNoise() {
  const move = (value, i) => data.directions.reduce((sum, direction, k) => sum + shown.amounts[k] * direction[i], value);
  return rounded(shown.noise.map(move));
}

// Pictures are drawn one at a time, between frames, so that the page stays quick: the large one first.
const waiting = new Map();
let running = false;
let addressTimer = null;

function draw(target, noise) {
  waiting.delete(target);
  waiting.set(target, noise);
  if (running) return;
  running = true;
  requestAnimationFrame(drawNext);
}

function drawNext() {
  const target = waiting.has(picture) ? picture : waiting.keys().next().value;
  if (target === undefined) {
    running = false;
    return;
  }
  const noise = waiting.get(target)();
  waiting.delete(target);
  const began = performance.now();
  paint(target, noise, shown.label);
  if (target === picture) {
    note.textContent = `Drawn here in ${Math.round(performance.now() - began)} ms.`;
    link.href = toHash(noise, shown.label);
    // Browsers refuse more than some hundred changes of the address in half a minute.
    clearTimeout(addressTimer);
    addressTimer = setTimeout(() => history.replaceState(null, "", link.href), 300);
  }
  setTimeout(drawNext);
}

function show(noise) {
  shown.noise = noise;
  shown.amounts.fill(0);
  for (const slider of sliders) {
    slider.value = 0;
    slider.oninput();
  }
  draw(picture, shownNoise);
}

const picture = canvas("The picture drawn from the noise");
const note = element("p", { className: "note" });
const link = element("a", { href: "#" }, "Link to this picture");
const random = element("button", { type: "button", onclick: () => show(randomNoise()) }, "Random picture");

const sliders = data.directions.map((_, k) => {
  const slider = element("input", { type: "range", id: `direction-${k}`, min: -2, max: 2, step: 0.05, value: 0 });
  slider.oninput = () => {
    shown.amounts[k] = Number(slider.value);
    slider.nextElementSibling.textContent = Number(slider.value).toFixed(2);
    draw(picture, shownNoise);
  };
  return slider;
});

function directions() {
  const rows = sliders.map((slider, k) =>
    element(
      "div",
      { className: "direction" },
      element("label", { htmlFor: slider.id }, `Direction ${k + 1} `, share(data.shares[k])),
      slider,
      element("output", { htmlFor: slider.id }, "0.00"),
    ),
  );
  const reset = element("button", { type: "button", onclick: () => show(shown.noise) }, "Reset directions");
  return element("div", { className: "directions" }, ...rows, reset);
}

function share(value) {
  return element("span", { className: "share" }, `${number(100 * value)} % of the change`);
}

// The noise at a share of the way from one to another, as `interpolate` of the library has it: on the great circle.
function between(from, to, share) {
  const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
  const cosine = dot(from, to) / Math.sqrt(dot(from, from) * dot(to, to));
  const angle = Math.acos(Math.min(1, Math.max(-1, cosine)));
  const arc = Math.sin(angle) > 1e-3; // not between vectors of one direction
  const [start, end] = [1 - share, share].map((part) => (arc ? Math.sin(part * angle) / Math.sin(angle) : part));
  return from.map((value, i) => start * value + end * to[i]);
}

function walk() {
  const ends = ["From seed", "To seed"].map((text, i) => {
    const input = element("input", { type: "number", min: 0, max: 2 ** 31 - 1, step: 1, value: i + 1, id: `seed-${i}` });
    const thumbnail = canvas(i ? "The end of the walk" : "The start of the walk");
    const noise = () => randomNoise(Number(input.value));
    input.oninput = () => {
      if (!input.checkValidity()) return;
      draw(thumbnail, noise);
      go();
    };
    const node = element("div", {}, thumbnail, element("label", { htmlFor: input.id }, text), input);
    return { noise, thumbnail, node };
  });
  const slider = element("input", { type: "range", id: "walk", min: 0, max: 1, step: 0.02, value: 0 });
  const go = () => {
    const [from, to] = ends.map((end) => end.noise());
    show(rounded(between(from, to, Number(slider.value))));
  };
  slider.oninput = go;
  const redraw = () => ends.forEach(({ thumbnail, noise }) => draw(thumbnail, noise));
  const way = element("div", { className: "way" }, element("label", { htmlFor: "walk" }, "Position"), slider);
  const nodes = element("div", { className: "walk" }, ends[0].node, way, ends[1].node);
  return { node: section("Walk between two seeds", nodes), redraw };
}

function choice() {
  const buttons = Array.from({ length: PICTURES }, (_, i) => {
    const target = element("canvas", { width: WIDTH, height: HEIGHT });
    return { target, button: element("button", { type: "button", className: "tile", "aria-label": `Show picture ${i + 1}` }, target) };
  });
  const noises = buttons.map(() => randomNoise());
  buttons.forEach(({ button }, i) => {
    button.onclick = () => show(noises[i]);
  });
  const redraw = () => buttons.forEach(({ target }, i) => draw(target, () => noises[i]));
  const renew = () => {
    noises.forEach((_, i) => {
      noises[i] = randomNoise();
    });
    redraw();
  };
  const node = section(
    "Choose one",
    element("div", { className: "tiles" }, ...buttons.map(({ button }) => button)),
    element("button", { type: "button", onclick: renew }, "Other pictures"),
  );
  return { node, redraw };
}

// The classes, one of which all pictures are of; the others keep their noise when it changes.
function classes() {
  if (!data.classes) return { node: null, choose: () => {} };
  const buttons = data.classes.map((name, i) => element("button", { type: "button", onclick: () => choose(i) }, name));
  const choose = (label) => {
    shown.label = label;
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", i === label));
    draw(picture, shownNoise);
    drawSmall();
  };
  const title = element("span", { id: "class" }, "Class");
  const node = element("div", { className: "classes", role: "group", "aria-labelledby": "class" }, title, ...buttons);
  return { node, choose };
}

// The picture of the address, if it has one: when the page is opened, and when another link to a picture is followed.
function openAddress() {
  const found = fromHash(location.hash);
  if (location.hash && !found) problem.textContent = "The address holds no picture of this generator: here is a random one.";
  if (found) problem.textContent = "";
  show(found ? found.noise : randomNoise());
  choosingClass.choose(found ? found.label : shown.label);
}

const problem = element("p", { role: "status" });
const walking = walk();
const choosing = choice();
const choosingClass = classes();
const drawSmall = () => {
  walking.redraw();
  choosing.redraw();
};
document.getElementById("page").replaceChildren(
  element(
    "header",
    {},
    element("p", { className: "kind" }, "dcgan-jax explorer"),
    heading(1, data.title),
    facts(data.facts),
  ),
  problem,
  element(
    "section",
    { className: "studio", "aria-label": "Picture" },
    element("div", {}, picture, choosingClass.node, element("div", { className: "control" }, random, link), note),
    element("div", {}, heading(2, "Directions"), directions()),
  ),
  walking.node,
  choosing.node,
);
openAddress();
drawSmall();
addEventListener("hashchange", openAddress);
