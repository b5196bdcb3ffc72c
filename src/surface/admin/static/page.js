"use strict";
// Times are sent in UTC; a browser knows where it is. The width stays, so nothing moves.
function localTimes(within) {
  const two = (n) => String(n).padStart(2, "0");
  for (const element of within.querySelectorAll("time[datetime]:not([data-local])")) {
    const at = new Date(element.dateTime);
    if (isNaN(at)) continue;
    const day = at.getFullYear() + "-" + two(at.getMonth() + 1) + "-" + two(at.getDate());
    const time = two(at.getHours()) + ":" + two(at.getMinutes()) + ":" + two(at.getSeconds());
    element.textContent = element.dataset.show === "time" ? time : day + " " + time;
    element.title = element.dateTime;
    element.dataset.local = "";
  }
}
localTimes(document);
