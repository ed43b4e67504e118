// Shows the votes as they change. The page works without this file.
"use strict";

const line = document.getElementById("results");
const connection = document.getElementById("connection");
const announcement = document.getElementById("announcement");

/** A screen reader hears the votes at most this often, in milliseconds. */
const ANNOUNCE_EVERY = 5000;
/** After an answer that is no stream of events a new try is made, in milliseconds. */
const RETRY_AFTER = 2000;

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
function open() {
  close();
  events = new EventSource("/events");
  events.onmessage = (event) => show(JSON.parse(event.data));
  events.onerror = () => {
    tell("Reconnecting…");
    // The browser itself tries again after a lost connection, but not after an error page of a proxy.
    if (events.readyState === EventSource.CLOSED) retrying = setTimeout(open, RETRY_AFTER);
  };
}
function close() {
  clearTimeout(retrying);
  events?.close();
}

// Nobody looks at a page in the background, so it holds no connection.
document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
addEventListener("pagehide", close);
// A page that comes back out of the browser's memory has a ballot that may have been used: a person who goes back and
// votes again means a new vote, so the page is loaded anew with a new ballot.
addEventListener("pageshow", (event) => event.persisted && location.reload());
if (!document.hidden) open();

// The second click of a double click sends nothing. If it did, the ballot would still count once.
let sent = -Infinity;
document.querySelector(".choices").addEventListener("submit", (event) => {
  if (event.timeStamp - sent < 1000) event.preventDefault();
  else sent = event.timeStamp;
});
