"use strict";
// Keeps the figures of the page fresh: by a stream of events, and where there is none by fetching the page again each second. Without this the
// page is the same and stands still. What is open stays open; a page that nobody looks at asks for nothing. What comes is read
// into a document that runs nothing; when nobody is logged in any more, the way to the login is shown.
const EVERY = 1000;
const AGAIN = 30000;
const policy = window.trustedTypes?.createPolicy("now", { createHTML: (text) => text });
const parse = (text) => new DOMParser().parseFromString(policy ? policy.createHTML(text) : text, "text/html");
const load = () =>
  new Promise((done, fail) => {
    const asked = new XMLHttpRequest();
    asked.open("GET", location.href);
    asked.responseType = "document";
    asked.timeout = 5000;
    asked.onload = () => (asked.status === 401 ? location.reload() : done(asked.response));
    asked.onerror = asked.ontimeout = () => fail(new Error("no answer"));
    asked.send();
  });
function put(page) {
  const fresh = page?.querySelector("#now");
  if (!fresh) throw new Error("no page");
  const figures = document.querySelector("#now");
  const open = [...figures.querySelectorAll("details")].map((d) => d.open);
  fresh.querySelectorAll("details").forEach((d, i) => (d.open = open[i] ?? false));
  figures.replaceWith(document.adoptNode(fresh));
  document.body.classList.remove("stale");
}
let source = null;
let heard = 0;
let notBefore = 0;
function listen() {
  source = new EventSource(`/api/v1/now/stream?lang=${document.documentElement.lang}`);
  source.onmessage = (event) => {
    heard = Date.now();
    put(parse(event.data));
  };
  // One that ended comes back by itself, one that was refused does not.
  source.onerror = () => source?.readyState === EventSource.CLOSED && hush(AGAIN);
}
function hush(wait) {
  source?.close();
  source = null;
  notBefore = Date.now() + wait;
}
async function refresh() {
  if (document.hidden) return hush(0);
  if (!source && Date.now() >= notBefore) listen();
  if (Date.now() - heard < 2 * EVERY) return;
  try {
    put(await load());
  } catch {
    document.body.classList.add("stale");
  }
}
(async () => {
  for (;;) {
    await new Promise((wake) => setTimeout(wake, EVERY));
    await refresh();
  }
})();
