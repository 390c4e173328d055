// A list of words that can be added, edited, removed, hidden and recoloured in place. Knows nothing of where it is kept:
// every change is handed to `change`, which gives the words as they are then, or throws { message, word }.

const PHRASES = /\s*\|\s*/;

/** Take a class as typed apart: "dog|puppy:0.6". */
export function parsed(typed) {
  const [, words, threshold] = /^(.*?)(?::\s*([\d.]+))?$/.exec(typed);
  const [name, ...synonyms] = words.split(PHRASES);
  return { name, synonyms, threshold: threshold ?? "" };
}

function made(tag, properties = {}, ...children) {
  const { data, aria, ...rest } = properties, element = Object.assign(document.createElement(tag), rest);
  for (const [name, value] of Object.entries(aria ?? {})) element.setAttribute(`aria-${name}`, value);
  Object.assign(element.dataset, data);
  element.append(...children);
  return element;
}

// A comma separates words, but not within a number: car:0,6 is a slip that has to be seen as one.
const listed = (typed) => typed.split(/,(?!\d)/).map((word) => word.trim()).filter(Boolean);

let errors = 0;

/** A line under a field that says what is wrong with it. */
class Complaint {
  constructor(field) {
    this.field = field;
    this.line = made("p", { className: "error", id: `error-${++errors}`, hidden: true });
    this.line.setAttribute("role", "alert");
    field.addEventListener("input", () => this.say(""));
  }

  say(message) {
    this.line.textContent = message;
    this.line.hidden = !message;
    this.field.toggleAttribute("aria-invalid", Boolean(message));
    if (message) {
      this.field.setAttribute("aria-invalid", "true");
      this.field.setAttribute("aria-describedby", this.line.id);
    } else this.field.removeAttribute("aria-describedby");
  }
}

class Row {
  constructor(editor, typed) {
    this.editor = editor;
    this.colour = made("input", { type: "color", className: "swatch" });
    this.colour.addEventListener("input", () => editor.setLook(this.name, { colour: this.colour.value }));
    this.label = made("button", { type: "button", className: "name", title: "Edit (Enter)" });
    this.label.addEventListener("click", () => this.edit());
    this.field = made("input", { type: "text", className: "name", hidden: true, spellcheck: false, autocomplete: "off" });
    this.field.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.save(this.field.value);
      if (event.key === "Escape") this.leave();
      if (event.key === "Enter" || event.key === "Escape") event.preventDefault();
    });
    this.field.addEventListener("blur", () => {
      if (!this.field.hidden && !this.saving && this.complaint.line.hidden) this.save(this.field.value);
    });
    this.complaint = new Complaint(this.field);
    this.share = made("span", { className: "share" });
    this.threshold = made("input", {
      type: "number", className: "threshold", min: 0, max: 1, step: 0.05, placeholder: "–", title: "Threshold of its own",
    });
    this.threshold.addEventListener("change", () => {
      const { name, synonyms } = parsed(this.typed), own = this.threshold.value;
      this.save([name, ...synonyms].join("|") + (own === "" ? "" : `:${own}`));
    });
    this.hide = made("button", { type: "button", className: "icon eye", title: "Hide or show" });
    this.hide.addEventListener("click", () => editor.setLook(this.name, { hidden: !editor.look(this.name).hidden }));
    this.remove = made("button", { type: "button", className: "icon remove", title: "Remove", textContent: "×" });
    this.remove.addEventListener("click", () => editor.remove(this));
    this.bar = made("i", { className: "bar" });
    this.element = made("li", { className: "word" }, this.colour, this.label, this.field, this.share, this.threshold,
      this.hide, this.remove, this.bar, this.complaint.line);
    this.update(typed);
  }

  get name() {
    return parsed(this.typed).name;
  }

  update(typed) {
    this.typed = typed;
    const { name, synonyms, threshold } = parsed(typed);
    this.label.replaceChildren(name, ...synonyms.map((word) => made("small", { textContent: `|${word}` })));
    this.label.setAttribute("aria-label", `Edit ${typed}`);
    if (document.activeElement !== this.threshold) this.threshold.value = threshold;
    for (const [element, about] of [[this.colour, "Colour"], [this.threshold, "Threshold"], [this.remove, "Remove"],
      [this.hide, "Hide"], [this.field, "Word, synonyms and threshold"]]) {
      element.setAttribute("aria-label", `${about}: ${name}`);
    }
    this.updateLook();
  }

  updateLook() {
    const { colour, hidden } = this.editor.look(this.name);
    this.colour.value = colour;
    this.element.style.setProperty("--colour", colour);
    this.element.classList.toggle("hidden", hidden);
    this.hide.setAttribute("aria-pressed", String(hidden));
  }

  cover(share) {
    const percent = 100 * share;
    this.share.textContent = share === 0 ? "–" : percent < 1 ? "<1 %" : `${Math.round(percent)} %`;
    this.bar.style.setProperty("--share", share.toFixed(3));
  }

  edit() {
    this.field.value = this.typed;
    this.label.hidden = true;
    this.field.hidden = false;
    this.field.focus();
    this.field.select();
  }

  leave() {
    const focused = document.activeElement === this.field;
    this.field.hidden = true;
    this.label.hidden = false;
    this.complaint.say("");
    if (focused) this.label.focus();
  }

  async save(typed) {
    this.saving = true;
    try {
      if (typed.trim() === "") await this.editor.remove(this);
      else if (typed.trim() !== this.typed) await this.editor.replace(this, typed.trim());
      this.leave();
    } catch (error) {
      if (this.field.hidden) {
        this.edit();
        this.field.value = typed;
      }
      this.complaint.say(error.message);
    } finally {
      this.saving = false;
    }
  }
}

