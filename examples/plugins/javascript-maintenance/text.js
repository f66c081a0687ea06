// Bytes of texts and back, as UTF-8: QuickJS has neither TextEncoder nor TextDecoder.

const REPLACEMENT = 0xfffd;

/** The bytes of a text. Half of a surrogate pair becomes U+FFFD. */
export function encode(text) {
  const bytes = [];
  for (const character of text) {
    const code = character.codePointAt(0);
    const point = code >= 0xd800 && code < 0xe000 ? REPLACEMENT : code;
    if (point < 0x80) bytes.push(point);
    else if (point < 0x800) bytes.push(0xc0 | (point >> 6), tail(point, 0));
    else if (point < 0x10000) bytes.push(0xe0 | (point >> 12), tail(point, 6), tail(point, 0));
    else bytes.push(0xf0 | (point >> 18), tail(point, 12), tail(point, 6), tail(point, 0));
  }
  return new Uint8Array(bytes);
}

const tail = (point, shift) => 0x80 | ((point >> shift) & 0x3f);

/** The text of bytes. Where they are not UTF-8, each byte beyond ASCII becomes U+FFFD. */
export function decode(bytes) {
  const codes = Array.from(bytes);
  try {
    return decodeURIComponent(codes.map((byte) => "%" + byte.toString(16).padStart(2, "0")).join(""));
  } catch {
    return String.fromCodePoint(...codes.map((byte) => (byte < 0x80 ? byte : REPLACEMENT)));
  }
}
