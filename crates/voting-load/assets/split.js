// The picture of a load. Without this file the page is a table that reloads itself.
"use strict";

/** Time between two looks at the load, in milliseconds. */
const LOOK = 500;
/** A dot waits for the next look, so that its way is even. */
const DELAY = LOOK + 150;
/** Time of a dot to its lane, and in it. */
const ARRIVE = 800, STAY = 10000;
/** Minimum interval between screen reader announcements. */
const ANNOUNCE_EVERY = 10000;
/** Longest wait for an answer. */
const PATIENCE = 5000;
/** Latencies at the bottom and at the top of a lane, in milliseconds, as powers of ten. */
const FAST = 0, SLOW = 4;
/** Lines of a lane. */
const LEVELS = [[10, "10 ms"], [100, "100 ms"], [1000, "1 s"]];

const get = (id) => document.getElementById(id);
const stage = get("stage"), lanes = get("lanes"), bar = get("bar"), rate = get("rate"), pause = get("pause");
const figure = document.querySelector("figure");
const canvas = stage.querySelector("canvas"), ink = canvas.getContext("2d");
const still = matchMedia("(prefers-reduced-motion: reduce)");

let next = document.currentScript.dataset.next;
let releases = [], dots = [], isPaused = false, pausedAt = 0, sent = 0;

/** Sets a text, if it is another one: readers of the page keep their place. */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Brings the children of an element to a number. */
function fill(parent, number, create) {
  while (parent.children.length > number) parent.lastElementChild.remove();
  while (parent.children.length < number) parent.append(create());
}

function show(data) {
  releases = data.releases;
  write(get("state"), data.state);
  const each = get("each");
  each.hidden = data.each === 1;
  write(each, `A dot stands for ${data.each} answers`);
  // A slider in use is not moved.
  if (performance.now() - sent > 1500) rate.value = data.rate ?? rate.max;
  document.querySelector("[name=burst]").disabled = data.rate === null;
  const votes = document.querySelector("[name=votes]");
  if (votes) {
    votes.setAttribute("aria-checked", data.votes);
    votes.value = data.votes ? "off" : "on";
    write(get("votes-text"), data.votes_text);
  }
  fill(lanes, releases.length, () => document.querySelector("template").content.firstElementChild.cloneNode(true));
  fill(bar, releases.length, () => document.createElementNS(bar.namespaceURI, "rect"));
  let x = 0;
  releases.forEach(({ name, theme, share, share_text, errors, has_errors, latency, warning }, place) => {
    const lane = lanes.children[place];
    lane.className = `${theme}${has_errors ? " has-errors" : ""}`;
    const facts = { name, share: share_text, errors, latency, warning };
    for (const [key, text] of Object.entries(facts)) write(lane.querySelector(`.${key}`), text);
    const part = bar.children[place];
    const place100 = { x: `${100 * x}%`, width: `${100 * share}%`, height: "100%", class: theme };
    for (const [key, text] of Object.entries(place100)) part.setAttribute(key, text);
    x += share;
  });
  tabulate(data);
  announce();
}

function tabulate({ groups }) {
  const lines = groups.flatMap((group) => group.lines);
  const rows = document.querySelectorAll("[data-line]");
  const row = (cells, parent, kind, text, each) => {
    while (parent.children.length > cells + 1) parent.lastElementChild.remove();
    while (parent.children.length < cells + 1) parent.append(document.createElement(kind));
    for (let place = 0; place < cells; place++) {
      write(parent.children[place + 1], text(place));
      each?.(parent.children[place + 1], place);
    }
  };
  row(releases.length, document.querySelector("thead tr"), "th", (place) => releases[place].name, (cell, place) => {
    cell.scope = "col";
    cell.className = releases[place].theme;
  });
  for (const group of document.querySelectorAll(".group")) row(releases.length, group, "td", () => "");
  rows.forEach((tr, line) => row(releases.length, tr, "td", (place) => lines[line].cells[place]));
}

let announcing, announced = "";
function announce() {
  announcing ??= setTimeout(() => {
    announcing = undefined;
    // A percent more or less is no news.
    const text = releases.map(({ name, share, errors, has_errors, warning }) =>
      `${name}: about ${5 * Math.round(20 * share)}% of the answers, ${has_errors ? "with" : "without"} errors. ${warning}`).join(" ");
    if (text !== announced) write(get("announcement"), announced = text);
  }, ANNOUNCE_EVERY);
}

function tell(text) {
  const connection = get("connection");
  connection.hidden = !text;
  write(connection, text);
}

/** Looks at the load, again and again until another call replaces this one. */
let call = 0;
async function look(mine) {
  try {
    const answer = await fetch(`split/data?since=${next}`, { signal: AbortSignal.timeout(PATIENCE) });
    if (!answer.ok) throw new Error(answer.statusText);
    const data = await answer.json();
    if (mine !== call) return;
    next = data.next;
    const now = performance.now();
    for (const [lane, age, latency, failed, vote] of data.dots) {
      dots.push({ release: data.releases[lane].name, born: now - age, latency, failed, vote, jitter: Math.random() - .5 });
    }
    tell("");
    show(data);
    if (still.matches) draw();
  } catch {
    if (mine !== call) return;
    tell("No answer from the load: it may have ended. Trying again…");
  }
  if (!isPaused && !document.hidden) timer = setTimeout(look, still.matches ? 2 * LOOK : LOOK, mine);
}

/** The place of a latency in a lane, from 0 at the bottom to 1. */
const height = (latency) => Math.min(Math.max((Math.log10(Math.max(latency, 1)) - FAST) / (SLOW - FAST), 0), 1);

