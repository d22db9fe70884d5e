/**
 * Values of the program as JSON text: its result, and the arguments of tool calls. What JSON cannot carry is converted, or is an error
 * that names the place.
 *
 *     undefined, NaN, ±Infinity, an invalid Date      null
 *     BigInt                                          its decimal digits, as a string
 *     Date                                            ISO 8601 string (what its toJSON says)
 *     Map                                             object if all keys are strings, else an array of [key, value]
 *     Set                                             array
 *     typed array, Buffer, DataView, (Shared)ArrayBuffer    base64 string
 *     Error                                           {name, message, stack}
 *     RegExp, URL, URLSearchParams                    string
 *     new String(…), new Number(…), …                 the primitive
 *     function, Promise, symbol                       "[Function name]", "[Promise]", "Symbol(text)"
 *     an object inside itself                         "[Circular]"
 *     anything with a toJSON                          what that returns
 *     other objects                                   their own enumerable properties with string keys
 *
 * Arguments are meant for somebody who does something with them, so that no text stands for what cannot be sent: in them NaN,
 * ±Infinity, functions, promises, symbols and an object inside itself are errors, and properties that are undefined are left out.
 *
 * It writes the text directly, and counts it, so that a structure that is too large costs no more than the limit.
 */

import { URLSearchParams } from "node:url";

import {
  apply,
  Buffer,
  byteLength,
  forEachOfMap,
  forEachOfSet,
  getProperty,
  isArray,
  isFiniteNumber,
  ownKeys,
  stringifyJson,
  types,
} from "./intrinsics.ts";
import { attempt, describePlace, ResultError, TooLargeError, unreadable } from "./result-place.ts";
import type { Key, Place } from "./result-place.ts";
import { bytesOf, describeFunction, isError, isPlain } from "./value-kinds.ts";

export interface SerializeOptions {
  /** Cap on the UTF-8 bytes of the text. */
  readonly maxBytes: number;
  /** What messages call the value; "result" if left out. */
  readonly name?: string;
  /** True for arguments: what has no form in JSON is refused. */
  readonly isExact?: boolean;
  describeError(error: object): { readonly name: string; readonly message: string; readonly stack: string };
}

/** Throws a {@link ResultError}. */
export function serializeValue(value: unknown, options: SerializeOptions): string {
  const writer = new Writer(options);
  writer.value(value, undefined, undefined);
  return writer.finish();
}

/** Below the protocol's cap on the depth of a message, which the result is a part of. */
const MAX_DEPTH = 100;

const CIRCULAR = '"[Circular]"';

/** Text is put together in parts of this length: one long chain of concatenations would need many times the memory. */
const PART_CHARS = 16_384;

class Writer {
  readonly #options: SerializeOptions;
  #finished = "";
  #finishedBytes = 0;
  #part = "";

  constructor(options: SerializeOptions) {
    this.#options = options;
  }

  finish(): string {
    this.#finishPart();
    return this.#finished;
  }

  value(value: unknown, parent: Place | undefined, key: Key | undefined): void {
    switch (typeof value) {
      case "string":
        this.#string(value);
        break;
      case "number":
        if (isFiniteNumber(value)) this.#raw(`${value}`);
        else this.#formless(`${value}`, "null", parent, key);
        break;
      case "boolean":
        this.#raw(value ? "true" : "false");
        break;
      case "undefined":
        this.#raw("null");
        break;
      case "bigint":
        this.#string(`${value}`);
        break;
      case "symbol":
        this.#formless("a symbol", stringifyJson(String(value)), parent, key);
        break;
      case "function":
        this.#formless("a function", stringifyJson(describeFunction(value)), parent, key);
        break;
      default:
        if (value === null) this.#raw("null");
        else this.#object(value as object, parent, key);
    }
  }

