/**
 * Puts the language's built-ins back to what they were before the program ran.
 *
 * Called once the program is over, so that a patched `Array.prototype` or a `toJSON` on `Object.prototype` does not distort what the
 * runner sends. What the program froze stays as it is.
 */

import { Buffer } from "./intrinsics.ts";

const { defineProperty, deleteProperty, getOwnPropertyDescriptor, getPrototypeOf, ownKeys } = Reflect;

const objects: readonly object[] = [
  Object.prototype,
  Function.prototype,
  Array.prototype,
  getPrototypeOf([][Symbol.iterator]()) ?? {},
  String.prototype,
  Number.prototype,
  RegExp.prototype,
  Uint8Array.prototype,
  getPrototypeOf(Uint8Array.prototype) ?? {},
  Buffer.prototype,
  Buffer,
  Object,
  Array,
  Math,
  JSON,
];

interface Saved {
  readonly object: object;
  readonly keys: readonly PropertyKey[];
  readonly descriptors: readonly PropertyDescriptor[];
}

const saved: readonly Saved[] = objects.map((object) => {
  const keys = ownKeys(object);
  // Without a prototype, since what the program adds to Object.prototype would be taken for a part of the descriptor.
  return { object, keys, descriptors: keys.map((key) => ({ __proto__: null, ...getOwnPropertyDescriptor(object, key) })) };
});

/* eslint-disable @typescript-eslint/prefer-for-of -- iterators and array methods may be what was patched */

export function restoreBuiltIns(): void {
  for (let at = 0; at < saved.length; at += 1) {
    const entry = saved[at];
    if (entry !== undefined) restore(entry);
  }
  defineProperty(globalThis, "Buffer", { value: Buffer, configurable: true, writable: true });
}

function restore({ object, keys, descriptors }: Saved): void {
  for (let at = 0; at < keys.length; at += 1) {
    const key = keys[at];
    const descriptor = descriptors[at];
    if (key === undefined || descriptor === undefined) continue;
    const isUntouched = "value" in descriptor && getOwnPropertyDescriptor(object, key)?.value === descriptor.value;
    if (!isUntouched) defineProperty(object, key, descriptor);
  }
  const present = ownKeys(object);
  if (present.length === keys.length) return;
  for (let at = 0; at < present.length; at += 1) {
    const key = present[at];
    if (key !== undefined && !isAmong(key, keys)) deleteProperty(object, key);
  }
}

function isAmong(key: PropertyKey, keys: readonly PropertyKey[]): boolean {
  for (let at = 0; at < keys.length; at += 1) if (keys[at] === key) return true;
  return false;
}
