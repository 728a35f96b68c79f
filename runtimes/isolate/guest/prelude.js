/*
 * Runs first in every context that a plugin's script will run in, and makes what the plugin finds there: `input`,
 * `log`, `gql`, `util`, `console`. Contract: Stash `pkg/javascript` and `pkg/plugin/js.go`.
 *
 * The value of this script is one function, through which the executor talks to the context. It is never reachable
 * by the plugin. All built-ins it needs are taken here, before the plugin can change them; nothing below may call a
 * method of an object that the plugin can reach, except where the contract is to do just that.
 */
'use strict';
(() => {
  const global = globalThis;
  delete global.WebAssembly;
  delete global.SharedArrayBuffer;
  delete global.Atomics;

  const { parse, stringify } = JSON;
  const { defineProperty, preventExtensions, keys } = Object;
  const { isArray } = Array;
  const { now } = Date;
  const { max, min, trunc } = Math;
  const isNaNumber = Number.isNaN;
  const isFiniteNumber = Number.isFinite;
  const { apply } = Reflect;
  const NativeError = Error;
  const NativeDate = Date;
  const text = String;
  const number = Number;
  const tagOf = Object.prototype.toString;
  const toISOString = Date.prototype.toISOString;
  const sliceOf = String.prototype.slice;
  const indexOf = String.prototype.indexOf;

  // One run's state. `host` is absent in a brief run: then nothing that needs it can be done. What was logged is one
  // growing text, not an array: the plugin may have put a setter on Array.prototype.
  let host;
  let startedAt = 0;
  let lines = '';
  let lineCount = 0;
  let lineBytes = 0;
  let lineCountMax = 0;
  let lineBytesMax = 0;
  let dropped = 0;
  let progress;
  let flushedAt = 0;
  let flushes = 0;
  let unfit = '';
  let answer;

  // ── logs ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Plain objects and errors as JSON, all else as its text: what goja's export makes of them. */
  const wordsOf = (value) => {
    if (typeof value !== 'object' || value === null || isArray(value)) return text(value);
    const tag = apply(tagOf, value, []);
    if (tag !== '[object Object]' && tag !== '[object Error]') return text(value);
    try {
      return text(stringify(value) ?? '');
    } catch {
      // A toJSON may have failed only because the realm is frozen: that shall not be hidden here.
      if (host === undefined) unfit = 'log';
      keep('W', 'an object could not be logged as JSON');
      return '';
    }
  };

  const keep = (level, words) => {
    const bytes = words.length + 16;
    if (lineCount >= lineCountMax || lineBytes + bytes > lineBytesMax) {
      dropped += 1;
      return;
    }
    const at = now() - startedAt;
    lines += (lines === '' ? '"' : ',"') + level + '",' + at + ',' + stringify(words);
    lineCount += 1;
    lineBytes += bytes;
    if (host !== undefined && isDue(at)) flush(at);
  };

  // A run may be ended at any moment, and what it has not told by then is lost. So the first lines are told at once;
  // whoever logs much is told of in batches.
  const isDue = (at) => flushes < 64 || at - flushedAt > 100 || lines.length > 8192;

  const flush = (at) => {
    flushedAt = at;
    flushes += 1;
    const head = headText();
    if (head !== '') host.applyIgnored(undefined, ['logs', head]);
  };

  /** What was logged since the last time, as JSON text; '' where there is nothing to tell. */
  const headText = () => {
    if (lines === '' && dropped === 0 && progress === undefined) return '';
    let head = '{"dropped":' + dropped;
    if (progress !== undefined) head += ',"progress":' + progress;
    if (lines !== '') head += ',"lines":[' + lines + ']';
    lines = '';
    dropped = 0;
    progress = undefined;
    return head + '}';
  };

  const logger = (level) => (value) => keep(level, wordsOf(value));

  // ── calls of the application ──────────────────────────────────────────────────────────────────────────────────

  const needHost = (what) => {
    if (host !== undefined) return;
    unfit = what;
    throw new NativeError(what + ' is not there in a brief run');
  };

  /** A copy that holds what Go's encoder would write: own enumerable fields, dates in RFC 3339, no toJSON. */
  const plain = (value) => {
    switch (typeof value) {
      case 'undefined':
        return null;
      case 'string':
      case 'boolean':
        return value;
      case 'number':
        if (!isFiniteNumber(value)) throw unsupported('value: ' + (value > 0 ? '+Inf' : value < 0 ? '-Inf' : 'NaN'));
        return value;
      case 'object': {
        if (value === null) return null;
        if (value instanceof NativeDate) {
          const iso = apply(toISOString, value, []);
          let end = iso.length - 1;
          while (iso[end - 1] === '0') end -= 1;
          if (iso[end - 1] === '.') end -= 1;
          return apply(sliceOf, iso, [0, end]) + 'Z';
        }
        const copy = isArray(value) ? [] : { __proto__: null };
        if (isArray(value)) {
          for (let i = 0; i < value.length; i += 1) {
            defineProperty(copy, i, { __proto__: null, value: plain(value[i]), enumerable: true });
          }
        } else {
          const names = keys(value);
          for (let i = 0; i < names.length; i += 1) {
            defineProperty(copy, names[i], { __proto__: null, value: plain(value[names[i]]), enumerable: true });
          }
        }
        // An array of this realm would be asked for a toJSON of the plugin's making.
        if (isArray(copy)) defineProperty(copy, 'toJSON', { __proto__: null, value: undefined });
        return copy;
      }
      default:
        throw unsupported('type: func(goja.FunctionCall) goja.Value');
    }
  };

  const unsupported = (what) => {
    const error = new NativeError('json: unsupported ' + what);
    defineProperty(error, 'name', { __proto__: null, value: 'GoError', configurable: true, writable: true });
    return error;
  };

  /** As Go prints a map with %v: `map[a:1 b:[1 2]]`, keys in order. */
  const goText = (value) => {
    if (value === null) return '<nil>';
    if (typeof value !== 'object') return text(value);
    let out = '';
    if (isArray(value)) {
      for (let i = 0; i < value.length; i += 1) out += (i > 0 ? ' ' : '') + goText(value[i]);
      return '[' + out + ']';
    }
    const names = apply(sort, keys(value), []);
    for (let i = 0; i < names.length; i += 1) out += (i > 0 ? ' ' : '') + names[i] + ':' + goText(value[names[i]]);
    return 'map[' + out + ']';
  };
  const sort = Array.prototype.sort;

  const Do = (query, variables) => {
    const queryText = query === undefined ? '' : text(query);
    let given = null;
    if (variables !== undefined && variables !== null) {
      if (typeof variables !== 'object') {
        throw new TypeError_(
          'could not convert function call parameter 1: could not convert ' +
            text(variables) +
            ' to map[string]interface {}',
        );
      }
      const copy = plain(isArray(variables) ? { __proto__: null, ...variables } : variables);
      if (typeof copy !== 'object') throw new TypeError_('could not convert function call parameter 1: not a map');
      if (keys(copy).length > 0) given = copy;
    }
    needHost('gql.Do');
    let body = '{"query":' + stringify(queryText);
    if (given !== null) body += ',"variables":' + stringify(given);
    body += '}';
    flush(now() - startedAt);
    const reply = host.applySyncPromise(undefined, ['call', body]);
    return read(reply, queryText, given);
  };
  const TypeError_ = TypeError;

  /** `reply` is the status, a blank and the body; status 0 where no answer came, and the body says why. */
  const read = (reply, query, variables) => {
    const blank = apply(indexOf, reply, [' ']);
    const status = number(apply(sliceOf, reply, [0, blank]));
    const body = apply(sliceOf, reply, [blank + 1]);
    if (status === 0) throw new NativeError('graphQL query failed: ' + body);
    if (status !== 200) {
      const shown = variables === null ? 'map[]' : goText(variables);
      throw new NativeError(
        'graphQL query failed: ' + status + ' - ' + body + '. Query: ' + query + '. Variables: ' + shown,
      );
    }
    let parsed;
    try {
      parsed = parse(body);
    } catch (error) {
      throw new NativeError('could not unmarshal object ' + body + ': ' + error.message);
    }
    if (typeof parsed !== 'object' || parsed === null || isArray(parsed)) {
      throw new NativeError('could not unmarshal object ' + body + ': not an object');
    }
    if (hasOwn(parsed, 'errors')) throw new NativeError('graphql error: ' + stringify(parsed.errors));
    return (hasOwn(parsed, 'data') ? parsed.data : null) ?? null;
  };
  const { hasOwn } = Object;

  const Sleep = (ms) => {
    const wait = trunc(number(ms));
    if (!(wait > 0)) return;
    needHost('util.Sleep');
    flush(now() - startedAt);
    host.applySyncPromise(undefined, ['sleep', text(wait)]);
  };

  // ── what the plugin finds ─────────────────────────────────────────────────────────────────────────────────────

  const Progress = (value) => {
    const share = value === undefined ? 0 : number(value);
    if (isNaNumber(share)) return;
    progress = min(1, max(0, share));
    if (host !== undefined && isDue(now() - startedAt)) flush(now() - startedAt);
  };

  const makeLog = () => ({
    Trace: logger('t'),
    Debug: logger('d'),
    Info: logger('i'),
    Warn: logger('w'),
    Error: logger('e'),
    Progress: (value) => Progress(value),
  });
  const makeConsole = () => ({
    log: logger('I'),
    info: logger('I'),
    warn: logger('W'),
    error: logger('E'),
    debug: logger('D'),
  });
  const makeGql = () => ({ Do: (query, variables) => Do(query, variables) });
  const makeUtil = () => ({ Sleep: (ms) => Sleep(ms) });

  const define = (name, value) =>
    defineProperty(global, name, { __proto__: null, value, writable: true, configurable: true, enumerable: true });

  const makeInput = (json) => {
    const input = parse(json);
    const hook = input.Args.hookContext;
    if (typeof hook === 'object' && hook !== null) preventExtensions(hook);
    return preventExtensions(input);
  };

  const begin = (limits, theHost) => {
    host = theHost;
    lineCountMax = limits.logLines;
    lineBytesMax = limits.logBytes;
    lines = '';
    lineCount = lineBytes = dropped = 0;
    progress = undefined;
    unfit = '';
    answer = undefined;
    flushedAt = flushes = 0;
    startedAt = now();
  };

  // ── answers ───────────────────────────────────────────────────────────────────────────────────────────────────
  //
  // An answer is text: a letter, the log head, a line feed, and the rest. JSON text has no line feed in it.
  //   o  ended well; rest: output             e  returned an Error; head has it as `error`; rest: output or nothing
  //   x  threw; head has it as `error`        n  its output cannot be JSON; rest: why        u  unfit; rest: why

  const withError = (head, error) =>
    '{"error":' + error + (head === '' ? '' : ',' + apply(sliceOf, head, [1])) + (head === '' ? '}' : '');

  const describe = (name, message, stack) =>
    '{"name":' +
    stringify(cut(name, 256)) +
    ',"message":' +
    stringify(cut(message, 8192)) +
    (stack === '' ? '' : ',"stack":' + stringify(cut(stack, 16384))) +
    '}';

  const cut = (words, most) => (words.length > most ? apply(sliceOf, words, [0, most]) + '…' : words);

  const give = (words) => {
    answer = words;
    return words;
  };

  const finish = (value) => {
    let output = 'null';
    let error;
    if (value !== null && (typeof value === 'object' || typeof value === 'function')) {
      const returned = value.Error;
      if (returned !== undefined && returned !== null) error = text(returned);
      const out = value.Output;
      if (out !== undefined && out !== null) {
        try {
          output = stringify(out) ?? 'null';
        } catch (problem) {
          return give('n' + headText() + '\n' + cut(text(problem), 1024));
        }
      }
    }
    if (unfit !== '') return 'u\n' + unfit;
    if (error === undefined) return give('o' + headText() + '\n' + output);
    return give('e' + withError(headText(), describe('Error', error, '')) + '\n' + (output === 'null' ? '' : output));
  };

  const threw = (thrown) => {
    let described;
    if ((typeof thrown === 'object' && thrown !== null) || typeof thrown === 'function') {
      const { name, message, stack } = thrown;
      const words = typeof message === 'string' && message !== '' ? message : text(thrown);
      described = describe(typeof name === 'string' ? name : 'Error', words, typeof stack === 'string' ? stack : '');
    } else {
      described = describe(typeof thrown, text(thrown), '');
    }
    return give('x' + withError(headText(), described) + '\n');
  };

  const shield = (work) => (value) => {
    try {
      return work(value);
    } catch (problem) {
      let words = 'a value that cannot be described';
      try {
        words = text(problem);
      } catch {}
      return give('x' + withError(headText(), describe('Error', words, '')) + '\n');
    }
  };
  const shieldedFinish = shield(finish);
  const shieldedThrew = shield(threw);

  define('log', makeLog());
  define('gql', makeGql());
  define('util', makeUtil());
  define('console', makeConsole());

  const start = (json, limits, theHost) => {
    begin(parse(limits), theHost);
    define('input', makeInput(json));
  };

  return (what, first, second, third) => {
    switch (what) {
      // Starts a run in this context: input and limits as JSON text, and the way to the host for a long run.
      case 'start':
        return start(first, second, third);
      case 'finish':
        return shieldedFinish(first);
      case 'threw':
        return shieldedThrew(first);
      // The answer, where the run gave one and something went wrong after it.
      case 'answer':
        return answer;
      // What was logged and not yet told.
      case 'rest':
        return headText();
      // Why a brief run does not count, although it has answered: promise reactions logged or called the host.
      case 'late':
        return unfit !== '' ? unfit : headText() === '' ? '' : 'late logs';
      // The parts, for a realm that starts its runs in another way.
      case 'parts':
        return { __proto__: null, begin, makeInput, makeLog, makeGql, makeUtil, makeConsole, finish: shieldedFinish };
    }
  };
})();
