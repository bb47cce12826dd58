// Asks every few seconds for the part of the page that changes, and puts in what is new. The server makes that part in the
// same way as the whole page: nothing is drawn here. Without this script the page stands still, and is complete.
"use strict";

const EVERY = 3000; // milliseconds
const PATIENCE = 10000; // likewise

const live = document.getElementById("live");
let timer = 0;
let asking = null;

// Tells how it is; only what is new, for it is read aloud.
function tell(text, isBad) {
  if (live.textContent !== text) live.textContent = text;
  live.classList.toggle("bad", isBad);
  live.hidden = false;
}

function lastAnswer() {
  return document.getElementById("now").textContent;
}

function url() {
  const since = new URLSearchParams(location.search).get("since");
  return since === null ? "/part" : "/part?since=" + encodeURIComponent(since);
}

async function ask() {
  window.clearTimeout(timer);
  if (asking !== null) asking.abort();
  if (document.hidden) return;
  const mine = new AbortController();
  asking = mine;
  const late = window.setTimeout(() => mine.abort(), PATIENCE);
  try {
    const answer = await fetch(url(), { signal: mine.signal, cache: "no-store" });
    if (!answer.ok) throw new Error("status " + answer.status);
    const text = await answer.text();
    replace(new DOMParser().parseFromString(text, "text/html"));
    tell("Live, every " + EVERY / 1000 + " s.", false);
  } catch {
    // Another question was begun, or the page is hidden: nothing is lost.
    if (asking === mine && !document.hidden) {
      tell("The server does not answer. Last answer: " + lastAnswer() + ". Trying again.", true);
    }
  } finally {
    window.clearTimeout(late);
    if (asking === mine) {
      asking = null;
      if (!document.hidden) timer = window.setTimeout(ask, EVERY);
    }
  }
}

// Each section with an id takes the place of the one that has it. What the reader opened stays open; what has the focus keeps
// it; and what he looks at stays where it is.
function replace(fresh) {
  const seen = firstSeen();
  const top = seen === null ? 0 : seen.getBoundingClientRect().top;
  const sections = [...fresh.body.children];
  for (const section of sections) {
    const old = document.getElementById(section.id);
    if (old === null || isMarked(old)) continue;
    for (const open of old.querySelectorAll("details[open]")) {
      const again = section.querySelector("#" + CSS.escape(open.id));
      if (again !== null) again.open = true;
    }
    if (old.outerHTML === section.outerHTML) continue;
    const focus = old.contains(document.activeElement) ? document.activeElement.id : "";
    old.replaceWith(document.adoptNode(section));
    if (focus !== "") document.getElementById(focus)?.focus({ preventScroll: true });
  }
  const still = seen === null ? null : document.getElementById(seen.id);
  if (still !== null) window.scrollBy(0, still.getBoundingClientRect().top - top);
}

// The first thing with an id that begins within the window.
function firstSeen() {
  if (window.scrollY === 0) return null;
  for (const element of document.querySelectorAll("main [id]")) {
    const { top, height } = element.getBoundingClientRect();
    if (top >= 0 && height > 0) return element;
  }
  return null;
}

// Whoever marks something wants to copy it.
function isMarked(element) {
  const marked = document.getSelection();
  return marked !== null && !marked.isCollapsed && marked.containsNode(element, true);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    window.clearTimeout(timer);
    asking?.abort();
    asking = null;
  } else {
    ask();
  }
});
window.addEventListener("online", ask);
tell("Live, every " + EVERY / 1000 + " s.", false);
timer = window.setTimeout(ask, EVERY);
