// Keeps the page as it would be after a reload. Only what differs is touched, so focus and scrolling stay.
"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const state = at("live-state"), pause = at("live-pause"), said = at("said"), parts = at("parts");
  let source, again, paused = false, heard = 0;

  // Makes `old` what `now` is.
  const become = (old, now) => {
    if (old.isEqualNode(now)) return;
    if (old.nodeName !== now.nodeName || old.id !== now.id) return old.replaceWith(now);
    if (old.nodeType !== Node.ELEMENT_NODE) { old.nodeValue = now.nodeValue; return; }
    for (const { name } of [...old.attributes]) if (!now.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of now.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    const [was, is] = [[...old.childNodes], [...now.childNodes]];
    is.forEach((node, i) => (was[i] ? become(was[i], node) : old.append(node)));
    was.slice(is.length).forEach((node) => node.remove());
  };

  const tell = () => {
    const ago = Math.round((Date.now() - heard) / 1000);
    if (paused) state.textContent = "Paused";
    else if (!heard) state.textContent = "Connecting";
    else if (ago > 10) state.textContent = `Connection lost ${ago} s ago; the page is out of date`;
    else state.textContent = `Live, last heartbeat ${ago} s ago`;
  };

  const open = () => {
    clearTimeout(again);
    if (source) source.close();
    source = new EventSource("/events");
    source.addEventListener("beat", (event) => {
      heard = Date.now();
      document.title = event.data;
      tell();
    });
    source.addEventListener("order", (event) => {
      const ids = JSON.parse(event.data);
      [...parts.children].filter((part) => !ids.includes(part.id)).forEach((part) => part.remove());
      ids.forEach((id, i) => {
        const there = at(id) || Object.assign(document.createElement("section"), { id });
        if (parts.children[i] !== there) parts.insertBefore(there, parts.children[i] || null);
      });
    });
    source.addEventListener("part", (event) => {
      const { id, html } = JSON.parse(event.data);
      const template = document.createElement("template");
      template.innerHTML = html;
      become(at(id), template.content.firstElementChild);
    });
    source.addEventListener("said", (event) => { said.textContent = event.data; });
    // What the service refuses, such as a reader too many, the browser does not try again by itself.
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED && !paused) again = setTimeout(open, 5000);
    });
  };

  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Go on" : "Pause";
    clearTimeout(again);
    if (paused) source.close(); else open();
    tell();
  });
  state.hidden = pause.hidden = false;
  open();
  tell();
  setInterval(tell, 1000);
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => { if (event.persisted && !paused) open(); });
})();
