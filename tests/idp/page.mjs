// The provider's pages: nothing but what a person or a test must see.

const escapes = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

/** A page under `title`, whose `body` is markup. */
export const page = (title, body = '') => `<!doctype html>
<meta charset="utf-8"><title>${escape(title)}</title>
<style>body { font: 16px sans-serif; margin: 4em auto; max-width: 24em } label { display: block; margin: 1em 0 }</style>
<h1>${escape(title)}</h1>
${body}
`;

/** Text as markup that shows it. */
export const escape = (text) => String(text).replace(/[&<>"]/g, (found) => escapes[found]);
