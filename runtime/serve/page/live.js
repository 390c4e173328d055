// Brings together the drawing, the words and the chart with the server that this page came from.

import { Chart } from "./chart.js";
import { Drawing } from "./drawing.js";
import { WordEditor } from "./words.js";

const SILENT_MS = 2500; // the server says something twice a second
const UNCHANGED_S = 10; // a sensor is never without noise for so long
const FIRST_RETRY_MS = 500, LONGEST_RETRY_MS = 5000;

const find = (id) => document.getElementById(id);

// What the user chose is kept in this browser, by the address of the page.
const memory = {
  key: `tcl-edge ${location.pathname}`,
  read() {
    try {
      return JSON.parse(localStorage.getItem(this.key)) ?? {};
    } catch {
      return {};
    }
  },
  write(settings) {
    try {
      localStorage.setItem(this.key, JSON.stringify({ ...this.read(), ...settings }));
    } catch { /* a private window keeps nothing */ }
  },
};

const decoder = new TextDecoder();

/** Take a message apart: a line of JSON, the picture, the labels. */
function opened(buffer) {
  const bytes = new Uint8Array(buffer), end = bytes.indexOf(10) + 1;
  const about = JSON.parse(decoder.decode(bytes.subarray(0, end)));
  const picture = bytes.subarray(end, end + about.jpeg), labels = bytes.subarray(end + about.jpeg);
  return { about, picture: new Blob([picture], { type: "image/jpeg" }), labels: new Blob([labels], { type: "image/png" }) };
}

/** Keeps a WebSocket open, and acknowledges what was shown. */
class Connection {
  constructor({ message, closed }) {
    this.message = message;
    this.closed = closed;
    this.retry = FIRST_RETRY_MS;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.socket?.close() : this.open()));
    this.open();
  }

  open() {
    clearTimeout(this.timer);
    if (document.hidden || (this.socket && this.socket.readyState <= WebSocket.OPEN)) return;
    const address = new URL("live", location.href);
    address.protocol = address.protocol.replace("http", "ws");
    const socket = (this.socket = new WebSocket(address));
    socket.binaryType = "arraybuffer";
    socket.addEventListener("message", async ({ data }) => {
      this.retry = FIRST_RETRY_MS;
      const received = opened(data);
      // The next may come while this is decoded; but not the one after that.
      const shown = this.message(received);
      await this.busy;
      this.busy = shown;
      if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ ack: received.about.frame }));
    });
    socket.addEventListener("close", () => {
      if (this.socket !== socket) return;
      this.closed();
      this.timer = setTimeout(() => this.open(), this.retry);
      this.retry = Math.min(2 * this.retry, LONGEST_RETRY_MS);
    });
  }
}

async function change(settings) {
  let response;
  try {
    response = await fetch("words", {
      method: "PUT", body: JSON.stringify(settings), headers: { "Content-Type": "application/json" },
    });
  } catch {
    throw Object.assign(new Error("The server cannot be reached: nothing was changed"), { word: null });
  }
  const answer = await response.json();
  if (!response.ok) throw Object.assign(new Error(answer.error), { word: answer.word });
  return answer;
}

class Page {
  constructor() {
    const { looks, opacity = 0.5, outline = true } = memory.read();
    this.drawing = new Drawing(find("picture"));
    this.drawing.setLook({ opacity, outline });
    this.chart = new Chart(find("chart"));
    this.editor = new WordEditor(find("words"), { change, looked: () => this.repaint(), looks });
    this.painted = { version: 0, names: [], colours: [], unpainted: null };
    this.asked = 0;
    this.frames = 0;
    this.latest = { state: "connecting", age_ms: null };
    this.heard = performance.now();
    find("opacity").value = opacity;
    find("outline").setAttribute("aria-pressed", String(outline));
    find("opacity").addEventListener("input", () => this.setOpacity(find("opacity").valueAsNumber));
    find("outline").addEventListener("click", () => this.toggleOutline());
    find("fullscreen").addEventListener("click", () => this.toggleFullscreen());
    find("help").addEventListener("click", () => find("shortcuts").showModal());
    document.addEventListener("keydown", (event) => this.answer(event));
    setInterval(() => {
      this.showState();
      this.showCoverage();
    }, 250);
    setInterval(() => this.showFigures(), 1000);
    const name = decodeURIComponent(location.pathname.split("/").filter(Boolean).pop() ?? "");
    find("source").textContent = name;
    document.title = name ? `${name} · TCL Edge` : "TCL Edge";
    this.readWords();
    this.connection = new Connection({ message: (received) => this.receive(received), closed: () => this.lost() });
  }

  async readWords() {
    try {
      const response = await fetch("words");
      if (response.ok) this.editor.setWords(await response.json());
      else if (response.status === 401) this.say("This page needs its token again: reload it");
    } catch { /* the connection tells */ }
  }

  async receive({ about, picture, labels }) {
    this.latest = { ...about, coverage: about.coverage.length ? about.coverage : this.latest.coverage ?? [] };
    this.heard = performance.now();
    this.showState();
    if (about.words_version && about.words_version !== this.asked) {
      this.asked = about.words_version; // somebody changed the words, perhaps somewhere else
      this.readWords();
    }
    if (!about.jpeg) return;
    this.chart.add(about.speed);
    const images = await Drawing.decode(picture, labels);
    if (about.words) {
      this.painted = { version: about.words_version, ...about.words };
      this.repaint();
    }
    this.drawing.show(images);
    document.body.dataset.frames = String(++this.frames);
    document.body.dataset.version = String(this.painted.version);
  }

