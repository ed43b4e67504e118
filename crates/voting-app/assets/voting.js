// Shows the votes as they change. The page works without this file.
"use strict";

const line = document.getElementById("results");
const bars = document.querySelectorAll("[data-bar]");

const events = new EventSource("/events");
events.onmessage = (event) => {
  const { text, counts } = JSON.parse(event.data);
  const shown = text ?? "The votes are unavailable right now. You can still vote.";
  // Only a change is announced to a screen reader.
  if (line.textContent.trim() !== shown) line.textContent = ` ${shown} `;
  const total = Math.max(counts ? counts[0] + counts[1] : 0, 1);
  for (const bar of bars) {
    bar.max = total;
    bar.value = counts ? counts[bar.dataset.bar] : 0;
  }
};
