"use strict";
// Fetches the page again each second and puts its figures in place of the old ones. Without this the page is the same
// and stands still. What is open stays open; a page that nobody looks at asks for nothing.
const EVERY = 1000;
async function refresh() {
  if (document.hidden) return;
  const figures = document.querySelector("#now");
  try {
    const answer = await fetch("/", { cache: "no-store", signal: AbortSignal.timeout(5000) });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("#now");
    if (!answer.ok || !fresh) throw new Error("no page");
    const open = [...figures.querySelectorAll("details")].map((d) => d.open);
    fresh.querySelectorAll("details").forEach((d, i) => (d.open = open[i] ?? false));
    figures.replaceWith(fresh);
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
