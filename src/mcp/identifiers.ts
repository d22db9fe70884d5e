/**
 * Names of servers and tools as identifiers of a program.
 *
 * Pure: a name becomes a word, and the lists say which words a name must not become.
 */

/** Words of the language that cannot be a variable, in a module or elsewhere. */
const RESERVED_WORDS = `
  arguments await break case catch class const continue debugger default delete do else enum eval export extends false finally for
  function if implements import in instanceof interface let new null package private protected public return static super switch this
  throw true try typeof undefined var void while with yield async of get set`;

/** What every object has, or is asked for behind a program's back: `await` calls a `then`, JSON a `toJSON`. */
const MEMBERS = `
  __defineGetter__ __defineSetter__ __lookupGetter__ __lookupSetter__ __proto__ constructor hasOwnProperty isPrototypeOf
  propertyIsEnumerable prototype then toJSON toLocaleString toString valueOf`;

/** The globals of Node 20 to 26, those of its modules, and what the runner adds. A server's namespace must hide none of them. */
const GLOBALS = `
  AbortController AbortSignal AggregateError Array ArrayBuffer AsyncDisposableStack Atomics BigInt BigInt64Array BigUint64Array Blob
  Boolean BroadcastChannel Buffer ByteLengthQueuingStrategy CloseEvent CompressionStream CountQueuingStrategy Crypto CryptoKey
  CustomEvent DOMException DataView Date DecompressionStream DisposableStack Error ErrorEvent EvalError Event EventSource EventTarget
  File FinalizationRegistry Float16Array Float32Array Float64Array FormData Function Headers Infinity Int16Array Int32Array Int8Array
  Intl Iterator JSON Map Math MessageChannel MessageEvent MessagePort NaN Navigator Number Object Performance PerformanceEntry
  PerformanceMark PerformanceMeasure PerformanceObserver PerformanceObserverEntryList PerformanceResourceTiming Promise Proxy
  QuotaExceededError RangeError ReadableByteStreamController ReadableStream ReadableStreamBYOBReader ReadableStreamBYOBRequest
  ReadableStreamDefaultController ReadableStreamDefaultReader ReferenceError Reflect RegExp Request Response Set SharedArrayBuffer
  Storage String SubtleCrypto SuppressedError Symbol SyntaxError Temporal TextDecoder TextDecoderStream TextEncoder TextEncoderStream
  TransformStream TransformStreamDefaultController TypeError URIError URL URLPattern URLSearchParams Uint16Array Uint32Array Uint8Array
  Uint8ClampedArray WeakMap WeakRef WeakSet WebAssembly WebSocket WritableStream WritableStreamDefaultController
  WritableStreamDefaultWriter atob btoa clearImmediate clearInterval clearTimeout console crypto decodeURI decodeURIComponent encodeURI
  encodeURIComponent escape fetch global globalThis isFinite isNaN localStorage navigator parseFloat parseInt performance process
  queueMicrotask sessionStorage setImmediate setInterval setTimeout structuredClone unescape
  __dirname __filename exports module require
  ToolError callTool tools`;

const words = (...lists: string[]): ReadonlySet<string> => new Set(lists.flatMap((list) => list.trim().split(/\s+/)));

/** What the namespace of a server, a global of every program, must not be called. */
export const NOT_FOR_SERVERS = words(RESERVED_WORDS, MEMBERS, GLOBALS);
/** What a function of a namespace must not be called. */
export const NOT_FOR_TOOLS = words(RESERVED_WORDS, MEMBERS);

/**
 * The name as an identifier: the same where it is one; else each character that cannot be part of one becomes `_`, a digit in front gets
 * a `_` before it, and a word of `taken` one behind it.
 */
export function identifierOf(name: string, taken: ReadonlySet<string>): string {
  const word = name.replace(/[^\p{ID_Continue}$]/gu, "_");
  if (taken.has(word)) return `${word}_`;
  return /^[\p{ID_Start}$_]/u.test(word) ? word : `_${word}`;
}
