// Adds the lines of a running job to the log that the page began with. Each line comes as an event with its number; when the
// connection is lost or the server starts anew, the browser comes again by itself and says which line it had.
(function () {
  "use strict";
  // Lines kept on the page: as many as one looks through. The file has all.
  var MOST = 5000;
  var log = document.getElementById("log");
  var state = document.getElementById("log-state");
  if (!log || !log.dataset.follow || !window.EventSource) return;
  function say(text) { if (state) state.textContent = text; }
  // 19:28:05.123 of 2024-07-16T19:28:05.123456Z: digits that are nought may be absent.
  function clock(time) { return new Date(time).toISOString().slice(11, 23); }
  function add(entry) {
    var atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
    var line = document.createElement("span");
    line.className = entry.source === "stderr" ? "stderr" : "stdout";
    line.textContent = clock(entry.timestamp) + "  " + entry.data + "\n";
    log.appendChild(line);
    while (log.childElementCount > MOST) log.removeChild(log.firstElementChild);
    if (atEnd) log.scrollTop = log.scrollHeight;
  }
  var source = new EventSource(log.dataset.follow);
  source.onopen = function () { say("running"); };
  source.onmessage = function (event) { add(JSON.parse(event.data)); };
  source.onerror = function () {
    say(source.readyState === EventSource.CLOSED ? "the log can no longer be followed; reload the page" : "reconnecting");
  };
  source.addEventListener("end", function () { source.close(); say("ended; reload the page to see why"); });
  log.scrollTop = log.scrollHeight;
})();
