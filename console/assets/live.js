// Replaces the parts of the picture that have changed. Without this script, the page reloads instead.
"use strict";

const STALE = 5000;
const parts = document.getElementById("parts");
const live = document.getElementById("live");
const lost = document.getElementById("lost-connection");
let source = null;
let last = Date.now();

function replace(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html");
  // The page was loaded before the first reading.
  if (!document.getElementById("sentence")) {
    parts.replaceChildren(...fresh.body.childNodes);
    return;
  }
  for (const part of fresh.querySelectorAll("[id]")) {
    const old = document.getElementById(part.id);
    // A part inside a part is replaced with it.
    if (!old || !part.matches("section, p") || old.isEqualNode(part)) continue;
    const focus = old.contains(document.activeElement) ? document.activeElement.id : "";
    if (part.id === "sentence") announce(old, part);
    old.replaceWith(document.importNode(part, true));
    if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
  }
}

// Screen readers announce a new state once, and not each new number.
function announce(old, part) {
  document.title = part.dataset.title.replace(/\.$/, "") + " · Console";
  if (old.dataset.topic !== part.dataset.topic) {
    document.getElementById("announcement").textContent = part.querySelector("div").textContent;
  }
}

function show(isLive) {
  live.classList.toggle("on", isLive);
  if (isLive === lost.hidden) return;
  lost.hidden = isLive;
  lost.textContent = isLive ? "" : "The console does not respond. This picture is from " +
    new Date(last).toISOString().slice(11, 19) + " UTC.";
}

function open() {
  source = new EventSource("/events");
  source.onmessage = event => {
    last = Date.now();
    live.textContent = "Live";
    show(true);
    replace(event.data);
  };
  source.onerror = () => {
    // A session that has ended is redirected to the log-in page.
    if (source.readyState === EventSource.CLOSED) {
      fetch("/events", { method: "GET", redirect: "manual" }).then(response => {
        if (response.type === "opaqueredirect") location.reload();
        response.body?.cancel();
      }).catch(() => {});
      setTimeout(() => { if (!document.hidden) { source.close(); open(); } }, 2000);
    }
  };
}

if (parts) {
  open();
  setInterval(() => { if (!document.hidden) show(Date.now() - last < STALE); }, 1000);
  // A hidden tab needs no connection. A browser opens only six of them to one host.
  document.addEventListener("visibilitychange", () => {
    source.close();
    if (!document.hidden) { last = Date.now(); open(); }
  });
}

if (document.getElementById("running")) setTimeout(() => location.reload(), 1000);
