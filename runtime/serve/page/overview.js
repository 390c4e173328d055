// All sources of a server, and how they are.

const list = document.getElementById("sources"), cards = new Map();

function card(name) {
  const link = document.createElement("a"), title = document.createElement("h2"), state = document.createElement("p");
  const text = document.createElement("span"), item = document.createElement("li");
  link.className = "panel";
  link.href = `${encodeURIComponent(name)}/`;
  title.textContent = name;
  state.className = "state";
  state.append(document.createElement("i"), text);
  link.append(title, state);
  item.append(link);
  list.append(item);
  return { state, text };
}

async function look() {
  let sources = null;
  try {
    sources = await (await fetch("healthz")).json(); // also with 503, which says that one of them is not well
  } catch { /* shown as not connected */ }
  for (const name of sources ? Object.keys(sources) : cards.keys()) {
    if (!cards.has(name)) cards.set(name, card(name));
    const { state, text } = cards.get(name), status = sources?.[name];
    const age = status && status.state !== "live" && status.age_ms !== null ? `, last frame ${Math.round(status.age_ms / 1000)} s ago` : "";
    state.dataset.state = status?.state ?? "not-connected";
    text.textContent = status ? `${status.state}${age} · ${status.fps} fps` : "not connected";
  }
  setTimeout(look, 1000);
}

look();
