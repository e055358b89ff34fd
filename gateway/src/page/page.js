"use strict";
// Fetches the page again each second and puts its changing part in place. Without this the page is the same, standing still.
const live = document.querySelector("#live");
async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch("/", { cache: "no-store" });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.querySelector("main").replaceWith(fresh.querySelector("main"));
    live.textContent = "live";
    live.className = "state good";
  } catch {
    live.textContent = "no answer";
    live.className = "state bad";
  }
}
setInterval(refresh, 1000);