export class WordEditor {
  /**
   * @param {HTMLElement} root has a form .add, a list .list, fields .background and .threshold, and a list .confusable.
   * @param {object} outside
   * @param {(settings: object) => Promise<object>} outside.change sets any of classes, background and threshold.
   * @param {() => void} outside.looked is told that a colour changed, or what is hidden.
   * @param {object} [outside.looks] colour and hidden of words by name, as kept from last time.
   */
  constructor(root, { change, looked, looks = {} }) {
    this.change = async (settings) => this.setWords(await change(settings));
    this.looked = looked;
    this.looks = looks;
    this.words = { classes: [], background: null, threshold: null, names: [], colours: [], confusable: [] };
    this.rows = [];
    const find = (selector) => root.querySelector(selector);
    this.list = find(".list");
    this.confusable = find(".confusable");
    this.empty = find(".empty");
    this.field = find(".add input");
    this.complaint = new Complaint(this.field);
    find(".add").after(this.complaint.line);
    find(".add").addEventListener("submit", (event) => {
      event.preventDefault();
      this.add(this.field.value);
    });
    this.background = this.setting(find("input.background"), () => ({ background: this.typedBackground() }));
    this.threshold = this.setting(find("input.floor"), (typed) => ({ threshold: typed === "" ? null : Number(typed) }));
    for (const button of root.querySelectorAll("button[data-background]")) {
      button.addEventListener("click", () => {
        const wanted = button.dataset.background;
        this.background.attempt({ background: wanted === "none" ? null : wanted });
      });
    }
  }

  setting(field, read) {
    const complaint = new Complaint(field);
    field.closest(".field").append(complaint.line);
    const attempt = async (settings) => {
      try {
        await this.change(settings);
        complaint.say("");
      } catch (error) {
        complaint.say(error.message);
      }
    };
    field.addEventListener("change", () => attempt(read(field.value.trim())));
    return { field, attempt };
  }

  typedBackground() {
    const typed = this.background.field.value.trim();
    return ["default", "none"].includes(typed.toLowerCase()) ? typed.toLowerCase() : listed(typed);
  }

  async add(typed) {
    const wanted = listed(typed);
    if (!wanted.length) return;
    try {
      await this.change({ classes: [...this.words.classes, ...wanted] });
      this.field.value = "";
      this.complaint.say("");
    } catch (error) {
      this.complaint.say(error.message);
    }
  }

  async remove(row) {
    const next = this.rows[this.rows.indexOf(row) + 1] ?? this.rows[this.rows.indexOf(row) - 1];
    try {
      await this.change({ classes: this.words.classes.filter((_, index) => this.rows[index] !== row) });
      (next?.label ?? this.field).focus();
    } catch (error) {
      this.complaint.say(error.message);
    }
  }

  replace(row, typed) {
    const place = this.rows.indexOf(row);
    return this.change({ classes: this.words.classes.flatMap((word, index) => (index === place ? listed(typed) : [word])) });
  }

  /** Show the words as they are now. What somebody types at the moment stays. */
  setWords(words) {
    this.words = words;
    const before = new Map(this.rows.map((row) => [row.name, row]));
    this.rows = words.classes.map((typed) => {
      const { name } = parsed(typed), row = before.get(name);
      before.delete(name);
      row?.update(typed);
      return row ?? new Row(this, typed);
    });
    for (const row of before.values()) row.element.remove();
    this.rows.forEach((row, index) => {
      if (this.list.children[index] !== row.element) this.list.insertBefore(row.element, this.list.children[index] ?? null);
    });
    const { background, threshold, confusable } = words;
    if (document.activeElement !== this.background.field) {
      this.background.field.value = background === null ? "none" : background.join(", ");
    }
    if (document.activeElement !== this.threshold.field) this.threshold.field.value = threshold ?? "";
    this.confusable.replaceChildren(...confusable.map(({ first, second, cosine }) => made("li", {},
      made("b", { textContent: first }), " and ", made("b", { textContent: second }),
      made("span", { textContent: cosine.toFixed(2) }))));
    this.confusable.closest("section").hidden = !confusable.length;
    this.empty.hidden = this.rows.length > 0;
    this.looked();
  }

  /** Tell what share of the picture each word covers: a map by name. */
  setCoverage(shares) {
    for (const row of this.rows) row.cover(shares.get(row.name) ?? 0);
  }

  /** Colour and visibility of a word, with what the user chose. */
  look(name) {
    const index = this.words.names.indexOf(name);
    return { colour: this.words.colours[index] ?? "#808080", hidden: false, ...this.looks[name] };
  }

  setLook(name, look) {
    this.looks[name] = { ...this.looks[name], ...look };
    this.rows.find((row) => row.name === name)?.updateLook();
    this.looked();
  }

  /** Hide or show the word at a place, from 0 on. */
  toggle(place) {
    const row = this.rows[place];
    if (row) this.setLook(row.name, { hidden: !this.look(row.name).hidden });
  }
}
