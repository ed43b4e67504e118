// Live results. The page works without this file.
"use strict";

/** The address of the live results, which depends on that of the page. */
const EVENTS = document.currentScript.dataset.events;

const line = document.getElementById("results");
const connection = document.getElementById("connection");
const announcement = document.getElementById("announcement");

/** Minimum interval between screen reader announcements, in milliseconds. */
const ANNOUNCE_EVERY = 5000;
/** Delay before reconnecting after a response that is not an event stream, in milliseconds. */
const RETRY_AFTER = 2000;
/** Longest wait for the first event, in milliseconds. The service sends it within three seconds, unless a proxy buffers it. */
const SILENCE = 6000;
/** Longest wait for a later event, in milliseconds. The service sends a heartbeat after ten seconds without results. */
const LATER_SILENCE = 10000 + SILENCE;

let announcing;
function announce() {
  announcing ??= setTimeout(() => {
    announcing = undefined;
    announcement.textContent = line.textContent.trim();
  }, ANNOUNCE_EVERY);
}

function show({ text, counts, analytics, storage }) {
  if (counts) tell("Live");
  else connection.hidden = true;
  if (line.textContent.trim() !== text) {
    line.textContent = ` ${text} `;
    announce();
  }
  const total = Math.max(counts ? counts[0] + counts[1] : 0, 1);
  for (const count of document.querySelectorAll("[data-count]")) {
    count.textContent = counts ? counts[count.dataset.count] : "–";
  }
  for (const bar of document.querySelectorAll("[data-bar]")) {
    bar.max = total;
    bar.value = counts ? counts[bar.dataset.bar] : 0;
  }
  const badges = { analytics, storage };
  for (const badge of document.querySelectorAll("[data-release]")) {
    const release = badges[badge.dataset.release];
    badge.parentElement.classList.toggle("is-away", !release);
    badge.textContent = release ?? "unavailable";
  }
}

function tell(state) {
  connection.hidden = false;
  connection.classList.toggle("is-lost", state !== "Live");
  if (connection.textContent !== state) connection.textContent = state;
}

let events;
let retrying;
let silence;
function open() {
  close();
  events = new EventSource(EVENTS);
  expect(SILENCE, () => {});
  events.onmessage = (event) => {
    // The connection may be lost without a notice, so a new one replaces it.
    expect(LATER_SILENCE, open);
    show(JSON.parse(event.data));
  };
  events.addEventListener("heartbeat", () => expect(LATER_SILENCE, open));
  events.onerror = () => {
    clearTimeout(silence);
    tell("Reconnecting…");
    // The browser reconnects by itself after a lost connection, but not after an error page from a proxy.
    if (events.readyState === EventSource.CLOSED) retrying = setTimeout(open, RETRY_AFTER);
  };
}
/** Tells that the results are no longer live, unless an event arrives in time. */
function expect(wait, then) {
  clearTimeout(silence);
  silence = setTimeout(() => {
    tell("No live results. Reload the page to see new votes.");
    then();
  }, wait);
}
function close() {
  clearTimeout(retrying);
  clearTimeout(silence);
  events?.close();
}

// A page in the background is not being read, so it closes its connection.
document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
addEventListener("pagehide", close);
// A page restored from the back/forward cache may contain a used ballot. A user who goes back and votes again intends a
// new vote, so reload the page to get a new ballot.
addEventListener("pageshow", (event) => event.persisted && location.reload());
if (!document.hidden) open();

// Ignore the second click of a double click. Even if it were sent, the ballot would count only once.
let sent = -Infinity;
document.querySelector(".choices").addEventListener("submit", (event) => {
  if (event.timeStamp - sent < 1000) event.preventDefault();
  else sent = event.timeStamp;
});
