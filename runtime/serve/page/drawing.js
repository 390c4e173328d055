// Paints a picture and its labels on a canvas. Knows nothing of where they come from.
//
// The labels stay numbers until they are painted: another colour, another opacity or a hidden word costs one more
// painting, and nothing has to be asked for again.

const VERTEX = `#version 300 es
out vec2 at;
void main() {  // one triangle that covers everything
  vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1) * 2.0;
  at = vec2(corner.x, 1.0 - corner.y);
  gl_Position = vec4(corner * 2.0 - 1.0, 0.0, 1.0);
}`;

// Labels are coarser than the picture. Between four of them the one with the largest bilinear weight counts, so that
// borders are smooth; where two weigh about the same, there is the border, and the outline.
const FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D picture, labels, palette;
uniform float opacity, grey, outline, cell;
uniform bool wide;
in vec2 at;
out vec4 painted;

int label(ivec2 cell, ivec2 last) {
  ivec4 value = ivec4(texelFetch(labels, clamp(cell, ivec2(0), last), 0) * 255.0 + 0.5);
  int index = wide ? value.r + 256 * value.g : value.r;
  return texelFetch(palette, ivec2(index & 255, index >> 8), 0).a > 0.0 ? index : -1;
}

void main() {
  ivec2 size = textureSize(labels, 0);
  vec2 position = at * vec2(size) - 0.5;
  ivec2 first = ivec2(floor(position)), last = size - 1;
  vec2 part = position - vec2(first);
  int l[4] = int[4](label(first, last), label(first + ivec2(1, 0), last),
                    label(first + ivec2(0, 1), last), label(first + ivec2(1, 1), last));
  float w[4] = float[4]((1.0 - part.x) * (1.0 - part.y), part.x * (1.0 - part.y),
                        (1.0 - part.x) * part.y, part.x * part.y);
  int best = l[0];
  float most = -1.0;
  for (int i = 0; i < 4; ++i) {
    float weight = 0.0;
    for (int j = 0; j < 4; ++j) weight += l[j] == l[i] ? w[j] : 0.0;
    if (weight > most) { most = weight; best = l[i]; }
  }
  vec3 colour = texture(picture, at).rgb;
  if (best >= 0) {
    vec4 paint = texelFetch(palette, ivec2(best & 255, best >> 8), 0);
    colour = mix(colour, paint.rgb, paint.a * opacity);
  }
  float border = 1.0 - smoothstep(0.4, 1.0, (most - 0.5) * cell);
  colour = mix(colour, vec3(1.0), 0.7 * border * outline);
  colour = mix(colour, vec3(0.8 * dot(colour, vec3(0.299, 0.587, 0.114)) + 0.05), grey);
  painted = vec4(colour, 1.0);
}`;

const UNIFORMS = ["picture", "labels", "palette", "opacity", "grey", "outline", "cell", "wide"];

class Shader {
  constructor(gl) {
    this.gl = gl;
    this.setUp();
    gl.canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    gl.canvas.addEventListener("webglcontextrestored", () => this.setUp());
  }

  setUp() {
    const gl = this.gl, program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
      throw new Error(gl.getProgramInfoLog(program));
    }
    gl.useProgram(program);
    this.at = Object.fromEntries(UNIFORMS.map((name) => [name, gl.getUniformLocation(program, name)]));
    gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
    gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, false);
    ["picture", "labels", "palette"].forEach((name, unit) => {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
      const filter = name === "picture" ? gl.LINEAR : gl.NEAREST;
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, filter);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, filter);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
      gl.uniform1i(this.at[name], unit);
    });
  }

  paint(picture, labels, palette, look) {
    const gl = this.gl, rows = Math.ceil(palette.length / 4 / 256);
    gl.viewport(0, 0, gl.canvas.width, gl.canvas.height);
    for (const [unit, image] of [[0, picture], [1, labels]]) {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, image);
    }
    const full = new Uint8Array(rows * 1024);
    full.set(palette);
    gl.activeTexture(gl.TEXTURE2);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 256, rows, 0, gl.RGBA, gl.UNSIGNED_BYTE, full);
    gl.uniform1f(this.at.opacity, look.opacity);
    gl.uniform1f(this.at.grey, look.grey ? 1 : 0);
    gl.uniform1f(this.at.outline, look.outline ? 1 : 0);
    gl.uniform1f(this.at.cell, gl.canvas.width / labels.width);
    gl.uniform1i(this.at.wide, palette.length > 1024 ? 1 : 0);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }
}

// For browsers without WebGL2: the same picture, with coarser borders and without outlines.
class Plain {
  constructor(context) {
    this.context = context;
    this.small = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  }

  paint(picture, labels, palette, look) {
    const { context, small } = this, wide = palette.length > 1024;
    const { width, height } = context.canvas;
    small.canvas.width = labels.width;
    small.canvas.height = labels.height;
    small.drawImage(labels, 0, 0);
    const image = small.getImageData(0, 0, labels.width, labels.height), data = image.data;
    for (let i = 0; i < data.length; i += 4) {
      const index = wide ? data[i] + 256 * data[i + 1] : data[i];
      data.set(palette.subarray(4 * index, 4 * index + 4), i);
    }
    small.putImageData(image, 0, 0);
    context.filter = look.grey ? "grayscale(1) brightness(0.8)" : "none";
    context.globalAlpha = 1;
    context.drawImage(picture, 0, 0, width, height);
    context.globalAlpha = look.opacity;
    context.drawImage(small.canvas, 0, 0, width, height);
  }
}

export class Drawing {
  /**
   * @param {HTMLCanvasElement} canvas takes the size of the picture.
   */
  constructor(canvas) {
    this.canvas = canvas;
    this.look = { opacity: 0.5, outline: true, grey: false };
    this.palette = new Uint8Array(4);
    this.shown = null;
    this.asked = false;
    const gl = canvas.getContext("webgl2", { alpha: false, antialias: false, depth: false });
    this.painter = gl ? new Shader(gl) : new Plain(canvas.getContext("2d", { alpha: false }));
    canvas.addEventListener("webglcontextrestored", () => this.repaint());
  }

  /**
   * Decode what a camera and a network gave.
   * @param {Blob} picture JPEG or the like.
   * @param {Blob} labels PNG of class indices: grey, or beyond 256 of them red + 256 green.
   * @returns {Promise<[ImageBitmap, ImageBitmap]>} to be shown.
   */
  static decode(picture, labels) {
    const exact = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
    return Promise.all([createImageBitmap(picture), createImageBitmap(labels, exact)]);
  }

  /** Show a picture with its labels until the next; both are closed then. */
  show([picture, labels]) {
    this.shown?.forEach((image) => image.close());
    this.shown = [picture, labels];
    this.repaint();
  }

  /**
   * Give every class index its colour.
   * @param {{colour: string, hidden: boolean}[]} entries colours as #rrggbb.
   */
  setPalette(entries) {
    this.palette = new Uint8Array(4 * Math.max(entries.length, 1));
    entries.forEach(({ colour, hidden }, index) => {
      const number = parseInt(colour.slice(1), 16);
      this.palette.set([number >> 16, (number >> 8) & 255, number & 255, hidden ? 0 : 255], 4 * index);
    });
    this.repaint();
  }

  /** Change any of opacity (0 to 1), outline and grey. */
  setLook(look) {
    Object.assign(this.look, look);
    this.repaint();
  }

  repaint() {
    if (this.asked || !this.shown) return;
    this.asked = true;
    requestAnimationFrame(() => {
      this.asked = false;
      const [picture, labels] = this.shown;
      if (this.canvas.width !== picture.width) this.canvas.width = picture.width;
      if (this.canvas.height !== picture.height) this.canvas.height = picture.height;
      this.painter.paint(picture, labels, this.palette, this.look);
    });
  }
}