/** Draws the picture as it is now. */
function draw() {
  const { width, height: high, left, top } = canvas.getBoundingClientRect();
  const ratio = devicePixelRatio;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(high * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(high * ratio);
  }
  ink.setTransform(ratio, 0, 0, ratio, 0, 0);
  ink.clearRect(0, 0, width, high);
  const now = performance.now();
  dots = dots.filter(({ born }) => now - born < DELAY + ARRIVE + STAY);
  const source = get("source").getBoundingClientRect();
  const hasSource = source.width > 0;
  const [sx, sy] = [source.right - left, source.top + source.height / 2 - top];
  const colorOf = (selector) => getComputedStyle(document.querySelector(selector)).color;
  const danger = colorOf("figcaption .failed"), quiet = colorOf("#stage"), card = getComputedStyle(figure).backgroundColor;
  // The ways to the lanes leave side by side, each as wide as its share.
  const widest = Math.min(64, high / 6);
  let from = sy - widest / 2;
  releases.forEach(({ name, share }, place) => {
    const lane = lanes.children[place];
    const strip = lane?.firstElementChild.getBoundingClientRect();
    if (!strip) return;
    const [x, y] = [strip.left - left, strip.top - top];
    const [wide, tall] = [strip.width, strip.height];
    const color = getComputedStyle(lane).color;
    const level = (latency) => y + tall - 10 - (tall - 20) * height(latency);
    ink.globalAlpha = .25;
    ink.lineWidth = 1;
    ink.strokeStyle = quiet;
    for (const [latency] of LEVELS) {
      ink.beginPath();
      ink.moveTo(x, level(latency));
      ink.lineTo(x + wide, level(latency));
      ink.stroke();
    }
    const mid = y + tall / 2, half = (x - sx) / 2, start = from + share * widest / 2;
    from += share * widest;
    if (hasSource) {
      ink.globalAlpha = .22;
      ink.strokeStyle = color;
      ink.lineWidth = Math.max(share * widest, 2);
      ink.beginPath();
      ink.moveTo(sx, start);
      ink.bezierCurveTo(sx + half, start, sx + half, mid, x, mid);
      ink.stroke();
    }
    const paths = [new Path2D(), new Path2D()];
    for (const { release, born, latency, failed, vote, jitter } of dots) {
      if (release !== name) continue;
      const age = now - born - DELAY;
      const to = Math.min(Math.max(level(latency) + 10 * jitter, y + 6), y + tall - 6);
      let dx, dy = to;
      if (still.matches) {
        // Nothing moves: new dots take the places of those that are ten seconds old.
        if (now - born > STAY * .97) continue;
        dx = x + wide * ((born % STAY) / STAY);
      } else if (age < 0) continue;
      else if (age < ARRIVE && hasSource) {
        const at = 1 - (1 - age / ARRIVE) ** 2, rest = 1 - at;
        dx = sx + (x - sx) * (1.5 * at * rest * rest + 1.5 * at * at * rest + at ** 3);
        dy = start * (rest ** 3 + 3 * at * rest * rest) + to * (3 * at * at * rest + at ** 3);
      } else dx = x + wide * ((age - ARRIVE) / STAY);
      if (dx > x + wide - 4) continue;
      const path = paths[failed];
      const size = failed ? 6 : vote ? 4 : 2.6;
      if (failed) {
        path.moveTo(dx - size, dy - size);
        path.lineTo(dx + size, dy + size);
        path.moveTo(dx + size, dy - size);
        path.lineTo(dx - size, dy + size);
      } else {
        path.moveTo(dx + size, dy);
        path.arc(dx, dy, size, 0, 7);
      }
    }
    ink.globalAlpha = .85;
    ink.fillStyle = color;
    ink.fill(paths[0]);
    ink.globalAlpha = 1;
    ink.strokeStyle = danger;
    ink.lineWidth = 3;
    ink.stroke(paths[1]);
    // Over the dots, with an edge around them.
    ink.font = "12px system-ui, sans-serif";
    ink.textAlign = "right";
    ink.fillStyle = quiet;
    ink.strokeStyle = card;
    for (const [latency, text] of LEVELS) {
      ink.strokeText(text, x + wide - 6, level(latency) - 3);
      ink.fillText(text, x + wide - 6, level(latency) - 3);
    }
  });
}

function animate() {
  if (!isPaused && !still.matches) draw();
  requestAnimationFrame(animate);
}

/** Changes the pace of the load. */
async function change(fields) {
  try {
    const answer = await fetch("split/load", {
      method: "POST",
      headers: { accept: "application/json" },
      body: new URLSearchParams(fields),
      signal: AbortSignal.timeout(PATIENCE),
    });
    if (!answer.ok) throw new Error(answer.statusText);
    if (!isPaused) await start();
  } catch {
    tell("The load was not changed. Try again.");
  }
}

let timer;
function start() {
  clearTimeout(timer);
  return look(++call);
}

for (const form of document.forms) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (event.submitter) change([[event.submitter.name, event.submitter.value]]);
  });
}
let moving;
rate.addEventListener("input", () => {
  sent = performance.now();
  clearTimeout(moving);
  moving = setTimeout(() => change([["rate", rate.value]]), 150);
});
pause.addEventListener("click", () => {
  isPaused = !isPaused;
  pause.textContent = isPaused ? "Continue" : "Pause";
  // The dots continue where they were.
  if (isPaused) {
    clearTimeout(timer);
    call++;
    pausedAt = performance.now();
  } else {
    for (const dot of dots) dot.born += performance.now() - pausedAt;
    start();
  }
});
// A page in the background is not being looked at.
document.addEventListener("visibilitychange", () => !document.hidden && !isPaused && start());
pause.hidden = figure.hidden = false;
animate();
start();
