"use strict";
// Countdown, answers without a new page, and cards that come and change by themselves. The server decides everything;
// what it sends is finished markup in which all text is escaped.
(() => {
  const cards = document.getElementById("cards");
  const live = document.getElementById("live");
  const told = document.getElementById("told");
  const nothing = document.getElementById("nothing");
  const deadlines = new WeakMap();
  // How many milliseconds it takes at least to see that a card shows something else, or stands elsewhere.
  const READING = 1000;
  // What a proxy has put before our paths.
  const root = document.documentElement.dataset.root;

  const cardOf = (id) => document.getElementById("q-" + id);
  const isOpen = (card) => card.querySelector("form") !== null;
  const markup = (html) => {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content.firstElementChild;
  };
  const say = (text) => { told.textContent = text; };

  const two = (n) => String(n).padStart(2, "0");
  function shown(ms) {
    const s = Math.max(0, Math.floor(ms / 1000)), h = Math.floor(s / 3600);
    const clock = two(Math.floor(s / 60) % 60) + ":" + two(s % 60);
    return h > 0 ? h + ":" + clock : clock;
  }

  // By a clock that nobody sets: what is left counts from the moment the card came.
  function wind(card) {
    const left = card.querySelector(".left[data-left]");
    if (left) deadlines.set(card, performance.now() + Number(left.dataset.left));
  }
  function tick() {
    for (const card of cards.children) {
      if (!isOpen(card)) continue;
      const left = deadlines.get(card) - performance.now();
      const place = card.querySelector(".left");
      place.querySelector("span").textContent = shown(left);
      place.classList.toggle("soon", left < 60000);
      if (left <= 0) shut(card);
    }
  }
  function shut(card) {
    for (const control of card.querySelectorAll("button, input")) control.disabled = true;
  }
  function open(card) {
    for (const control of card.querySelectorAll("button, input")) control.disabled = false;
  }
  // Its buttons wait a moment: a finger may be on its way to what was there before.
  function rest(card) {
    shut(card);
    setTimeout(() => { if (isOpen(card) && !card.querySelector("form").dataset.busy) open(card); }, READING);
  }

  function count() {
    const open = [...cards.children].filter(isOpen).length;
    document.title = (open ? "(" + open + ") " : "") + "Approvals · agentpass";
    nothing.hidden = cards.children.length > 0;
    document.getElementById("many").hidden = open === 0;
  }

  // The place of the buttons keeps its height, so nothing below it moves.
  function end(id, html, how) {
    const card = cardOf(id);
    if (!card) return;
    if (how) card.dataset.how = how;
    if (!isOpen(card)) return;
    const form = card.querySelector("form"), ended = markup(html);
    // Buttons that are shut have lost the focus already.
    const had = form.contains(document.activeElement) || (form.dataset.busy && document.activeElement === document.body);
    form.replaceWith(ended);
    card.querySelector(".choose")?.remove();
    card.classList.add("over");
    card.querySelector(".left span").textContent = "00:00";
    card.querySelector(".left").classList.add("gone");
    say(card.querySelector("h2").textContent + ": " + ended.querySelector("p").textContent);
    live.textContent = "";
    if (had) { ended.tabIndex = -1; ended.focus({ preventScroll: true }); }
    count();
  }

  // Which call a card shows. A yes carries it.
  const shows = (card) => card.querySelector("input[name=digest]").value;

  // Another call is asked about.
  function change(old, fresh) {
    const had = old.contains(document.activeElement);
    fresh.querySelector("input.note").value = old.querySelector("input.note").value;
    old.replaceWith(fresh);
    wind(fresh);
    rest(fresh);
    say("Changed, look again: " + fresh.querySelector("h2").textContent);
    live.textContent = told.textContent;
    if (had) { fresh.tabIndex = -1; fresh.focus({ preventScroll: true }); }
  }

  function put(id, html) {
    const fresh = markup(html), old = cardOf(id);
    if (old) {
      if (!isOpen(old)) return;
      if (shows(old) !== shows(fresh)) { change(old, fresh); return; }
      old.querySelector(".left").dataset.left = fresh.querySelector(".left").dataset.left;
      // Who has said yes meanwhile.
      const own = old.querySelector("dl.own"), now = fresh.querySelector("dl.own");
      if (own && now) own.replaceWith(now);
      wind(old);
      return;
    }
    cards.append(fresh);
    wind(fresh);
    say("New question: " + fresh.querySelector("h2").textContent);
    count();
  }

  cards.addEventListener("submit", async (event) => {
    const form = event.target, button = event.submitter, card = form.closest("article");
    event.preventDefault();
    if (form.dataset.busy) return;
    form.dataset.busy = "1";
    const body = new URLSearchParams(new FormData(form));
    body.set("choice", button.value);
    shut(card);
    try {
      const reply = await fetch(form.action, { method: "POST", body, headers: { accept: "application/json" } });
      if (!reply.ok) { location.reload(); return; }
      const said = await reply.json();
      // The feed may have been quicker.
      if (!isOpen(card)) return;
      if (said.is_over) { end(said.request_id, said.end); return; }
      say(markup(said.end).querySelector("p").textContent);
      live.textContent = told.textContent;
    } catch {
      live.textContent = "The gateway did not answer. Try again.";
    }
    delete form.dataset.busy;
    open(card);
  });

  function listen() {
    const feed = new EventSource(root + "/approvals/feed");
    const on = (name, act) => feed.addEventListener(name, (event) => act(JSON.parse(event.data)));
    feed.onopen = () => { live.textContent = ""; };
    feed.onerror = () => {
      live.textContent = "Connection lost, trying again…";
      // A refusal is final for the browser: the session may have ended, or the gateway is full.
      if (feed.readyState === EventSource.CLOSED) setTimeout(again, 3000);
    };
    on("card", (data) => put(data.id, data.card));
    on("settled", (data) => end(data.id, data.end, data.how));
    on("again", (data) => {
      const card = cardOf(data.id);
      if (!card) return;
      let place = card.querySelector(".again");
      if (!place) { place = document.createElement("span"); place.className = "again tag"; card.querySelector(".facts").append(place); }
      place.textContent = "asked " + data.times + " times";
    });
    on("finished", (data) => {
      const place = cardOf(data.id)?.querySelector(".ended p");
      if (place && !place.dataset.done) { place.dataset.done = "1"; place.textContent += ", " + data.text; }
    });
    on("notice", (data) => { live.textContent = data.text; });
    on("stopped", (data) => { if (showStopped(data.line)) [...cards.children].filter(isOpen).forEach(rest); });
    // What was settled while this page was away.
    on("all", async (ids) => {
      for (const card of [...cards.children].filter((card) => isOpen(card) && !ids.includes(card.dataset.id))) {
        const reply = await fetch(root + "/approvals/" + card.dataset.id + "/end");
        if (reply.ok) end(card.dataset.id, await reply.text());
      }
      count();
    });
  }
  async function again() {
    try {
      const reply = await fetch(root + "/approvals/", { redirect: "manual", headers: { accept: "text/html" } });
      if (reply.type === "opaqueredirect") { location.reload(); return; }
    } catch { /* the gateway is away */ }
    listen();
  }

  for (const card of cards.children) wind(card);
  count();
  setInterval(tick, 1000);
  listen();
})();