  /** Writes the text that stands for what has no form in JSON, or refuses it. */
  #formless(what: string, text: string, parent: Place | undefined, key: Key | undefined): void {
    if (this.#options.isExact !== true) {
      this.#raw(text);
      return;
    }
    const hint = what === "a promise" ? " Await it first." : "";
    throw new ResultError(`${describePlace(this.#placeOf({}, parent, key))} is ${what}, which JSON cannot carry.${hint}`);
  }

  #placeOf(value: object, parent: Place | undefined, key: Key | undefined): Place {
    const { name = "result" } = this.#options;
    return { value, key: parent === undefined ? name : key, parent, depth: (parent?.depth ?? 0) + 1 };
  }

  #object(value: object, parent: Place | undefined, key: Key | undefined): void {
    for (let place = parent; place !== undefined; place = place.parent) {
      if (place.value === value) {
        this.#formless("an object inside itself", CIRCULAR, parent, key);
        return;
      }
    }
    const place = this.#placeOf(value, parent, key);
    if (place.depth > MAX_DEPTH) {
      const { name } = this.#options;
      const what = name === undefined ? "The result" : `The value ${name}`;
      throw new ResultError(`${what} is nested more than ${MAX_DEPTH} levels deep, at ${describePlace(place)}. Give a flatter value.`);
    }
    const bytes = isPlain(value) ? undefined : bytesOf(value);
    if (bytes !== undefined) {
      this.#base64(bytes);
      return;
    }
    const converted = attempt(place, () => convert(value, key));
    if (converted !== undefined) this.#converted(converted.value, place);
    else this.#structure(value, place);
  }

  /** What a toJSON returned is written as it is, without asking it for a toJSON of its own. */
  #converted(value: unknown, place: Place): void {
    if (typeof value !== "object" || value === null) this.value(value, undefined, undefined);
    else if (value !== place.value && isInside(value, place)) this.#formless("an object inside itself", CIRCULAR, place.parent, place.key);
    else this.#structure(value, place);
  }

  #structure(value: object, place: Place): void {
    const bytes = isPlain(value) ? undefined : bytesOf(value);
    if (bytes !== undefined) this.#base64(bytes);
    else if (attempt(place, () => isArray(value))) this.#array(value as readonly unknown[], place);
    else if (isPlain(value)) this.#properties(value, place);
    else if (types.isMap(value)) this.#map(value, place);
    else if (types.isSet(value)) this.#set(value, place);
    else if (types.isRegExp(value)) this.#string(attempt(place, () => String(value)));
    else if (types.isPromise(value)) this.#formless("a promise", '"[Promise]"', place.parent, place.key);
    else if (types.isBoxedPrimitive(value)) this.#unboxed(value, place);
    else if (attempt(place, () => isError(value))) this.#properties(this.#options.describeError(value), place);
    else if (attempt(place, () => value instanceof URLSearchParams))
      this.#string(attempt(place, () => (value as URLSearchParams).toString()));
    else this.#properties(value, place);
  }

  #unboxed(value: object, place: Place): void {
    const primitive = attempt(place, () => value.valueOf());
    this.value(primitive, place, undefined);
  }

  #array(array: readonly unknown[], place: Place): void {
    const length = attempt(place, () => array.length);
    this.#raw("[");
    for (let index = 0; index < length; index += 1) {
      if (index > 0) this.#raw(",");
      this.value(this.#read(array, index, place), place, index);
    }
    this.#raw("]");
  }

  #properties(object: object, place: Place): void {
    this.#raw("{");
    let isFirst = true;
    for (const key of attempt(place, () => ownKeys(object))) {
      const child = this.#read(object, key, place);
      if (child === undefined && this.#options.isExact === true) continue;
      this.#key(key, isFirst);
      isFirst = false;
      this.value(child, place, key);
    }
    this.#raw("}");
  }

  #map(map: ReadonlyMap<unknown, unknown>, place: Place): void {
    let allStrings = true as boolean;
    apply(forEachOfMap, map, [
      (_value: unknown, key: unknown) => {
        allStrings &&= typeof key === "string";
      },
    ]);
    let index = 0;
    this.#raw(allStrings ? "{" : "[");
    apply(forEachOfMap, map, [
      (value: unknown, key: unknown) => {
        if (allStrings) {
          this.#key(key as string, index === 0);
          this.value(value, place, key as string);
        } else {
          if (index > 0) this.#raw(",");
          this.value([key, value], place, index);
        }
        index += 1;
      },
    ]);
    this.#raw(allStrings ? "}" : "]");
  }

  #set(set: ReadonlySet<unknown>, place: Place): void {
    let index = 0;
    this.#raw("[");
    apply(forEachOfSet, set, [
      (value: unknown) => {
        if (index > 0) this.#raw(",");
        this.value(value, place, index);
        index += 1;
      },
    ]);
    this.#raw("]");
  }

  #read(object: object, key: Key, place: Place): unknown {
    try {
      return getProperty(object, key);
    } catch (cause) {
      throw unreadable({ ...place, key, parent: place }, cause);
    }
  }

  #key(key: string, isFirst: boolean): void {
    if (!isFirst) this.#raw(",");
    this.#string(key);
    this.#raw(":");
  }

  #base64(bytes: Uint8Array): void {
    this.#expect(Math.ceil(bytes.byteLength / 3) * 4);
    this.#raw(`"${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64")}"`);
  }

  #string(text: string): void {
    this.#expect(text.length);
    this.#raw(stringifyJson(text));
  }

  #raw(text: string): void {
    this.#part += text;
    if (this.#part.length >= PART_CHARS) this.#finishPart();
  }

  #finishPart(): void {
    this.#finishedBytes += byteLength(this.#part);
    this.#finished += this.#part;
    this.#part = "";
    this.#expect(0);
  }

  /** Refuses what will surely be too long: a character is a byte or more. */
  #expect(chars: number): void {
    const size = this.#finishedBytes + this.#part.length + chars;
    if (size <= this.#options.maxBytes) return;
    throw new TooLargeError(
      `The result is too large: at least ${size} bytes of JSON, and the limit is ${this.#options.maxBytes}. ` +
        "Return less, or write the data to a file and name it in outputFiles.",
    );
  }
}

/** The value that stands for an object, where something other than its structure does. */
function convert(value: object, key: Key | undefined): { readonly value: unknown } | undefined {
  const toJson: unknown = getProperty(value, "toJSON");
  if (typeof toJson !== "function") return undefined;
  return { value: apply(toJson, value, [key === undefined ? "" : String(key)]) as unknown };
}

function isInside(value: object, place: Place): boolean {
  for (let outer = place.parent; outer !== undefined; outer = outer.parent) if (outer.value === value) return true;
  return false;
}
