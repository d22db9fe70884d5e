/**
 * Puts watched functions in the place of Node's own, to learn what they fail with.
 *
 * A program must not notice: name, length and own properties stay, and so do results, errors and their order; a rejection that nobody
 * handles is still one. What a program patches later lies on top.
 */

import { errorMonitor, EventEmitter } from "node:events";

import { apply, defineProperty, getOwnPropertyDescriptor, ownPropertyKeys, promiseThen } from "./intrinsics.ts";

// eslint-disable-next-line @typescript-eslint/unbound-method -- used with apply
const { addListener } = EventEmitter.prototype;

export type Callable = (this: unknown, ...args: unknown[]) => unknown;

/** Called with what a call failed with, and its arguments. What it throws itself is dropped. */
export type OnFailure = (error: unknown, args: readonly unknown[]) => void;

/** Replaces a method by what `make` makes of it. Does nothing where this version of Node has none. */
export function replaceMethod(holder: object, name: string, make: (original: Callable) => Callable): void {
  const descriptor = getOwnPropertyDescriptor(holder, name);
  if (typeof descriptor?.value !== "function" || descriptor.configurable !== true) return;
  const original = descriptor.value as Callable;
  const replacement = make(original);
  for (const key of ownPropertyKeys(original)) {
    const property = getOwnPropertyDescriptor(original, key);
    if (property !== undefined) defineProperty(replacement, key, property);
  }
  defineProperty(holder, name, { ...descriptor, value: replacement });
}

/** Watches what throws. */
export function watchSync(holder: object, name: string, onFailure: OnFailure): void {
  replaceMethod(
    holder,
    name,
    (original) =>
      function (this: unknown, ...args: unknown[]): unknown {
        try {
          return apply(original, this, args);
        } catch (error) {
          tell(onFailure, error, args);
          throw error;
        }
      },
  );
}

/** Watches what calls its last argument with an error or null. Calls for which `isOther` is true are left alone. */
export function watchCallback(holder: object, name: string, onFailure: OnFailure, isOther: () => boolean = () => false): void {
  replaceMethod(
    holder,
    name,
    (original) =>
      function (this: unknown, ...args: unknown[]): unknown {
        const last = args.length - 1;
        const callback = args[last];
        if (typeof callback === "function" && !isOther()) {
          args[last] = function (this: unknown, ...results: unknown[]): unknown {
            if (results[0]) tell(onFailure, results[0], args);
            return apply(callback, this, results) as unknown;
          };
        }
        return apply(original, this, args);
      },
  );
}

/** Watches what returns a promise. */
export function watchPromise(holder: object, name: string, onFailure: OnFailure): void {
  replaceMethod(
    holder,
    name,
    (original) =>
      function (this: unknown, ...args: unknown[]): unknown {
        const note = (error: unknown): never => {
          tell(onFailure, error, args);
          throw error;
        };
        // The program gets the promise that is made here. With a handler on Node's own, nobody would be told that nobody handles it.
        return apply(promiseThen, apply(original, this, args), [undefined, note]);
      },
  );
}

/** Watches the errors that an object emits. For Node this is no handler of the program's: an error that has none still ends it. */
export function watchErrors(emitter: unknown, onFailure: (error: unknown) => void): void {
  apply(addListener, emitter, [errorMonitor, (error: unknown) => tell(onFailure, error, [])]);
}

/** Errors can be the program's own objects, which may throw when they are looked at. */
export function tell(onFailure: OnFailure, error: unknown, args: readonly unknown[]): void {
  try {
    onFailure(error, args);
  } catch {
    // Then there is no note.
  }
}
