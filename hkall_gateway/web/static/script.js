// The pages work without this script. With it: counts refresh, the scan field keeps the focus, all rows are selected at once,
// slips are printed, and what cannot be undone is confirmed first.
"use strict";

const REFRESH_FAILED_MS = 60000;

function refresh(section) {
  const every = Number(section.dataset.refresh) * 1000;
  const selector = section.id ? `#${section.id}` : "[data-refresh]";

  async function again() {
    let wait = every;
    try {
      if (!document.hidden && !section.contains(document.activeElement)) {
        const answer = await fetch(location.href, { headers: { "X-Refresh": "1" }, redirect: "manual" });
        if (answer.type === "opaqueredirect") location.reload(); // logged out: records do not stay on the screen
        if (answer.ok) {
          const page = new DOMParser().parseFromString(await answer.text(), "text/html");
          const fresh = page.querySelector(selector);
          const isLast = fresh && !fresh.dataset.refresh; // the server expects no more changes
          if (fresh && fresh.innerHTML !== section.innerHTML) section.replaceChildren(...fresh.childNodes);
          if (isLast) return;
        }
      }
    } catch {
      wait = REFRESH_FAILED_MS; // the gateway is away: the page stays as it was
    }
    setTimeout(again, wait);
  }

  setTimeout(again, every);
}

function keepFocus(field) {
  const isOther = (element) => element && element !== field && element.tabIndex >= 0; // ignores clicks on the background
  const takesText = (element) => element && element.matches("input:not([type=checkbox]), select, textarea");
  field.focus();
  document.addEventListener("focusout", () => setTimeout(() => isOther(document.activeElement) || field.focus()));
  document.addEventListener("keydown", (event) => {
    const typed = event.key.length === 1 && event.key !== " " && !event.ctrlKey && !event.altKey && !event.metaKey;
    if (typed && !takesText(document.activeElement)) field.focus(); // a scanner types while a link has the focus
  });
}

function beep(outcome) {
  const context = new AudioContext();
  const tone = context.createOscillator();
  tone.frequency.value = { ok: 880, look: 520 }[outcome] || 220;
  tone.connect(context.destination);
  tone.start();
  tone.stop(context.currentTime + (outcome === "ok" ? 0.1 : 0.4));
  tone.onended = () => context.close();
}

// Sends scans one after another, while the next scan is typed. A scan without an answer is listed on the page.
function scanStation(form) {
  const field = form.elements.barcode;
  const unsent = document.querySelector("[data-unsent]");
  const sound = document.querySelector("[data-sound]");
  const waiting = [];
  let busy = false;

  sound.hidden = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    waiting.push(field.value);
    field.value = "";
    field.focus();
    if (!busy) sendAll();
  });

  async function sendAll() {
    busy = true;
    while (waiting.length) await send(waiting.shift());
    busy = false;
  }

  async function send(barcode) {
    const body = new URLSearchParams(new FormData(form));
    body.set("barcode", barcode);
    try {
      const answer = await fetch(form.action, { method: "POST", body, signal: AbortSignal.timeout(30000) });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const there = page.querySelector("[data-scan]");
      if (answer.redirected && !there) return location.reload(); // logged out
      if (!there) throw new Error(answer.status);
      if (answer.redirected) history.replaceState(null, "", answer.url); // reloading shows this answer again
      show(page);
    } catch {
      unsent.hidden = false;
      unsent.lastElementChild.append(` ${barcode}`);
    }
  }

  function show(page) {
    for (const old of document.querySelectorAll("[data-swap]")) {
      const fresh = page.querySelector(`[data-swap="${old.dataset.swap}"]`);
      old.className = fresh.className;
      if (fresh.dataset.outcome) old.dataset.outcome = fresh.dataset.outcome;
      else delete old.dataset.outcome;
      old.replaceChildren(...fresh.childNodes);
    }
    form.elements.card.value = page.querySelector("[data-scan]").elements.card.value;
    if (document.activeElement === document.body) field.focus();
    const { outcome } = document.querySelector("[data-swap=answer]").dataset;
    if (outcome && sound.querySelector("input").checked) beep(outcome);
  }
}

function selectAll(part) {
  const whole = part.querySelector("input");
  const boxes = [...part.closest("form").querySelectorAll(`input[name="${part.dataset.selectAll}"]`)];
  part.hidden = false;
  whole.addEventListener("change", () => boxes.forEach((box) => (box.checked = whole.checked)));
}

// One row of a list is in the tab order. The arrow keys move to the same control of the next row.
function moveByArrows(body) {
  const rows = [...body.rows];
  const controls = (row) => [...row.querySelectorAll("a, input")];
  const enter = (row) => rows.forEach((one) => controls(one).forEach((each) => (each.tabIndex = one === row ? 0 : -1)));
  enter(rows[0]);
  body.addEventListener("focusin", (event) => enter(event.target.closest("tr")));
  body.addEventListener("keydown", (event) => {
    const row = event.target.closest("tr");
    const next = rows[rows.indexOf(row) + ({ ArrowDown: 1, ArrowUp: -1 }[event.key] || NaN)];
    if (!next) return;
    event.preventDefault();
    controls(next)[controls(row).indexOf(event.target)].focus();
  });
  document.querySelector("[data-arrows]").hidden = false;
}

function focusInside(part) {
  part.addEventListener("toggle", () => part.open && part.querySelector("input:not([type=hidden])").focus());
}

// The number of available titles among many is counted afterwards, because counting would delay the page.
async function countTitles(part) {
  const answer = await fetch(part.dataset.titlesOf);
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  part.textContent = page.querySelector("[data-titles]")?.dataset.titles ?? "0";
}

document.querySelectorAll("[data-refresh]").forEach(refresh);
document.querySelectorAll("[data-titles-of]").forEach(countTitles);
document.querySelectorAll("[data-focus]").forEach(focusInside);
document.querySelectorAll(".list tbody").forEach(moveByArrows);
document.querySelectorAll("[data-scan]").forEach(scanStation);
document.querySelectorAll("[data-keep-focus]").forEach(keepFocus);
document.querySelectorAll("[data-select-all]").forEach(selectAll);
if (document.querySelector("[data-print]")) addEventListener("load", () => print());

// Browsers keep pages for "back" in spite of no-store. After a logout, reload, so that the last person's page is not shown.
addEventListener("pageshow", (event) => {
  if (!event.persisted || !document.querySelector("form[action$='/logout']")) return;
  document.body.hidden = true;
  location.reload();
});

// The question mark shows the access keys, unless they are switched off, or it belongs to a text.
document.addEventListener("keydown", (event) => {
  const { keys } = document.body.dataset;
  const isText = event.target.matches("input:not([type=checkbox]), select, textarea") && event.target.value;
  if (event.key !== "?" || !keys || isText) return;
  event.preventDefault();
  location.href = keys;
});

document.addEventListener("submit", (event) => {
  const question = (event.submitter && event.submitter.dataset.confirm) || event.target.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});