  repaint() {
    const { names, colours, unpainted } = this.painted;
    const looks = this.editor.looks;
    this.drawing.setPalette(names.map((name, index) => ({
      colour: looks[name]?.colour ?? colours[index], hidden: index === unpainted || Boolean(looks[name]?.hidden),
    })));
    memory.write({ looks });
  }

  lost() {
    this.latest = { ...this.latest, state: "not connected", problem: "the server cannot be reached; trying again" };
    this.showState();
  }

  say(notice) {
    find("notice").textContent = notice;
    find("notice").hidden = !notice;
  }

  /** Say how the stream is, in words and colour: an old picture never looks like a live one. */
  showState() {
    const silent = performance.now() - this.heard;
    const state = this.latest.state === "live" && silent > SILENT_MS ? "not connected" : this.latest.state;
    const age = this.latest.age_ms === null ? null : (this.latest.age_ms + silent) / 1000;
    const still = state !== "live" && state !== "ended";
    const since = still && age !== null ? `, last frame ${Math.round(age)} s ago` : "";
    const pill = find("state");
    pill.dataset.state = state.replace(" ", "-");
    find("state-text").textContent = state + since;
    if (this.said !== state) find("state-said").textContent = this.said = state;
    this.drawing.setLook({ grey: state !== "live" });
    this.say(state === "live" ? this.doubts : [this.latest.problem, this.frames ? "" : "waiting for the first picture"].filter(Boolean).join(" · "));
  }

  /** What may be wrong with a stream that is live. */
  get doubts() {
    const { unchanged_s: unchanged, throttled = [] } = this.latest, doubts = [];
    if (unchanged >= UNCHANGED_S) doubts.push(`every picture of the last ${Math.round(unchanged)} s is the same: does the camera hang?`);
    if (throttled.length) doubts.push(`the machine is held back: ${throttled.join(", ")}`);
    return doubts.join(" · ");
  }

  get shares() {
    return new Map(this.painted.names.map((name, index) => [name, this.latest.coverage?.[index] ?? 0]));
  }

  showCoverage() {
    this.editor.setCoverage(this.shares);
  }

  showFigures() {
    const { fps, camera_fps: camera, dropped, reconnects, age_ms: age, latency = {} } = this.latest;
    const seen = [...this.shares].filter(([, share]) => share > 0.005).map(([name, share]) => `${name} ${Math.round(100 * share)} %`);
    find("picture").setAttribute("aria-label", `Picture with words painted over it: ${seen.join(", ") || "nothing found"}`);
    const told = (number, unit) => (number === null || number === undefined ? "–" : `${number}${unit}`);
    find("fps").textContent = told(fps, "");
    find("camera").textContent = told(camera, "");
    find("age").textContent = age === null || age === undefined ? "–" : `${Math.round(age)} ms`;
    find("dropped").textContent = told(dropped, "");
    find("reconnects").textContent = told(reconnects, "");
    const rows = Object.entries(latency).map(([stage, values]) => {
      const row = document.createElement("tr"), head = document.createElement("th");
      head.textContent = stage;
      head.scope = "row";
      head.dataset.stage = stage;
      row.append(head, ...values.map((ms) => Object.assign(document.createElement("td"), { textContent: ms.toFixed(1) })));
      return row;
    });
    find("latency").replaceChildren(...rows);
  }

  setOpacity(opacity) {
    const within = Math.min(Math.max(Math.round(opacity * 20) / 20, 0), 1);
    find("opacity").value = within;
    this.drawing.setLook({ opacity: within });
    memory.write({ opacity: within });
  }

  toggleOutline() {
    const outline = !this.drawing.look.outline;
    find("outline").setAttribute("aria-pressed", String(outline));
    this.drawing.setLook({ outline });
    memory.write({ outline });
  }

  toggleFullscreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else find("stage").requestFullscreen?.();
  }

  answer(event) {
    const typing = event.target.matches?.("input:not([type=range]):not([type=color])");
    if (event.ctrlKey || event.metaKey || event.altKey || typing) {
      if (typing && event.key === "Escape") event.target.blur();
      return;
    }
    const { opacity } = this.drawing.look;
    const actions = {
      a: () => find("new-word").focus(), "/": () => find("new-word").focus(),
      "+": () => this.setOpacity(opacity + 0.1), "=": () => this.setOpacity(opacity + 0.1),
      "-": () => this.setOpacity(opacity - 0.1), o: () => this.toggleOutline(), f: () => this.toggleFullscreen(),
      s: () => find("snapshot").click(), m: () => find("masks").click(), "?": () => find("shortcuts").showModal(),
      h: () => find("shortcuts").showModal(),
    };
    if (/^[1-9]$/.test(event.key)) this.editor.toggle(Number(event.key) - 1);
    else if (actions[event.key]) {
      event.preventDefault();
      actions[event.key]();
    }
  }
}

new Page();
