"use strict";
// Fetches the page again each second and puts its figures in place of the old ones. Without this the page is the same
// and stands still. What is open stays open; a page that nobody looks at asks for nothing. The browser reads the answer into a
// document that runs nothing; when nobody is logged in any more, the way to the login is shown.
const EVERY = 1000;
const load = () =>
  new Promise((done, fail) => {
    const asked = new XMLHttpRequest();
    asked.open("GET", location.href);
    asked.responseType = "document";
    asked.timeout = 5000;
    asked.onload = () => (asked.status === 401 ? location.reload() : done(asked.response?.querySelector("#now")));
    asked.onerror = asked.ontimeout = () => fail(new Error("no answer"));
    asked.send();
  });
async function refresh() {
  if (document.hidden) return;
  const figures = document.querySelector("#now");
  try {
    const fresh = await load();
    if (!fresh) throw new Error("no page");
    const open = [...figures.querySelectorAll("details")].map((d) => d.open);
    fresh.querySelectorAll("details").forEach((d, i) => (d.open = open[i] ?? false));
    figures.replaceWith(document.adoptNode(fresh));
    document.body.classList.remove("stale");
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
