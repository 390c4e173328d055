// A small chart of where the time of each frame went, newest at the right. Knows nothing of where the times come from.

const KEPT = 240;
const STAGES = ["pre", "infer", "post"];

export class Chart {
  /** @param {HTMLCanvasElement} canvas whose style has the colours --pre, --infer, --post and --line. */
  constructor(canvas) {
    this.canvas = canvas;
    this.samples = [];
    this.asked = false;
    new ResizeObserver(() => this.repaint()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.repaint());
  }

  /** @param {object} speed milliseconds of each stage. */
  add(speed) {
    this.samples.push(STAGES.map((stage) => speed[stage] ?? 0));
    if (this.samples.length > KEPT) this.samples.shift();
    this.repaint();
  }

  repaint() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => {
      this.asked = false;
      this.paint();
    });
  }

  paint() {
    const { canvas } = this, scale = devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width) return;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const context = canvas.getContext("2d"), style = getComputedStyle(canvas);
    context.scale(scale, scale);
    const totals = this.samples.map((stages) => stages.reduce((sum, ms) => sum + ms, 0));
    // One frame that took ten times as long would flatten all others: it leaves the chart at the top.
    const usual = [...totals].sort((a, b) => a - b)[Math.floor(0.95 * (totals.length - 1))] ?? 1;
    const top = niceAbove(Math.max(1.2 * usual, 1)), room = width - 48, step = room / (KEPT - 1);
    const x = (index) => room - (this.samples.length - 1 - index) * step, y = (ms) => height - (ms / top) * (height - 8);
    context.font = `11px ${style.fontFamily}`;
    context.textBaseline = "middle";
    for (const ms of [top / 2, top]) {
      context.fillStyle = style.getPropertyValue("--line");
      context.fillRect(0, Math.round(y(ms)), room, 1);
      context.fillStyle = style.color;
      context.fillText(`${ms} ms`, room + 4, Math.max(y(ms), 6));
    }
    let below = this.samples.map(() => 0);
    STAGES.forEach((stage, place) => {
      const above = below.map((ms, index) => ms + this.samples[index][place]);
      context.beginPath();
      above.forEach((ms, index) => context.lineTo(x(index), y(ms)));
      for (let index = below.length - 1; index >= 0; --index) context.lineTo(x(index), y(below[index]));
      context.fillStyle = style.getPropertyValue(`--${stage}`);
      context.fill();
      below = above;
    });
  }
}

function niceAbove(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 6, 10].map((digit) => digit * power).find((nice) => nice >= value);
}
