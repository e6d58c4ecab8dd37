// The generator in inference mode, in plain JavaScript: a dense layer, then 5x5 convolutions, each a product of matrices.
// Arrays are Float32Array in the order of Python's: images [height, width, channels], kernels [5, 5, in, out].

const TILE = 4; // rows and columns of a product that are computed together, in registers

// IEEE half precision, little-endian, times a scale: one number for each two bytes.
function halfToFloat(bytes, scale) {
  const halves = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
  return Float32Array.from(halves, (half) => {
    const exponent = (half >> 10) & 31;
    const fraction = half & 1023;
    const size = exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24;
    return (half & 0x8000 ? -size : size) * scale;
  });
}

// Upsampling by two before a 5x5 kernel is four 3x3 kernels on the small image, one for each place in a pixel of it:
// [5, 5, in, out] -> [3, 3, in, 2, 2, out]. The taps that meet the same pixel add up.
function phases(kernel, inputs, outputs) {
  const result = new Float32Array(9 * inputs * 4 * outputs);
  const meets = (phase, tap) => Math.floor((phase + tap - 2) / 2) + 1;
  for (let a = 0; a < 2; a++)
    for (let b = 0; b < 2; b++)
      for (let t = 0; t < 5; t++)
        for (let s = 0; s < 5; s++)
          for (let i = 0; i < inputs; i++) {
            const from = ((t * 5 + s) * inputs + i) * outputs;
            const to = (((meets(a, t) * 3 + meets(b, s)) * inputs + i) * 4 + a * 2 + b) * outputs;
            for (let o = 0; o < outputs; o++) result[to + o] += kernel[from + o];
          }
  return result;
}

// [rows, columns] -> [columns / 4, rows, 4], with zeros in columns that are not there.
function panels(matrix, rows, columns) {
  const result = new Float32Array(Math.ceil(columns / TILE) * rows * TILE);
  for (let j = 0; j < columns; j++)
    for (let i = 0; i < rows; i++)
      result[(Math.floor(j / TILE) * rows + i) * TILE + (j % TILE)] = matrix[i * columns + j];
  return result;
}

// The size x size neighbours of each pixel, zeros outside of the image, as `panels` has them:
// [height, width, channels] -> [pixels / 4, size * size * channels, 4].
function patches(image, height, width, channels, size) {
  const length = size * size * channels;
  const result = new Float32Array(Math.ceil((height * width) / TILE) * length * TILE);
  const reach = (size - 1) / 2;
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const pixel = y * width + x;
      let to = Math.floor(pixel / TILE) * length * TILE + (pixel % TILE);
      for (let v = y - reach; v <= y + reach; v++)
        for (let u = x - reach; u <= x + reach; u++) {
          const from = (v * width + u) * channels;
          const inside = v >= 0 && v < height && u >= 0 && u < width;
          for (let c = 0; c < channels; c++, to += TILE) if (inside) result[to] = image[from + c];
        }
    }
  return result;
}

// The product of a matrix of `patches` and one of `panels`, both of this length: [pixels, columns], padded to fours.
function product(a, b, length) {
  const rows = a.length / length;
  const columns = b.length / length;
  const c = new Float32Array(rows * columns);
  for (let i = 0; i < rows; i += TILE)
    for (let j = 0; j < columns; j += TILE) {
      let p = i * length;
      let q = j * length;
      let c00 = 0, c01 = 0, c02 = 0, c03 = 0, c10 = 0, c11 = 0, c12 = 0, c13 = 0;
      let c20 = 0, c21 = 0, c22 = 0, c23 = 0, c30 = 0, c31 = 0, c32 = 0, c33 = 0;
      for (let t = 0; t < length; t++, p += TILE, q += TILE) {
        const a0 = a[p], a1 = a[p + 1], a2 = a[p + 2], a3 = a[p + 3];
        const b0 = b[q], b1 = b[q + 1], b2 = b[q + 2], b3 = b[q + 3];
        c00 += a0 * b0, c01 += a0 * b1, c02 += a0 * b2, c03 += a0 * b3;
        c10 += a1 * b0, c11 += a1 * b1, c12 += a1 * b2, c13 += a1 * b3;
        c20 += a2 * b0, c21 += a2 * b1, c22 += a2 * b2, c23 += a2 * b3;
        c30 += a3 * b0, c31 += a3 * b1, c32 += a3 * b2, c33 += a3 * b3;
      }
      c.set([c00, c01, c02, c03], i * columns + j);
      c.set([c10, c11, c12, c13], (i + 1) * columns + j);
      c.set([c20, c21, c22, c23], (i + 2) * columns + j);
      c.set([c30, c31, c32, c33], (i + 3) * columns + j);
    }
  return c;
}

// Noise and the number of its class -> the first map, after its activation.
function dense(layer, noise, label) {
  const map = layer.bias.slice(label * layer.units, (label + 1) * layer.units);
  for (let i = 0; i < noise.length; i++)
    for (let j = 0, at = i * layer.units; j < layer.units; j++, at++) map[j] += noise[i] * layer.kernel[at];
  return map.map((value) => Math.max(value, 0));
}

// A convolution of an image, after an upsampling by two if the layer has one; the image is cut to the layer's size.
function convolve(layer, image, height, width, activation) {
  const size = layer.upsample ? 3 : 5;
  const factor = layer.upsample ? 2 : 1;
  const sums = product(patches(image, height, width, layer.inputs, size), layer.panels, size * size * layer.inputs);
  const columns = Math.ceil((factor * factor * layer.outputs) / TILE) * TILE;
  const result = new Float32Array(layer.height * layer.width * layer.outputs);
  for (let y = 0, to = 0; y < layer.height; y++)
    for (let x = 0; x < layer.width; x++) {
      const pixel = Math.floor(y / factor) * width + Math.floor(x / factor);
      const from = pixel * columns + ((y % factor) * factor + (x % factor)) * layer.outputs;
      for (let o = 0; o < layer.outputs; o++, to++) result[to] = activation(sums[from + o] + layer.bias[o]);
    }
  return result;
}

// A function of noise and a class, a number, that returns an image in [0, 1].
function createGenerator(description, bytes) {
  let offset = 0;
  const read = ({ length, scale }) => halfToFloat(bytes.subarray(offset, (offset += 2 * length)), scale);
  const [first, ...convolutions] = description.layers.map((layer) => {
    const kernel = read(layer.kernel);
    const bias = read(layer.bias);
    if (!layer.inputs) return { ...layer, kernel, bias };
    const columns = (layer.upsample ? 4 : 1) * layer.outputs;
    const matrix = layer.upsample ? phases(kernel, layer.inputs, layer.outputs) : kernel;
    return { ...layer, bias, panels: panels(matrix, matrix.length / columns, columns) };
  });
  const relu = (value) => Math.max(value, 0);
  const sigmoid = (value) => 1 / (1 + Math.exp(-value));
  return (noise, label = 0) => {
    let image = dense(first, noise, label);
    let { height, width } = first;
    convolutions.forEach((layer, i) => {
      image = convolve(layer, image, height, width, i < convolutions.length - 1 ? relu : sigmoid);
      ({ height, width } = layer);
    });
    return image;
  };
}
