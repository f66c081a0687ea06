// Clients open addresses like /connect/#/apps/{guid}/logs: the part after # never reaches the server, so this page
// turns it into the page it names. Nothing else on the dashboard needs a script.
(function () {
  "use strict";
  function follow() {
    var match = /^#\/apps\/([0-9a-fA-F-]{36})(?:\/(access|logs|draft)(?:\/([0-9]+))?)?/.exec(window.location.hash);
    if (!match) return;
    var anchor = match[2] === "draft" ? "versions" : match[2];
    var base = window.location.pathname.replace(/\/connect\/.*$/, "/connect/");
    window.location.replace(base + "apps/" + match[1].toLowerCase() + (anchor ? "#" + anchor : ""));
  }
  window.addEventListener("hashchange", follow);
  follow();
})();
