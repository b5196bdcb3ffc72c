"use strict";
// The line that says what is stopped, also when that changes while the page is open. What is sent is finished markup in
// which all text is escaped.
function showStopped(line) {
  const template = document.createElement("template"), old = document.getElementById("stopped");
  template.innerHTML = line;
  const fresh = template.content.firstElementChild;
  if (old?.textContent === fresh?.textContent) return false;
  old?.remove();
  if (fresh) document.getElementById("main").prepend(fresh);
  return true;
}

// A page of questions hears it with them. One that nobody sees takes no connection: browsers have few for each site.
if (!document.getElementById("cards")) {
  let feed = null;
  const follow = () => {
    feed?.close();
    feed = null;
    if (document.hidden) return;
    feed = new EventSource(document.documentElement.dataset.root + "/approvals/feed?stops");
    feed.addEventListener("stopped", (event) => showStopped(JSON.parse(event.data).line));
  };
  document.addEventListener("visibilitychange", follow);
  follow();
}
