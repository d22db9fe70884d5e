/** What a value of the program is, asked in ways that its own code has the least part in. */

import { ErrorClass, getProperty, getPrototypeOf, isArray, ObjectPrototype, types } from "./intrinsics.ts";

/** The bytes of an object that is a view of bytes or holds them. */
export function bytesOf(value: object): Uint8Array | undefined {
  if (types.isAnyArrayBuffer(value)) return new Uint8Array(value);
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  return undefined;
}

export function isError(value: object): boolean {
  return types.isNativeError(value) || value instanceof ErrorClass;
}

export function describeFunction(value: unknown): string {
  try {
    const name: unknown = getProperty(value as object, "name");
    return typeof name === "string" && name !== "" ? `[Function ${name}]` : "[Function]";
  } catch {
    return "[Function]";
  }
}

/** True for arrays and object literals, nearly always what a result consists of: these need no further questions. */
export function isPlain(value: object): boolean {
  return !types.isProxy(value) && (isArray(value) || getPrototypeOf(value) === ObjectPrototype);
}
