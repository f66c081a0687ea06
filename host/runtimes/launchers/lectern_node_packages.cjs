// Where `import` finds the packages that were restored: beside the bundle, which is read-only and has no `node_modules`.
//
// What the application finds by itself comes first; only a name that nothing was found for is looked for there.
'use strict';

const named = (specifier) => !/^([./#]|[a-z][a-z0-9+.-]*:)/i.test(specifier);
const absent = (error) => error?.code === 'ERR_MODULE_NOT_FOUND' || error?.code === 'MODULE_NOT_FOUND';

let known;

exports.initialize = ({ root }) => {
  known = root;
};

exports.resolve = async (specifier, context, next) => {
  try {
    return await next(specifier, context);
  } catch (error) {
    if (!named(specifier) || !absent(error)) throw error;
    return next(specifier, { ...context, parentURL: known });
  }
};

exports.resolveSync = (specifier, context, next, root) => {
  try {
    return next(specifier, context);
  } catch (error) {
    if (!named(specifier) || !absent(error)) throw error;
    return next(specifier, { ...context, parentURL: root });
  }
};
